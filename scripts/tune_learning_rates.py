"""Tune six optimizers' learning rates by the derivative of the loss through the whole run.

The loss is the mean over the batches of one short epoch, each measured before its own step: no
image has been trained on when it is measured, and the test set is not looked at. From the
document's rate, gradient descent on the rate's logarithm: the derivatives of three seeds, each
clipped to 1 because now and then one of them explodes, are averaged. What is kept is the best rate
seen. Then three other seeds train on all 60,000 images for an epoch with the rate before and with
the rate after, and are tested on the 10,000.

    python scripts/tune_learning_rates.py --out figures

Writes `tune_learning_rates.json` and draws `tune_learning_rates.png` from it. The budget of each
optimizer is 12 derivatives of 3 runs of 300 steps; some three minutes on two idle cores.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxmnist as jm
from jaxmnist import hypergradients, optim, plots, runs
from jaxmnist.data import Arrays

# Adadelta has no rate in the document, which is a rate of 1.
STARTS = {name: optim.hyperparameters(name)["learning_rate"] or 1.0 for name in optim.NAMES}
FIRST_STEP, STEP_DECAY = 1.0, 0.85
"""How far the logarithm moves at a derivative of 1, and what is left of that an iteration later."""


def main(
    out: Path = Path("figures"),
    iterations: int = 12,
    steps: int = 300,
    seeds: int = 3,
    images: int = 60_000,
    draw_only: bool = False,
) -> None:
    """Tune, test, write, draw, and print the table.

    Args:
        out: The folder for the JSON and the picture.
        iterations: Derivatives for each optimizer.
        steps: Of the runs that are differentiated.
        seeds: Runs in each derivative, and in each test.
        images: Training images of the runs that are tested.
        draw_only: Draw from the JSON that is there.
    """
    path = out / "tune_learning_rates.json"
    if not draw_only:
        started = time.perf_counter()
        data = jm.load_dataset("mnist").arrays()
        optimizers = {
            name: measure(name, data, iterations, steps, seeds, images) for name in optim.NAMES
        }
        about = {
            "command": (
                f"python scripts/tune_learning_rates.py --iterations {iterations} "
                f"--steps {steps} --seeds {seeds} --images {images}"
            ),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {"jaxmnist": jm.__version__, "jax": jax.__version__},
            "seconds": round(time.perf_counter() - started),
            "steps": steps,
            "seeds": seeds,
            "images": images,
            "optimizers": optimizers,
        }
        path.write_text(json.dumps(about, indent=2) + "\n")
    about = json.loads(path.read_text())
    print(table(about))
    draw(about, out / "tune_learning_rates.png")


def measure(
    optimizer: str, data: Arrays, iterations: int, steps: int, seeds: int, images: int
) -> dict[str, Any]:
    """Tune one optimizer's rate, and test the rate before and the rate after."""
    config = jm.Config(optimizer=optimizer, epochs=1)
    few = steps * config.batch_size
    course = tune(config, first(data, few), STARTS[optimizer], iterations, keys(0, seeds))
    losses = [row["loss"] for row in course]
    best = course[int(np.nanargmin(np.array(losses, float)))]
    train = on_seeds(jm.make_train(config))
    tests = {}
    for when, rate in (("before", STARTS[optimizer]), ("after", best["learning_rate"])):
        hyper = {**jm.hyper(config), "learning_rate": rate}
        _, history = train(keys(1000, seeds), hyper, first(data, images))
        tests[when] = {
            "learning_rate": rate,
            **{
                name: [number(value) for value in getattr(history, name)[:, -1]]
                for name in ("train_loss", "eval_loss", "eval_accuracy")
            },
        }
        accuracy = np.mean(tests[when]["eval_accuracy"])
        print(f"{optimizer} {when}: rate {rate:.3g}, eval accuracy {accuracy:.4f}", flush=True)
    return {"course": course, **tests}


def tune(
    config: jm.Config, data: Arrays, rate: float, iterations: int, seeds: jax.Array
) -> list[dict[str, Any]]:
    """Descend on the logarithm of the rate: where each iteration was, and what it saw there."""
    slope = on_seeds(
        jm.hypergradient(jm.make_train(config), "learning_rate", loss=hypergradients.train_loss)
    )
    course = []
    for iteration in range(iterations):
        hyper = {**jm.hyper(config), "learning_rate": rate}
        losses, by = slope(seeds, hyper, data)
        # By the logarithm. Where a run or its derivative is not finite, the rate is too large.
        slopes = np.nan_to_num(rate * np.asarray(by["learning_rate"]), nan=1.0)
        course.append(
            {
                "learning_rate": rate,
                "loss": number(np.mean(losses)),
                "slopes": [float(f"{value:.4g}") for value in slopes],
            }
        )
        step = FIRST_STEP * STEP_DECAY**iteration
        rate *= math.exp(-step * float(np.mean(np.clip(slopes, -1, 1))))
    return course


def on_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of (key, hyper, data) for many keys, one after the other."""
    return jax.jit(
        lambda keys, hyper, data: jax.lax.map(lambda key: function(key, hyper, data), keys)
    )


def keys(start: int, count: int) -> jax.Array:
    """Return the keys of the seeds from `start` on."""
    return jax.vmap(jax.random.key)(start + jnp.arange(count))


def first(data: Arrays, count: int) -> Arrays:
    """Return the data with that many training images."""
    return data._replace(
        train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )


def number(value: Any) -> float | None:
    """Return what JSON can hold: None for what is not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def table(about: dict[str, Any]) -> str:
    """Write the figures before and after as a Markdown table, mean ± deviation over seeds."""
    columns = ("optimizer", "rate before", "after", "eval loss before", "after")
    columns = (*columns, "eval accuracy before", "after")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, run in about["optimizers"].items():
        cells = [f"{run[when]['learning_rate']:.3g}" for when in ("before", "after")]
        for figure in ("eval_loss", "eval_accuracy"):
            for when in ("before", "after"):
                values = np.array(run[when][figure], float)
                spread = values.std(ddof=1) if len(values) > 1 else 0.0
                cells.append(f"{values.mean():.4f} ± {spread:.4f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(about: dict[str, Any], path: Path) -> None:
    """Draw the courses."""
    courses = {
        name: np.array(
            [[row[key] for row in run["course"]] for key in ("learning_rate", "loss")], float
        )
        for name, run in about["optimizers"].items()
    }
    accuracies = [
        np.mean([run[when]["eval_accuracy"] for run in about["optimizers"].values()])
        for when in ("before", "after")
    ]
    title = (
        f"Six learning rates descend along the derivative of the loss through {about['steps']} "
        f"steps;\nruns on {about['images']:,} images with them end at {accuracies[1]:.1%} test "
        f"accuracy on average, in place of {accuracies[0]:.1%}"
    )
    with plots.theme():
        runs.write_picture(plots.tuning(courses, title), path)


if __name__ == "__main__":
    tyro.cli(main)
