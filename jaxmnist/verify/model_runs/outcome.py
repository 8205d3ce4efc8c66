"""Both models run in one dtype, and everything compared that they compute."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmnist.interop.match import Match
from jaxmnist.verify.compare import Comparison
from jaxmnist.verify.model_runs.arguments import Axes, BothInputs, cotangents, output_axes
from jaxmnist.verify.model_runs.dropout import draws, masks_in_jax, shared
from jaxmnist.verify.model_runs.jax_model import JaxModel
from jaxmnist.verify.model_runs.judge import (
    Parts,
    check_not_nan,
    compared,
    largest_allowed,
    scales,
    sum_lengths,
)
from jaxmnist.verify.model_runs.leaves import paired_names
from jaxmnist.verify.model_runs.loss import labels_of, loss_in_jax, loss_in_torch
from jaxmnist.verify.model_runs.noise import perturbed
from jaxmnist.verify.model_runs.torch_model import (
    Cotangents,
    Measured,
    Prepared,
    prepared,
    run_torch,
)
from jaxmnist.verify.model_runs.weights import Weights
from jaxmnist.verify.rounding import PERTURBATIONS, allowed_by_arithmetic


class Pairing(NamedTuple):
    """Two models with their parameters."""

    torch: Any
    apply_fn: Any
    params: dict[str, np.ndarray]
    """Ours by path, in float64."""
    module: Any
    weights: Weights

    def prepare(self, given: BothInputs, dtype: str, seed: int | None = None) -> Prepared:
        """Copy the module with its weights and inputs, perturbed if there is a seed.

        Args:
            given: What both take.
            dtype: float64 or float32.
            seed: Of the perturbation by one unit in the last place.

        Returns:
            The copy.
        """
        move = (lambda x: x) if seed is None else partial(perturbed, dtype=dtype, seed=seed)
        loaded = {
            name: move(x.astype(dtype) if x.dtype.kind == "f" else x)
            for name, x in self.weights.loaded.items()
        }
        orders = tuple((given.axes or {}).values())
        ready = prepared(
            self.torch,
            self.module,
            loaded,
            jax.tree.map(move, given.theirs.arguments),
            given.theirs.names,
            dtype,
            partial(shared, self.torch, given.masks, orders) if given.masks else nullcontext,
        )
        if seed is not None:
            with self.torch.no_grad():
                for name, parameter in ready.module.named_parameters():
                    if name not in loaded and parameter.is_floating_point():
                        array = move(parameter.detach().numpy())
                        parameter.copy_(self.torch.from_numpy(np.array(array)))
        return ready


class Outcome(NamedTuple):
    """What was compared, and what it takes to look for a divergence."""

    parts: list[Comparison]
    given: BothInputs
    ours: JaxModel
    drawn: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """The cotangents of our outputs."""
    theirs: Cotangents
    """The cotangents of the module's outputs."""
    least: float
    """The relative error that the arithmetic allows."""
    wrong: dict[str, tuple[np.ndarray, np.ndarray]]
    """The parameters whose gradients differ, by the module's names: ours and theirs."""
    state: dict[str, tuple[np.ndarray, np.ndarray]]
    """The buffers that differ after the run: ours and theirs."""

    @property
    def differs(self) -> bool:
        """Whether anything was out of tolerance."""
        return any(part.first_divergence is not None for part in self.parts)


def outcome(
    pairing: Pairing, given: BothInputs, labels: Any, dtype: str, tolerance: float | None
) -> Outcome:
    """Run both models and compare everything.

    Args:
        pairing: The models.
        given: What they take.
        labels: Class of each input, or None.
        dtype: float64 or float32.
        tolerance: The relative error allowed; None derives it.

    Returns:
        The comparisons.

    Raises:
        InputError: A model raises, or the outputs do not fit each other.
    """
    match = pairing.weights.match
    params = {name: x.astype(dtype) for name, x in pairing.params.items()}
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        ours = JaxModel(
            pairing.apply_fn,
            params,
            given.ours.arguments,
            given.ours.names,
            match.build,
            match.named,
        )
        shapes = {name: x.shape for name, x in ours.shapes.items()}
        y = labels_of(labels, shapes)
        drawn = cotangents(ours.shapes, given.ours, dtype)
        here = ours.run(drawn, dtype)
        masks = masks_in_jax(ours.function, ours.params, ours.flat) if draws(pairing.module) else []
    given = given._replace(masks=tuple(masks))
    sides = _Sides(pairing, given, dtype, y, drawn, shapes)
    there = sides.torch_run(None)

    def both(a: Measured, b: Measured) -> tuple[Parts, Parts]:
        return _in_both(sides.ours(a), sides.theirs(b), match)

    actual, expected = both(here, there)
    check_not_nan(actual, expected)
    lengths = max(
        sum_lengths(params, int(np.prod(s[:-1])) if s else 1, s[-1] if s else 1)
        for s in shapes.values()
    )
    derived = allowed_by_arithmetic(lengths, dtype)
    allowed = derived if tolerance is None else tolerance
    parts = compared(actual, expected, None, allowed)
    diverged = [part for part in parts if part.first_divergence is not None]
    limit = largest_allowed(expected, dtype)
    # An error that no noise could excuse needs no measure of the noise.
    if diverged and all(part.errors.absolute <= limit for part in diverged):
        # It is only now worth the time to find out which arrays are zero on paper.
        with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
            moved = ours.perturbed(drawn, dtype, PERTURBATIONS)
        nearby = [both(m, there)[0] for m in moved]
        nearby_there = [both(here, sides.torch_run(seed))[1] for seed in range(PERTURBATIONS)]
        sizes = scales((actual, nearby), (expected, nearby_there), derived, dtype)
        parts = compared(actual, expected, sizes, allowed)
    else:
        sizes = None
    wrong = dict(_wrong("gradients", actual, expected, sizes, allowed))
    state = dict(_wrong("state", actual, expected, sizes, allowed))
    theirs = sides.cotangents(there.outputs)
    return Outcome(parts, given, ours, drawn, theirs, derived, wrong, state)


def _wrong(
    part: str, actual: Parts, expected: Parts, sizes: Parts | None, tolerance: float
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """The arrays of a part that differ by more than what the largest of them may lose."""
    largest = max(
        (float(np.abs(x).max(initial=0.0)) for x in expected.get(part, {}).values()), default=0.0
    )
    least = tolerance * largest * 1e-3
    for leaf, array in actual.get(part, {}).items():
        other = expected[part][leaf]
        leaf_sizes: Parts | None = sizes and {part: {leaf: sizes[part][leaf]}}
        (found,) = compared({part: {leaf: array}}, {part: {leaf: other}}, leaf_sizes, tolerance)
        if found.first_divergence is not None and found.errors.absolute > least:
            yield leaf, (array, other)


class _Sides:
    """What each side computed, under the names and in the layout of the torch module."""

    def __init__(
        self,
        pairing: Pairing,
        given: BothInputs,
        dtype: str,
        labels: np.ndarray | None,
        drawn: Mapping[str, tuple[np.ndarray, np.ndarray]],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._pairing, self._given, self._dtype = pairing, given, dtype
        self._labels, self._drawn, self._shapes = labels, drawn, shapes
        self._pairs: dict[str, tuple[str, str, Axes]] = {}
        self._whole = "outputs" if labels is None else "logits"

    def torch_run(self, seed: int | None) -> Measured:
        ready = self._pairing.prepare(self._given, self._dtype, seed)
        return run_torch(self._pairing.torch, ready, self.cotangents, self._dtype)

    def cotangents(self, outputs: Mapping[str, np.ndarray]) -> Cotangents:
        if not self._pairs:
            self._pair({name: x.shape for name, x in outputs.items()})
        return {
            there: tuple(x.transpose(axes) for x in self._drawn[here])
            for here, there, axes in self._pairs.values()
            if here in self._drawn
        }

    def _pair(self, theirs: Mapping[str, tuple[int, ...]]) -> None:
        orders: dict[tuple[tuple[int, ...], tuple[int, ...]], Axes] = {}

        def fits(ours: tuple[int, ...], other: tuple[int, ...]) -> bool:
            axes = output_axes(ours, other, self._given.axes)
            if axes is not None:
                orders[ours, other] = axes
            return axes is not None

        for name, (here, there) in paired_names(self._shapes, theirs, fits).items():
            self._pairs[name] = (here, there, orders[self._shapes[here], theirs[there]])

    def ours(self, measured: Measured) -> Parts:
        match, params = self._pairing.weights.match, self._pairing.params
        outputs = {
            name or self._whole: measured.outputs[here].transpose(axes)
            for name, (here, _, axes) in self._pairs.items()
        }
        in_params = {n: g for n, g in measured.gradients.items() if n in params}
        converted = match.gradients_to_torch(match.build(in_params))
        gradients = {name: x.numpy() for name, x in converted.items()}
        axes = self._given.axes or {}
        names = dict(zip(self._given.ours.names, self._given.theirs.names.values(), strict=False))
        gradients |= {
            names[i]: measured.gradients[name].transpose(axes[i])
            for i, name in self._given.ours.names.items()
            if i in axes
        }
        state = {}
        if measured.state:
            updated = match.to_torch(match.build({**params, **measured.state}))
            touched = {n for e in match.entries if e.jax in measured.state for n in e.torch}
            state = {n: updated[n].numpy() for n in updated if n in touched}
        return self._parts(outputs, gradients, state, True)

    def theirs(self, measured: Measured) -> Parts:
        outputs = {
            name or self._whole: measured.outputs[there]
            for name, (_, there, _) in self._pairs.items()
        }
        return self._parts(outputs, measured.gradients, measured.state, False)

    def _parts(
        self,
        outputs: dict[str, np.ndarray],
        gradients: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray],
        is_ours: bool,
    ) -> Parts:
        found: Parts = {self._whole: outputs}
        if self._labels is not None:
            (logits,) = outputs.values()
            loss = (
                loss_in_jax(logits, self._labels, self._dtype)
                if is_ours
                else loss_in_torch(logits, self._labels)
            )
            found["loss"] = {"loss": loss}
        return found | {"gradients": gradients, "state": state}


def _in_both(ours: Parts, theirs: Parts, match: Match) -> tuple[Parts, Parts]:
    """What both sides have of gradients and state, without what our side can only have as zero."""
    mine, other = dict(ours), dict(theirs)
    for part in ("gradients", "state"):
        names = [n for n in theirs[part] if n in ours[part]]
        mine[part] = {n: np.array(ours[part][n]) for n in names}
        other[part] = {n: np.array(theirs[part][n]) for n in names}
        for source in match.zero:
            for arrays in (mine[part], other[part]):
                if source.name in arrays:
                    arrays[source.name][source.where] = 0
        if not names:
            del mine[part], other[part]
    return mine, other
