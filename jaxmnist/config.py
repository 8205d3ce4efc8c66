"""What a run is: its shapes and names (static), and its hyperparameters (traced)."""

import itertools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from jaxmnist import conventions
from jaxmnist.conventions import plain_number, shown
from jaxmnist.errors import InputError, nearest

DTYPES: Final = ("float32", "float64", "bfloat16")
MAX_LAYERS: Final = 1000
"""The most hidden layers: each is traced, compiled and checkpointed by itself."""
MAX_WEIGHTS: Final = 2**30
"""The most weights of a network."""
_LARGEST: Final = 2**31 - 1

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

    A number may also be NumPy's, or an array or tensor without axes: its exact value is stored as
    Python's, 0.10000000149011612 for float32's 0.1.

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
        InputError: A value that no run can have, or a network of more than 2**30 weights.

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
            value = _whole(getattr(self, name))
            if value is None or value < 1:
                raise InputError(
                    f"{name} is {shown(getattr(self, name))}; "
                    "it must be a whole number of at least 1"
                )
            if value > _LARGEST:
                raise InputError(f"{name} is {shown(value)}; at most {_LARGEST} is allowed")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "hidden", _layer_sizes(self.hidden))
        if self.learning_rate is not None:
            rate = plain_number(self.learning_rate)
            if rate is None or not 0 <= rate <= sys.float_info.max:
                raise InputError(
                    f"learning_rate is {shown(self.learning_rate)}; "
                    "it must be a finite number of at least 0"
                )
            object.__setattr__(self, "learning_rate", float(rate))
        # JAX keeps the low 32 bits of a seed: beyond them two seeds would be the same run.
        seed = _whole(self.seed)
        if seed is None or not 0 <= seed < 2**32:
            raise InputError(
                f"seed is {shown(self.seed)}; it must be a whole number from 0 to 2**32 - 1"
            )
        object.__setattr__(self, "seed", seed)

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


def _whole(value: object) -> int | None:
    number = plain_number(value)
    return number if isinstance(number, int) else None


def _layer_sizes(hidden: object) -> tuple[int, ...]:
    """Return the sizes as Python's whole numbers, from any sequence or array of them."""
    is_one = isinstance(hidden, str | Mapping) or getattr(hidden, "shape", None) == ()
    if is_one or not isinstance(hidden, Iterable):
        raise InputError(f"hidden is {shown(hidden)}; it must be a tuple of layer sizes")
    sizes = []
    for given in hidden:
        size = _whole(given)
        if size is None or size < 1:
            raise InputError(
                f"hidden has a layer of size {shown(given)}; "
                "every size must be a whole number of at least 1"
            )
        sizes.append(size)
        if len(sizes) > MAX_LAYERS:
            raise InputError(f"hidden has more than {MAX_LAYERS} layers; give at most {MAX_LAYERS}")
    # The weights between two layers, of an image's 784 inputs and of at least one output.
    weights = sum(a * b for a, b in itertools.pairwise((784, *sizes, 1)))
    if weights > MAX_WEIGHTS:
        raise InputError(
            f"hidden is {shown(tuple(sizes))}, which is {shown(weights)} weights; at most "
            f"{MAX_WEIGHTS} are allowed (4 GiB in float32)"
        )
    return tuple(sizes)
