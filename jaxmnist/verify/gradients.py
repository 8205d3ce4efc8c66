"""Where the gradients of a comparison come from.

Some are given: every optimizer sees the same numbers whatever it does with them. Others follow
the trajectory: they are a function's gradient where the optimizer has got to, so that a rounding
error comes back with the next gradient, damped or amplified.

A source that brings its own parameters starts the optimizer at zero and adds the place where the
trajectory starts before it takes the gradient there. The parameter is then the displacement, with
all its digits; were it added to a weight of 0.05, a displacement of 1e-6 would keep eleven.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.trees import Layout, Named, map_named

GIVEN: Final = ("random", "sparse", "stream")
FOLLOWING: Final = ("quadratic", "rosenbrock", "network")
SOURCES: Final = (*GIVEN, *FOLLOWING)

BATCH_SIZE = 64
STREAM_ELEMENTS = 16
"""How many elements of every leaf a recorded stream keeps."""


@dataclass(frozen=True)
class Gradients:
    """A source of gradients, and the parameters it is for.

    Attributes:
        name: What it is, for the report.
        params: Where the optimizer starts: a tree of NumPy arrays.
        at: ``at(step, leaves) -> leaves``: the gradients of a step, from the parameters by name.
        follows: Whether the gradients depend on the parameters.
        origin: Added to the parameters before the gradient is taken, by name, or None.
        steps: How many steps there are gradients for, or None for any number.
        shakes: From how many shaken starts to see how far rounding takes a trajectory. What one
            unit becomes depends on which elements it moved; with few elements one sample may
            come out small by chance.
    """

    name: str
    params: Any
    at: Callable[[int, Named], Named]
    follows: bool
    origin: Named | None = None
    steps: int | None = None
    shakes: int = 5

    def __call__(self, step: int, params: Named) -> Named:
        """The gradients of a step for these parameters.

        Raises:
            InputError: A gradient is NaN or infinite.
        """
        where = params if self.origin is None else map_named(np.add, self.origin, params)
        gradients = self.at(step, where)
        for leaf, gradient in gradients.items():
            broken = ~np.isfinite(gradient)
            if broken.any():
                raise InputError(
                    f"the gradient of {leaf} is {gradient[broken][0]} at step {step} of the "
                    f"{self.name} gradients; every gradient must be finite"
                    + (", so the optimizer must not diverge" if self.follows else "")
                )
        return gradients

    def shaken(self, seed: int) -> "Gradients":
        """The same with every element of the start moved by one unit in the last place.

        Up or down by chance. A zero moves by a unit of its leaf's largest element, or of 1.
        """
        rng = np.random.default_rng(seed)

        def shake(start: np.ndarray) -> np.ndarray:
            sizes = np.abs(start)
            largest = sizes.max(initial=0.0)
            sizes = np.where(sizes > 0, sizes, largest if largest > 0 else 1.0)
            step = np.spacing(sizes.astype(start.dtype))
            return np.asarray(start + step * rng.choice([-1, 1], start.shape), start.dtype)

        if self.origin is not None:
            return replace(self, origin=map_named(shake, self.origin))
        layout = Layout.of(self.params)
        return replace(
            self, params=layout.tree(map_named(shake, layout.named(self.params, "params")))
        )


def source(
    gradients: Any, params: Any = None, *, steps: int = 500, dtype: Any = "float64", seed: int = 0
) -> Gradients:
    """Make a source of gradients out of what `verify.optimizer` was given.

    Args:
        gradients: One of `SOURCES`; or an iterable of gradient trees, which are given; or a
            function of the step and the parameters to a gradient tree, which follows.
        params: A tree of parameters, or None for the source's own.
        steps: How many steps will be asked for.
        dtype: "float32" or "float64".
        seed: Of whatever is random in it.

    Returns:
        The source.

    Raises:
        InputError: The source is unknown, or the parameters do not fit it.

    >>> random = source("random")
    >>> {name: gradient.shape for name, gradient in random(0, random.params).items()}
    {'scale 1e-06': (8,), 'scale 1e-05': (8,), ..., 'scale 1e+03': (8,)}
    """
    dtype = np.dtype(dtype)
    if isinstance(gradients, str):
        if gradients not in _BUILT_IN:
            raise InputError(
                f"there are no gradients {gradients!r}; choose one of {', '.join(SOURCES)}, or "
                "pass an iterable of gradients, or a function of the step and the parameters"
            )
        if params is not None:
            params = _converted(params, dtype)
        return _BUILT_IN[gradients](params, steps, dtype, seed)
    if params is None:
        raise InputError("gradients of your own need params, which give them their shapes")
    params = _converted(params, dtype)
    if callable(gradients):
        return _from_function(gradients, params, dtype)
    if isinstance(gradients, Iterable) and not isinstance(gradients, Mapping):
        return _from_iterable(gradients, params, steps, dtype)
    raise InputError(
        f"gradients is a {type(gradients).__name__}; it must be one of {', '.join(SOURCES)}, an "
        "iterable of gradients, or a function of the step and the parameters"
    )


def _converted(params: Any, dtype: np.dtype) -> Any:
    """The tree in NumPy and in the dtype."""
    layout = Layout.of(params)
    if not layout.names:
        raise InputError("params has no leaves; there is nothing to compare")
    named = layout.named(params, "params")
    for name, leaf in named.items():
        if leaf.dtype.kind not in "fiu":
            raise InputError(f"params: {name} has dtype {leaf.dtype}; real numbers are wanted")
        if not np.isfinite(leaf).all():
            raise InputError(f"params: {name} has an element that is not finite")
    return layout.tree(map_named(lambda leaf: leaf.astype(dtype), named))


def _from_function(function: Callable[..., Any], params: Any, dtype: np.dtype) -> Gradients:
    layout = Layout.of(params)

    def at(step: int, where: Named) -> Named:
        try:
            tree = function(step, layout.tree(where))
        except Exception as error:
            raise InputError(
                f"the gradients' function raised {type(error).__name__} at step {step}: {error}"
            ) from error
        return layout.named(tree, f"the gradients of step {step}", dtype)

    return Gradients("own", params, at, follows=True)


def _from_iterable(gradients: Iterable[Any], params: Any, steps: int, dtype: np.dtype) -> Gradients:
    layout = Layout.of(params)
    trees = [tree for _, tree in zip(range(steps), gradients, strict=False)]
    if not trees:
        raise InputError("gradients is empty; there is nothing to compare")
    named = [
        layout.named(tree, f"the gradients of step {step}", dtype)
        for step, tree in enumerate(trees)
    ]
    return Gradients("given", params, lambda step, _: named[step], follows=False, steps=len(named))


# --- Given ---


def _random(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """Normal gradients in scales from 1e-6 to 1e3, half of them with a drift."""
    del steps
    params, scales, drifts = _scaled(params, dtype, seed)

    def at(step: int, _: Named) -> Named:
        rng = np.random.default_rng((seed, step))
        return {
            name: np.asarray(scale * (rng.normal(size=scale.shape) + drifts[name]), dtype)
            for name, scale in scales.items()
        }

    return Gradients("random", params, at, follows=False)


def _sparse(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The random gradients with nine of ten exactly zero, and the last of every leaf always.

    The last but one is zero for 20 steps.
    """
    dense = _random(params, steps, dtype, seed)

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


def _stream(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The network's gradients along its own default run, some elements of each leaf."""
    if params is not None:
        raise InputError(
            "gradients='stream' are the network's, with parameters of their own; for other "
            "parameters pass an iterable of gradients"
        )
    recorded = _recorded(steps, dtype, seed)
    start = {name: np.zeros_like(rows[0]) for name, rows in recorded.items()}

    def at(step: int, _: Named) -> Named:
        return {name: rows[step] for name, rows in recorded.items()}

    return Gradients("stream", start, at, follows=False, steps=steps)


@lru_cache(maxsize=2)
def _recorded(steps: int, dtype: np.dtype, seed: int) -> Named:
    network = _network(None, steps, dtype, seed)
    assert network.origin is not None
    rng = np.random.default_rng(seed)
    chosen = {
        name: np.sort(rng.choice(leaf.size, min(leaf.size, STREAM_ELEMENTS), replace=False))
        for name, leaf in network.origin.items()
    }
    where, rows = network.origin, []
    for step in range(steps):
        gradients = network.at(step, where)
        rows.append({name: g.ravel()[chosen[name]] for name, g in gradients.items()})
        where = map_named(lambda w, g: w - dtype.type(0.1) * g, where, gradients)
    return {name: np.stack([row[name] for row in rows]) for name in chosen}


# --- Following the trajectory ---


def _quadratic(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """½ wᵀHw in each leaf, H with eigenvalues from 1e-4 to 1 in directions between the axes."""
    del steps
    params, origin = _started(params, {"matrix": (4, 3), "vector": (8,)}, dtype, seed)
    rng = np.random.default_rng((seed, 3))
    mirrors, curvatures = {}, {}
    for name, shape in zip(*Layout.of(params)[2:], strict=True):
        mirror = rng.normal(size=int(np.prod(shape)))
        mirrors[name] = (mirror / np.linalg.norm(mirror)).astype(dtype)
        curvatures[name] = np.logspace(-4, 0, mirror.size, dtype=dtype)

    def at(_: int, where: Named) -> Named:
        def gradient(w: np.ndarray, mirror: np.ndarray, curvature: np.ndarray) -> np.ndarray:
            reflected = _reflected(w.ravel(), mirror)
            return _reflected(curvature * reflected, mirror).reshape(w.shape)

        return map_named(gradient, where, mirrors, curvatures)

    return Gradients("quadratic", params, at, follows=True, origin=origin)


def _reflected(w: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return w - 2 * mirror * (mirror @ w)


def _rosenbrock(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """A thousandth of Σ 100 (xₖ₊₁ - xₖ²)² + (1 - xₖ)² over each leaf's elements in turn.

    The thousandth keeps a learning rate of 0.1 below the valley's curvature of about 1000.
    """
    del steps
    params, origin = _started(params, {"pair": (2,), "chain": (6,)}, dtype, seed)
    for name, shape in zip(*Layout.of(params)[2:], strict=True):
        if np.prod(shape) < 2:
            raise InputError(
                f"gradients='rosenbrock': {name} has shape {shape}; at least two elements are "
                "wanted in every leaf"
            )

    def at(_: int, where: Named) -> Named:
        def gradient(w: np.ndarray) -> np.ndarray:
            x, scale = w.ravel(), dtype.type(1e-3)
            slope = np.zeros_like(x)
            beyond = x[1:] - x[:-1] ** 2
            slope[1:] += 200 * beyond
            slope[:-1] -= 400 * x[:-1] * beyond + 2 * (1 - x[:-1])
            return (scale * slope).reshape(w.shape)

        return map_named(gradient, where)

    return Gradients("rosenbrock", params, at, follows=True, origin=origin)


def _started(
    params: Any, shapes: dict[str, tuple[int, ...]], dtype: np.dtype, seed: int
) -> tuple[Any, Named | None]:
    """The caller's parameters, which are the start; or zeros, and a start from -1.5 to 1.5."""
    if params is not None:
        return params, None
    rng = np.random.default_rng((seed, 4))
    origin = {name: rng.uniform(-1.5, 1.5, shape).astype(dtype) for name, shape in shapes.items()}
    return map_named(np.zeros_like, origin), origin


def _network(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The document's network on MNIST: one batch of 64 after another, reshuffled each epoch."""
    from jaxmnist import data
    from jaxmnist.losses import cross_entropy_with_integer_labels
    from jaxmnist.model import MLP

    del steps
    model = MLP()
    own = jax.tree.map(np.asarray, model.init(jax.random.key(seed), jnp.zeros((1, 784))))
    layout = Layout.of(own)
    dataset = data.load_dataset("mnist")
    samples = dataset.train_labels.size
    epoch_batches = -(-samples // BATCH_SIZE)

    def loss(params: Any, images: Any, labels: Any) -> Any:
        logits: Any = model.apply(params, data.normalize(images).astype(dtype))
        return cross_entropy_with_integer_labels(logits, labels)

    gradient = jax.jit(jax.grad(loss))

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(samples)

    def at(step: int, where: Named) -> Named:
        epoch, batch = divmod(step, epoch_batches)
        chosen = order(epoch)[batch * BATCH_SIZE :][:BATCH_SIZE]
        tree = gradient(
            layout.tree(where), dataset.train_images[chosen], dataset.train_labels[chosen]
        )
        return layout.named(jax.tree.map(np.asarray, tree), "the network's gradients")

    if params is not None:
        layout.named(params, "gradients='network' want the parameters of the default MLP")
        return Gradients("network", params, at, follows=True, shakes=1)
    origin = layout.named(own, "the network", dtype)
    start = layout.tree(map_named(np.zeros_like, origin))
    return Gradients("network", start, at, follows=True, origin=origin, shakes=1)


_BUILT_IN: Mapping[str, Callable[[Any, int, np.dtype, int], Gradients]] = {
    "random": _random,
    "sparse": _sparse,
    "stream": _stream,
    "quadratic": _quadratic,
    "rosenbrock": _rosenbrock,
    "network": _network,
}
