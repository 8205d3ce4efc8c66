"""The network's own loss on two planes, and the optimizers' paths projected onto them (D28)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.config import Config, default_hyper
from jaxmnist.data import Dataset, load_dataset
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Among, Each, Numbers
from jaxmnist.model import MLP
from jaxmnist.training import BatchMetrics, Params, eval_step

EVERY: Final = 134
"""Steps from one snapshot of a run to the next: an epoch's 938 are seven times as many."""
PATH_EPOCHS: Final = 5
IMAGES: Final = 2048
"""Training images whose loss is the surface; the first of the data set."""
GRID: Final = 51
AROUND: Final = "sgd"
"""Whose end the random plane is drawn around."""
THROUGH: Final = ("sgd", "adagrad", "adam")
"""Whose ends the second plane goes through."""


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    # The data are an argument of every program, so that none has them compiled in.
    some = (jnp.asarray(mnist.train_images[:IMAGES]), jnp.asarray(mnist.train_labels[:IMAGES]))
    paths = {}
    for name, path in _paths(mnist):
        paths[name] = path
        on_progress(0.7 * len(paths) / len(optim.NAMES))
    start = _point(paths["sgd"], 0)
    ends = {name: _point(path, -1) for name, path in paths.items()}
    centre = ends[AROUND]
    random = landscapes.random_plane(jax.random.key(1), centre)
    through = landscapes.plane_through(*(ends[name] for name in THROUGH))
    unit = np.array([[-1, 1], [-1, 1]], np.float32)

    project = jax.jit(jax.vmap(landscapes.project, in_axes=(None, 0)))
    share = jax.jit(landscapes.share_in_plane)
    measure = jax.jit(_measure)
    measure_plane = jax.jit(_measure_plane)

    def cut(plane: landscapes.Plane, box: np.ndarray | None = None) -> dict[str, Any]:
        projected = {name: np.asarray(project(plane, path)) for name, path in paths.items()}
        if box is None:
            box = _square_around(np.concatenate(list(projected.values())))
        xs, ys = (jnp.linspace(low, high, GRID) for low, high in box)
        metrics = measure_plane(plane, xs, ys, *some)
        return {
            "xs": xs,
            "ys": ys,
            "loss": metrics.loss,
            "accuracy": metrics.accuracy,
            "paths": projected,
            "shares": {name: share(plane, start, end) for name, end in ends.items()},
            "loss_of_shadow": {
                name: measure(_shadow(plane, end), *some).loss for name, end in ends.items()
            },
        }

    cuts = {"random": cut(random, unit)}
    on_progress(0.85)
    cuts["through"] = cut(through)
    return {
        "seed": 0,
        "epochs": PATH_EPOCHS,
        "images": IMAGES,
        "steps_between_points": EVERY,
        "around_end_of": AROUND,
        "cosine_of_random_directions": _cosine(random),
        "through_ends_of": THROUGH,
        "loss_at_end": {name: measure(end, *some).loss for name, end in ends.items()},
        **cuts,
    }


def _draw(data: Data) -> Figure:
    def cut(name: str, in_plane: Sequence[str]) -> plots.Cut:
        numbers = data[name]
        return plots.Cut(
            *(np.array(numbers[field]) for field in ("xs", "ys", "loss")),
            paths={optimizer: np.array(path) for optimizer, path in numbers["paths"].items()},
            shares=numbers["shares"],
            heights={optimizer: data["loss_at_end"][optimizer] for optimizer in in_plane},
        )

    label = {name: look.label for name, look in plots.OPTIMIZERS.items()}
    around, through = data["around_end_of"], data["through_ends_of"]
    here, shadow = data["loss_at_end"], data["through"]["loss_of_shadow"]
    farthest = max(here, key=lambda name: shadow[name] / here[name])
    ends = ", ".join(label[name] for name in through[:-1]) + f" and {label[through[-1]]}"
    title = (
        f"The network's own loss, on {data['images']:,} training images, and six optimizers' real "
        f"paths from one start (★)\nthrough the same {data['epochs']} epochs of batches. Only a "
        "path's shadow lies in a plane, and the height there is not its own:\n"
        f"{label[farthest]} ends at {here[farthest]:.2f} nats, and its shadow on the right at "
        f"{shadow[farthest]:.2f}. On the solids are the ends that do lie in the plane."
    )
    return plots.loss_surface(
        {
            f"Around {label[around]}'s end, along two random directions\n"
            "(1: every unit's weights change by their own length)": cut("random", [around]),
            f"Through the ends of {ends}\n(in units of distance)": cut("through", through),
        },
        title,
    )


def _paths(mnist: Dataset) -> Iterator[tuple[str, Params]]:
    """The snapshots of every optimizer's run, from one start through the same batches."""
    data = mnist.arrays()
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=PATH_EPOCHS)
        run = jax.jit(landscapes.make_course(config, every=EVERY))
        _, trajectory = run(jax.random.key(0), default_hyper(config), data)
        yield name, trajectory.snapshots


def _measure_plane(
    plane: landscapes.Plane, xs: Array, ys: Array, images: Array, labels: Array
) -> BatchMetrics:
    return landscapes.loss_on_plane(
        lambda params: _measure(params, images, labels), plane, xs, ys, batch_size=8
    )


def _measure(params: Params, images: Array, labels: Array) -> BatchMetrics:
    return eval_step(params, images, labels, apply_fn=MLP().apply)


def _point(path: Params, index: int) -> Params:
    return jax.tree.map(lambda leaf: leaf[index], path)


def _shadow(plane: landscapes.Plane, params: Params) -> Params:
    return landscapes.point_on(plane, *landscapes.project(plane, params))


def _cosine(plane: landscapes.Plane) -> float:
    u, v = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(side)]) for side in plane[1:])
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def _square_around(points: np.ndarray) -> np.ndarray:
    """The sides [low, high] of a square with some room around all points."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = 0.62 * (high - low).max()
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1).astype(np.float32)


_CUT: Final = {
    **dict.fromkeys(("xs", "ys"), Numbers("grid")),
    "loss": Numbers("grid grid"),
    "paths": Each(Numbers("points 2"), optim.NAMES),
    "shares": Each(Numbers(), optim.NAMES),
    "loss_of_shadow": Each(Numbers(), optim.NAMES),
}
_FORM: Final = {
    **dict.fromkeys(("epochs", "images"), Numbers(least=1, whole=True)),
    "around_end_of": Among(optim.NAMES),
    "through_ends_of": [Among(optim.NAMES)],
    "loss_at_end": Each(Numbers(), optim.NAMES),
    "random": _CUT,
    "through": _CUT,
}

PICTURE: Final = Picture(
    "loss_surface", "D28", _compute, _draw, themes=("light", "dark"), form=_FORM
)
