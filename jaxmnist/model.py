"""The tutorial's network: a multilayer perceptron in PyTorch's layout and initial distribution."""

import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key


def uniform_in_fan_in(
    key: Key[Array, ""], sizes: tuple[int, ...]
) -> list[tuple[Float[Array, "outputs inputs"], Float[Array, " outputs"]]]:
    """Draw every layer's weight and bias uniformly from ``[-1/sqrt(fan_in), 1/sqrt(fan_in))``.

    PyTorch draws the weights and the bias of every ``nn.Linear`` from this distribution, whose
    variance is ``1 / (3 fan_in)``. Here one draw of all numbers is cut into the leaves, in the
    order of the layers and the weight before its bias: it compiles in a tenth of the time that a
    draw for each leaf takes.

    Args:
        key: The source of randomness.
        sizes: Units of the input and of every layer, first to last.

    Returns:
        For each layer its weight and its bias, drawn in float32, so that a key gives the same
        numbers in every precision; of JAX's default dtype, float64 where that is enabled.

    Source: tutorial row D7.

    >>> (weight, bias), _ = uniform_in_fan_in(jax.random.key(0), (4, 3, 2))
    >>> weight.shape, bias.shape, bool(jnp.all(jnp.abs(weight) <= 0.5))
    ((3, 4), (3,), True)
    """
    pairs = list(itertools.pairwise(sizes))
    count = sum(outputs * (inputs + 1) for inputs, outputs in pairs)
    draw = jax.random.uniform(key, (count,), jnp.float32, minval=-1.0, maxval=1.0)
    layers, start = [], 0
    for inputs, outputs in pairs:
        middle, end = start + outputs * inputs, start + outputs * (inputs + 1)
        leaves = (draw[start:middle].reshape(outputs, inputs), draw[middle:end])
        layers.append(
            tuple((inputs**-0.5 * leaf).astype(jnp.result_type(float)) for leaf in leaves)
        )
        start = end
    return layers


class Dense(nn.Module):
    """An affine layer ``y = x W^T + b`` with W of shape (out, in), as PyTorch stores it."""

    features: int
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch inputs"],
        start: tuple[Float[Array, "features inputs"], Float[Array, " features"]] | None = None,
    ) -> Float[Array, "batch features"]:
        """Apply the layer to a batch; ``init`` alone needs the initial weight and bias."""
        shapes = (self.features, x.shape[-1]), (self.features,)
        # Where parameters exist, Flax asks for the initial ones' shapes alone.
        weight, bias = (
            self.param(name, lambda _, i=i: jnp.zeros(shapes[i]) if start is None else start[i])
            for i, name in enumerate(("weight", "bias"))
        )
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
        sizes = (*self.hidden, self.num_classes)
        if self.is_initializing():
            starts = uniform_in_fan_in(self.make_rng("params"), (h.shape[1], *sizes))
        else:
            starts = [None] * len(sizes)
        for index, (size, start) in enumerate(zip(sizes, starts, strict=True)):
            h = Dense(size, self.dtype, name=f"dense_{index}")(
                h if index == 0 else nn.relu(h), start
            )
        return h.astype(jnp.float32) if jnp.finfo(h.dtype).bits < 32 else h
