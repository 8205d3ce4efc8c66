"""Gradients that are given: every optimizer gets the same, whatever it does with them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.gradient_sources.following import network
from jaxmnist.verify.gradient_sources.gradients import Gradients
from jaxmnist.verify.named_trees import Layout, Named, map_named

STREAM_ELEMENTS: Final = 16
"""How many elements of every leaf a recorded stream stores."""


def from_iterable(gradients: Iterable[Any], params: Any, steps: int, dtype: np.dtype) -> Gradients:
    """The caller's gradient trees, one a step."""
    layout = Layout.of(params)
    with blamed("the iterable of gradients", "when asked for the next step's"):
        trees = [tree for _, tree in zip(range(steps), gradients, strict=False)]
    if not trees:
        raise InputError("gradients is empty; it must have at least one step to compare")
    named = [
        layout.named(tree, f"the gradients of step {step}", dtype)
        for step, tree in enumerate(trees)
    ]
    return Gradients("given", params, lambda step, _: named[step], follows=False, steps=len(named))


def random(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """Normal gradients in scales from 1e-6 to 1e3, half of them with a drift."""
    del steps
    params, scales, drifts = _scaled(params, dtype, seed)
    named = Layout.of(params).named(params, "params")
    complex_dtypes = {name: w.dtype for name, w in named.items() if w.dtype.kind == "c"}

    def at(step: int, _: Named) -> Named:
        rng = np.random.default_rng((seed, step))
        drawn = {
            name: scale * (rng.normal(size=scale.shape) + drifts[name])
            for name, scale in scales.items()
        }
        return {
            name: np.asarray(gradient, dtype)
            if name not in complex_dtypes
            else (gradient + 1j * scales[name] * rng.normal(size=gradient.shape)).astype(
                complex_dtypes[name]
            )
            for name, gradient in drawn.items()
        }

    return Gradients("random", params, at, follows=False)


def sparse(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The random gradients with nine of ten exactly zero, and the last of every leaf always.

    The last but one is zero for 20 steps.
    """
    dense = random(params, steps, dtype, seed)

    def at(step: int, where: Named) -> Named:
        rng = np.random.default_rng((seed, step, 1))

        def thin(gradient: np.ndarray) -> np.ndarray:
            keep = (rng.random(gradient.shape) < 0.1).ravel()
            keep[-1:] = False
            keep[-2:-1] &= step >= 20
            return np.where(keep.reshape(gradient.shape), gradient, dtype.type(0))

        return {name: thin(gradient) for name, gradient in dense.at(step, where).items()}

    return replace(dense, name="sparse", at=at)


def _scaled(params: Any, dtype: np.dtype, seed: int) -> tuple[Any, Named, Named]:
    """Parameters, and for each element the scale and the drift of its gradients."""
    if params is None:
        params = {f"scale {10.0**power:.0e}": np.zeros(8, dtype) for power in range(-6, 4)}
        scales = {name: np.full(8, float(name.split()[1])) for name in params}
    else:
        rng = np.random.default_rng((seed, 2))
        named = Layout.of(params).named(params, "params")
        scales = map_named(lambda leaf: 10.0 ** rng.uniform(-6, 3, leaf.shape), named)
    drifts = map_named(lambda s: np.where(np.arange(s.size).reshape(s.shape) % 2, 0.5, 0.0), scales)
    return params, scales, drifts


def stream(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The network's gradients along its own default run, some elements of each leaf."""
    if params is not None:
        raise InputError(
            "params is given; gradients='stream' are the network's, with parameters of their own: "
            "omit params, or pass an iterable of gradients"
        )
    recorded = _recorded(steps, dtype, seed)
    start = {name: np.zeros_like(rows[0]) for name, rows in recorded.items()}

    def at(step: int, _: Named) -> Named:
        return {name: rows[step] for name, rows in recorded.items()}

    return Gradients("stream", start, at, follows=False, steps=steps)


@lru_cache(maxsize=2)
def _recorded(steps: int, dtype: np.dtype, seed: int) -> Named:
    source = network(None, steps, dtype, seed)
    assert source.origin is not None
    rng = np.random.default_rng(seed)
    chosen = {
        name: np.sort(rng.choice(leaf.size, min(leaf.size, STREAM_ELEMENTS), replace=False))
        for name, leaf in source.origin.items()
    }
    where, rows = source.origin, []
    for step in range(steps):
        gradients = source.at(step, where)
        rows.append({name: g.ravel()[chosen[name]] for name, g in gradients.items()})
        where = map_named(lambda w, g: w - dtype.type(0.1) * g, where, gradients)
    return {name: np.stack([row[name] for row in rows]) for name in chosen}
