"""Gradients that follow the trajectory: a function's gradient at the current parameters."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.gradient_sources.gradients import Gradients
from jaxmnist.verify.named_trees import Layout, Named, map_named
from jaxmnist.verify.rounding import PERTURBATIONS_OF_NETWORK

BATCH_SIZE: Final = 64


def from_function(function: Callable[..., Any], params: Any, dtype: np.dtype) -> Gradients:
    """The caller's function of the step and the parameters."""
    layout = Layout.of(params)

    def at(step: int, where: Named) -> Named:
        with blamed("the gradients' function", f"at step {step}"):
            tree = function(step, layout.tree(where))
        return layout.named(tree, f"the gradients of step {step}", dtype)

    return Gradients("own", params, at, follows=True)


def from_loss(loss: Callable[..., Any], params: Any, dtype: np.dtype) -> Gradients:
    """The gradients of the caller's loss of the step and the parameters.

    Of complex parameters they are the direction of steepest ascent, as PyTorch has them: the
    conjugate of JAX's.
    """
    layout = Layout.of(params)
    gradient = jax.grad(loss, argnums=1)

    def at(step: int, where: Named) -> Named:
        with blamed("the loss", f"at step {step}"):
            tree = gradient(step, layout.tree(where))
        named = layout.named(tree, f"the loss's gradients of step {step}")
        return map_named(np.conj, named)

    return Gradients("loss's", params, at, follows=True, loss=loss)


def quadratic(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
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

    def loss(_: Any, tree: Any) -> Any:
        def half_square(w: Any, mirror: Any, curvature: Any) -> Any:
            reflected = w.ravel() - 2 * mirror * (mirror @ w.ravel())
            return (curvature * reflected**2).sum() / 2

        trees = (Layout.of(params).tree(each) for each in (mirrors, curvatures))
        return sum(jax.tree.leaves(jax.tree.map(half_square, tree, *trees)))

    return Gradients("quadratic", params, at, follows=True, origin=origin, loss=jax.jit(loss))


def _reflected(w: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return w - 2 * mirror * (mirror @ w)


def rosenbrock(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """A thousandth of Σ 100 (xₖ₊₁ - xₖ²)² + (1 - xₖ)² over each leaf's elements in turn.

    The thousandth keeps a learning rate of 0.1 below the valley's curvature of about 1000.
    """
    del steps
    params, origin = _started(params, {"pair": (2,), "chain": (6,)}, dtype, seed)
    for name, shape in zip(*Layout.of(params)[2:], strict=True):
        if np.prod(shape) < 2:
            raise InputError(
                f"gradients='rosenbrock': {name} has shape {shape}; it must have at least two "
                "elements"
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

    def loss(_: Any, tree: Any) -> Any:
        def banana(w: Any) -> Any:
            x = w.ravel()
            return 1e-3 * (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

        return sum(banana(leaf) for leaf in jax.tree.leaves(tree))

    return Gradients("rosenbrock", params, at, follows=True, origin=origin, loss=jax.jit(loss))


def _started(
    params: Any, shapes: dict[str, tuple[int, ...]], dtype: np.dtype, seed: int
) -> tuple[Any, Named | None]:
    """The caller's parameters, which are the start; or zeros, and a start from -1.5 to 1.5."""
    if params is not None:
        return params, None
    rng = np.random.default_rng((seed, 4))
    origin = {name: rng.uniform(-1.5, 1.5, shape).astype(dtype) for name, shape in shapes.items()}
    return map_named(np.zeros_like, origin), origin


def network(params: Any, steps: int, dtype: np.dtype, seed: int) -> Gradients:
    """The tutorial's network on MNIST: one batch of 64 after another, reshuffled each epoch."""
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
        layout.named(params, "gradients='network' need the parameters of the default MLP")
        return Gradients("network", params, at, follows=True, starts=PERTURBATIONS_OF_NETWORK)
    origin = layout.named(own, "the network", dtype)
    start = layout.tree(map_named(np.zeros_like, origin))
    return Gradients(
        "network", start, at, follows=True, origin=origin, starts=PERTURBATIONS_OF_NETWORK
    )
