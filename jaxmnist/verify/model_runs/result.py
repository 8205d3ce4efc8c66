"""The result of comparing two models: the verdict, the place of the first divergence, its cause."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from jaxmnist.verify.compare import Comparisons


class Layer(NamedTuple):
    """How far a submodule is from what the JAX function computes."""

    module: str
    """Its dotted name."""
    forward: float | None
    """The relative error of what it returns; None where the JAX function computes it otherwise."""
    backward: float | None
    """The relative error of the gradient in what it returns."""
    passed: bool
    """Whether both are rounding."""


class Located(NamedTuple):
    """Where and why two programs diverge, and every submodule's errors in forward order."""

    location: str | None
    cause: str | None
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ModelResult(Comparisons):
    """A model in JAX compared with one in PyTorch; prints as a table.

    Attributes:
        name: What was compared with what.
        parts: The comparisons of outputs, gradients and running statistics.
        differs: Whether a parameter differs, or one of the models has it alone.
        search: Finds the place of the divergence; it runs when that is first asked for.
        notes: What was assumed on the way, such as whose weights both models were run with.
    """

    differs: bool = False
    search: Callable[[], Located] = field(
        default=lambda: Located(None, None, ()), repr=False, compare=False
    )
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was compared, all of it passed, and no parameter differs."""
        return super().passed and not self.differs

    @property
    def location(self) -> str | None:
        """The dotted name of the torch submodule where the two first diverge.

        That is the first in forward order whose result differs, or else the first in backward
        order whose gradient does; "" is the module itself. None if they agree, or if no place was
        found.
        """
        return self._located.location

    @property
    def cause(self) -> str | None:
        """Why they diverge, in short words; None if no supposed cause made them agree."""
        return self._located.cause

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every submodule's errors in forward order, where a divergence was looked for."""
        return self._located.layers

    @cached_property
    def _located(self) -> Located:
        return Located(None, None, ()) if self.passed else self.search()

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.location is not None:
            where = self.location or "the module itself"
            lines.append(f"  first divergence in PyTorch's forward order: {where}")
        if self.cause is not None:
            lines.append(f"  cause: {self.cause}")
        elif not self.passed:
            lines.append("  cause: none of those that are known")
        failing = [layer for layer in self.layers if not layer.passed]
        if failing:
            lines.append(f"  {'submodule':32} {'forward':>10} {'backward':>10}")
        for layer in failing[:10]:
            errors = "".join(f" {_shown(x):>10}" for x in (layer.forward, layer.backward))
            lines.append(f"  {layer.module:32}{errors}")
        if len(failing) > 10:
            lines.append(f"  and {len(failing) - 10} more")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it: with ``location``, ``cause``, ``layers``, ``notes``."""
        return super().as_dict() | {
            "location": self.location,
            "cause": self.cause,
            "layers": [layer._asdict() for layer in self.layers],
            "notes": list(self.notes),
        }

    def plot(self) -> Any:
        """Draw the errors: of every submodule where a divergence was looked for, else of each part.

        Returns:
            A matplotlib Figure.
        """
        from jaxmnist.plots import layer_errors

        errors: Mapping[str, tuple[float | None, float | None]]
        if self.layers:
            errors = {layer.module: (layer.forward, layer.backward) for layer in self.layers}
        else:
            errors = {part.name: (part.max_error, None) for part in self.parts}
        largest = max((part.tolerance for part in self.parts), default=0.0)
        return layer_errors(errors, largest, self.location, self.name)


def _shown(error: float | None) -> str:
    return "" if error is None else f"{error:.0e}"
