"""The update rules that one library alone has, and those that take a leaf as a whole."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.identify.kernels import (
    COMMON,
    Kernel,
    Leaf,
    Numbers,
    accumulated,
    epsilons,
    larger,
    magnitude,
)
from jaxmnist.verify.identify.rules import RuleSpec

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


def _adan(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    b1, b2, b3 = n["b1"], n["b2"], n["decay"]
    inside = n["epsilon_root"] if spec.epsilon == "both" else 0.0
    inside, outside = (n["epsilon"], 0.0) if spec.epsilon == "inside" else (inside, n["epsilon"])
    m: Any = 0.0
    v: Any = 0.0
    square: Any = 0.0
    earlier = None
    for t, g in enumerate(gradients, 1):
        difference = 0 * g if earlier is None else g - earlier
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * difference
        square = b3 * square + (1 - b3) * (g + (1 - b2) * difference) ** 2
        u = m / (1 - b1**t) + (1 - b2) * v / (1 - b2**t)
        yield u / (np.sqrt(square / (1 - b3**t) + inside) + outside)
        earlier = g


def _ademamix(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    b1, b2, b3 = n["b1"], n["decay"], n["b3"]
    fast: Any = 0.0
    slow: Any = 0.0
    square: Any = 0.0
    for t, g in enumerate(gradients, 1):
        fast = b1 * fast + (1 - b1) * g
        slow = b3 * slow + (1 - b3) * g
        square = b2 * square + (1 - b2) * g * g
        m = fast / (1 - b1**t) + n["alpha"] * slow
        yield m / (np.sqrt(square / (1 - b2**t)) + n["epsilon"])


def _simplified(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """The simplified AdEMAMix: one sum of gradients, and the newest on top of it."""
    inside, outside = epsilons(spec, n)
    total: Any = 0.0
    square: Any = 0.0
    for t, g in enumerate(gradients, 1):
        total = n["b1"] * total + g
        square = n["decay"] * square + (1 - n["decay"]) * g * g
        yield (total + n["alpha"] * g) / (
            np.sqrt(square / (1 - n["decay"] ** t) + inside) + outside
        )


def _acprop(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """Each gradient is over how far those before it were from their average; the first is not."""
    outside = epsilons(spec, n)[1]
    first: Any = 0.0
    square: Any = 0.0
    for step, g in enumerate(gradients):
        root = np.sqrt(square / (1 - n["decay"] ** step)) if step else 1.0
        square = n["decay"] * square + (1 - n["decay"]) * (g - first) ** 2
        square = square + accumulated(spec, n)
        first = n["b1"] * first + (1 - n["b1"]) * g
        yield g / (root + outside)


def _cocob(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """A bet on the sum of gradients; a learning rate within it only scales its epsilon."""
    start = leaf.weights[0]
    total: Any = 0.0
    sizes: Any = 0.0
    reward: Any = 0.0
    largest: Any = n["epsilon"]
    for g, w in zip(gradients, leaf.weights, strict=False):
        largest = larger(magnitude(g), largest)
        sizes = sizes + magnitude(g)
        reward = larger(reward - g * (w - start), 0.0)
        total = total - g
        bet = total / (largest * larger(sizes + largest, n["alpha"] * largest))
        yield w - start - bet * (largest + reward)


def _adopt(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """Each gradient is scaled by the squares before it; the first only starts them."""
    first: Any = 0.0
    square: Any = 0.0
    for step, g in enumerate(gradients):
        if step:
            scaled = g / larger(np.sqrt(square), n["epsilon"])
            most = step**0.25
            scaled = np.where(np.abs(np.real(scaled)) > most, np.sign(np.real(g)) * most, scaled)
            first = n["b1"] * first + (1 - n["b1"]) * scaled
            square = n["decay"] * square + (1 - n["decay"]) * g * g
        else:
            square = g * g
            first = 0 * g
        yield first


def _lion(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    first: Any = 0.0
    for g in gradients:
        yield np.sign(np.real(n["b1"] * first + (1 - n["b1"]) * g))
        first = n["decay"] * first + (1 - n["decay"]) * g


def _sign(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    for g in gradients:
        yield np.sign(np.real(g))


def _rprop(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """Sizes are relative to the first one, which is the learning rate."""
    size: Any = 1.0
    earlier: Any = 0.0
    late: Any = 0.0
    for g in gradients:
        turned = np.sign(np.real(g * earlier))
        factor = np.where(turned > 0, n["eta_plus"], np.where(turned < 0, n["eta_minus"], 1.0))
        moved = larger(size * factor, n["least"])
        size = np.where(turned == 0, size, -larger(-moved, -n["most"]))
        if spec.lag:
            u = np.where(turned < 0, 0.0, late)
            late = np.where(turned < 0, 0.0, size * np.sign(np.real(g)))
            earlier = late
        else:
            earlier = np.where(turned < 0, 0.0, np.sign(np.real(g)))
            u = size * earlier
        yield u


def _optimistic(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    earlier = None
    for g in gradients:
        yield g if earlier is None else (1 + n["optimism"]) * g - n["optimism"] * earlier
        earlier = g


def _optimistic_adam(
    spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf
) -> Iterator[Any]:
    return _optimistic(spec, n, COMMON["adam"](spec, n, gradients, leaf), leaf)


def _novograd(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    eps = n["epsilon"] if spec.epsilon == "outside" else 0.0
    first: Any = 0.0
    square: Any = 0.0
    for step, g in enumerate(gradients):
        norm = (g * g).sum(axis=-1, keepdims=True)
        square = n["decay"] * square + (1 - n["decay"]) * norm if step else norm
        first = n["b1"] * first + g / (np.sqrt(square) + eps)
        yield first


def _sm3(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    axes = tuple(range(1, 1 + len(leaf.shape)))
    largest: list[Any] = [0.0] * len(axes)
    first: Any = 0.0
    for g in gradients:
        shaped = g.reshape(len(g), *leaf.shape)
        least = largest[0]
        for other in largest[1:]:
            least = -larger(-least, -other)
        total = shaped * shaped + least
        u = (shaped / np.sqrt(total + 1e-8)).reshape(g.shape)
        first = n["momentum"] * first + (1 - n["momentum"]) * u
        yield first
        largest = [
            np.real(total).max(axis=tuple(a for a in axes if a != axis), keepdims=True)
            if len(axes) > 1
            else total
            for axis in axes
        ]


def _adafactor(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    eps = n["epsilon"] if spec.epsilon != "none" else 0.0
    added = eps if spec.epsilon == "inside" else 0.0
    least = eps if spec.epsilon == "clamped" else 0.0
    row: Any = 0.0
    column: Any = 0.0
    square: Any = 0.0
    for t, (g, w) in enumerate(zip(gradients, leaf.weights, strict=False), 1):
        share = _in_optax(t, n["power"]) if spec.single else float(t) ** -n["power"]
        squares = (g * g + added).reshape(len(g), *leaf.shape)
        if spec.factored:
            row = row + share[..., None] * (squares.mean(axis=-1, keepdims=True) - row)
            column = column + share[..., None] * (squares.mean(axis=-2, keepdims=True) - column)
            mean = row.mean(axis=-2, keepdims=True)
            estimate = row * column / larger(mean, np.reshape(least, (-1, 1, 1)))
            estimate = estimate.reshape(g.shape)
        else:
            square = square + share * (squares.reshape(g.shape) - square)
            estimate = square
        u = g / np.sqrt(larger(estimate, least * least))
        size = np.sqrt((u * u).mean(axis=-1, keepdims=True))
        scale = max(_LEAST_SCALE, float(np.sqrt((w * w).mean())))
        yield scale * u / larger(size / n["bound"], 1.0)


_LEAST_SCALE: Final = 1e-3
"""The least root mean square of a leaf that Adafactor's step is relative to, in all libraries."""


def _in_optax(t: int, power: Any) -> Any:
    """The share of the newest squares as Optax computes it, in JAX's own float32."""
    decay = 1.0 - jnp.asarray(t, jnp.float32) ** -jnp.asarray(np.real(power), jnp.float32)
    slope = 1j * np.imag(float(t) ** -power) if np.iscomplexobj(power) else 0.0
    return np.asarray(1.0 - decay, np.float64) + slope


def _muon(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    b = n["momentum"]
    first: Any = 0.0
    for t, g in enumerate(gradients, 1):
        first = b * first + (1 - b) * g
        later, now = (1 - b ** (t + 1), 1 - b**t) if spec.corrected == "both" else (1.0, 1.0)
        u = b * first / later + (1 - b) * g / now if spec.nesterov else first / now
        shaped = u.reshape(len(u), *leaf.shape)
        yield (_in_bfloat16 if spec.bfloat16 else _orthogonalized)(shaped).reshape(u.shape)


def _orthogonalized(x: np.ndarray) -> np.ndarray:
    a, b, c = _COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    x = x.swapaxes(-1, -2) if tall else x
    x = x / np.sqrt((x * x).sum(axis=(-1, -2), keepdims=True))
    for _ in range(_ITERATIONS):
        gram = x @ x.swapaxes(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.swapaxes(-1, -2) if tall else x


def _in_bfloat16(x: np.ndarray) -> np.ndarray:
    """The same as PyTorch computes it: every product summed in float32, and rounded to 8 bits."""
    a, b, c = (np.float32(each) for each in _COEFFICIENTS)

    def narrow(wide: np.ndarray) -> np.ndarray:
        return wide.astype(jnp.bfloat16).astype(np.float32)

    tall = x.shape[-2] > x.shape[-1]
    x = narrow(np.real(x.swapaxes(-1, -2) if tall else x))
    x = narrow(x / narrow(np.sqrt((x * x).sum(axis=(-1, -2), keepdims=True))))
    for _ in range(_ITERATIONS):
        gram = narrow(x @ x.swapaxes(-1, -2))
        x = narrow(a * x + narrow(b * gram + c * (gram @ gram)) @ x)
    return np.asarray(x.swapaxes(-1, -2) if tall else x, np.float64)


KERNELS: Final[Mapping[str, Kernel]] = {
    **COMMON,
    "adan": _adan,
    "ademamix": _ademamix,
    "simplified ademamix": _simplified,
    "acprop": _acprop,
    "cocob": _cocob,
    "adopt": _adopt,
    "lion": _lion,
    "sign": _sign,
    "rprop": _rprop,
    "optimistic": _optimistic,
    "optimistic adam": _optimistic_adam,
    "novograd": _novograd,
    "sm3": _sm3,
    "adafactor": _adafactor,
    "muon": _muon,
}
