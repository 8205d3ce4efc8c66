"""Pairs of optimizers that are not in the parity table, with the causes that are there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from torch import optim
from torch.nn import utils


class Pair(NamedTuple):
    """Two optimizers, as lambdas whose source is printed, and the names of their differences."""

    torch: Callable[[Any], Any]
    jax: Callable[[], Any]
    causes: tuple[str, ...]


def clipped(optimizer: optim.Optimizer, bound: float) -> optim.Optimizer:
    """Clip the gradients by their norm before every step, as a training loop does."""
    step, parameters = optimizer.step, optimizer.param_groups[0]["params"]

    def after_clipping(*args: Any, **options: Any) -> Any:
        utils.clip_grad_norm_(parameters, bound)
        return step(*args, **options)

    optimizer.step = after_clipping
    return optimizer


PAIRS = (
    Pair(
        lambda params: clipped(optim.Adam(params), 1.0),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
        ("what is added to the norm in clipping",),
    ),
    Pair(
        lambda params: clipped(optim.SGD(params, 0.1, 0.9), 2.0),
        lambda: optax.chain(optax.clip(0.5), optax.sgd(0.1, 0.9)),
        ("clipping",),
    ),
    Pair(
        lambda params: clipped(optim.SGD(params, 0.1, weight_decay=0.1), 1.0),
        lambda: optax.chain(
            optax.add_decayed_weights(0.1), optax.clip_by_global_norm(1.0), optax.sgd(0.1)
        ),
        ("what is added to the norm in clipping", "the order of clipping and weight decay"),
    ),
    Pair(
        lambda params: optim.Adam(params, lr=1e-2),
        lambda: optax.chain(optax.clip_by_block_rms(0.5), optax.adam(1e-2)),
        ("clipping",),
    ),
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.MultiSteps(optax.adam(1e-3), 4).gradient_transformation(),
        ("accumulation",),
    ),
    Pair(
        lambda params: optim.RAdam(params, 1e-3),
        lambda: optax.radam(1e-3, threshold=4.0),
        ("epsilon's place", "the switch to scaled steps"),
    ),
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.adam(1e-3, b2=0.99, eps=0.0, eps_root=1e-6),
        ("b2", "epsilon's place", "epsilon's size"),
    ),
    Pair(
        lambda params: optim.RMSprop(params, 0.01, centered=True, momentum=0.8),
        lambda: optax.rmsprop(0.01, decay=0.95, eps=1e-4, centered=True, momentum=0.8),
        ("decay", "epsilon's place", "epsilon's size"),
    ),
    Pair(
        lambda params: optim.NAdam(params, momentum_decay=0.02),
        lambda: optax.nadam(2e-3, eps=1e-6),
        ("the momentum's growth", "epsilon's size"),
    ),
    Pair(
        lambda params: optim.Adagrad(params, 0.02, lr_decay=0.05, weight_decay=0.01),
        lambda: optax.adagrad(0.02),
        (
            "the initial accumulator",
            "epsilon's place",
            "epsilon's size",
            "the learning rate",
            "weight decay",
        ),
    ),
    Pair(
        lambda params: optim.ASGD(params, 0.05, lambd=1e-2, alpha=0.6),
        lambda: optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.05)),
        ("weight decay's size", "the learning rate"),
    ),
    Pair(
        lambda params: optim.Rprop(params, 0.02),
        lambda: optax.rprop(0.02, eta_minus=0.6, eta_plus=1.1),
        ("the step that is applied", "eta-", "eta+"),
    ),
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.adam(optax.linear_schedule(0.0, 1e-3, 10)),
        ("the learning rate",),
    ),
    Pair(
        lambda params: optim.Adamax(params, 0.01),
        lambda: optax.adamaxw(0.01, eps=1e-5, weight_decay=0.2),
        ("epsilon's size", "weight decay"),
    ),
    Pair(
        lambda params: optim.Adadelta(params, 0.5, weight_decay=0.02),
        lambda: optax.adadelta(0.5, rho=0.95, eps=1e-5),
        ("rho", "epsilon's size", "weight decay"),
    ),
    Pair(
        lambda params: optim.AdamW(params),
        lambda: optax.lion(1e-3, weight_decay=0.01),
        ("the algorithm",),
    ),
    Pair(
        lambda params: optim.AdamW(params),
        lambda: optax.lamb(1e-3, weight_decay=0.01),
        ("the algorithm",),
    ),
    Pair(lambda params: optim.SGD(params, 0.1, 0.9), lambda: optax.lars(0.1), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.adabelief(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.yogi(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.novograd(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.adan(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adagrad(params), lambda: optax.sm3(1e-3), ("the algorithm",)),
    Pair(
        lambda params: optim.Adam(params), lambda: optax.contrib.ademamix(1e-3), ("the algorithm",)
    ),
    Pair(lambda params: optim.Adam(params), lambda: optax.contrib.adopt(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.contrib.acprop(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.Adam(params), lambda: optax.contrib.cocob(), ("the algorithm",)),
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.optimistic_adam_v2(1e-3),
        ("the algorithm",),
    ),
    Pair(lambda params: optim.SGD(params), lambda: optax.fromage(1e-3), ("the algorithm",)),
    Pair(lambda params: optim.SGD(params), lambda: optax.signum(1e-3), ("the algorithm",)),
    Pair(
        lambda params: optim.SGD(params, 0.1),
        lambda: optax.contrib.schedule_free_sgd(0.1),
        ("the algorithm",),
    ),
    Pair(
        lambda params: optim.AdamW(params),
        lambda: optax.contrib.schedule_free_adamw(1e-3),
        ("the algorithm",),
    ),
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.contrib.simplified_ademamix(1e-3, alpha=20.0),
        ("the algorithm",),
    ),
    # Without its newest gradient it is Adam without the first correction, at another rate.
    Pair(
        lambda params: optim.Adam(params),
        lambda: optax.contrib.simplified_ademamix(1e-4, b1=0.9, b2=0.99),
        ("bias correction", "b2"),
    ),
    Pair(
        lambda params: optim.SGD(params, 0.1),
        lambda: optax.contrib.schedule_free_sgd(0.1, warmup_steps=8),
        (),
    ),
    Pair(lambda params: optim.Adam(params), lambda: optax.contrib.prodigy(1.0), ()),
    Pair(lambda params: optim.SGD(params, 0.1), lambda: optax.contrib.dog(1.0), ()),
    Pair(lambda params: optim.Adam(params), lambda: optax.contrib.madgrad(0.01), ()),
)
