"""The document's run in both frameworks, and whether their distance is rounding or a bug.

Two right programs drift apart: each rounds in its own order, and training magnifies the
difference from step to step. How fast is a property of the run and can be measured: our own run
is repeated from weights that are moved by one unit in the last place (ULP). A program that stays
within ten times that distance differs by rounding; one that leaves it computes something else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxmnist import interop
from jaxmnist.config import Config, Hyper, hyper
from jaxmnist.data import load_dataset
from jaxmnist.data.batches import permutation
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.training import (
    BatchMetrics,
    History,
    Params,
    TrainState,
    check_batches_fit,
    init,
    make_train,
    model_and_optimizer,
    train_epoch,
)
from jaxmnist.verify.compare import (
    Comparison,
    Comparisons,
    Divergence,
    Errors,
    Leaves,
)
from jaxmnist.verify.model import check_dtype
from jaxmnist.verify.references import Recurrence, numpy_reference, torch_reference

ROOM = 10
"""How many times the distance that one ULP grows to is still taken for rounding."""

SHAKES = 5
"""From how many starts one ULP away that is measured."""


@dataclass(frozen=True)
class TrainingResult(Comparisons):
    """The comparisons of a run, and the curves that they are judged by.

    The parts are "batch loss", "batch accuracy", "epoch loss", "epoch accuracy" and "weights".
    A step counts the updates made before it; an epoch's figures and the weights have the number
    of the last step before them. Positions are ``[epoch, batch]`` and ``[epoch]``. Errors of a
    loss are relative to itself, of an accuracy absolute; those of the weights are a leaf's mean
    error over its mean displacement from the start.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        error: Relative error of each batch's loss, by step.
        perturbation: The largest of the same of our own runs from weights moved by one ULP; None
            if not asked.
        allowed: What `error` may be at each step.
    """

    steps_per_epoch: int
    error: Float[np.ndarray, " steps"]
    perturbation: Float[np.ndarray, " steps"] | None
    allowed: Float[np.ndarray, " steps"]

    @property
    def verdict(self) -> str | None:
        """What the distance is, "rounding" or "a bug"; None without a perturbed run, if apart."""
        if self.passed:
            return "rounding"
        return None if self.perturbation is None else "a bug"

    def __str__(self) -> str:
        lines = [super().__str__(), f"  a batch's loss is off by up to {self.error.max():.1e}"]
        if self.perturbation is not None:
            lines[-1] += f"; one ULP of the start grows to {self.perturbation.max():.1e}"
        if self.verdict:
            lines[-1] += f": {self.verdict}"
        return "\n".join(lines)


class TorchOptimizer(Protocol):
    """What the run asks of an optimizer in PyTorch."""

    def step(self) -> Any:
        """Move the parameters along their ``.grad``."""
        ...


def training(
    config: Config,
    dataset: Dataset | None = None,
    *,
    dtype: str = "float64",
    epochs: int | None = None,
    perturb: bool = True,
    reference: Callable[[Iterable[Any]], TorchOptimizer] | Recurrence | None = None,
) -> TrainingResult:
    """Train in JAX and in PyTorch from the same weights on the same batches, and compare it all.

    Ours is `jaxmnist.make_train`'s program, and for every batch's figures `train_epoch`'s. The
    other is the document's loop in PyTorch, which shares with ours the initial weights and each
    epoch's order and nothing else: it normalises, batches, differentiates and averages by itself.

    A loss may be off by ten times what one ULP of the initial weights has grown to so far (the
    running maximum over five starts that are one ULP away, since from one it can come out small by
    chance; and no less than one ULP); so may an epoch's mean losses, and so may the
    weights' displacements by what theirs grew to. An accuracy may differ by the samples whose two
    largest logits were closer than that, and by nothing else.

    With the convention "pytorch", and for SGD with any, the other optimizer is the one in
    `torch.optim`. PyTorch does not have the arithmetic of the other conventions; there it is the
    formula, `numpy_reference`, applied to torch's gradients.

    Args:
        config: The run; its convention says which optimizer PyTorch uses.
        dataset: The images; None for MNIST.
        dtype: float64 or float32, of the weights and all arithmetic.
        epochs: In place of the config's.
        perturb: Whether to measure what one ULP grows to. If not, half of the dtype's digits must
            agree throughout, ``sqrt(eps)``, and there is no verdict on what does not.
        reference: The optimizer there, in place of the config's: a factory such as
            ``torch.optim.Adam``, called with the parameters, or a `Recurrence`.

    Returns:
        The result; it prints as a table.

    Raises:
        InputError: PyTorch is not installed, a batch is larger than the data, the dtype is
            another, or the loss becomes NaN or infinite in both frameworks at the same step.

    Source: document rows D5 to D9 and D20 to D25.

    >>> import jaxmnist as jm
    >>> mnist = jm.load_dataset("mnist")
    >>> some = jm.Dataset(
    ...     mnist.train_images[:650], mnist.train_labels[:650],
    ...     mnist.test_images[:245], mnist.test_labels[:245], num_classes=10, name="some",
    ... )
    >>> config = jm.Config(hidden=(16,), optimizer="adam", convention="pytorch", epochs=1)
    >>> result = training(config, some)
    >>> result.passed, result.verdict, result.steps_per_epoch
    (True, 'rounding', 11)
    """
    require_torch()
    check_dtype(dtype)
    config = replace(config, dtype=dtype, epochs=config.epochs if epochs is None else epochs)
    dataset = load_dataset("mnist") if dataset is None else dataset
    check_batches_fit(config, dataset)

    ours = _run_in_jax(config, dataset, dtype, perturb)
    if reference is None:
        make_optimizer = _torch_optimizer(config)
    elif isinstance(reference, Recurrence):
        make_optimizer = partial(_OnTensors, reference)
    else:
        make_optimizer = reference
    theirs = _run_in_torch(config, dataset, dtype, ours.start, ours.orders, make_optimizer)
    _check_finite(ours.batches.loss, theirs.train.loss)
    return _judge(ours, theirs, config, dtype)


class _Trained(NamedTuple):
    """Our training without evaluation, with every batch's figures."""

    loss: Float[np.ndarray, "epochs batches"]
    accuracy: Float[np.ndarray, "epochs batches"]
    displacement: Mapping[str, np.ndarray]


class _Ours(NamedTuple):
    """What our run measured."""

    start: Params
    orders: Int[np.ndarray, "epochs samples"]
    history: Mapping[str, Float[np.ndarray, " epochs"]]
    displacement: Mapping[str, np.ndarray]
    batches: _Trained
    perturbed: tuple[_Trained, ...]
    """The same from weights moved by one ULP, several times over."""


class _Batch(NamedTuple):
    """What PyTorch measured on one batch."""

    loss: float
    accuracy: float
    margins: Float[np.ndarray, " batch"]
    """Of every sample the gap between its two largest logits, over the batch's largest."""


class _Batches(NamedTuple):
    """The same of every batch of one part of the data, one row per epoch."""

    loss: Float[np.ndarray, "epochs batches"]
    accuracy: Float[np.ndarray, "epochs batches"]
    sizes: Int[np.ndarray, " batches"]
    margins: list[list[np.ndarray]]

    def undecided(self, closer_than: Float[np.ndarray, "epochs batches"]) -> np.ndarray:
        """The share of each batch whose class a relative error of the logits could change."""
        return np.array(
            [
                [np.mean(margins <= limit) for margins, limit in zip(*row, strict=True)]
                for row in zip(self.margins, closer_than, strict=True)
            ]
        )

    def means(self, values: Float[np.ndarray, "epochs batches"]) -> dict[str, np.ndarray]:
        """The mean over batches and the mean over samples, by the history's suffixes (D9)."""
        return {
            "": np.mean(values, axis=1),
            "_per_sample": np.average(values, axis=1, weights=self.sizes),
        }


class _Theirs(NamedTuple):
    """What PyTorch's run measured."""

    train: _Batches
    eval: _Batches
    displacement: Mapping[str, np.ndarray]


def _run_in_jax(config: Config, dataset: Dataset, dtype: str, perturb: bool) -> _Ours:
    # What the programs do not depend on is blanked, so that the next call finds them compiled.
    program = config.program()
    with jax.enable_x64(dtype == "float64"):
        key, data = jax.random.key(config.seed), dataset.arrays()
        constants = (program, dataset.num_classes, hyper(config), data)
        start = init(key, hyper(config), config, dataset.num_classes)
        # The documented rule: (seed, epoch) gives the order.
        _, data_key = jax.random.split(key)
        keys = [jax.random.fold_in(data_key, epoch) for epoch in range(config.epochs)]
        orders = jnp.stack([permutation(key, data.train_labels.size) for key in keys])

        def trained_from(params: Params) -> _Trained:
            end, metrics = _all_batches(*constants, orders, start._replace(params=params))
            moved = _displacement(end.params, params)
            loss, accuracy = (_every_batch(values, config, data) for values in metrics)
            return _Trained(loss, accuracy, moved)

        state, history = _whole_run(*constants, key)
        return _Ours(
            start.params,
            np.asarray(orders),
            jax.device_get(history)._asdict(),
            _displacement(state.params, start.params),
            trained_from(start.params),
            tuple(
                trained_from(_one_ulp_away(start.params, (config.seed, shake)))
                for shake in range(SHAKES if perturb else 0)
            ),
        )


@partial(jax.jit, static_argnums=(0, 1))
def _whole_run(
    config: Config, num_classes: int, hyper: Hyper, data: Arrays, key: Key[Array, ""]
) -> tuple[TrainState, History]:
    return make_train(config, num_classes)(key, hyper, data)


@partial(jax.jit, static_argnums=(0, 1))
def _all_batches(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    data: Arrays,
    orders: Int[Array, "epochs samples"],
    start: TrainState,
) -> tuple[TrainState, BatchMetrics]:
    """The run's training alone, from any start, with every batch's figures."""
    model, tx = model_and_optimizer(config, num_classes, hyper)

    def epoch(state: TrainState, order: Int[Array, " samples"]) -> tuple[TrainState, BatchMetrics]:
        return train_epoch(
            state,
            order,
            data.train_images,
            data.train_labels,
            apply_fn=model.apply,
            tx=tx,
            batch_size=config.batch_size,
        )

    return jax.lax.scan(epoch, start, orders)


def _every_batch(
    values: Float[Array, "epochs made"], config: Config, data: Arrays
) -> Float[np.ndarray, "epochs batches"]:
    """A figure of every batch that the data has; NaN for one that was not made."""
    batches = -(-data.train_labels.size // config.batch_size)
    missing = max(0, batches - values.shape[1])
    return np.pad(np.asarray(values), ((0, 0), (0, missing)), constant_values=np.nan)


def _one_ulp_away(params: Params, seed: int | tuple[int, ...]) -> Params:
    """Every weight at its next number up or down, at random."""
    generator = np.random.default_rng(seed)

    def moved(leaf: Array) -> Array:
        values = np.asarray(leaf)
        towards = np.where(generator.random(values.shape) < 0.5, -np.inf, np.inf)
        return jnp.asarray(np.nextafter(values, towards.astype(values.dtype)))

    return jax.tree.map(moved, params)


def _displacement(end: Params, start: Params) -> dict[str, np.ndarray]:
    moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), end, start)
    return interop.params_to_state_dict(moved)


def _run_in_torch(
    config: Config,
    dataset: Dataset,
    dtype: str,
    start: Params,
    orders: Int[np.ndarray, "epochs samples"],
    make_optimizer: Callable[[Iterable[Any]], TorchOptimizer],
) -> _Theirs:
    """The document's program, with the weights and the orders given."""
    import torch

    module = interop.params_to_module(start)
    optimizer = make_optimizer(module.parameters())

    def run_epoch(
        images: np.ndarray, labels: np.ndarray, order: np.ndarray, batch_size: int, train: bool
    ) -> Iterator[_Batch]:
        for batch in torch.from_numpy(order).split(batch_size):
            pixels = torch.from_numpy(images)[batch].flatten(1).to(getattr(torch, dtype))
            x = (pixels / 255 - 0.5) / 0.5
            y = torch.from_numpy(labels)[batch].long()
            with torch.set_grad_enabled(train):
                logits = module(x)
                loss = torch.nn.functional.cross_entropy(logits, y)
            if train:
                module.zero_grad()
                loss.backward()
                optimizer.step()
            right = (logits.argmax(dim=1) == y).double().mean()
            yield _Batch(loss.item(), right.item(), _margins(logits.detach().numpy()))

    of_train = (dataset.train_images, dataset.train_labels)
    of_eval = (dataset.test_images, dataset.test_labels)
    in_order = np.arange(dataset.test_labels.size)
    train, evaluated = [], []
    for order in orders.astype(np.int64):
        train.append([*run_epoch(*of_train, order, config.batch_size, train=True)])
        evaluated.append([*run_epoch(*of_eval, in_order, config.eval_batch_size, train=False)])
    moved = {
        name: module.get_parameter(name).detach().numpy() - before
        for name, before in interop.params_to_state_dict(start).items()
    }
    return _Theirs(_stack(train), _stack(evaluated), moved)


def _margins(logits: np.ndarray) -> np.ndarray:
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    second, first = np.sort(logits, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):
        return (first - second) / np.abs(logits).max()


def _stack(epochs: list[list[_Batch]]) -> _Batches:
    return _Batches(
        np.array([[batch.loss for batch in epoch] for epoch in epochs]),
        np.array([[batch.accuracy for batch in epoch] for epoch in epochs]),
        np.array([batch.margins.size for batch in epochs[0]]),
        [[batch.margins for batch in epoch] for epoch in epochs],
    )


def _torch_optimizer(config: Config) -> Callable[[Iterable[Any]], TorchOptimizer]:
    """PyTorch's optimizer of that name, or the formula where the convention is another's."""
    if config.optimizer == "sgd":
        return torch_reference("sgd", lr=hyper(config)["learning_rate"])
    if config.convention == "pytorch":
        # Its other constants are PyTorch's own defaults, and not what we believe they are.
        rate = config.learning_rate
        return torch_reference(config.optimizer, **({} if rate is None else {"lr": rate}))
    formula = numpy_reference(config.optimizer, config.learning_rate, config.convention)
    return partial(_OnTensors, formula)


class _OnTensors:
    """A recurrence in NumPy, moving torch's parameters where they lie in memory."""

    def __init__(self, recurrence: Recurrence, parameters: Iterable[Any]) -> None:
        self.update = recurrence.update
        self.parameters = [*parameters]
        self.states = [recurrence.init(p.detach().numpy()) for p in self.parameters]

    def step(self) -> None:
        """Move every parameter once."""
        for index, parameter in enumerate(self.parameters):
            change, self.states[index] = self.update(parameter.grad.numpy(), self.states[index])
            weights = parameter.detach().numpy()
            weights += change


def _check_finite(
    ours: Float[np.ndarray, "epochs batches"], theirs: Float[np.ndarray, "epochs batches"]
) -> None:
    """Refuse runs that break together: from there on nothing is left to compare."""
    first = [int(np.argmin([*np.isfinite(loss.ravel()), False])) for loss in (ours, theirs)]
    if first[0] == first[1] < ours.size:
        raise InputError(
            f"the loss becomes {ours.flat[first[0]]} here and {theirs.flat[first[1]]} in PyTorch, "
            f"both at step {first[0]}: the runs can be compared only up to there; take a lower "
            "learning rate or fewer epochs"
        )


class _Curve(NamedTuple):
    """One figure over the run in both frameworks: [epochs, batches] or [epochs]."""

    leaf: str
    actual: np.ndarray
    expected: np.ndarray
    allowed: np.ndarray
    """How far apart they may be, relative to the scale."""
    scale: np.ndarray | float
    """|expected| for a loss; 1 for an accuracy, which is a share."""


def _judge(ours: _Ours, theirs: _Theirs, config: Config, dtype: str) -> TrainingResult:
    epsilon = float(np.finfo(dtype).eps)
    shape = theirs.train.loss.shape
    steps = np.arange(theirs.train.loss.size).reshape(shape)
    ends = steps[:, -1]

    perturbation = loss_growth = weights_growth = None
    allowed, weights_allowed = np.full(shape, np.sqrt(epsilon)), float(np.sqrt(epsilon))
    if ours.perturbed:
        perturbation = np.max(
            [_relative(shaken.loss, ours.batches.loss) for shaken in ours.perturbed], axis=0
        )
        # Where a run breaks, its distance is infinite and allows nothing.
        finite = np.where(np.isfinite(perturbation), perturbation, 0.0)
        grown = np.maximum.accumulate(np.maximum(finite, epsilon).ravel())
        moved = max(
            _compare_weights(shaken.displacement, ours.batches.displacement, dtype).max_error
            for shaken in ours.perturbed
        )
        loss_growth = float(grown[-1])
        weights_growth = max(moved if np.isfinite(moved) else 0.0, epsilon)
        allowed, weights_allowed = ROOM * grown.reshape(shape), ROOM * weights_growth

    batch_loss, batch_accuracy = _batch_curves(ours, theirs, allowed, ROOM * epsilon)
    epoch_loss, epoch_accuracy = _epoch_curves(ours, theirs, allowed[:, -1], ROOM * epsilon)
    return TrainingResult(
        f"{config.optimizer} ({config.convention}) in JAX and in PyTorch, {dtype}",
        (
            _compare("batch loss", steps, [batch_loss], dtype, loss_growth),
            _compare("batch accuracy", steps, [batch_accuracy], dtype),
            _compare("epoch loss", ends, epoch_loss, dtype, loss_growth),
            _compare("epoch accuracy", ends, epoch_accuracy, dtype),
            _compare_weights(
                ours.displacement,
                theirs.displacement,
                dtype,
                weights_allowed,
                int(ends[-1]),
                weights_growth,
                interop.params_to_state_dict(ours.start),
            ),
        ),
        shape[1],
        _relative(batch_loss.actual, batch_loss.expected).ravel(),
        None if perturbation is None else perturbation.ravel(),
        allowed.ravel(),
    )


def _batch_curves(
    ours: _Ours, theirs: _Theirs, allowed: np.ndarray, rounding: float
) -> tuple[_Curve, _Curve]:
    """Loss and accuracy of every training batch."""
    here, there = ours.batches, theirs.train
    may_differ = there.undecided(allowed) + rounding
    return (
        _Curve("loss", here.loss, there.loss, allowed, np.abs(there.loss)),
        _Curve("accuracy", here.accuracy, there.accuracy, may_differ, 1.0),
    )


def _epoch_curves(
    ours: _Ours, theirs: _Theirs, allowed: np.ndarray, rounding: float
) -> tuple[list[_Curve], list[_Curve]]:
    """The history's losses and accuracies, by what is allowed at the end of each epoch."""
    losses, accuracies = [], []
    for part, batches in (("train", theirs.train), ("eval", theirs.eval)):
        every_batch = np.repeat(allowed[:, None], batches.loss.shape[1], axis=1)
        may_differ = batches.means(batches.undecided(every_batch))
        mean_accuracy = batches.means(batches.accuracy)
        for suffix, loss in batches.means(batches.loss).items():
            leaf = f"{part}_loss{suffix}"
            losses.append(_Curve(leaf, ours.history[leaf], loss, allowed, np.abs(loss)))
            leaf = f"{part}_accuracy{suffix}"
            share, accuracy = may_differ[suffix] + rounding, mean_accuracy[suffix]
            accuracies.append(_Curve(leaf, ours.history[leaf], accuracy, share, 1.0))
    return losses, accuracies


def _compare(
    name: str,
    steps: Int[np.ndarray, "*shape"],
    curves: list[_Curve],
    dtype: str,
    growth: float | None = None,
) -> Comparison:
    """Compare figures that each have a scale and a tolerance of their own at every step."""
    errors, first = Errors(0.0, 0.0, 0.0), None
    for curve in curves:
        absolute = _distance(curve.actual, curve.expected)
        relative = _over(absolute, curve.scale)
        ulp = _over(absolute, np.spacing(np.abs(curve.expected).astype(dtype)))
        kinds = (absolute, relative, ulp)
        errors = Errors(*(max(a, float(b.max())) for a, b in zip(errors, kinds, strict=True)))
        outside = np.argwhere(relative > curve.allowed)
        if outside.size and (first is None or steps[tuple(outside[0])] < first.step):
            at = tuple(int(i) for i in outside[0])
            values = (float(curve.actual[at]), float(curve.expected[at]))
            first = Divergence(int(steps[at]), curve.leaf, at, *values)
    tolerance = float(curves[-1].allowed.flat[-1])
    return Comparison(name, steps.size, tolerance, errors, first, growth)


def _compare_weights(
    actual: Leaves,
    expected: Leaves,
    dtype: str,
    tolerance: float = 0.0,
    step: int = 0,
    growth: float | None = None,
    start: Leaves | None = None,
) -> Comparison:
    """Compare displacements, leaf by leaf, by the mean error over the mean displacement.

    A displacement is the difference of stored weights, so no better known than to a unit in their
    last place, on average `eps` of the start's size; that much is allowed besides. (A run from
    weights moved by exactly such units rounds as the other does, and cannot show it.)

    Not by the largest: where an optimizer divides by the size of the gradient, a weight whose
    first gradient nearly cancels magnifies rounding by the reciprocal of what is left. Of such a
    distribution the mean over many weights says how far rounding goes, and the largest only how
    unlucky one weight was.
    """
    errors, first = Errors(0.0, 0.0, 0.0), None
    for leaf, there in expected.items():
        distance = _distance(actual[leaf], there)
        means = (np.mean(each, dtype=np.float64) for each in (distance, np.abs(there)))
        relative = float(_over(*means))
        kinds = (float(distance.max()), relative, relative / float(np.finfo(dtype).eps))
        errors = Errors(*map(max, errors, kinds))
        unit = 0.0 if start is None else float(np.finfo(dtype).eps * np.abs(start[leaf]).mean())
        if first is None and not distance.mean() <= tolerance * np.abs(there).mean() + unit:
            at = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
            first = Divergence(step, leaf, at, float(actual[leaf][at]), float(there[at]))
    return Comparison("weights", 1, tolerance, errors, first, growth)


def _relative(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return _over(_distance(actual, expected), np.abs(expected))


def _distance(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|actual - expected|; infinite where one of them is NaN."""
    with np.errstate(invalid="ignore"):
        distance = np.where(actual == expected, 0.0, np.abs(actual - expected))
    return np.where(np.isnan(distance), np.inf, distance)


def _over(distance: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray:
    """The quotient, where no distance is no error over any scale."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient = np.where(distance == 0, 0.0, distance / scale)
    return np.where(np.isnan(quotient), np.inf, quotient)
