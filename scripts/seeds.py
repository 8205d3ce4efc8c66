"""Train the default run from several seeds and tabulate where it ends.

    python scripts/seeds.py --seeds 5 --out figures

Writes `seeds.json` (every epoch's figures) and draws `training.png` from it. Takes about a minute
and a half on two cores. One run's last epochs swing by half a percent, so judge by all of them.
"""

import json
import os
import platform
from pathlib import Path

import jax
import numpy as np
import tyro
from rich.progress import track

import jaxmnist as jm
from jaxmnist import plots, runs


def main(seeds: int = 5, out: Path = Path("figures")) -> None:
    """Run the seeds, write the figures and print the table.

    Args:
        seeds: How many, from 0.
        out: The folder for `seeds.json` and `training.png`.
    """
    dataset = jm.load_dataset("mnist")
    histories = [
        jm.fit(jm.Config(seed=seed), dataset)[1] for seed in track(range(seeds), "training")
    ]
    history = {
        name: np.stack([getattr(each, name) for each in histories]) for name in jm.History._fields
    }
    about = {
        "command": f"python scripts/seeds.py --seeds {seeds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"jaxmnist": jm.__version__, "jax": jax.__version__},
        "history": {name: values.tolist() for name, values in history.items()},
    }
    (out / "seeds.json").write_text(json.dumps(about) + "\n")
    title = f"The document's run from {seeds} seeds (thin) and their mean"
    runs.write_picture(plots.training_curves(history, title), out / "training.png")

    print("| seed | last epoch | mean of last five | best epoch | train loss, last epoch |")
    print("|---|---|---|---|---|")
    accuracy = history["eval_accuracy"]
    for seed, row in enumerate(accuracy):
        print(
            f"| {seed} | {row[-1]:.4f} | {row[-5:].mean():.4f} | {row.max():.4f} "
            f"(epoch {row.argmax()}) | {history['train_loss'][seed, -1]:.4f} |"
        )
    print(
        f"| mean | {accuracy[:, -1].mean():.4f} | {accuracy[:, -5:].mean():.4f} "
        f"| {accuracy.max(axis=1).mean():.4f} | {history['train_loss'][:, -1].mean():.4f} |"
    )


if __name__ == "__main__":
    tyro.cli(main)
