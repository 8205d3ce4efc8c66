"""The parity table's rows of Adam and its kin, which `optimizers` runs."""

import optax

from jaxmnist import parity
from jaxmnist.parity.table.row import DIFFERS, Row


def rows() -> list[Row]:
    """Return the rows."""
    from torch import optim

    return [
        Row(lambda params: optim.Adam(params, lr=0.01), lambda: optax.adam(0.01)),
        Row(
            lambda params: optim.Adam(params, lr=0.01, betas=(0.5, 0.9), eps=1e-4),
            lambda: optax.adam(0.01, 0.5, 0.9, 1e-4),
        ),
        Row(
            lambda params: optim.Adam(params, lr=0.01, eps=1e-4),
            lambda: optax.adam(0.01, eps=0.0, eps_root=1e-8),
            DIFFERS,
            "PyTorch's epsilon is outside the root.",
            lambda: optax.adam(0.01, eps=1e-4),
            causes=("epsilon's place", "epsilon's size"),
        ),
        Row(
            lambda params: optim.Adam(params, lr=0.01, weight_decay=0.1),
            lambda: optax.adamw(0.01, weight_decay=0.1),
            DIFFERS,
            "Adam's decay is added to the gradient; AdamW's shrinks the weights apart from it.",
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01)),
            on="weights",
            causes=("weight decay's place",),
        ),
        Row(
            lambda params: optim.Adam(params, lr=0.01, amsgrad=True),
            lambda: optax.amsgrad(0.01),
            DIFFERS,
            "PyTorch takes the maximum before the bias correction, Optax after it.",
            lambda: parity.adam(lr=0.01, amsgrad=True),
            causes=("AMSGrad",),
        ),
        Row(
            lambda params: optim.Adam(params, lr=0.01, maximize=True),
            lambda: optax.chain(optax.scale(-1.0), optax.adam(0.01)),
        ),
        Row(
            lambda params: optim.Adam(params, lr=0.01, weight_decay=0.1, maximize=True),
            lambda: optax.chain(
                optax.add_decayed_weights(0.1), optax.scale(-1.0), optax.adam(0.01)
            ),
            DIFFERS,
            "The decay is added after the gradient is negated.",
            lambda: optax.chain(
                optax.scale(-1.0), optax.add_decayed_weights(0.1), optax.adam(0.01)
            ),
            on="weights",
            causes=("the weight decay's sign",),
        ),
        Row(
            lambda params: optim.AdamW(params, lr=0.01),
            lambda: optax.adamw(0.01),
            DIFFERS,
            "The decay's default is 1e-2 in PyTorch, and 1e-4 in Optax.",
            lambda: optax.adamw(0.01, weight_decay=1e-2),
            on="weights",
            causes=("weight decay's size",),
        ),
        Row(
            lambda params: optim.AdamW(params, lr=0.01, weight_decay=0.1),
            lambda: optax.adamw(0.01, weight_decay=0.1),
            on="weights",
        ),
        Row(
            lambda params: optim.AdamW(params, lr=0.01, amsgrad=True),
            lambda: optax.chain(
                optax.scale_by_amsgrad(),
                optax.add_decayed_weights(1e-2),
                optax.scale_by_learning_rate(0.01),
            ),
            DIFFERS,
            "PyTorch takes the maximum before the bias correction, Optax after it.",
            lambda: parity.adamw(lr=0.01, amsgrad=True),
            on="weights",
            causes=("AMSGrad",),
        ),
        Row(lambda params: optim.Adamax(params, lr=0.01), lambda: optax.adamax(0.01)),
        Row(
            lambda params: optim.Adamax(params, lr=0.01, weight_decay=0.1),
            lambda: optax.adamaxw(0.01, weight_decay=0.1),
            DIFFERS,
            "PyTorch's decay is added to the gradient.",
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.adamax(0.01)),
            on="weights",
            causes=("weight decay's place",),
        ),
        Row(
            lambda params: optim.NAdam(params, lr=0.01),
            lambda: optax.nadam(0.01),
            DIFFERS,
            "PyTorch's momentum grows, as b1 · (1 - ½ · 0.96^(0.004 t)); Optax's is constant.",
            lambda: parity.nadam(lr=0.01),
            causes=("the momentum's growth",),
        ),
        Row(
            lambda params: optim.NAdam(params, lr=0.01, momentum_decay=0.1),
            lambda: optax.nadam(0.01),
            DIFFERS,
            "No setting of Optax's has momentum_decay.",
            lambda: parity.nadam(lr=0.01, momentum_decay=0.1),
            causes=("the momentum's growth",),
        ),
        Row(
            lambda params: optim.NAdam(
                params, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
            ),
            lambda: optax.nadamw(0.01, weight_decay=0.1),
            DIFFERS,
            "The decay is equal, the momentum as NAdam's.",
            lambda: parity.nadam(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
            on="weights",
            causes=("the momentum's growth",),
        ),
        Row(
            lambda params: optim.RAdam(params, lr=0.01),
            lambda: optax.radam(0.01),
            DIFFERS,
            "PyTorch adds epsilon before the bias correction, Optax after it.",
            lambda: parity.radam(lr=0.01),
            causes=("epsilon's place",),
        ),
        Row(
            lambda params: optim.RAdam(params, lr=0.01, eps=0.0),
            lambda: optax.radam(0.01, eps=0.0),
            difference="Without epsilon they are equal.",
        ),
        Row(
            lambda params: optim.RAdam(
                params, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
            ),
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.radam(0.01)),
            DIFFERS,
            "With decoupled_weight_decay=True the decay is not added to the gradient.",
            lambda: parity.radam(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
            on="weights",
            causes=("weight decay's place", "epsilon's place"),
        ),
    ]
