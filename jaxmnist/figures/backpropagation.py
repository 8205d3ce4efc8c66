"""Backpropagation through a small network and its loss, drawn node by node (D12)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import losses, plots
from jaxmnist.calculus import trace_graph
from jaxmnist.data import load_dataset, normalize
from jaxmnist.figures.graph_data import FORM, as_data, as_graph, chain_rule_table
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.model import MLP

_DIGITS: Final = 4
_HIDDEN: Final = 8


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    mnist = load_dataset("mnist")
    x = normalize(jnp.asarray(mnist.train_images[:_DIGITS])).reshape(_DIGITS, -1)
    y = jax.nn.one_hot(mnist.train_labels[:_DIGITS], mnist.num_classes)
    params = MLP((_HIDDEN,), mnist.num_classes).init(jax.random.key(0), x)["params"]
    first, second = params["dense_0"], params["dense_1"]
    weights = (first["weight"], first["bias"], second["weight"], second["bias"])
    graph = trace_graph(
        _loss, x, *weights, y, folded=("custom_jvp", "softmax", "cross_entropy", "mean")
    )
    return as_data(graph)


def _draw(data: Data) -> Figure:
    graph = as_graph(data)
    w1, w2 = (np.linalg.norm(np.asarray(graph.nodes[name].gradient)) for name in ("w1", "w2"))
    return plots.graph(
        graph,
        f"One hidden layer and the cross-entropy of {_DIGITS} digits: shapes, norms of the values "
        f"(green) and of the gradients (red);\nthe gradient's norm at w1 is {w1:.3g} and at w2 "
        f"{w2:.3g}",
    )


def _loss(
    x: Float[Array, "batch inputs"],
    w1: Float[Array, "hidden inputs"],
    b1: Float[Array, " hidden"],
    w2: Float[Array, "classes hidden"],
    b2: Float[Array, " classes"],
    y: Float[Array, "batch classes"],
) -> Float[Array, ""]:
    """The network and its loss, written out so that each part has its letter."""
    h = jax.nn.relu(jnp.einsum("bi,hi->bh", x, w1) + b1[None, :])
    z = jnp.einsum("bh,ch->bc", checkpoint_name(h, "h"), w2) + b2[None, :]
    p = checkpoint_name(jax.jit(losses.softmax)(checkpoint_name(z, "z")), "p")
    loss = jax.jit(jnp.mean)(jax.jit(losses.cross_entropy)(y, p))
    return checkpoint_name(loss, "loss")


PICTURE: Final = Picture(
    "backpropagation", "D12", _compute, _draw, table=chain_rule_table, form=FORM
)
