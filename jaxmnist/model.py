"""The tutorial's network: a multilayer perceptron in PyTorch's layout and initial distribution."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key


def uniform_in_fan_in(
    key: Key[Array, ""], shape: tuple[int, ...], fan_in: int
) -> Float[Array, "..."]:
    """Draw from the uniform distribution on ``[-1/sqrt(fan_in), 1/sqrt(fan_in))``.

    PyTorch draws the weights and the bias of every ``nn.Linear`` from it. The variance is
    ``1 / (3 fan_in)``.

    Args:
        key: The source of randomness.
        shape: Shape of the result.
        fan_in: Inputs of one output unit.

    Returns:
        Samples drawn in float32, so that a key gives the same ones in every precision; of JAX's
        default dtype, float64 where that is enabled.

    Source: tutorial row D7.

    >>> bool(jnp.all(jnp.abs(uniform_in_fan_in(jax.random.key(0), (100,), fan_in=4)) <= 0.5))
    True
    """
    bound = fan_in**-0.5
    samples = jax.random.uniform(key, shape, jnp.float32, minval=-bound, maxval=bound)
    return samples.astype(jnp.result_type(float))


class Dense(nn.Module):
    """An affine layer ``y = x W^T + b`` with W of shape (out, in), as PyTorch stores it."""

    features: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch features"]:
        """Apply the layer to a batch."""
        fan_in = x.shape[-1]
        weight = self.param("weight", uniform_in_fan_in, (self.features, fan_in), fan_in)
        bias = self.param("bias", uniform_in_fan_in, (self.features,), fan_in)
        # Contracting the last axis of both reads W in its stored layout, without a transpose.
        # Without a dtype the parameters' own is used, so float64 parameters give a float64 network.
        x, weight, bias = (a.astype(self.dtype or weight.dtype) for a in (x, weight, bias))
        return jnp.einsum("bi,oi->bo", x, weight) + bias[None, :]


class MLP(nn.Module):
    """Multilayer perceptron: ReLU after every hidden layer, none after the last.

    ``h_0 = x``, ``h_k = max(0, W_k h_{k-1} + b_k)``, ``logits = W_K h_{K-1} + b_K``; every W and
    b starts uniform in ``+-1/sqrt(fan_in)``. With its defaults on 28x28 images it is the
    tutorial's 784-256-128-64-20-10 with 243,622 parameters.

    Attributes:
        hidden: Sizes of the hidden layers, first to last; empty for softmax regression.
        num_classes: Number of logits.
        dtype: What the layers compute in, such as bfloat16; None for the parameters' own dtype.
            The logits are in no less than float32, and so is any loss of them.

    Source: tutorial row D7.

    >>> model = MLP()
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> model.apply(params, jnp.zeros((64, 28, 28))).shape
    (64, 10)
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    243622
    """

    hidden: tuple[int, ...] = (256, 128, 64, 20)
    num_classes: int = 10
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch *features"]) -> Float[Array, "batch classes"]:
        """Map a batch of images, flat or 28x28, to logits."""
        h = x.reshape(x.shape[0], -1)
        for index, size in enumerate(self.hidden):
            h = nn.relu(Dense(size, self.dtype, name=f"dense_{index}")(h))
        logits = Dense(self.num_classes, self.dtype, name=f"dense_{len(self.hidden)}")(h)
        return logits.astype(jnp.float32) if jnp.finfo(logits.dtype).bits < 32 else logits
