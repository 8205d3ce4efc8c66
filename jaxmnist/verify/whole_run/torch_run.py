"""The run in PyTorch: the tutorial's loop, from given weights and in given orders."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from jaxmnist import interop
from jaxmnist.config import Config, default_hyper
from jaxmnist.data.dataset import Dataset
from jaxmnist.errors import InputError
from jaxmnist.training import Params
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.references import Recurrence, numpy_reference, torch_reference


class TorchOptimizer(Protocol):
    """What a run calls of an optimizer in PyTorch."""

    def step(self) -> Any:
        """Update the parameters by their ``.grad``."""
        ...


class _Batch(NamedTuple):
    """What PyTorch measured on one batch."""

    loss: float
    accuracy: float
    margins: Float[np.ndarray, " batch"]
    """Of every sample the gap between its two largest logits, over the batch's largest."""


class Batches(NamedTuple):
    """The same of every batch of one split of the data, one row per epoch."""

    loss: Float[np.ndarray, "epochs batches"]
    accuracy: Float[np.ndarray, "epochs batches"]
    sizes: Int[np.ndarray, " batches"]
    margins: list[list[np.ndarray]]

    def undecided(self, closer_than: Float[np.ndarray, "epochs batches"]) -> np.ndarray:
        """Find the share of each batch whose class a relative error of the logits could change."""
        return np.array(
            [
                [np.mean(margins <= limit) for margins, limit in zip(*row, strict=True)]
                for row in zip(self.margins, closer_than, strict=True)
            ]
        )

    def means(self, values: Float[np.ndarray, "epochs batches"]) -> dict[str, np.ndarray]:
        """Average over batches and over samples, by the history's suffixes (row D9)."""
        return {
            "": np.mean(values, axis=1),
            "_per_sample": np.average(values, axis=1, weights=self.sizes),
        }


class TorchRun(NamedTuple):
    """What PyTorch's run measured."""

    train: Batches
    eval: Batches
    displacement: Mapping[str, np.ndarray]


def run_in_torch(
    config: Config,
    dataset: Dataset,
    dtype: str,
    start: Params,
    orders: Int[np.ndarray, "epochs samples"],
    make_optimizer: Callable[[Iterable[Any]], TorchOptimizer],
) -> TorchRun:
    """Run the tutorial's program, with the weights and the orders given.

    It shares nothing else with ours: it normalises, batches, differentiates and averages by itself.

    Args:
        config: The run.
        dataset: The images.
        dtype: Of the weights and all arithmetic.
        start: The initial weights.
        orders: Of the training samples, one row for each epoch.
        make_optimizer: From the module's parameters to their optimizer.

    Returns:
        What was measured.

    Raises:
        InputError: The optimizer raises, or is none.
    """
    import torch

    module = interop.params_to_module(start)
    with blamed("the reference", "when it was given the parameters"):
        optimizer = make_optimizer(module.parameters())
    if not callable(getattr(optimizer, "step", None)):
        raise InputError(
            f"the reference returned a {type(optimizer).__name__}; it must return an optimizer "
            "with a method step"
        )

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
                with blamed("the reference", "on step"):
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
    displacement = {
        name: module.get_parameter(name).detach().numpy() - before
        for name, before in interop.params_to_state_dict(start).items()
    }
    return TorchRun(_stack(train), _stack(evaluated), displacement)


def _margins(logits: np.ndarray) -> np.ndarray:
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    second, first = np.sort(logits, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):
        return (first - second) / np.abs(logits).max()


def _stack(epochs: list[list[_Batch]]) -> Batches:
    return Batches(
        np.array([[batch.loss for batch in epoch] for epoch in epochs]),
        np.array([[batch.accuracy for batch in epoch] for epoch in epochs]),
        np.array([batch.margins.size for batch in epochs[0]]),
        [[batch.margins for batch in epoch] for epoch in epochs],
    )


def torch_optimizer(config: Config) -> Callable[[Iterable[Any]], TorchOptimizer]:
    """Find PyTorch's optimizer of that name, or the formula where the convention is another's."""
    if config.optimizer == "sgd":
        return torch_reference("sgd", lr=default_hyper(config)["learning_rate"])
    if config.convention == "pytorch":
        # Its other constants are PyTorch's own defaults, not our table of them.
        rate = config.learning_rate
        return torch_reference(config.optimizer, **({} if rate is None else {"lr": rate}))
    formula = numpy_reference(config.optimizer, config.learning_rate, config.convention)
    return partial(OnTensors, formula)


class OnTensors:
    """A recurrence in NumPy that updates torch's parameters in place."""

    def __init__(self, recurrence: Recurrence, parameters: Iterable[Any]) -> None:
        self.update = recurrence.update
        self.parameters = [*parameters]
        self.states = [recurrence.init(p.detach().numpy()) for p in self.parameters]

    def step(self) -> None:
        """Update every parameter once."""
        for index, parameter in enumerate(self.parameters):
            change, self.states[index] = self.update(parameter.grad.numpy(), self.states[index])
            weights = parameter.detach().numpy()
            weights += change
