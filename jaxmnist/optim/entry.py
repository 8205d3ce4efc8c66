"""What an optimizer's own file states about it, once, for everything that handles it by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from optax import GradientTransformation

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class TorchCounterpart(NamedTuple):
    """The optimizer in ``torch.optim`` that does the same arithmetic."""

    optimizer: str
    """Its class's name in ``torch.optim``."""
    hyper: Mapping[str, str]
    """From a hyperparameter's name here to its name in a ``param_group``, where one of a pair of
    ``betas`` is beta1 or beta2."""
    accumulators: Mapping[str, str] = _NOTHING
    """From an accumulator's name here to its name in a parameter's state."""
    counts: bool = True
    """Whether a parameter's state has the number of steps."""
    absent: str | None = None
    """The hyperparameter that PyTorch lacks, and which is therefore 0."""
    off: Mapping[str, Any] = _NOTHING
    """Options of a ``param_group`` that have no counterpart here, with the value they may have."""
    arguments: Mapping[str, Any] = _NOTHING
    """What the class must be given, besides its defaults, to be this optimizer."""


class Entry(NamedTuple):
    """An optimizer as the registry, the conversions and the verification need it."""

    factory: Callable[..., GradientTransformation]
    """The public function of its file."""
    recurrence: str
    """Its update in one line for tables, with the denominator written as ``{root}``; ``{inside}``
    and ``{outside}`` are the two terms that a root is given."""
    meanings: Mapping[str, str] = _NOTHING
    """From an accumulator's name to what it holds, in words that other libraries' share."""
    torch: TorchCounterpart | None = None
    """PyTorch's, or None where it has none."""
    optax: Callable[..., GradientTransformation] | None = None
    """Optax's, or None where it has none; with a learning rate, for which Optax has no default."""
