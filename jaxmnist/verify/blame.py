"""Exceptions of the caller's code as one line that names its owner."""

from collections.abc import Iterator
from contextlib import contextmanager

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
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = f": {lines[0]}" if lines else ""
        raise InputError(f"{who} raised {type(error).__name__} {when}{first}") from error
