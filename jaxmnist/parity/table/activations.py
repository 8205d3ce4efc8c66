"""The parity table's activations, and functions whose derivatives have kinks."""

import jax
import jax.numpy as jnp

from jaxmnist.parity.table.inputs import SEED, compare_functions
from jaxmnist.parity.table.row import DIFFERS, FLOAT32, Kind, Row


def rows() -> list[Row]:
    """Return the rows."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    kink = "the derivative at a kink"
    return [
        Row(lambda x: F.relu(x), lambda x: jax.nn.relu(x)),
        Row(
            lambda ties: F.relu(ties),
            lambda ties: jnp.maximum(ties, 0),
            DIFFERS,
            "At 0 PyTorch's derivative is 0; that of jnp.maximum is 1/2, jax.nn.relu's 0.",
            lambda ties: jax.nn.relu(ties),
            kink,
        ),
        Row(
            lambda ties: torch.abs(ties),
            lambda ties: jnp.abs(ties),
            DIFFERS,
            "At 0 PyTorch's derivative is 0, and JAX's is 1.",
            lambda ties: ties * jnp.sign(ties),
            kink,
        ),
        Row(
            lambda ties: torch.clamp(ties, -1, 1),
            lambda ties: jnp.clip(ties, -1, 1),
            DIFFERS,
            "At the bounds PyTorch's derivative is 1, and JAX's 1/2.",
            lambda ties: jnp.where(jnp.abs(ties) <= 1, ties, jnp.sign(ties)),
            kink,
        ),
        Row(
            lambda ties: torch.max(ties, -1).values,
            lambda ties: jnp.max(ties, -1),
            DIFFERS,
            "PyTorch's max(dim) gives one of equal maxima the gradient; JAX shares it, as amax.",
            lambda ties: jnp.take_along_axis(ties, jnp.argmax(ties, -1)[:, None], -1)[:, 0],
            kink,
        ),
        Row(lambda ties: torch.amax(ties, -1), lambda ties: jnp.max(ties, -1)),
        Row(
            lambda x: F.gelu(x),
            lambda x: jax.nn.gelu(x),
            DIFFERS,
            "JAX's default is the approximation by tanh, PyTorch's the exact one.",
            lambda x: jax.nn.gelu(x, approximate=False),
        ),
        Row(lambda x: F.gelu(x, approximate="tanh"), lambda x: jax.nn.gelu(x)),
        Row(lambda x: F.silu(x), lambda x: jax.nn.silu(x)),
        Row(lambda x: F.elu(x), lambda x: jax.nn.elu(x)),
        Row(lambda x: F.elu(x, alpha=0.5), lambda x: jax.nn.elu(x, 0.5)),
        Row(lambda x: F.selu(x), lambda x: jax.nn.selu(x)),
        Row(lambda x: F.celu(x, alpha=2.0), lambda x: jax.nn.celu(x, 2.0)),
        Row(
            lambda x: F.celu(x, alpha=2.0),
            lambda x: jax.nn.elu(x, 2.0),
            DIFFERS,
            "CELU divides the exponent by alpha.",
            lambda x: jax.nn.celu(x, 2.0),
        ),
        Row(lambda x: F.leaky_relu(x), lambda x: jax.nn.leaky_relu(x)),
        Row(
            lambda x: F.leaky_relu(x, 0.2),
            lambda x: jax.nn.leaky_relu(x),
            DIFFERS,
            "The slope's default is 0.01 in both.",
            lambda x: jax.nn.leaky_relu(x, 0.2),
        ),
        Row(lambda x: F.softplus(x), lambda x: jax.nn.softplus(x)),
        Row(
            lambda x: F.softplus(8 * x),
            lambda x: jax.nn.softplus(8 * x),
            DIFFERS,
            "Above the threshold of 20 PyTorch returns the input itself.",
            lambda x: jnp.where(8 * x > 20, 8 * x, jax.nn.softplus(8 * x)),
        ),
        Row(
            lambda x: F.softplus(x, beta=2.0),
            lambda x: jax.nn.softplus(x),
            DIFFERS,
            "JAX has no beta.",
            lambda x: jax.nn.softplus(2.0 * x) / 2.0,
        ),
        Row(lambda x: F.softsign(x), lambda x: jax.nn.soft_sign(x)),
        Row(lambda x: F.logsigmoid(x), lambda x: jax.nn.log_sigmoid(x)),
        Row(lambda x: torch.sigmoid(x), lambda x: jax.nn.sigmoid(x)),
        Row(
            lambda x: F.hardsigmoid(x),
            lambda x: jax.nn.hard_sigmoid(x),
            FLOAT32,
            "The values are equal; PyTorch's derivative has 1/6 rounded to float32.",
        ),
        Row(lambda x: F.hardswish(x), lambda x: jax.nn.hard_silu(x)),
        Row(lambda x: F.hardtanh(x), lambda x: jax.nn.hard_tanh(x)),
        Row(lambda x: F.relu6(x), lambda x: jax.nn.relu6(x)),
        Row(lambda x: F.mish(x), lambda x: jax.nn.mish(x)),
        Row(lambda x: F.glu(x), lambda x: jax.nn.glu(x)),
        Row(lambda x: F.softmin(x, -1), lambda x: jax.nn.softmax(-x)),
        Row(lambda x: F.softmax(x, -1), lambda x: jax.nn.softmax(x)),
        Row(
            lambda x: F.softmax(x, 0),
            lambda x: jax.nn.softmax(x),
            DIFFERS,
            "JAX's default axis is the last.",
            lambda x: jax.nn.softmax(x, axis=0),
        ),
        Row(lambda x: F.log_softmax(x, -1), lambda x: jax.nn.log_softmax(x)),
        Row(lambda x: torch.logsumexp(x, -1), lambda x: jax.nn.logsumexp(x, -1)),
        Row(lambda x: F.tanhshrink(x), lambda x: x - jnp.tanh(x)),
        Row(lambda x: F.hardshrink(x), lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0)),
        Row(lambda x: F.softshrink(x), lambda x: jnp.sign(x) * jax.nn.relu(jnp.abs(x) - 0.5)),
        Row(lambda x: F.threshold(x, 0.1, 2.0), lambda x: jnp.where(x > 0.1, x, 2.0)),
    ]


KIND = Kind(
    "Activations",
    rows,
    compare_functions,
    f"Values and gradients in float64, 4 × 10 elements, seed {SEED}.",
)
