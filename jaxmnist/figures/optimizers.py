"""The tutorial's network trained by the six optimizers (D28)."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data import Arrays, load_dataset
from jaxmnist.figures.loss_surface import EVERY
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Each, Numbers
from jaxmnist.model import MLP
from jaxmnist.training import BatchMetrics, Params, average, evaluate, make_train

EPOCHS: Final = 8
SEEDS: Final = 5
TIMING_ROUNDS: Final = 5
GOAL: Final = 0.97
"""The test accuracy that the steps are counted to."""


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    data = load_dataset("mnist").arrays()
    curves = {}
    runs = len(optim.NAMES) * SEEDS
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=EPOCHS)
        run = jax.jit(partial(_evaluated_run, config))
        seeds = []
        for seed in range(SEEDS):
            trajectory = run(jax.random.key(seed), default_hyper(config), data)
            seeds.append(jax.tree.map(np.asarray, trajectory))
            on_progress(0.9 * (len(curves) * SEEDS + seed + 1) / runs)
        curves[name] = {
            "learning_rate": default_hyper(config)["learning_rate"],
            # The mean over an epoch's batches, each measured before its own step (D9).
            "train_loss": [run.batches.loss.reshape(EPOCHS, -1).mean(axis=1) for run in seeds],
            "test_loss": [run.snapshots.loss for run in seeds],
            "test_accuracy": [run.snapshots.accuracy for run in seeds],
            "steps": seeds[0].steps,
        }
    return {
        "seeds": range(SEEDS),
        "epochs": EPOCHS,
        "goal": GOAL,
        "curves": curves,
        "time_over_sgd": _time_over_sgd(data),
    }


def _draw(data: Data) -> Figure:
    curves = data["curves"]
    per_epoch = _snapshots_per_epoch(data)
    test_error = {
        name: 1 - np.array(run["test_accuracy"])[:, per_epoch::per_epoch]
        for name, run in curves.items()
    }
    last = {name: errors[:, -1].mean() for name, errors in test_error.items()}
    by_error = sorted(last, key=lambda name: np.nan_to_num(last[name], nan=np.inf))
    least, greatest = by_error[0], by_error[-1]
    title = (
        f"The tutorial's network under six optimizers, each at its own default rate η: the mean of "
        f"{len(data['seeds'])} seeds,\nin a band from minimum to maximum. After the last "
        f"epoch the test error is from {last[least]:.1%} ({plots.OPTIMIZERS[least].label}) "
        f"to {last[greatest]:.1%} ({plots.OPTIMIZERS[greatest].label})"
    )
    return plots.training_comparison(
        train_loss={name: np.array(run["train_loss"]) for name, run in curves.items()},
        test_error=test_error,
        rates={name: run["learning_rate"] for name, run in curves.items()},
        title=title,
    )


def _evaluated_run(config: Config, key: Array, hyper: Hyper, data: Arrays) -> landscapes.Trajectory:
    """A run with the tutorial's two test metrics at every snapshot."""

    def observe(params: Params) -> BatchMetrics:
        metrics = evaluate(
            params,
            data.test_images,
            data.test_labels,
            apply_fn=MLP().apply,
            batch_size=config.eval_batch_size,
        )
        return average(metrics, config.eval_batch_size, data.test_labels.size)[0]

    _, trajectory = landscapes.make_course(config, every=EVERY, observe=observe)(key, hyper, data)
    return trajectory


def _time_over_sgd(data: Arrays) -> dict[str, np.ndarray]:
    """Seconds of an epoch with its evaluation, as ratios to SGD's of the same round."""
    key = jax.random.key(0)
    programs = {}
    for name in optim.NAMES:
        config = Config(optimizer=name, epochs=1)
        programs[name] = partial(jax.jit(make_train(config)), key, default_hyper(config), data)
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


def _snapshots_per_epoch(data: Data) -> int:
    """The number of snapshots in an epoch; there is one more before the first."""
    steps = next(iter(data["curves"].values()))["steps"]
    return (len(steps) - 1) // data["epochs"]


def _table(data: Data) -> str:
    rounds = len(data["time_over_sgd"]["sgd"])
    lines = [
        f"Six optimizers on the tutorial's network, {data['epochs']} epochs, "
        f"{len(data['seeds'])} seeds each: mean ± standard deviation over the seeds, except where "
        "it says median, which stands with the minimum and the maximum.",
        "",
        "| optimizer | η | train loss, last epoch | test accuracy, last epoch "
        "| test accuracy, best epoch | time of an epoch over SGD's, median "
        f"| steps to {data['goal']:.0%} test accuracy, median |",
        "|---|---|---|---|---|---|---|",
    ]
    per_epoch = _snapshots_per_epoch(data)
    for name, run in data["curves"].items():
        every = np.array(run["test_accuracy"])
        accuracies = every[:, per_epoch::per_epoch]
        rate = run["learning_rate"]
        cells = [
            plots.OPTIMIZERS[name].label,
            "none" if rate is None else f"{rate:g}",
            _mean_and_spread(np.array(run["train_loss"])[:, -1]),
            _mean_and_spread(accuracies[:, -1]),
            _mean_and_spread(np.nanmax(accuracies, axis=1)),
            _median_and_range(np.array(data["time_over_sgd"][name]), "{:.2f}"),
            _steps_to(data["goal"], every, np.array(run["steps"])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Accuracy is the tutorial's mean over test batches, seen every "
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


_FORM: Final = {
    "seeds": Numbers("seeds", whole=True),
    "epochs": Numbers(least=1, whole=True),
    "goal": Numbers(least=0, most=1),
    "curves": Each(
        {
            "learning_rate": Numbers(none=True),
            "train_loss": Numbers("seeds epochs"),
            "test_accuracy": Numbers("seeds snapshots", 0, 1),
            "steps": Numbers("snapshots", least=0, whole=True),
        },
        optim.NAMES,
    ),
    "time_over_sgd": Each(Numbers("rounds"), optim.NAMES),
}

PICTURE: Final = Picture(
    "optimizers", "D28", _compute, _draw, table=_table, themes=("light", "dark"), form=_FORM
)
