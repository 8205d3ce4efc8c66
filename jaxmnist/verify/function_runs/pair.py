"""Two functions run on the same arguments, and everything compared that they compute."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.compare import Comparison
from jaxmnist.verify.model_runs.arguments import (
    Axes,
    BothInputs,
    Inputs,
    converted_inputs,
    cotangents,
    output_axes,
    torch_inputs_of,
)
from jaxmnist.verify.model_runs.jax_model import JaxModel
from jaxmnist.verify.model_runs.judge import (
    Parts,
    check_not_nan,
    compared,
    largest_allowed,
    scales,
)
from jaxmnist.verify.model_runs.leaves import paired_names
from jaxmnist.verify.model_runs.noise import perturbed
from jaxmnist.verify.model_runs.torch_model import Measured, Prepared, run_torch
from jaxmnist.verify.precision import precision
from jaxmnist.verify.programs import compiled
from jaxmnist.verify.rounding import PERTURBATIONS, allowed_by_arithmetic

VALUES, GRADIENTS = "values", "gradients"


class Outcome(NamedTuple):
    """What both functions computed, under the same names and in PyTorch's layout."""

    parts: list[Comparison]
    actual: Parts
    expected: Parts
    sizes: Parts | None
    """What errors were measured against, where noise was measured; else None."""
    allowed: float
    """The relative error."""


class Pair:
    """Two functions with their arguments.

    Attributes:
        arguments: The positional and keyword arguments of f, in NumPy.
        dtype: Of the floats.
        differentiated: The arguments that gradients are taken in, in PyTorch's layout, by name.
    """

    def __init__(
        self,
        torch: Any,
        f: Callable[..., Any],
        torch_f: Callable[..., Any],
        args: Any,
        torch_args: Any,
        wrt: Any,
        dtype: str,
    ) -> None:
        """Convert the arguments.

        Args:
            torch: The library.
            f: The function in JAX.
            torch_f: In PyTorch.
            args: As `verify.function` takes them.
            torch_args: Likewise.
            wrt: Likewise.
            dtype: float64 or float32.

        Raises:
            InputError: An argument holds no finite numbers, or `wrt` names none.
        """
        self._torch, self._f, self.dtype = torch, f, dtype
        if isinstance(torch_f, torch.nn.Module):
            with blamed("torch_f", "when it was copied"):
                module: Any = copy.deepcopy(torch_f)
                torch_f = module.to("cpu", getattr(torch, dtype))
        self._torch_f = torch_f
        ours = converted_inputs(args, dtype, "args")
        theirs, axes = torch_inputs_of(torch_args, ours, dtype, "torch_args")
        chosen = _chosen(ours, wrt)
        # Where the layouts do not correspond, no gradient does either.
        ours = ours._replace(names=chosen if axes is not None else {})
        theirs = theirs._replace(names=ours.names)
        self._given = BothInputs(ours, theirs, axes)
        self.arguments = ours.arguments
        arrays = ours.arrays()
        self.differentiated = {
            name: arrays[i].transpose((axes or {})[i]) for i, name in ours.names.items()
        }

    def outcome(self, tolerance: float | None) -> Outcome:
        """Run both and compare.

        Args:
            tolerance: The relative error allowed; None derives it.

        Returns:
            The comparisons, and what was compared.

        Raises:
            InputError: One raises, or their values do not fit each other.
        """
        given, dtype = self._given, self.dtype
        with precision(dtype):
            ours = self._jax(self._f)
            drawn = cotangents(ours.shapes, given.ours, dtype)
            here = ours.run(drawn, dtype)
            equations = self._equations(ours)
        pairs = self._pairs({name: x.shape for name, x in ours.shapes.items()}, drawn)
        there = pairs.run(None)
        actual, expected = pairs.ours(here), pairs.theirs(there)
        check_not_nan(actual, expected, "torch_f")
        derived = allowed_by_arithmetic(equations + 2 * self._longest(expected), dtype)
        allowed = derived if tolerance is None else tolerance
        parts, sizes = compared(actual, expected, None, allowed), None
        diverged = [part for part in parts if part.first_divergence is not None]
        limit = largest_allowed(expected, dtype) if diverged else 0.0
        # An error that no noise could excuse needs no measure of the noise.
        if diverged and all(part.errors.absolute <= limit < np.inf for part in diverged):
            with precision(dtype):
                moved = ours.perturbed(drawn, dtype, PERTURBATIONS)
            nearby = [pairs.ours(m) for m in moved]
            nearby_there = [pairs.theirs(pairs.run(seed)) for seed in range(PERTURBATIONS)]
            sizes = scales((actual, nearby), (expected, nearby_there), derived, dtype)
            parts = compared(actual, expected, sizes, allowed)
        return Outcome(parts, actual, expected, sizes, allowed)

    def values_of(self, arguments: Any) -> dict[str, np.ndarray] | None:
        """Run f on other arguments.

        Args:
            arguments: Positional and keyword ones.

        Returns:
            Its values by PyTorch's names; None where it cannot take them.
        """
        flat, _ = jax.tree.flatten(arguments)
        try:
            with precision(self.dtype):
                ours = self._jax(self._f)
                found = jax.device_get(compiled(ours.function)({}, flat))
            pairs = self._pairs({name: x.shape for name, x in ours.shapes.items()}, {})
            pairs.run(None)
            return dict(pairs.ours(Measured(found, {}, {}))[VALUES])
        except (InputError, TypeError, ValueError):
            return None

    def narrower(self) -> list[str]:
        """Return which of the two has an intermediate value of a narrower float than float64."""
        found = []
        with precision("float64"):
            ours = self._jax(self._f)
            text = str(jax.make_jaxpr(ours.function)({}, ours.flat))
        if any(word in text for word in ("f32[", "bf16[", "f16[")):
            found.append("JAX")
        if _has_narrower(self._torch, self._pairs({}, {}).prepare(None).call):
            found.append("PyTorch")
        return found

    def _jax(self, f: Callable[..., Any]) -> JaxModel:
        given = self._given.ours
        return JaxModel(
            lambda _, *positional, **keyword: f(*positional, **keyword),
            {},
            given.arguments,
            given.names,
            lambda named: named,
            lambda tree: {},
            "f",
        )

    def _pairs(
        self, shapes: Mapping[str, tuple[int, ...]], drawn: Mapping[str, Any]
    ) -> "_TorchSide":
        return _TorchSide(self._torch, self._torch_f, self._given, self.dtype, shapes, drawn)

    def _equations(self, ours: JaxModel) -> int:
        """The roundings between the arguments and a gradient: on both sides, there and back."""
        closed = jax.make_jaxpr(ours.function)({}, ours.flat)
        return 4 * _count(closed.jaxpr)

    def _longest(self, expected: Parts) -> int:
        """The terms of the longest sum that the shapes allow."""
        arrays = [*self._given.ours.arrays(), *expected[VALUES].values()]
        return max((int(np.size(x)) for x in arrays), default=1)


def _chosen(ours: Inputs, wrt: Any) -> dict[int, str]:
    """The leaves to differentiate in, by position, with their names for the report."""
    names = {i: name.removeprefix("the ") for i, name in ours.names.items()}
    if wrt is None:
        return names
    wanted = [wrt] if isinstance(wrt, int | str) else list(wrt)
    leaves, _ = jax.tree_util.tree_flatten_with_path(ours.arguments)
    owners = [getattr(path[1], "idx", getattr(path[1], "key", None)) for path, _ in leaves]
    for each in wanted:
        if not any(owners[i] == each for i in names):
            allowed = ", ".join(map(str, dict.fromkeys(owners[i] for i in names)))
            raise InputError(
                f"wrt is {each!r}; it must be one of the arguments that are floats: {allowed}"
            )
    return {i: name for i, name in names.items() if owners[i] in wanted}


def _count(jaxpr: Any) -> int:
    """The equations of a jaxpr, those of a loop times its length."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            getattr(closed, "jaxpr", closed)
            for value in equation.params.values()
            for closed in (value if isinstance(value, tuple | list) else (value,))
            if hasattr(getattr(closed, "jaxpr", closed), "eqns")
        ]
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(map(_count, inner)) if inner else 1
    return total


class _TorchSide:
    """The torch function on its arguments, and both sides' results under its names."""

    def __init__(
        self,
        torch: Any,
        torch_f: Callable[..., Any],
        given: BothInputs,
        dtype: str,
        shapes: Mapping[str, tuple[int, ...]],
        drawn: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self._torch, self._torch_f, self._given = torch, torch_f, given
        self._dtype, self._shapes, self._drawn = dtype, shapes, drawn
        self._paired: dict[str, tuple[str, str, Axes]] = {}

    def prepare(self, seed: int | None) -> Prepared:
        move = (lambda x: x) if seed is None else partial(perturbed, dtype=self._dtype, seed=seed)
        flat, structure = jax.tree.flatten(self._given.theirs.arguments)
        flat = [move(x) for x in flat]
        tensors = [self._torch.from_numpy(np.array(x)) for x in flat]
        wanted = {
            name: tensors[i].requires_grad_(True) for i, name in self._given.theirs.names.items()
        }
        # A function that changes its argument in place must not change a leaf of the graph.
        given = [x.clone() if x.requires_grad else x for x in tensors]
        positional, keyword = structure.unflatten(given)
        return Prepared(self._torch_f, positional, keyword, wanted, {}, flat, who="torch_f")

    def run(self, seed: int | None) -> Measured:
        return run_torch(self._torch, self.prepare(seed), self._cotangents, self._dtype)

    def _cotangents(self, outputs: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, ...]]:
        if not self._paired:
            self._pair({name: x.shape for name, x in outputs.items()})
        return {
            there: tuple(x.transpose(axes) for x in self._drawn[here])
            for here, there, axes in self._paired.values()
            if here in self._drawn
        }

    def _pair(self, theirs: Mapping[str, tuple[int, ...]]) -> None:
        def fits(ours: tuple[int, ...], other: tuple[int, ...]) -> bool:
            return output_axes(ours, other, self._given.axes) is not None

        if (
            len(self._shapes) == len(theirs) == 1
            and sum(shape == () for shapes in (self._shapes, theirs) for shape in shapes.values())
            == 1
        ):
            (here,), (there,) = self._shapes.values(), theirs.values()
            raise InputError(
                f"f returns shape {here}, and torch_f {there}; both must have the same shape: "
                "reduce the one by its mean or sum, or ask PyTorch for reduction='none'"
            )
        pairs = paired_names(self._shapes, theirs, fits, ("f", "torch_f"))
        for name, (here, there) in pairs.items():
            axes = output_axes(self._shapes[here], theirs[there], self._given.axes)
            assert axes is not None
            self._paired[name or "value"] = (here, there, axes)

    def ours(self, measured: Measured) -> Parts:
        values = {
            name: _numbers(measured.outputs[here]).transpose(axes)
            for name, (here, _, axes) in self._paired.items()
        }
        axes = self._given.axes or {}
        gradients = {
            name: measured.gradients[name].transpose(axes[i])
            for i, name in self._given.ours.names.items()
            if name in measured.gradients
        }
        return {VALUES: values, **({GRADIENTS: gradients} if gradients else {})}

    def theirs(self, measured: Measured) -> Parts:
        values = {
            name: _numbers(measured.outputs[there]) for name, (_, there, _) in self._paired.items()
        }
        gradients = measured.gradients
        return {VALUES: values, **({GRADIENTS: gradients} if gradients else {})}


def _numbers(array: Any) -> np.ndarray:
    """Truth values as 0 and 1, of which differences can be taken."""
    found = np.asarray(array)
    return found.astype(np.int8) if found.dtype == bool else found


def _has_narrower(torch: Any, call: Callable[[], Any]) -> bool:
    """Return whether an operation of a call returns a float narrower than float64."""
    from torch.utils._python_dispatch import TorchDispatchMode

    narrow: list[bool] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            found = func(*args, **(kwargs or {}))
            for x in found if isinstance(found, tuple | list) else (found,):
                if isinstance(x, torch.Tensor) and x.is_floating_point():
                    narrow.append(x.dtype != torch.float64)
            return found

    with torch.random.fork_rng(devices=[]), Watch():
        torch.manual_seed(0)
        call()
    return any(narrow)
