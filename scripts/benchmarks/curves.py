"""Check a peer's loss curve against jaxmnist's before its time counts.

Both start from the same weights and take the same batches. The reference is computed in float64.
How far a float32 program may be from it comes from float32 runs whose first weights are perturbed
by one unit in the last place: rounding differences of that size are what another order of summing
makes, and a run amplifies both in the same way.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxmnist as jm
from benchmarks.peers import OURS
from benchmarks.peers.ours import config_of, first_order, params_of
from benchmarks.problem import Peer, Problem
from jaxmnist import training
from jaxmnist.training.state import TrainState

STEPS = 100
"""Full batches that are compared; a shorter one follows, as at the end of an epoch."""
RUNS = 8
"""Perturbed runs."""
FACTOR = 8
"""A peer's rounding is one more draw of what the perturbed runs are draws of, if its sums have the
same error; a naive sum of 784 products has some 3 times that of a vectorised one."""


class WrongPeerError(Exception):
    """A peer computes something else."""


class Curve(NamedTuple):
    """What a right peer measures."""

    order: np.ndarray
    """The images, in the order in which they are trained on."""
    losses: np.ndarray
    """Each batch's loss before its own step, in float64."""
    allowed: np.ndarray
    """How far a float32 program may be from each."""
    test_losses: tuple[float, float]
    """After the last step: the mean over batches, and over images."""


def reference(problem: Problem, steps: int = STEPS) -> Curve:
    """Train the first steps of the first epoch in float64, and perturbed runs in float32.

    Args:
        problem: What is trained.
        steps: Full batches; half of one follows where the data has it.

    Returns:
        The curve that peers are compared with.
    """
    size = problem.batch_size
    order = first_order(problem)[: steps * size + size // 2]
    data = problem.train_images, problem.train_labels
    test = problem.test_images, problem.test_labels
    tx = jm.optim.sgd(problem.learning_rate)
    apply_fn = jm.MLP(config_of(problem).hidden).apply
    eval_size = min(problem.eval_batch_size, len(problem.test_labels))

    def run(params: Any) -> tuple[Any, Any]:
        state, metrics = training.train_epoch(
            TrainState(params, tx.init(params)),
            order,
            *data,
            apply_fn=apply_fn,
            tx=tx,
            batch_size=size,
        )
        tested = training.evaluate(state.params, *test, apply_fn=apply_fn, batch_size=eval_size)
        means = training.average(tested, eval_size, len(test[1]))
        return metrics.loss, tuple(mean.loss for mean in means)

    draw = np.random.default_rng(0)
    params = jax.tree.map(np.asarray, params_of(problem))

    def perturbed(leaf: np.ndarray) -> np.ndarray:
        signs = draw.choice([-np.inf, np.inf], (RUNS, *leaf.shape)).astype(np.float32)
        return np.nextafter(leaf, signs)

    with jax.enable_x64(True):
        exact = jax.jit(run)(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params))
        losses, test_losses = jax.device_get(exact)
    runs, _ = jax.device_get(
        jax.jit(lambda many: jax.lax.map(run, many))(jax.tree.map(perturbed, params))
    )
    growing = np.maximum.accumulate(np.abs(runs - losses).max(0))
    # A mean of losses that happens to be exact says nothing of how a peer rounds it.
    allowed = FACTOR * np.maximum(growing, np.finfo(np.float32).eps * losses)
    return Curve(order, losses, allowed, (float(test_losses[0]), float(test_losses[1])))


def check(name: str, peer: Peer, curve: Curve) -> float:
    """Train a peer, which must be at its start, along a curve and compare its losses.

    Args:
        name: The peer's name; ours trains its whole first epoch, and is then not evaluated here.
        peer: The program.
        curve: What a right one measures.

    Returns:
        The largest deviation of a loss, as a share of what is allowed.

    Raises:
        WrongPeerError: A loss deviates by more than is allowed, or is missing.
    """
    losses = peer.train(curve.order)
    expected = curve.losses[: len(losses)] if name == OURS else curve.losses
    if losses.shape != expected.shape:
        raise WrongPeerError(
            f"{name}: returned losses of shape {losses.shape}; the reference has {expected.shape}, "
            "a loss for every batch with the short last one"
        )
    allowed = curve.allowed[: len(losses)]
    deviations = np.abs(losses - expected) / allowed
    wrong = ~(deviations <= 1)  # NaN is wrong too.
    if wrong.any():
        step = int(wrong.argmax())
        raise WrongPeerError(
            f"{name}: the loss of step {step} is {losses[step]:.9g}; the reference is "
            f"{expected[step]:.9g}, give or take {allowed[step]:.1g}: the peer does not train the "
            "same network on the same batches"
        )
    if name != OURS:
        loss, accuracy = peer.evaluate()
        # Keras averages over images, the others over batches. The last step's own error is added
        # to the last loss's: its size is that of one more step.
        off = min(abs(loss - expected) for expected in curve.test_losses)
        if not off <= 2 * curve.allowed[-1] or not 0 <= accuracy <= 1:
            raise WrongPeerError(
                f"{name}: the test loss is {loss:.9g}; the reference is {curve.test_losses[0]:.9g} "
                f"over batches and {curve.test_losses[1]:.9g} over images, give or take "
                f"{2 * curve.allowed[-1]:.1g}: the peer does not evaluate the same images"
            )
    return float(deviations.max())
