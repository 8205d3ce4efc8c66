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

from jaxmnist import interop, optim
from jaxmnist.config import Config, Hyper, hyper
from jaxmnist.data import load_dataset
from jaxmnist.data.batches import permutation
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.errors import InputError
from jaxmnist.model import MLP
from jaxmnist.training import (
    BatchMetrics,
    History,
    Params,
    TrainState,
    check_batches_fit,
    init,
    make_train,
    train_epoch,
)
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.model import Row, check_dtype, compare_rows, require_torch
from jaxmnist.verify.references import Recurrence, numpy_reference

ROOM = 10
"""How many times the distance that one ULP grows to is still taken for rounding."""


@dataclass(frozen=True)
class TrainingResult(Comparisons):
    """The comparisons of a run, and the curves that they are judged by.

    The parts are "batch loss", "batch accuracy", "epoch loss", "epoch accuracy" and "weights"
    (their displacement from the start). A step counts the updates made before it; an epoch's
    figures and the weights have the number of the last step before them. Positions are
    ``[epoch, batch]`` and ``[epoch]``.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        error: Relative error of each batch's loss, by step.
        perturbation: The same of our own run from weights moved by one ULP; None if not asked.
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

    A loss may be off by ten times what one ULP of the initial weights has grown to so far (its
    running maximum, and no less than one ULP); so may an epoch's mean losses, and so may the
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
    config = config if epochs is None else replace(config, epochs=epochs)
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
    _check_finite(ours.loss, theirs.train.loss)
    return _judge(ours, theirs, config, dtype)


class _Ours(NamedTuple):
    """What our run measured; [epochs, batches] and [epochs]."""

    start: Mapping[str, np.ndarray]
    orders: Int[np.ndarray, "epochs samples"]
    loss: Float[np.ndarray, "epochs batches"]
    accuracy: Float[np.ndarray, "epochs batches"]
    history: Mapping[str, Float[np.ndarray, " epochs"]]
    displacement: Mapping[str, np.ndarray]
    perturbed_loss: Float[np.ndarray, "epochs batches"] | None
    perturbed_displacement: Mapping[str, np.ndarray] | None


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
    program = replace(config, seed=0, learning_rate=None)
    with jax.enable_x64(dtype == "float64"):
        key, data = jax.random.key(config.seed), dataset.arrays()
        constants = (program, dataset.num_classes, hyper(config), data)
        state, history = _whole_run(*constants, key)
        start = init(key, hyper(config), config, dataset.num_classes)
        # The documented rule: (seed, epoch) gives the order.
        _, data_key = jax.random.split(key)
        orders = jnp.stack(
            [
                permutation(jax.random.fold_in(data_key, epoch), data.train_labels.size)
                for epoch in range(config.epochs)
            ]
        )
        _, metrics = _all_batches(*constants, orders, start)
        perturbed_loss = perturbed_displacement = None
        if perturb:
            moved = start._replace(params=_one_ulp_away(start.params, config.seed))
            end, perturbed = _all_batches(*constants, orders, moved)
            perturbed_loss = np.asarray(perturbed.loss)
            perturbed_displacement = _displacement(end.params, moved.params)
        return _Ours(
            interop.params_to_state_dict(start.params),
            np.asarray(orders),
            np.asarray(metrics.loss),
            np.asarray(metrics.accuracy),
            jax.tree.map(np.asarray, history._asdict()),
            _displacement(state.params, start.params),
            perturbed_loss,
            perturbed_displacement,
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

    def epoch(state: TrainState, order: Int[Array, " samples"]) -> tuple[TrainState, BatchMetrics]:
        return train_epoch(
            state,
            order,
            data.train_images,
            data.train_labels,
            apply_fn=MLP(config.hidden, num_classes).apply,
            tx=optim.create(config.optimizer, convention=config.convention, **hyper),
            batch_size=config.batch_size,
        )

    return jax.lax.scan(epoch, start, orders)


def _one_ulp_away(params: Params, seed: int) -> Params:
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
    start: Mapping[str, np.ndarray],
    orders: Int[np.ndarray, "epochs samples"],
    make_optimizer: Callable[[Iterable[Any]], TorchOptimizer],
) -> _Theirs:
    """The document's program, with the weights and the orders given."""
    import torch

    module = _sequential(start)
    optimizer = make_optimizer(module.parameters())

    def run_epoch(
        images: np.ndarray, labels: np.ndarray, order: np.ndarray, batch_size: int, train: bool
    ) -> Iterator[_Batch]:
        for batch in torch.from_numpy(order).split(batch_size):
            # The document's transform, in its float32.
            x = (torch.from_numpy(images)[batch].flatten(1).float() / 255 - 0.5) / 0.5
            y = torch.from_numpy(labels)[batch].long()
            with torch.set_grad_enabled(train):
                logits = module(x.to(getattr(torch, dtype)))
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
    return _Theirs(
        _stack(train),
        _stack(evaluated),
        {name: p.detach().numpy() - start[name] for name, p in module.named_parameters()},
    )


def _sequential(weights: Mapping[str, np.ndarray]) -> Any:
    """The document's network with these weights, in their dtype."""
    import torch

    matrices = [array for array in weights.values() if array.ndim == 2]
    layers = []
    for matrix in matrices:
        tensor = torch.from_numpy(matrix)
        linear = torch.nn.Linear(matrix.shape[1], matrix.shape[0], dtype=tensor.dtype)
        layers += [linear, torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1])
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module


def _margins(logits: np.ndarray) -> np.ndarray:
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    second, first = np.sort(logits, axis=1)[:, -2:].T
    return (first - second) / np.abs(logits).max()


def _stack(epochs: list[list[_Batch]]) -> _Batches:
    return _Batches(
        np.array([[batch.loss for batch in epoch] for epoch in epochs]),
        np.array([[batch.accuracy for batch in epoch] for epoch in epochs]),
        np.array([batch.margins.size for batch in epochs[0]]),
        [[batch.margins for batch in epoch] for epoch in epochs],
    )


def _torch_optimizer(config: Config) -> Callable[[Iterable[Any]], TorchOptimizer]:
    """The config's optimizer in PyTorch, or its formula where the convention is another's."""
    import torch

    h = hyper(config)
    rate = h["learning_rate"]
    if config.optimizer == "sgd":
        return partial(torch.optim.SGD, lr=rate)
    if config.convention != "pytorch":
        formula = numpy_reference(config.optimizer, config.learning_rate, config.convention)
        return partial(_OnTensors, formula)
    return {
        "momentum": lambda p: torch.optim.SGD(p, rate, momentum=h["momentum"]),
        "adagrad": lambda p: torch.optim.Adagrad(
            p, rate, initial_accumulator_value=h["initial_accumulator_value"], eps=h["eps"]
        ),
        "rmsprop": lambda p: torch.optim.RMSprop(p, rate, alpha=h["decay"], eps=h["eps"]),
        "adadelta": lambda p: torch.optim.Adadelta(p, rate, rho=h["rho"], eps=h["eps_root"]),
        "adam": lambda p: torch.optim.Adam(p, rate, betas=(h["b1"], h["b2"]), eps=h["eps"]),
    }[config.optimizer]


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
    broken = ~np.isfinite(ours.ravel()), ~np.isfinite(theirs.ravel())
    first = [int(each.argmax()) if each.any() else each.size for each in broken]
    if first[0] == first[1] < ours.size:
        raise InputError(
            f"the loss becomes {ours.ravel()[first[0]]} here and {theirs.ravel()[first[1]]} in "
            f"PyTorch, both at step {first[0]}: the runs can be compared only up to there; take "
            "a lower learning rate or fewer epochs"
        )


def _judge(ours: _Ours, theirs: _Theirs, config: Config, dtype: str) -> TrainingResult:
    epochs, batches = ours.loss.shape
    steps = np.arange(epochs * batches).reshape(epochs, batches)
    last_steps = steps[:, -1]
    epsilon = float(np.finfo(dtype).eps)

    error = _relative(ours.loss, theirs.train.loss).ravel()
    if ours.perturbed_loss is None or ours.perturbed_displacement is None:
        perturbation, growth, weights_growth = None, None, None
        weights_allowed = float(np.sqrt(epsilon))
        allowed = np.full(error.shape, weights_allowed)
    else:
        perturbation = _relative(ours.perturbed_loss, ours.loss).ravel()
        grown = np.maximum.accumulate(np.maximum(perturbation, epsilon))
        allowed, growth = ROOM * grown, float(grown[-1])
        weights_growth = max(
            epsilon, _displacement_error(ours.perturbed_displacement, ours.displacement)
        )
        weights_allowed = ROOM * weights_growth

    def rows(
        leaf: str, steps: np.ndarray, actual: np.ndarray, expected: np.ndarray, **limits: Any
    ) -> Iterator[Row]:
        """One row per element; `limits` are arrays of that shape too."""
        for index in np.ndindex(steps.shape):
            each = {name: float(values[index]) for name, values in limits.items()}
            step = int(steps[index])
            yield Row(step, leaf, actual[index], expected[index], position=index, **each)

    allowed_by_batch = allowed.reshape(epochs, batches)
    batch_loss = rows("loss", steps, ours.loss, theirs.train.loss, allowed=allowed_by_batch)
    undecided = theirs.train.undecided(allowed_by_batch)
    slack = ROOM * epsilon
    ones = np.ones_like(ours.loss)
    batch_accuracy = rows(
        "accuracy",
        steps,
        ours.accuracy,
        theirs.train.accuracy,
        allowed=undecided + slack,
        scale=ones,
    )
    epoch_end = allowed_by_batch[:, -1]
    epoch_loss, epoch_accuracy = [], []
    for part, measured in (("train", theirs.train), ("eval", theirs.eval)):
        closer_than = np.broadcast_to(epoch_end[:, None], measured.loss.shape)
        may_differ = measured.means(measured.undecided(closer_than))
        losses, accuracies = measured.means(measured.loss), measured.means(measured.accuracy)
        for suffix in losses:
            leaf = f"{part}_loss{suffix}"
            epoch_loss += rows(
                leaf, last_steps, ours.history[leaf], losses[suffix], allowed=epoch_end
            )
            leaf = f"{part}_accuracy{suffix}"
            epoch_accuracy += rows(
                leaf,
                last_steps,
                ours.history[leaf],
                accuracies[suffix],
                allowed=may_differ[suffix] + slack,
                scale=np.ones(epochs),
            )
    weights = [
        Row(int(last_steps[-1]), leaf, ours.displacement[leaf], expected, weights_allowed)
        for leaf, expected in theirs.displacement.items()
    ]
    compare = partial(compare_rows, dtype=dtype)
    return TrainingResult(
        f"{config.optimizer} ({config.convention}) in JAX and in PyTorch, {dtype}",
        (
            compare("batch loss", batch_loss, growth=growth),
            compare("batch accuracy", batch_accuracy),
            compare("epoch loss", _by_step(epoch_loss), growth=growth),
            compare("epoch accuracy", _by_step(epoch_accuracy)),
            compare("weights", weights, growth=weights_growth),
        ),
        batches,
        error,
        perturbation,
        allowed,
    )


def _relative(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(actual == expected, 0.0, np.abs(actual - expected) / np.abs(expected))
    return np.where(np.isnan(error), np.inf, error)


def _displacement_error(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> float:
    """The largest error of a leaf, over the leaf's largest displacement."""
    return compare_rows(
        "", [Row(0, leaf, actual[leaf], expected[leaf], 0.0) for leaf in expected], "float64"
    ).max_error


def _by_step(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.step)
