"""Exceptions of the caller's code as one line that names its owner."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxmnist.errors import InputError


@contextmanager
def blamed(who: str, when: str) -> Iterator[None]:
    """Turn whatever the caller's code raises into an error of one line that names its owner.

    Args:
        who: What raised, such as "the reference".
        when: While doing what, such as "on update".

    Raises:
        InputError: Anything was raised; it is chained from the original.

    >>> with blamed("the reference", "on step"):
    ...     raise KeyError("momentum")
    Traceback (most recent call last):
        ...
    jaxmnist.errors.InputError: the reference raised KeyError on step: 'momentum'
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = _first_line(error)
        raise InputError(
            f"{who} raised {type(error).__name__} {when}{text and ': '}{text}"
        ) from error


@contextmanager
def blamed_on(who: str, inputs: Iterable[Any]) -> Iterator[None]:
    """Do the same for a function of arrays, and name their dtypes and shapes.

    Args:
        who: The function.
        inputs: The arrays that it is given.

    Raises:
        InputError: Anything was raised; it is chained from the original.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        given = ", ".join(f"{x.dtype} inputs of shape {x.shape}" for x in inputs) or "no inputs"
        text = _first_line(error)
        raise InputError(f"{who} raised on {given}: {text} ({type(error).__name__})") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
