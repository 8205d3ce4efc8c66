"""A row of the parity table: a call of PyTorch, its supposed equal in JAX, and what is claimed."""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from jaxmnist.parity.table.text import expression
from jaxmnist.verify.compare import Comparisons

EQUAL: Final = "equal"
DIFFERS: Final = "differs"
FLOAT32: Final = "equal up to float32"
VERDICTS: Final = (EQUAL, DIFFERS, FLOAT32)


class Row(NamedTuple):
    """A claim, as expressions that are run and whose source is what the page prints.

    The expressions are lambdas. Their parameters are named arrays of the kind's inputs, or what
    the kind hands them, such as the parameters of an optimizer.
    """

    torch: Callable[..., Any]
    """The call of PyTorch."""
    jax: Callable[..., Any]
    """The expression that people take for its equal."""
    verdict: str = EQUAL
    """One of `VERDICTS`, or "equal up to step n" of a schedule."""
    difference: str = ""
    """In a sentence: what differs, or what to know where nothing does."""
    equal: Callable[..., Any] | None = None
    """The expression that is equal, where the other is not; None where there is none."""
    cause: str | None = None
    """Words that the verifier's own cause must have, where it names the difference."""
    wrt: tuple[str, ...] | None = None
    """The parameters to differentiate in; None for all that are floats."""
    on: str = "rows"
    """The array that a layer takes, with ``_last`` if its channels come last in JAX; or what an
    optimizer starts from: "weights" where they enter the update."""
    causes: tuple[str, ...] = ()
    """What `verify.explain` calls the differences of an optimizer, all of them; none where no
    convention that it knows explains them. Proved by ``scripts/explain_parity.py``."""

    @property
    def texts(self) -> tuple[str, str, str | None]:
        """The source of the three expressions."""
        equal = None if self.equal is None else expression(self.equal)
        return expression(self.torch), expression(self.jax), equal

    @property
    def step(self) -> int | None:
        """The last step up to which they are equal, if that is what is claimed."""
        found = re.fullmatch(r"equal up to step (\d+)", self.verdict)
        return int(found[1]) if found else None


class Kind(NamedTuple):
    """Rows that are compared in one way."""

    title: str
    """The heading on the page."""
    rows: Callable[[], list[Row]]
    """They import PyTorch, and so are built when called."""
    compare: Callable[[Row, Callable[..., Any]], Comparisons]
    """``compare(row, expression)``: the row's PyTorch with one of its expressions."""
    about: str
    """A sentence: what is compared, of which sizes, with which seed."""
    steps: int = 1
    """How many are compared."""
