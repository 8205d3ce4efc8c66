"""What a case of the benchmark is: a torch module, a JAX port of it, and what is wrong there."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

BOTH = ("float64", "float32")
FLOAT64 = ("float64",)
"""For what is no fault in float32: a table that is rounded to float32 is the same table there."""


class Port(NamedTuple):
    """A torch module and a JAX port of it, with weights and inputs."""

    apply: Callable[..., Any]
    params: Any
    module: Any
    inputs: Any
    torch_inputs: Any = None


class Case(NamedTuple):
    """A port, and what is to be found out about it."""

    model: str
    library: str
    fault: str
    """What is wrong with the port, or "" if nothing is."""
    style: str
    """Of a right port, what is special about how it is written."""
    build: Callable[[], Port]
    locations: tuple[str, ...] = ()
    """The submodule where the two first diverge; several where they are equally right."""
    keywords: tuple[str, ...] = ()
    """Of which the cause must contain one, whatever the case of its letters."""
    dtypes: tuple[str, ...] = BOTH
    why: str = ""
    """Why several locations are equally right."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return f"{self.model}/{self.library}/{self.fault or 'right: ' + self.style}"


Build = Callable[..., Port]


def right(model: str, library: str, style: str, build: Build, **options: Any) -> Case:
    """A port that computes what the module does."""
    return Case(model, library, "", style, partial(build, **options))


class Faults(NamedTuple):
    """The faults of one port."""

    model: str
    library: str
    build: Build

    def __call__(
        self,
        fault: str,
        at: str | Sequence[str],
        cause: str | Sequence[str],
        dtypes: tuple[str, ...] = BOTH,
        why: str = "",
        **options: Any,
    ) -> Case:
        """Plant one fault.

        Args:
            fault: What is wrong, in words.
            at: The location, or several that are equally right.
            cause: The keyword that the cause must contain, or several of which it must one.
            dtypes: Where it is a fault.
            why: Why several locations are equally right.
            **options: What the port is built with.

        Returns:
            The case.
        """
        locations = (at,) if isinstance(at, str) else tuple(at)
        keywords = (cause,) if isinstance(cause, str) else tuple(cause)
        build = partial(self.build, **options)
        return Case(self.model, self.library, fault, "", build, locations, keywords, dtypes, why)
