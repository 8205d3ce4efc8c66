"""The result of comparing two functions: the verdict, and why they differ."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jaxmnist.verify.compare import Comparisons


@dataclass(frozen=True)
class FunctionResult(Comparisons):
    """A function in JAX compared with one in PyTorch; prints as a table.

    Attributes:
        name: What was compared with what.
        parts: The comparisons of values and of gradients.
        search: Finds the cause of a difference; it runs when that is first asked for.
    """

    search: Callable[[], str | None] = field(default=lambda: None, repr=False)

    @cached_property
    def cause(self) -> str | None:
        """Why they differ, in short words; None if they agree, or if nothing known explains it."""
        return None if self.passed else self.search()

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it: with ``cause``."""
        return super().as_dict() | {"cause": self.cause}

    def __str__(self) -> str:
        if self.passed:
            return super().__str__()
        return f"{super().__str__()}\n  cause: {self.cause or 'none of those that are known'}"
