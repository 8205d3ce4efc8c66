"""Measure what float64 and bfloat16 cost and give, against float32.

- Metrics: every seed trains the tutorial's network in each precision, from the same weights on the
  same batches.
- Time: each round trains and evaluates one epoch in each precision, one after the other, so that a
  change in the machine's speed touches all of them; only ratios within a round are reported.

    python scripts/precision.py --out figures

Writes `precision.json` and `precision.md`. About four minutes on two idle cores; nothing is
compiled while it is timed.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

import jaxmnist as jm
from jaxmnist import provenance
from jaxmnist.config import DTYPES

BASE = "float32"


def main(out: Path = Path("figures"), seeds: int = 10, epochs: int = 5, rounds: int = 9) -> None:
    """Make all runs, write both files, and print the table.

    Args:
        out: The folder for both.
        seeds: Runs of each precision.
        epochs: Epochs of each run.
        rounds: Timed epochs of each precision.
    """
    out.mkdir(parents=True, exist_ok=True)
    dataset = jm.load_dataset("mnist")
    final: dict[str, list[dict[str, float]]] = {dtype: [] for dtype in DTYPES}
    for seed in range(seeds):
        for dtype in DTYPES:
            run = trained(jm.Config(epochs=epochs, seed=seed, dtype=dtype), dataset)
            final[dtype].append(run)
            print(f"seed {seed}, {dtype}: eval accuracy {run['eval_accuracy']:.4f}", flush=True)
    seconds: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for index in range(rounds):
        for dtype in DTYPES:
            run = trained(jm.Config(epochs=1, dtype=dtype), dataset)
            seconds[dtype].append(run["seconds"])
        print(f"round {index}: " + ", ".join(f"{d} {s[-1]:.2f} s" for d, s in seconds.items()))

    about = {
        **provenance.record(
            f"python scripts/precision.py --seeds {seeds} --epochs {epochs} --rounds {rounds}"
        ),
        "seeds": seeds,
        "epochs": epochs,
        "final": final,
        "seconds_of_an_epoch": seconds,
        "ratio_to_float32": {
            dtype: [a / b for a, b in zip(seconds[dtype], seconds[BASE], strict=True)]
            for dtype in DTYPES
        },
    }
    (out / "precision.json").write_text(json.dumps(about, indent=2) + "\n")
    (out / "precision.md").write_text(table(about))
    print(table(about))


def trained(config: jm.Config, dataset: jm.Dataset) -> dict[str, float]:
    """Run a config: its last metrics, the bytes of its weights, and an epoch's seconds."""
    clock = [0.0]
    with jax.enable_x64(config.dtype == "float64"):
        state, history = jm.fit(
            config,
            dataset,
            on_compiled=lambda: clock.append(time.perf_counter()),
            on_epoch=lambda *_: clock.append(time.perf_counter()),
        )
        return {
            "train_loss": float(history.train_loss[-1]),
            "eval_loss": float(history.eval_loss[-1]),
            "eval_accuracy": float(history.eval_accuracy[-1]),
            "weights_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state.params)),
            "seconds": statistics.median(np.diff(clock[1:]).tolist()),
        }


def table(about: dict[str, Any]) -> str:
    """Write the metrics as a Markdown table."""
    columns = (
        "precision",
        "eval accuracy",
        "eval loss",
        "train loss",
        "largest change of eval loss from float32",
        "time of an epoch to float32's",
        "weights",
    )
    lines = [
        f"The tutorial's run for {about['epochs']} epochs, {about['seeds']} seeds: mean ± standard "
        "deviation over seeds, each seed from the same weights in every precision. Times are "
        f"ratios within {len(about['ratio_to_float32'][BASE])} interleaved rounds on "
        f"{about['machine']}: median (minimum to maximum).",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for dtype, runs in about["final"].items():
        values = {name: np.array([run[name] for run in runs]) for name in runs[0]}
        base = np.array([run["eval_loss"] for run in about["final"][BASE]])
        change = np.abs(values["eval_loss"] - base).max()
        ratios = about["ratio_to_float32"][dtype]
        cells = (
            dtype,
            *(
                f"{values[name].mean():.4f} ± {spread(values[name]):.4f}"
                for name in ("eval_accuracy", "eval_loss", "train_loss")
            ),
            "" if dtype == BASE else f"{change:.2g}",
            "1"
            if dtype == BASE
            else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{values['weights_bytes'][0] / 1e6:.2f} MB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: np.ndarray) -> float:
    """The standard deviation over seeds, 0 of one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


if __name__ == "__main__":
    tyro.cli(main)
