"""What a run is: its shapes and names (static), and its hyperparameters (traced)."""

import math
from dataclasses import dataclass
from typing import Any

from jaxmnist import conventions
from jaxmnist.errors import InputError

Hyper = dict[str, Any]
"""The optimizer's float arguments by name; None stands for "has none" (Adadelta's rate).

It is a pytree of numbers, so it may be traced, mapped over and differentiated:
``{**hyper(config), "learning_rate": rates}`` with ``in_axes={"learning_rate": 0}``.
"""


@dataclass(frozen=True)
class Config:
    """One training run. The defaults are the document's (rows D6-D8).

    Attributes:
        hidden: Sizes of the hidden layers, first to last.
        optimizer: One of sgd, momentum, adagrad, rmsprop, adadelta, adam.
        learning_rate: Step size; None takes the optimizer's own default.
        epochs: Passes over the training images.
        batch_size: Images in a training batch; the last, shorter batch is kept.
        eval_batch_size: Images in a test batch; the last, shorter batch is kept.
        seed: The one source of the initial weights and of every epoch's order.
        convention: Whose arithmetic and defaults: document, pytorch or optax.

    Raises:
        InputError: A value that no run can have.

    >>> Config().optimizer, hyper(Config())
    ('sgd', {'learning_rate': 0.1})
    """

    hidden: tuple[int, ...] = (256, 128, 64, 20)
    optimizer: str = "sgd"
    learning_rate: float | None = None
    epochs: int = 20
    batch_size: int = 64
    eval_batch_size: int = 128
    seed: int = 0
    convention: str = "document"

    def __post_init__(self) -> None:
        conventions.hyperparameters(self.optimizer, self.convention)
        for name in ("epochs", "batch_size", "eval_batch_size"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value}; it must be a whole number of at least 1")
        for size in self.hidden:
            if size < 1:
                raise InputError(
                    f"hidden has a layer of size {size}; every size must be at least 1"
                )
        rate = self.learning_rate
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise InputError(f"learning_rate is {rate}; it must be a finite number of at least 0")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; it must be from 0 to 2**63 - 1")


def hyper(config: Config) -> Hyper:
    """Return the optimizer's float arguments: the convention's defaults and the config's rate.

    Args:
        config: The run.

    Returns:
        Names and values as `jaxmnist.optim.create` takes them. Plain Python floats: under
        ``jit`` they are traced as weakly typed scalars, which follow the parameters' dtype.

    >>> hyper(Config(optimizer="momentum", learning_rate=0.05))
    {'learning_rate': 0.05, 'momentum': 0.9}
    """
    defaults = conventions.hyperparameters(config.optimizer, config.convention)
    if config.learning_rate is None:
        return defaults
    return {**defaults, "learning_rate": config.learning_rate}
