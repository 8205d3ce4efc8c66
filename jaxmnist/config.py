"""What a run is: its shapes and names (static), and its hyperparameters (traced)."""

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any, Final

from jaxmnist import conventions
from jaxmnist.errors import InputError, nearest

DTYPES: Final = ("float32", "float64", "bfloat16")

Hyper = dict[str, Any]
"""The optimizer's float arguments by name; None means that there is none (Adadelta's rate).

A further entry, ``init_scale``, multiplies the initial parameters; without it they are as drawn.
``learning_rate`` may also be a dict with a rate for each layer by its name, ``dense_0`` onwards.

It is a pytree of numbers, so it may be traced, mapped over and differentiated:
``{**default_hyper(config), "learning_rate": rates}`` with ``in_axes={"learning_rate": 0}``.
"""


@dataclass(frozen=True)
class Config:
    """One training run. The defaults are the tutorial's (rows D6-D8).

    Attributes:
        hidden: Sizes of the hidden layers, first to last.
        optimizer: One of `jaxmnist.optim.NAMES`.
        learning_rate: Step size; None takes the optimizer's own default.
        epochs: Passes over the training images.
        batch_size: Images in a training batch; the last, shorter batch is kept.
        eval_batch_size: Images in a test batch; the last, shorter batch is kept.
        seed: Determines the initial weights and every epoch's order.
        convention: Whose arithmetic and defaults: document (the tutorial's), pytorch or optax.
        dtype: Of everything: float32 or float64; or bfloat16, in which the layers compute, while
            parameters, optimizer and loss are in float32. A seed starts from the same weights in
            each.

    Raises:
        InputError: A value that no run can have.

    >>> Config().optimizer, default_hyper(Config())
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
    dtype: str = "float32"

    def __post_init__(self) -> None:
        conventions.hyperparameters(self.optimizer, self.convention)
        if self.dtype not in DTYPES:
            raise InputError(
                f"dtype is {self.dtype!r}; choose one of {', '.join(DTYPES)}"
                f"{nearest(self.dtype, DTYPES)}"
            )
        for name in ("epochs", "batch_size", "eval_batch_size"):
            value = getattr(self, name)
            if not (_is_whole(value) and value >= 1):
                raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if not isinstance(self.hidden, tuple):
            raise InputError(f"hidden is {self.hidden!r}; it must be a tuple of layer sizes")
        for size in self.hidden:
            if not (_is_whole(size) and size >= 1):
                raise InputError(
                    f"hidden has a layer of size {size!r}; "
                    "every size must be a whole number of at least 1"
                )
        rate = self.learning_rate
        if rate is not None and not (
            isinstance(rate, numbers.Real) and math.isfinite(rate) and rate >= 0
        ):
            raise InputError(f"learning_rate is {rate!r}; it must be a finite number of at least 0")
        # JAX keeps the low 32 bits of a seed: beyond them two seeds would be the same run.
        if not (_is_whole(self.seed) and 0 <= self.seed < 2**32):
            raise InputError(
                f"seed is {self.seed!r}; it must be a whole number from 0 to 2**32 - 1"
            )

    def program(self) -> "Config":
        """Return the part that a compiled program depends on: shapes, names and lengths.

        The seed and the learning rate reach a program as its inputs, as a key and in `Hyper`; here
        they have their defaults. So two runs that differ in them alone have the same program, and
        this is the key to cache it by.

        >>> Config(seed=3, learning_rate=0.01).program() == Config().program()
        True
        """
        return replace(self, seed=0, learning_rate=None)


# `--help` shows the names themselves.
Config.__doc__ = (Config.__doc__ or "").replace(
    "`jaxmnist.optim.NAMES`", ", ".join(conventions.NAMES)
)


def default_hyper(config: Config) -> Hyper:
    """Return the optimizer's float arguments: the convention's defaults and the config's rate.

    Args:
        config: The run.

    Returns:
        Names and values as `jaxmnist.optim.create` takes them. Plain Python floats: under
        ``jit`` they are traced as weakly typed scalars, which follow the parameters' dtype.

    >>> default_hyper(Config(optimizer="momentum", learning_rate=0.05))
    {'learning_rate': 0.05, 'momentum': 0.9}
    """
    defaults = conventions.hyperparameters(config.optimizer, config.convention)
    if config.learning_rate is None:
        return defaults
    return {**defaults, "learning_rate": config.learning_rate}


hyper = default_hyper
"""The earlier name of `default_hyper`."""


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
