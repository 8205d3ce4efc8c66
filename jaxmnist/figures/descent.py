"""Part C of the document: Taylor's formula, and why gradient descent descends (D14, D17 to D19)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key
from matplotlib.figure import Figure

from jaxmnist import optim, plots
from jaxmnist.calculus import (
    change_by_angle,
    gradient_steps,
    largest_decreasing_rate,
    largest_eigenvalue,
    taylor,
    taylor_coefficients,
)
from jaxmnist.config import Config, hyper
from jaxmnist.data import load_dataset
from jaxmnist.data.dataset import Arrays
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.model import MLP
from jaxmnist.training import (
    TrainState,
    epoch_order,
    eval_step,
    init,
    scan_batches,
    train_step,
)

# ------------------------------------------------------------------------- the real network


class NetworkSteps(NamedTuple):
    """Every step of an epoch of SGD: what was predicted for its batch's loss, and what came."""

    loss: Float[Array, " steps"]
    """The batch's loss before the step."""
    first_order: Float[Array, " steps"]
    """``-η‖g‖²``."""
    second_order: Float[Array, " steps"]
    """``-η‖g‖² + η²/2 gᵀHg``, with the Hessian of the batch's loss."""
    measured: Float[Array, " steps"]
    """The same batch's loss after the step, minus before."""
    curvature: Float[Array, " steps"]
    """``gᵀHg / ‖g‖²``."""
    largest_eigenvalue: Float[Array, " steps"]
    """Of H; NaN at the steps that were not probed."""
    largest_rate: Float[Array, " steps"]
    """The largest η that would have lowered the batch's loss; NaN likewise."""


def network_steps(
    key: Key[Array, ""],
    learning_rate: Float[Array, ""],
    data: Arrays,
    config: Config,
    probed: Bool[Array, " steps"],
) -> NetworkSteps:
    """Take the first epoch of a run of SGD, and hold every step against its prediction.

    The weights, the order of the images and the steps are those of `jaxmnist.make_train`.

    Args:
        key: The run's.
        learning_rate: η.
        data: Images and labels; the test part is not read.
        config: Layers and batch size; the optimizer is SGD.
        probed: At which steps the eigenvalue and the largest rate are found, which takes hundreds
            of times as long as a step.

    Returns:
        One value per step, the short last batch included.

    Source: document row D19.
    """
    apply_fn = MLP(config.hidden).apply
    tx = optim.sgd(learning_rate)
    rates = jnp.geomspace(1e-3, 1e3, 61)
    samples = data.train_labels.size
    order = epoch_order(key, 0, samples)

    def step(
        state: TrainState, inputs: tuple[Int[Array, " batch"], Int[Array, ""], Bool[Array, ""]]
    ) -> tuple[TrainState, NetworkSteps]:
        batch, index, is_probed = inputs
        images, labels = data.train_images[batch], data.train_labels[batch]

        def loss(params: Any) -> Float[Array, ""]:
            return eval_step(params, images, labels, apply_fn=apply_fn).loss

        def probe(params: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
            return (
                largest_eigenvalue(loss, params, jax.random.fold_in(key, index)).value,
                largest_decreasing_rate(loss, params, rates),
            )

        predicted = gradient_steps(loss, state.params, learning_rate[None])
        eigenvalue, largest_rate = jax.lax.cond(
            is_probed, probe, lambda _: (jnp.array(jnp.nan),) * 2, state.params
        )
        after, before = train_step(state, images, labels, apply_fn=apply_fn, tx=tx)
        return after, NetworkSteps(
            loss=before.loss,
            first_order=predicted.first_order[0],
            second_order=predicted.second_order[0],
            measured=loss(after.params) - before.loss,
            curvature=predicted.curvature,
            largest_eigenvalue=eigenvalue,
            largest_rate=largest_rate,
        )

    def numbered(
        carry: tuple[TrainState, Int[Array, ""]], batch: Int[Array, " batch"]
    ) -> tuple[tuple[TrainState, Int[Array, ""]], NetworkSteps]:
        state, index = carry
        state, row = step(state, (batch, index, probed[index]))
        return (state, index + 1), jax.tree.map(lambda value: value[None], row)

    start = init(key, {"learning_rate": learning_rate}, config), jnp.array(0)
    _, steps = scan_batches(numbered, start, order, config.batch_size)
    return steps


PROBED_EVERY: Final = 42


def _descent_network(report: Report) -> Mapping[str, Any]:
    config = Config()
    rate = hyper(config)["learning_rate"]
    data = load_dataset("mnist").arrays()
    count = -(-data.train_labels.size // config.batch_size)
    probed = np.arange(count) % PROBED_EVERY == 0
    run = jax.jit(network_steps, static_argnames="config")
    steps = run(jax.random.key(config.seed), jnp.float32(rate), data, config, jnp.asarray(probed))
    report(1.0)
    return {
        "seed": config.seed,
        "learning_rate": rate,
        "first_order": steps.first_order,
        "second_order": steps.second_order,
        "measured": steps.measured,
        "curvature": steps.curvature,
        "probed": np.flatnonzero(probed),
        "largest_eigenvalue": steps.largest_eigenvalue[probed],
        "largest_rate": steps.largest_rate[probed],
    }


def _draw_descent_network(data: Data) -> Figure:
    return plots.descent_network(
        **_arrays(data, "first_order", "measured", "curvature", "probed"),
        **_arrays(data, "largest_eigenvalue", "largest_rate"),
        learning_rate=data["learning_rate"],
    )


# ------------------------------------------------------------------------- simple losses


def _gradient_descent(report: Report) -> Mapping[str, Any]:
    del report
    rates = jnp.array([0.1, 0.25, 0.85, 1.05])

    def loss(w: Float[Array, ""]) -> Float[Array, ""]:
        return (w - 2) ** 2

    def descend(rate: Float[Array, ""]) -> Float[Array, " steps"]:
        tx = optim.sgd(rate)

        def step(carry: Any, _: None) -> tuple[Any, Float[Array, ""]]:
            w, state = carry
            updates, state = tx.update(jax.grad(loss)(w), state)
            return (optax.apply_updates(w, updates), state), w

        start = jnp.array(-1.0)
        return jax.lax.scan(step, (start, tx.init(start)), length=13)[1]

    paths = jax.vmap(descend)(rates)
    w = jnp.linspace(-3.5, 7.5, 111)
    return {
        "rates": rates,
        "curvature": jax.hessian(loss)(w[0]),
        "w": w,
        "loss": jax.vmap(loss)(w),
        "paths": paths,
        "losses": jax.vmap(jax.vmap(loss))(paths),
    }


def _draw_gradient_descent(data: Data) -> Figure:
    return plots.gradient_descent(
        **_arrays(data, "rates", "w", "loss", "paths", "losses"), curvature=data["curvature"]
    )


def _taylor(report: Report) -> Mapping[str, Any]:
    del report
    with jax.enable_x64(True):
        x = jnp.linspace(-3.0, 3.0, 121)
        radii, orders = jnp.array([1.0, 2.0, 3.0]), jnp.arange(26.0)
        coefficients = taylor_coefficients(jnp.exp, 0.0, 25)
        # Row k is the polynomial of order k: that of order k - 1 with one more term.
        polynomials = jnp.cumsum(coefficients[:, None] * x[None] ** orders[:, None], axis=0)
        exact = jnp.exp(x)
        errors = jnp.abs(polynomials - exact[None])
        is_near = jnp.abs(x)[None] <= radii[:, None]
        return {
            "x": x,
            "exact": exact,
            "curves": {order: taylor(jnp.exp, 0.0, order)(x) for order in (1, 5)},
            "orders": orders,
            "radii": radii,
            "errors": jnp.max(errors[None], axis=2, where=is_near[:, None], initial=0.0),
        }


def _draw_taylor(data: Data) -> Figure:
    return plots.taylor(
        **_arrays(data, "x", "exact", "orders", "radii", "errors"),
        curves={int(order): np.array(values) for order, values in data["curves"].items()},
    )


def _descent_1d(report: Report) -> Mapping[str, Any]:
    del report

    def exponential(w: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.exp(w) - w

    cases = {
        "L = w²: constant curvature": (jnp.square, 1.0, 1.6),
        "L = eʷ - w from the right: it falls": (exponential, 1.0, 1.8),
        "L = eʷ - w from the left: it rises": (exponential, -0.7, 4.4),
    }
    return {"cases": [_case(title, *case) for title, case in cases.items()]}


def _case(title: str, loss: Any, start: float, longest: float) -> Mapping[str, Any]:
    w0, rates = jnp.array(start), jnp.linspace(0.0, longest, 121)
    slope = jax.grad(loss)(w0)
    steps = gradient_steps(loss, w0, rates)
    ends = w0 - rates * slope
    margin = 0.12 * jnp.abs(ends[-1] - w0)
    w = jnp.linspace(jnp.minimum(w0, ends[-1]) - margin, jnp.maximum(w0, ends[-1]) + margin, 121)
    return {
        "title": title,
        "w": w,
        "loss": jax.vmap(loss)(w),
        "start": w0,
        "slope": slope,
        "curvature": steps.curvature,
        "rates": rates,
        "first_order": steps.first_order,
        "second_order": steps.second_order,
        "measured": steps.measured,
        "largest_rate": largest_decreasing_rate(loss, w0, jnp.geomspace(1e-3, 20.0, 200)),
    }


def _draw_descent_1d(data: Data) -> Figure:
    arrays = ("w", "loss", "rates", "first_order", "second_order", "measured")
    return plots.descent_1d([{**case, **_arrays(case, *arrays)} for case in data["cases"]])


def _descent_2d(report: Report) -> Mapping[str, Any]:
    del report
    w0 = jnp.array([1.6, 0.9])

    def loss(w: Float[Array, "2"]) -> Float[Array, ""]:
        return w[0] ** 2 / 2 + 2 * w[1] ** 2

    gradient = jax.grad(loss)(w0)
    degrees = jnp.arange(0.0, 361.0)
    quarter_turn = jnp.array([-gradient[1], gradient[0]])
    lengths = jnp.array([0.02, 0.4, 1.0])
    _, measured = jax.vmap(
        lambda length: change_by_angle(loss, w0, quarter_turn, jnp.deg2rad(degrees), length)
    )(lengths)
    w1, w2 = jnp.linspace(-1.0, 3.4, 81), jnp.linspace(-1.4, 2.4, 71)
    grid = jnp.stack(jnp.meshgrid(w1, w2), axis=-1)
    return {
        "w1": w1,
        "w2": w2,
        "loss": jax.vmap(jax.vmap(loss))(grid),
        "start": w0,
        "gradient": gradient,
        "degrees": degrees,
        "lengths": lengths,
        "changes": measured / (lengths * jnp.linalg.norm(gradient))[:, None],
    }


def _draw_descent_2d(data: Data) -> Figure:
    return plots.descent_2d(
        **_arrays(data, "w1", "w2", "loss", "start", "gradient", "degrees", "lengths", "changes")
    )


def _arrays(data: Data, *names: str) -> dict[str, np.ndarray]:
    """Some of the data as arrays, with NaN where JSON has nothing."""
    return {name: np.array(data[name], float) for name in names}


PICTURES: Final = (
    Picture("gradient_descent", "D14", _gradient_descent, _draw_gradient_descent),
    Picture("taylor", "D17", _taylor, _draw_taylor),
    Picture("descent_1d", "D18", _descent_1d, _draw_descent_1d),
    Picture("descent_2d", "D19", _descent_2d, _draw_descent_2d),
    Picture("descent_network", "D19", _descent_network, _draw_descent_network),
)
