"""Tune six optimizers' learning rates by the derivative of the loss through the whole run.

The loss is the mean over the batches of one short epoch, each measured before its own step: no
image has been trained on when it is measured, and the test set is not looked at. From a tenth of
the tutorial's rate, Adam descends on the rate's logarithm: it takes the mean of three seeds'
derivatives, each clipped to 1 because now and then one of them explodes. What is kept is the best
rate seen. Then ten other seeds train on all 60,000 images for an epoch with the rate at the start,
the tuned one, and the tutorial's, and are tested on the 10,000.

    python scripts/tune_learning_rates.py --out figures

Writes `tune_learning_rates.json`, and from it `tune_learning_rates.md` and `.png`. The budget of
each optimizer is 12 derivatives of 3 runs of 300 steps; some six minutes on two idle cores.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxmnist as jm
from jaxmnist import hypergradients, optim, plots, provenance
from jaxmnist.data import Arrays
from jaxmnist.plots.save import write_picture
from jaxmnist.sweep.programs import keys

# Adadelta has no rate in the tutorial, which is a rate of 1.
DOCUMENT = {name: optim.hyperparameters(name)["learning_rate"] or 1.0 for name in optim.NAMES}
WHEN = ("start", "tuned", "document")
"""The three rates that are tested."""
FIRST_STEP, STEP_DECAY = 0.7, 0.85
"""Adam's own rate, which is about how far the logarithm moves, and its factor per iteration."""


def main(
    out: Path = Path("figures"),
    iterations: int = 12,
    steps: int = 300,
    seeds: int = 3,
    test_seeds: int = 10,
    images: int = 60_000,
    draw_only: bool = False,
) -> None:
    """Tune, test, write, draw, and print the table.

    Args:
        out: The folder for the JSON and the picture.
        iterations: Derivatives for each optimizer.
        steps: Of the runs that are differentiated.
        seeds: Runs in each derivative.
        test_seeds: Runs in each test.
        images: Training images of the runs that are tested.
        draw_only: Draw from the JSON that is there.
    """
    path = out / "tune_learning_rates.json"
    if not draw_only:
        out.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        data = jm.load_dataset("mnist").arrays()
        optimizers = {
            name: measure(name, data, iterations, steps, seeds, test_seeds, images)
            for name in optim.NAMES
        }
        about = {
            **provenance.record(
                f"python scripts/tune_learning_rates.py --iterations {iterations} "
                f"--steps {steps} --seeds {seeds} --test-seeds {test_seeds} --images {images}"
            ),
            "seconds": round(time.perf_counter() - started),
            "steps": steps,
            "seeds": seeds,
            "test_seeds": test_seeds,
            "images": images,
            "optimizers": optimizers,
        }
        path.write_text(json.dumps(about, indent=2) + "\n")
    about = json.loads(path.read_text())
    (out / "tune_learning_rates.md").write_text(table(about))
    print(table(about))
    draw(about, out / "tune_learning_rates.png")


def measure(
    optimizer: str,
    data: Arrays,
    iterations: int,
    steps: int,
    seeds: int,
    test_seeds: int,
    images: int,
) -> dict[str, Any]:
    """Tune one optimizer's rate from a tenth of the tutorial's, and test all three rates."""
    config = jm.Config(optimizer=optimizer, epochs=1)
    few = steps * config.batch_size
    trajectory = tune(
        config, first(data, few), DOCUMENT[optimizer] / 10, iterations, keys(range(seeds))
    )
    best = int(np.nanargmin(np.array([row["loss"] for row in trajectory], float)))
    rates = (trajectory[0]["learning_rate"], trajectory[best]["learning_rate"], DOCUMENT[optimizer])
    train = on_seeds(jm.make_train(config))
    tests = {}
    for when, rate in zip(WHEN, rates, strict=True):
        hyper = {**jm.hyper(config), "learning_rate": rate}
        _, history = train(keys(range(1000, 1000 + test_seeds)), hyper, first(data, images))
        tests[when] = {
            "learning_rate": rate,
            **{
                name: [number(value) for value in getattr(history, name)[:, -1]]
                for name in ("train_loss", "eval_loss", "eval_accuracy")
            },
        }
        accuracy = np.mean(tests[when]["eval_accuracy"])
        print(f"{optimizer}, {when}: rate {rate:.3g}, eval accuracy {accuracy:.4f}", flush=True)
    return {"course": trajectory, **tests}


def tune(
    config: jm.Config, data: Arrays, rate: float, iterations: int, seeds: jax.Array
) -> list[dict[str, Any]]:
    """Descend on the logarithm of the rate: where each iteration was, and what it saw there."""
    slope = on_seeds(
        jm.hypergradient(jm.make_train(config), "learning_rate", loss=hypergradients.train_loss)
    )
    tx = optim.create("adam", lambda iteration: FIRST_STEP * STEP_DECAY**iteration)
    log_rate = jnp.log(rate)
    opt_state = tx.init(log_rate)
    trajectory = []
    for _ in range(iterations):
        rate = math.exp(float(log_rate))
        hyper = {**jm.hyper(config), "learning_rate": rate}
        losses, by = slope(seeds, hyper, data)
        # By the logarithm. Where a run or its derivative is not finite, the rate is too large.
        slopes = np.nan_to_num(rate * np.asarray(by["learning_rate"]), nan=1.0)
        trajectory.append(
            {
                "learning_rate": rate,
                "loss": number(np.mean(losses)),
                "slopes": [float(f"{value:.4g}") for value in slopes],
            }
        )
        update, opt_state = tx.update(jnp.mean(jnp.clip(slopes, -1, 1)), opt_state, log_rate)
        log_rate += jnp.asarray(update)
    return trajectory


def on_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of (key, hyper, data) for many keys, one after the other."""
    return jax.jit(
        lambda keys, hyper, data: jax.lax.map(lambda key: function(key, hyper, data), keys)
    )


def first(data: Arrays, count: int) -> Arrays:
    """Return the data with that many training images."""
    return data._replace(
        train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )


def number(value: Any) -> float | None:
    """Return what JSON can hold: None for what is not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def table(about: dict[str, Any]) -> str:
    """Write the three rates and their test figures as Markdown, mean ± deviation over seeds."""
    columns = ["optimizer"] + [
        f"{figure}, {when}" for figure in ("rate", "train loss", "test accuracy") for when in WHEN
    ]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, run in about["optimizers"].items():
        cells = [name, *(f"{run[when]['learning_rate']:.3g}" for when in WHEN)]
        for figure in ("train_loss", "eval_accuracy"):
            for when in WHEN:
                values = np.array(run[when][figure], float)
                spread = values.std(ddof=1) if len(values) > 1 else 0.0
                cells.append(f"{values.mean():.3f} ± {spread:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(about: dict[str, Any], path: Path) -> None:
    """Draw the trajectories."""
    trajectories = {
        name: np.array(
            [[row[key] for row in run["course"]] for key in ("learning_rate", "loss")], float
        )
        for name, run in about["optimizers"].items()
    }
    start, tuned, document = (
        np.mean([run[when]["eval_accuracy"] for run in about["optimizers"].values()])
        for when in WHEN
    )
    title = (
        f"From a tenth of the tutorial's rates down the derivative of the loss through "
        f"{about['steps']} steps:\nan epoch ends at {tuned:.1%} test accuracy in place of "
        f"{start:.1%}, on average; {document:.1%} with the tutorial's rates"
    )
    with plots.theme():
        write_picture(plots.tuning(trajectories, title), path)


if __name__ == "__main__":
    tyro.cli(main)
