"""Which runs a sweep is made of: its axes, the values on them, and their product's cells."""

import itertools
import math
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from jaxmnist.config import MAX_LAYERS, Config, Hyper, default_hyper
from jaxmnist.conventions import TABLE, check_arguments, hyperparameters, plain_number, shown
from jaxmnist.errors import InputError, nearest

CONSTANTS: Final = tuple(dict.fromkeys(name for each in TABLE for name in hyperparameters(each)))
"""The optimizers' own numbers, the learning rate first."""
AXIS_NAMES: Final = ("optimizer", "hidden", "batch_size", "seed", "init_scale", *CONSTANTS)
"""The axes of a sweep. The first three change the program; the others are its input."""

_FIELDS: Final = ("optimizer", "hidden", "batch_size", "seed", "learning_rate")  # Of Config.
WHOLE: Final = ("batch_size", "seed")
"""The axes of whole numbers, besides those of a task's own hyperparameters that are."""
_LARGEST: Final = 10_000  # Values of one range; a typing error asks for more.
MAX_CELLS: Final = 100_000
"""The most runs of a sweep where nothing else is asked for: a typing error asks for more."""

Axes = Mapping[str, tuple[Any, ...]]


class Cell(NamedTuple):
    """One run of a sweep."""

    values: Mapping[str, Any]
    """Its value on every axis."""
    config: Any
    """The `Config` that `jaxmnist.fit` would be given; of another task the `TaskRun`."""
    hyper: Hyper
    """The argument of ``train``: the defaults, and what the axes have in place of them."""


def check_axes(
    axes: Mapping[str, Any],
    known: Sequence[str] = AXIS_NAMES,
    whole: Collection[str] = WHOLE,
    max_cells: int = MAX_CELLS,
) -> Axes:
    """Return the axes with plain Python values, or refuse them.

    Args:
        axes: Lists, ranges, arrays, tensors or iterators of values by the axis's name.
        known: The names that an axis may have.
        whole: The names of axes of whole numbers.
        max_cells: The most combinations.

    Returns:
        The same as strings, whole numbers, floats and, for hidden, tuples. A float32 has its exact
        value, 0.10000000149011612 for 0.1.

    Raises:
        InputError: There is no axis, one has an unknown name or no values, or a value twice or of
            a wrong kind; or there are more combinations than ``max_cells``. `cells` refuses what
            an optimizer or a config does not take.

    >>> check_axes({"learning_rate": np.array([0.5, 1]), "seed": range(2)})
    {'learning_rate': (0.5, 1.0), 'seed': (0, 1)}
    """
    if not axes:
        raise InputError(f"nothing to sweep: give at least one axis of {', '.join(known)}")
    if type(max_cells) is not int or max_cells < 1:
        raise InputError(
            f"max_cells is {shown(max_cells)}; it must be a whole number of at least 1"
        )
    checked, count = {}, 1
    for name, values in axes.items():
        if name not in known:
            raise InputError(
                f"there is no axis {name!r}; choose one of {', '.join(known)}{nearest(name, known)}"
            )
        if not _is_many(values):
            raise InputError(f"the axis {name} is {shown(values)}; it must be a list of values")
        # One more than is allowed is enough to know, of a range without end too.
        some = itertools.islice(values, max_cells + 1)
        checked[name] = tuple(_plain(name, value, whole) for value in some)
        if (count := count * len(checked[name])) > max_cells:
            raise InputError(
                f"the axes up to {name} have {_counted(values, checked[name], count)} "
                f"combinations, a run each; at most {max_cells:,} are allowed; raise that with "
                "--max-cells"
            )
        if not checked[name]:
            raise InputError(f"the axis {name} has no values; give at least one")
        for value, again in itertools.pairwise(sorted(checked[name])):
            if value == again:
                raise InputError(f"the axis {name} has {text(value)} twice; give each value once")
    return checked


def cells(config: Config, axes: Axes) -> tuple[Cell, ...]:
    """Make every combination of the axes' values, the last axis fastest.

    The tutorial's Adadelta, which has no learning rate, takes one where that is an axis: it
    multiplies the change.

    Args:
        config: Everything that is no axis.
        axes: From `check_axes`.

    Returns:
        One cell per combination.

    Raises:
        InputError: A combination that no run can have, such as b1 for SGD.

    >>> [cell.hyper for cell in cells(Config(), {"learning_rate": (0.5, 1.0)})]
    [{'learning_rate': 0.5}, {'learning_rate': 1.0}]
    """
    return tuple(
        _cell(config, dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    )


def groups(cells: Sequence[Cell]) -> Mapping[Any, list[int]]:
    """Gather the cells that one compiled program serves: they differ in numbers and seeds alone.

    Args:
        cells: The runs.

    Returns:
        The indices of each group's cells in order, by what they share: a config whose seed and
        learning rate are blank.

    >>> mixed = cells(Config(), {"seed": (0, 1), "optimizer": ("sgd", "adam")})
    >>> [(program.optimizer, members) for program, members in groups(mixed).items()]
    [('sgd', [0, 2]), ('adam', [1, 3])]
    """
    gathered: dict[Any, list[int]] = {}
    for index, cell in enumerate(cells):
        gathered.setdefault(cell.config.program(), []).append(index)
    return gathered


def parse(name: str, words: Sequence[str], whole: Collection[str] = WHOLE) -> tuple[Any, ...]:
    """Read the values of an axis as a person writes them.

    A word is a value or a range. ``A..B`` are the whole numbers from A to B, ``A..B:5`` five
    numbers at equal distances, ``A..B:log5`` five at equal ratios; both ends belong to a range,
    and what is between them is rounded to six digits, so that it can be written down and run
    again. Hidden layers are written ``256-128``, and ``none``.

    Args:
        name: The axis.
        words: As on a command line.
        whole: The names of axes of whole numbers.

    Returns:
        The values, in order.

    Raises:
        InputError: A word is none of these.

    >>> parse("learning_rate", ["1e-3..1:log4", "3"])
    (0.001, 0.01, 0.1, 1.0, 3.0)
    >>> parse("seed", ["0..3"])
    (0, 1, 2, 3)
    >>> parse("hidden", ["256-128", "none"])
    ((256, 128), ())
    """
    if name == "optimizer":
        return tuple(words)
    if name == "hidden":
        return tuple(_layers(word) for word in words)
    kind = int if name in whole else float
    return tuple(value for word in words for value in _range(name, word, kind))


def text(value: Any) -> str:
    """Write a value of an axis as `parse` reads it.

    >>> text(0.001), text((256, 128)), text(())
    ('0.001', '256-128', 'none')
    """
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_many(values: Any) -> bool:
    """Whether it can be looped over: an array without axes calls itself iterable, and is not."""
    one = isinstance(values, str | Mapping) or getattr(values, "shape", None) == ()
    return isinstance(values, Iterable) and not one


def _counted(values: Any, some: tuple[Any, ...], count: int) -> str:
    """Write how many combinations there are, where some of an axis's values were counted."""
    try:
        return f"{count // len(some) * len(values):,}"
    except (TypeError, OverflowError):  # An iterator, or a range too long for its length.
        return f"at least {count:,}"


def _plain(name: str, value: Any, whole: Collection[str]) -> Any:
    if name == "optimizer":
        return str(value) if isinstance(value, str) else _refuse(name, value, "the name of one")
    if name == "hidden":
        if not _is_many(value):
            _refuse(name, value, "a tuple of layer sizes")
        sizes = itertools.islice(value, MAX_LAYERS + 1)
        return tuple(_whole(name, size, "made of whole numbers") for size in sizes)
    if name in whole:
        return _whole(name, value, "a whole number")
    number = plain_number(value)
    if number is None:
        _refuse(name, value, "a number")
    if name == "init_scale" and not math.isfinite(number):
        _refuse(name, value, "a finite number")
    try:
        return float(number)
    except OverflowError:
        _refuse(name, value, "a number")


def _whole(name: str, value: Any, wanted: str) -> int:
    number = plain_number(value)
    if number is None:
        _refuse(name, value, "a number")
    is_whole = isinstance(number, int) or number.is_integer()
    return int(number) if is_whole else _refuse(name, value, wanted)


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    raise InputError(f"the axis {name} has {shown(value)}; it must be {wanted}")


def _cell(config: Config, values: dict[str, Any]) -> Cell:
    own = {name: value for name, value in values.items() if name not in _FIELDS}
    config = replace(config, **{name: values[name] for name in values if name in _FIELDS})
    check_arguments(config.optimizer, **{name: own[name] for name in own if name != "init_scale"})
    return Cell(values, config, {**default_hyper(config), **own})


def _layers(word: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(-\d+)*|none", word):
        raise InputError(f"hidden cannot be {word!r}; write the sizes as 256-128, or none")
    sizes = [] if word == "none" else word.split("-")
    if any(len(size) > 19 for size in sizes):
        raise InputError(f"hidden cannot be {shown(word)}; a layer's size has at most 19 digits")
    return tuple(map(int, sizes))


def _range(name: str, word: str, kind: type) -> list[Any]:
    flag = "--" + name.replace("_", "-")
    what = "a whole number" if kind is int else "a number"
    allowed = f"{flag} takes {what}, or a range: 0..3, 0..1:5 or 1e-3..1:log12"
    low, dots, rest = word.partition("..")
    high, colon, count = rest.partition(":")
    try:
        if not dots:
            return [kind(word)]
        ends = [kind(low), kind(high)] if colon else [int(low), int(high)]
        number = int(count.removeprefix("log")) if colon else ends[1] - ends[0] + 1
    except ValueError:
        raise InputError(f"{name} cannot be {shown(word)}; {allowed}") from None
    word = shown(word)
    logarithmic = count.startswith("log")
    if (
        not all(abs(end) <= sys.float_info.max for end in ends)
        or ends[0] >= ends[1]
        or (logarithmic and ends[0] <= 0)
    ):
        least = "0 < A < B" if logarithmic else "A < B"
        raise InputError(f"the range {word} must go from A to B with {least}")
    if not 2 <= number <= _LARGEST:
        raise InputError(
            f"the range {word} has {shown(number)} values; 2 to {_LARGEST} are allowed"
        )
    if not colon:
        return [kind(value) for value in range(ends[0], ends[1] + 1)]
    space = np.geomspace if logarithmic else np.linspace
    spaced = space(float(ends[0]), float(ends[1]), number)
    inner = [float(f"{value:.6g}") for value in spaced[1:-1]]
    if kind is int and any(value != int(value) for value in inner):
        raise InputError(f"the range {word} is not of whole numbers; {allowed}")
    return [ends[0], *map(kind, inner), ends[1]]
