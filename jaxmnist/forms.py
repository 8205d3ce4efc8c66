"""What parsed JSON must be like for its reader, as a value, and the check of it."""

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

MAX_ENTRIES: Final = 1000
"""How many objects of one form a list or an object may have."""


class Numbers(NamedTuple):
    """A number, or nested lists of numbers with named lengths."""

    shape: str = ""
    """Names of the axes, or their lengths: "runs epochs", "points 2". A name means one length in an
    object and all within it; of several objects of one form each may have its own."""
    least: float = -math.inf
    most: float = math.inf
    whole: bool = False
    none: bool = False
    """Whether there may be null, which stands for a number that is not finite."""


class Each(NamedTuple):
    """An object whose values all have one form, under any names or some."""

    form: Any
    names: tuple[str, ...] | None = None


class Among(NamedTuple):
    """A string that is one of some."""

    choices: tuple[str, ...]


Form = Any
"""`str` or `bool`; `Numbers`, `Each` or `Among`; a mapping of forms by name, for an object with at
least these entries; a list of one form, for a list of at least one of it; or [] for any list."""


def check_form(value: Any, form: Form, where: str = "it", lengths: Any = None) -> None:
    """Refuse parsed JSON that is not of the form that its reader needs.

    Args:
        value: What was parsed.
        form: What it must be.
        where: What it is, for the message.
        lengths: The axes' lengths that are known, by name; they are added to.

    Raises:
        ValueError: It is not.

    >>> check_form({"x": [1, 2], "y": [3.5]}, {"x": Numbers("n"), "y": Numbers("n")})
    Traceback (most recent call last):
    ValueError: it.y has 1 entries along n; it must have 2
    """
    lengths = {} if lengths is None else lengths
    if isinstance(form, Numbers):
        _check_numbers(value, form, where, lengths)
    elif isinstance(form, Each):
        names = _check_object(value, where, form.names or ())
        for name in names if form.names is None else form.names:
            check_form(value[name], form.form, f"{where}.{name[:40]}", dict(lengths))
    elif isinstance(form, Among):
        if not isinstance(value, str) or value not in form.choices:
            raise ValueError(f"{where} is {_brief(value)}; it must be {' or '.join(form.choices)}")
    elif isinstance(form, Mapping):
        _check_object(value, where, tuple(form))  # Of an empty form any object will do.
        for name, part in form.items():
            check_form(value[name], part, f"{where}.{name}", lengths)
    elif isinstance(form, list):
        if not isinstance(value, list) or not bool(form) <= len(value) <= MAX_ENTRIES:
            raise ValueError(
                f"{where} is {_brief(value)}; it must be a list of at most {MAX_ENTRIES} entries"
            )
        for index, entry in enumerate(value):
            if form:
                check_form(entry, form[0], f"{where}[{index}]", dict(lengths))
    elif type(value) is not form:
        wanted = {str: "a string", bool: "true or false"}[form]
        raise ValueError(f"{where} is {_brief(value)}; it must be {wanted}")


def _check_object(value: Any, where: str, needed: tuple[str, ...]) -> list[str]:
    if not isinstance(value, dict) or not value or len(value) > MAX_ENTRIES:
        raise ValueError(f"{where} is {_brief(value)}; it must be an object")
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"{where} has no {missing[0]}")
    return list(value)


def _check_numbers(value: Any, form: Numbers, where: str, lengths: dict[str, int]) -> None:
    level: list[Any] = [value]
    for axis in form.shape.split():
        found = {len(each) if isinstance(each, list) else -1 for each in level}
        if found == {0} or -1 in found:
            raise ValueError(f"{where} is {_brief(value)}; it must be numbers [{form.shape}]")
        wanted = int(axis) if axis.isdigit() else lengths.setdefault(axis, min(found))
        if found != {wanted}:
            odd = next(length for length in sorted(found) if length != wanted)
            raise ValueError(f"{where} has {odd} entries along {axis}; it must have {wanted}")
        level = list(chain.from_iterable(level))
    kinds = (int,) if form.whole else (int, float)
    for number in level:
        if number is None:
            is_right = form.none
        else:
            is_right = type(number) in kinds and form.least <= number <= form.most
        if not is_right:
            what = "a whole number" if form.whole else "a number"
            if math.isfinite(form.least) or math.isfinite(form.most):
                what += f" from {form.least:g} to {form.most:g}"
            raise ValueError(f"{where} has {_brief(number)}; it must be {what}")


def _brief(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return "null" if value is None else repr(value)[:60]
