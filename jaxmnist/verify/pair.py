"""Two callables and their keyword arguments: one comparison, by the verifier that they call for."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import optax

from jaxmnist.errors import InputError, nearest
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.function import function
from jaxmnist.verify.identify.explain import explain
from jaxmnist.verify.initializer import initializer
from jaxmnist.verify.optimizer import optimizer
from jaxmnist.verify.references import Recurrence
from jaxmnist.verify.schedule import schedule

_STEPS: Final = {"optimizer": 500, "schedule": 100}
_SHAPES: Final = {"optimizer": None, "function": (6, 5), "initializer": (30, 20)}


class Given(NamedTuple):
    """One of the two, as a person named it."""

    text: str
    """Such as "torch.optim:AdamW", for messages."""
    value: Any
    """What has that name."""
    kwargs: Mapping[str, Any]
    """The keyword arguments that it gets."""
    remedy: str
    """How to give it others, for messages."""


class Found(NamedTuple):
    """What came of the comparison."""

    result: Comparisons
    explanation: str | None
    """Why two optimizers differ, in words; None for what else is compared, whose result says it."""


def compare_pair(
    ours: Given,
    reference: Given,
    *,
    steps: int | None = None,
    shape: Sequence[int] | None = None,
    dtype: str = "float64",
) -> Found:
    """Compare a callable of JAX with one of PyTorch by the verifier that their kinds call for.

    A class of ``torch.optim``, a transformation of Optax or a function that returns one makes it a
    comparison of optimizers; a class of ``torch.optim.lr_scheduler`` one of schedules; a function
    of ``torch.nn.init`` one of initializers; anything else is a function of arrays, a
    ``torch.nn.Module`` such as ``torch.nn.MSELoss`` too.

    Args:
        ours: In JAX: a transformation, schedule or initializer, or a function that returns one when
            it is called with the keyword arguments; or a function of arrays.
        reference: In PyTorch; of an optimizer also what `verify.optimizer` takes.
            A scheduler's keyword argument ``lr`` is the rate of the optimizer that it is given.
        steps: Of optimizers, 500 by default, and of schedules, 100 by default.
        shape: Of a function's arguments, normal random numbers, (6, 5) by default; of the array
            that an initializer draws, (30, 20) by default, in JAX with the inputs before the
            outputs, which come first in PyTorch; of the one parameter of an optimizer, by default
            those of the random gradients.
        dtype: float64 or float32.

    Returns:
        The result, and of optimizers that differ why.

    Raises:
        InputError: One of the two is not callable, does not take a keyword argument or needs
            another, raises, or returns something else; or an option has no meaning for their kind.

    >>> arguments = {"learning_rate": 0.1}
    >>> mine = Given("optax:adagrad", optax.adagrad, arguments, "")
    >>> theirs = Given("optax:sgd", optax.sgd, arguments, "")
    >>> compare_pair(mine, theirs, steps=5).result.passed
    False
    """
    for each in (ours, reference):
        if not (callable(each.value) or isinstance(each.value, _OPTIMIZERS)):
            raise InputError(
                f"{each.text} is a {type(each.value).__name__}; it must be callable, such as "
                "optax:adamw or torch.optim:AdamW"
            )
    kind, mine = _kind(ours, reference)
    for option, value, defaults in (("steps", steps, _STEPS), ("shape", shape, _SHAPES)):
        if value is not None and kind not in defaults:
            raise InputError(
                f"{option} is {value}, and {reference.text} is taken for a {kind}, which has none; "
                f"omit it, or compare one of these: {', '.join(defaults)}"
            )
    size = None if shape is None else tuple(shape)
    if size is not None and min(size, default=1) < 1:
        raise InputError(f"shape is {size}; it must be sizes of at least 1")
    count = _STEPS.get(kind, 0) if steps is None else steps
    if kind == "optimizer":
        return _optimizers(mine, _reference_optimizer(reference), size, count, dtype)
    if kind == "schedule":
        return Found(_schedules(ours, reference, count, dtype), None)
    size = size or _SHAPES[kind] or ()
    if kind == "initializer":
        return Found(_initializers(ours, reference, size, dtype), None)
    return Found(_functions(ours, reference, size, dtype), None)


_OPTIMIZERS: Final = (optax.GradientTransformation, Recurrence)


def _kind(ours: Given, reference: Given) -> tuple[str, Any]:
    """What the two are; and our optimizer where they are that."""
    torch: Any = sys.modules.get("torch")  # It is loaded where one of them is of PyTorch.
    if torch is not None and inspect.isclass(reference.value):
        for kind, base in (
            ("optimizer", torch.optim.Optimizer),
            ("schedule", torch.optim.lr_scheduler.LRScheduler),
        ):
            if issubclass(reference.value, base):
                return kind, _our_optimizer(ours) if kind == "optimizer" else None
    if getattr(reference.value, "__module__", "") == "torch.nn.init":
        return "initializer", None
    if isinstance(ours.value, _OPTIMIZERS):
        return "optimizer", ours.value
    signature = _signature(ours.value)
    if signature is not None and not _needed(signature, ours.kwargs):
        _check_known(ours)
        made = _called(ours)
        if isinstance(made, optax.GradientTransformation):
            return "optimizer", made
    return "function", None


# ------------------------------------------------------------------------------- the four kinds


def _optimizers(
    mine: Any, theirs: Any, shape: tuple[int, ...] | None, steps: int, dtype: str
) -> Found:
    params = None if shape is None else {"w": np.zeros(shape)}
    result = optimizer(mine, theirs, params=params, steps=steps, dtype=dtype)
    explanation = None if result.passed else str(explain(mine, theirs, params=params))
    return Found(result, explanation)


def _our_optimizer(ours: Given) -> Any:
    if isinstance(ours.value, _OPTIMIZERS):
        return ours.value
    made = _made(ours)
    if not isinstance(made, _OPTIMIZERS):
        raise InputError(
            f"{ours.text} returned a {type(made).__name__}; it must return an "
            "optax.GradientTransformation, for the reference is an optimizer"
        )
    return made


def _reference_optimizer(reference: Given) -> Any:
    """What `verify.optimizer` takes: another transformation, or a function of the parameters."""
    if isinstance(reference.value, _OPTIMIZERS):
        if reference.kwargs:
            raise InputError(_ready(reference))
        return reference.value
    signature = _signature(reference.value)
    if signature is None or _needed(signature, reference.kwargs):
        return _after(reference, 1)
    return _made(reference)


def _schedules(ours: Given, reference: Given, steps: int, dtype: str) -> Comparisons:
    kwargs = dict(reference.kwargs)
    rate = kwargs.pop("lr", None)
    factory = _after(reference._replace(kwargs=kwargs), 1)
    mine = _made(ours, lambda needed, names: needed == names[:1])
    if not callable(mine):
        raise InputError(
            f"{ours.text} returned a {type(mine).__name__}; it must return a schedule, a function "
            "of the number of updates made before"
        )
    return schedule(mine, factory, steps, learning_rate=rate, dtype=dtype)


def _initializers(ours: Given, reference: Given, shape: tuple[int, ...], dtype: str) -> Comparisons:
    mine = _made(ours, lambda needed, names: "shape" in needed)
    if not callable(mine):
        raise InputError(
            f"{ours.text} returned a {type(mine).__name__}; it must return an initializer, a "
            "function of a key, a shape and a dtype"
        )
    # (…, in, out) here is (out, in, …) in PyTorch.
    there = (*shape[:-3:-1], *shape[:-2])
    return initializer(mine, _after(reference, 1), shape, torch_shape=there, dtype=dtype)


def _functions(ours: Given, reference: Given, shape: tuple[int, ...], dtype: str) -> Comparisons:
    torch: Any = sys.modules.get("torch")
    theirs = reference
    if torch is not None and inspect.isclass(theirs.value):
        theirs = theirs._replace(value=_made(theirs), kwargs={})
    is_module = torch is not None and isinstance(theirs.value, torch.nn.Module)
    if is_module and [*theirs.value.parameters()]:
        raise InputError(
            f"{theirs.text} has parameters; compare a model in a file of pairs, which says what "
            "its parameters are in JAX: jaxmnist verify FILE.py"
        )
    # A loss may have its target as an option in one of the two.
    pair = (ours, theirs)
    inputs = max(1, *(_inputs_of(each) for each in pair))
    mine, other = (_after(each, inputs) for each in pair)
    rng = np.random.default_rng(0)
    args = tuple(rng.normal(size=shape) for _ in range(inputs))
    return function(mine, other, args, dtype=dtype)


# ------------------------------------------------------------------------------- signatures


def _signature(value: Any) -> inspect.Signature | None:
    """That of a callable; None for one of C++, which has none."""
    forward = getattr(value, "forward", None)
    try:
        return inspect.signature(value if forward is None or inspect.isclass(value) else forward)
    except (ValueError, TypeError):
        return None


def _inputs_of(given: Given) -> int:
    signature = _signature(given.value)
    return 0 if signature is None else len(_needed(signature, given.kwargs))


def _needed(signature: inspect.Signature, kwargs: Mapping[str, Any]) -> list[str]:
    """The parameters without a default that are not given by name."""
    named = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, each in signature.parameters.items()
        if each.default is each.empty and each.kind not in named and name not in kwargs
    ]


def _check_known(given: Given, filled: int = 0) -> None:
    """Refuse a keyword argument that a callable does not take; its first few are given to it."""
    signature = _signature(given.value)
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [each.name for each in parameters[filled:] if each.kind in kinds]
    for name in given.kwargs:
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes no options"
            remedy = f"; {given.remedy}" if given.remedy else ""
            raise InputError(
                f"{given.text} does not take {name}; {takes}{nearest(name, names)}{remedy}"
            )


def _after(given: Given, inputs: int) -> Callable[..., Any]:
    """A callable of so many positional arguments, with its keyword arguments."""
    _check_known(given, inputs)
    signature = _signature(given.value)
    if signature is not None:
        first = list(signature.parameters)[:inputs]
        if lacking := [x for x in _needed(signature, given.kwargs) if x not in first]:
            raise InputError(_lacking(given, lacking))
    return partial(given.value, **given.kwargs) if given.kwargs else given.value


def _made(
    given: Given, is_it: Callable[[list[str], list[str]], bool] = lambda needed, names: False
) -> Any:
    """What a callable returns; or itself, if ``is_it(needed, names)`` of its parameters."""
    signature = _signature(given.value)
    if signature is not None:
        needed, names = _needed(signature, given.kwargs), list(signature.parameters)
        if needed and is_it(needed, names):
            return _after(given, len(needed))
        _check_known(given)
        if needed:
            raise InputError(_lacking(given, needed))
    return _called(given)


def _called(given: Given) -> Any:
    with blamed(given.text, "when it was called"):
        return given.value(**given.kwargs)


def _ready(given: Given) -> str:
    names = ", ".join(given.kwargs)
    return f"{given.text} is no function but an optimizer, and cannot take {names}; omit them"


def _lacking(given: Given, names: Sequence[str]) -> str:
    remedy = f"; {given.remedy}" if given.remedy else ""
    return f"{given.text} needs {', '.join(names)}, which is not given{remedy}"
