"""The proof of a row: its expressions run, and what came of each."""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import jax

from jaxmnist import parity
from jaxmnist.errors import InputError
from jaxmnist.parity.table.row import EQUAL, FLOAT32, Kind, Row
from jaxmnist.verify.programs import compiled_fast

_FLOAT32_ERROR: Final = 1e-6
"""The largest relative error of what is equal up to float32."""


class Proof(NamedTuple):
    """What came of a row."""

    max_error: float
    """The largest relative error of the supposed equal."""
    equal_error: float | None
    """The largest relative error of the expression that is equal, where there is one."""
    cause: str | None
    """Why they differ, as the verifier names it."""
    failures: tuple[str, ...]
    """The claims that are not true; none where the row is proved."""


def missing(row: Row) -> str | None:
    """Return the name of the drop-in that a row needs and `jaxmnist.parity` has not, or None."""
    for text in row.texts:
        for name in re.findall(r"\bparity\.(\w+)", text or ""):
            if not hasattr(parity, name):
                return name
    return None


@contextmanager
def quick() -> Iterator[None]:
    """Compile without most optimisations, which takes a third of the time; let ranks promote."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with jax.numpy_rank_promotion("allow"), compiled_fast():
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def prove(kind: Kind, row: Row) -> Proof:
    """Run a row's expressions, and check everything that it claims.

    Args:
        kind: The row's kind.
        row: The row, whose drop-ins are there.

    Returns:
        The numbers, and what was claimed and is not so.
    """
    with quick(), warnings.catch_warnings():
        # PyTorch's own words on what it will change, or has no faster way for.
        warnings.simplefilter("ignore")
        return _proved(kind, row)


def _proved(kind: Kind, row: Row) -> Proof:
    failures = []
    cause = None
    try:
        result = kind.compare(row, row.jax)
    except InputError as error:  # Such as that the shapes differ.
        if row.cause is None:
            raise
        result, cause = None, str(error)
        if row.cause not in cause:
            failures.append(f"claimed cause {row.cause!r}, found {cause!r}")
    if result is None:
        pass
    elif row.verdict == EQUAL:
        if not result.passed:
            failures.append(f"claimed equal:\n{result}")
    elif result.passed:
        failures.append(f"claimed that it {row.verdict}, and is equal:\n{result}")
    else:
        cause = getattr(result, "cause", None) if row.cause is not None else None
        if row.cause is not None and row.cause not in str(cause):
            failures.append(f"claimed cause {row.cause!r}, found {cause!r}")
        failures += _degree(row, result.max_error, result.first_divergence)
    equal_error = None
    if row.equal is not None:
        equal = kind.compare(row, row.equal)
        equal_error = equal.max_error
        if not equal.passed:
            failures.append(f"claimed to be the equal one:\n{equal}")
    error = math.inf if result is None else result.max_error
    return Proof(error, equal_error, cause, tuple(failures))


def _degree(row: Row, error: float, first: object) -> list[str]:
    """What is claimed besides that there is a difference."""
    if row.verdict == FLOAT32 and error > _FLOAT32_ERROR:
        return [f"claimed equal up to float32, and the error is {error:.0e}"]
    step = getattr(first, "step", None)
    if row.step is not None and step != row.step + 1:
        return [f"claimed {row.verdict}, and the first divergence is at {step}"]
    return []
