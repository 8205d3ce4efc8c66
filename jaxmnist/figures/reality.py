"""Part D's end: the network's own loss surface, and the six optimizers in training (D28)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.config import Config, Hyper, hyper
from jaxmnist.data import Dataset, load_dataset
from jaxmnist.data.dataset import Arrays
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.model import MLP
from jaxmnist.training import BatchMetrics, Params, average, eval_step, evaluate, make_train

EVERY: Final = 134
"""Steps from one look at a run to the next: an epoch's 938 are seven times as many."""

PATH_EPOCHS: Final = 5
IMAGES: Final = 2048
"""Training images whose loss is the surface; the first of the data set."""
GRID: Final = 51
AROUND: Final = "sgd"
"""Whose end the random plane is drawn around."""
THROUGH: Final = ("sgd", "adagrad", "adam")
"""Whose ends the second plane goes through."""

EPOCHS: Final = 8
SEEDS: Final = 5
TIMING_ROUNDS: Final = 5
GOAL: Final = 0.97
"""The test accuracy that the steps are counted to."""


def _loss_surface(report: Report) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    # The data are an argument of every program, so that none has them compiled in.
    some = (jnp.asarray(mnist.train_images[:IMAGES]), jnp.asarray(mnist.train_labels[:IMAGES]))
    paths = {}
    for name, path in _paths(mnist):
        paths[name] = path
        report(0.7 * len(paths) / len(optim.NAMES))
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
    report(0.85)
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


def _paths(mnist: Dataset) -> Iterator[tuple[str, Params]]:
    """Every optimizer's parameters on its way from one start through the same batches."""
    data = mnist.arrays()
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=PATH_EPOCHS)
        course = jax.jit(landscapes.make_course(config, every=EVERY))
        _, watched = course(jax.random.key(0), hyper(config), data)
        yield name, watched.seen


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


def _draw_loss_surface(data: Data) -> Figure:
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


def _optimizers(report: Report) -> Mapping[str, Any]:
    data = load_dataset("mnist").arrays()
    curves = {}
    runs = len(optim.NAMES) * SEEDS
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=EPOCHS)
        course = jax.jit(partial(_evaluated_course, config))
        seeds = []
        for seed in range(SEEDS):
            watched = course(jax.random.key(seed), hyper(config), data)
            seeds.append(jax.tree.map(np.asarray, watched))
            report(0.9 * (len(curves) * SEEDS + seed + 1) / runs)
        curves[name] = {
            "learning_rate": hyper(config)["learning_rate"],
            # The mean over an epoch's batches, each measured before its own step (D9).
            "train_loss": [run.batches.loss.reshape(EPOCHS, -1).mean(axis=1) for run in seeds],
            "test_loss": [run.seen.loss for run in seeds],
            "test_accuracy": [run.seen.accuracy for run in seeds],
            "steps": seeds[0].steps,
        }
    return {
        "seeds": range(SEEDS),
        "epochs": EPOCHS,
        "goal": GOAL,
        "curves": curves,
        "time_over_sgd": _time_over_sgd(data),
    }


def _evaluated_course(config: Config, key: Array, hyper: Hyper, data: Arrays) -> landscapes.Course:
    """A run with the document's two test figures at every look."""

    def observe(params: Params) -> BatchMetrics:
        metrics = evaluate(
            params,
            data.test_images,
            data.test_labels,
            apply_fn=MLP().apply,
            batch_size=config.eval_batch_size,
        )
        return average(metrics, config.eval_batch_size, data.test_labels.size)[0]

    _, course = landscapes.make_course(config, every=EVERY, observe=observe)(key, hyper, data)
    return course


def _time_over_sgd(data: Arrays) -> dict[str, np.ndarray]:
    """Seconds of an epoch with its evaluation, as ratios to SGD's of the same round."""
    key = jax.random.key(0)
    programs = {}
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=1)
        programs[name] = partial(jax.jit(make_train(config)), key, hyper(config), data)
    seconds = {name: [] for name in programs}
    for _ in range(1 + TIMING_ROUNDS):
        for name, program in programs.items():
            clock = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - clock)
    # The first round compiles.
    return {
        name: np.array(values[1:]) / np.array(seconds["sgd"][1:])
        for name, values in seconds.items()
    }


def _draw_optimizers(data: Data) -> Figure:
    curves = data["curves"]
    per_epoch = _looks_per_epoch(data)
    test_error = {
        name: 1 - np.array(run["test_accuracy"])[:, per_epoch::per_epoch]
        for name, run in curves.items()
    }
    last = {name: errors[:, -1].mean() for name, errors in test_error.items()}
    least, greatest = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    title = (
        f"The document's network under six optimizers, each at its own default rate η: the mean of "
        f"{len(data['seeds'])} seeds,\nin a band from the least to the greatest. After the last "
        f"epoch the test error is from {last[least]:.1%} ({plots.OPTIMIZERS[least].label}) "
        f"to {last[greatest]:.1%} ({plots.OPTIMIZERS[greatest].label})"
    )
    return plots.training_comparison(
        train_loss={name: np.array(run["train_loss"]) for name, run in curves.items()},
        test_error=test_error,
        rates={name: run["learning_rate"] for name, run in curves.items()},
        title=title,
    )


def _looks_per_epoch(data: Data) -> int:
    """How often a run was seen in an epoch; before the first it was seen once."""
    steps = next(iter(data["curves"].values()))["steps"]
    return (len(steps) - 1) // data["epochs"]


def _optimizers_table(data: Data) -> str:
    rounds = len(data["time_over_sgd"]["sgd"])
    lines = [
        f"Six optimizers on the document's network, {data['epochs']} epochs, "
        f"{len(data['seeds'])} seeds each: mean ± standard deviation over the seeds, except where "
        "it says median, which stands with the least and the greatest.",
        "",
        "| optimizer | η | train loss, last epoch | test accuracy, last epoch "
        "| test accuracy, best epoch | time of an epoch over SGD's, median "
        f"| steps to {data['goal']:.0%} test accuracy, median |",
        "|---|---|---|---|---|---|---|",
    ]
    per_epoch = _looks_per_epoch(data)
    for name, run in data["curves"].items():
        every = np.array(run["test_accuracy"])
        accuracies = every[:, per_epoch::per_epoch]
        rate = run["learning_rate"]
        cells = [
            plots.OPTIMIZERS[name].label,
            "none" if rate is None else f"{rate:g}",
            _mean_and_spread(np.array(run["train_loss"])[:, -1]),
            _mean_and_spread(accuracies[:, -1]),
            _mean_and_spread(accuracies.max(axis=1)),
            _median_and_range(np.array(data["time_over_sgd"][name]), "{:.2f}"),
            _steps_to(data["goal"], every, np.array(run["steps"])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Accuracy is the document's mean over test batches, seen every "
        f"{EVERY} steps, so that steps are a multiple of it. Time is of an epoch with its "
        f"evaluation, {rounds} rounds of all six in turn, each over SGD's of its round.",
    ]
    return "\n".join(lines) + "\n"


def _mean_and_spread(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"


def _median_and_range(values: np.ndarray, form: str) -> str:
    low, middle, high = (form.format(f(values)) for f in (np.min, np.median, np.max))
    return f"{middle} ({low} to {high})"


def _steps_to(goal: float, accuracies: np.ndarray, steps: np.ndarray) -> str:
    """The first step seen at the goal, over the seeds that come there."""
    reached = accuracies >= goal
    first = steps[reached[reached.any(axis=1)].argmax(axis=1)]
    if not first.size:
        return "not reached"
    text = _median_and_range(first, "{:,.0f}")
    return text if len(first) == len(reached) else f"{text}; {len(first)} of {len(reached)} seeds"


PICTURES: Final = (
    Picture("loss_surface", "D28", _loss_surface, _draw_loss_surface, themes=("light", "dark")),
    Picture(
        "optimizers",
        "D28",
        _optimizers,
        _draw_optimizers,
        table=_optimizers_table,
        themes=("light", "dark"),
    ),
)
