"""Compare whole runs with PyTorch in float64: all six optimizers, and three epochs of the default.

- One epoch (938 steps of 64, the last of 32) of each optimizer with PyTorch's arithmetic and
  constants, at the learning rates of the tutorial's defaults (Adadelta's 1): every batch's loss
  must be within 1e-9 of PyTorch's, relatively, and within what `verify.training` itself allows,
  which is less.
- Three epochs of the tutorial's default run: the error beside what one unit in the last place of
  the initial weights grows to, in the same run; it must stay within ten times that.

    python scripts/verify_training.py --out figures

Writes `verify_training.json` and draws `verify_training.png` and `verify_training_optimizers.png`
from it; the exit status is 1 if anything failed. Needs the extra `torch`. About two minutes on two
idle cores.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import jaxmnist as jm
from jaxmnist import optim, plots, provenance, verify
from jaxmnist.plots.save import write_picture

LIMIT = 1e-9


def main(out: Path = Path("figures"), draw_only: bool = False) -> int:
    """Run, write, draw, and say whether all of it passed.

    Args:
        out: The folder for the JSON and the pictures.
        draw_only: Draw from the JSON that is there.
    """
    # The products are small: a second thread would mostly wait for the first.
    torch.set_num_threads(1)
    path = out / "verify_training.json"
    if not draw_only:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measure()) + "\n")
    about = json.loads(path.read_text())
    draw(about, out)

    optimizers = about["one epoch of each optimizer"]
    default = about["three epochs of the default run"]
    print("| run, float64 | largest error of a batch's loss | one ULP grows to | passed |")
    print("|---|---|---|---|")
    for name, run in (*optimizers.items(), ("default, three epochs", default)):
        largest = (max(run[curve]) for curve in ("error", "perturbation"))
        print(f"| {name} | {' | '.join(f'{x:.1e}' for x in largest)} | {run['passed']} |")
    within = all(max(run["error"]) <= LIMIT for run in optimizers.values())
    passed = within and all(run["passed"] for run in (*optimizers.values(), default))
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


def measure() -> dict[str, Any]:
    """Make all the runs."""
    dataset = jm.load_dataset("mnist")
    optimizers = {}
    for name in optim.NAMES:
        # PyTorch's own 0.01 for RMSProp stops this network from learning at all, and an error in
        # a loss that stays at log 10 would say little.
        rate = optim.hyperparameters(name)["learning_rate"] or 1.0
        config = jm.Config(optimizer=name, learning_rate=rate, convention="pytorch", epochs=1)
        optimizers[name] = {"learning_rate": rate, **summary(verify.training(config, dataset))}
    default = summary(verify.training(jm.Config(epochs=3), dataset))
    return {
        **provenance.record("python scripts/verify_training.py", "torch"),
        "dtype": "float64",
        "limit": LIMIT,
        "one epoch of each optimizer": optimizers,
        "three epochs of the default run": default,
    }


def summary(result: verify.TrainingResult) -> dict[str, Any]:
    """The table and the curves of a run, to three digits."""
    print(result, flush=True)
    assert result.perturbation is not None
    running = np.maximum.accumulate(result.perturbation)
    seen = running > 0
    return {
        "passed": result.passed,
        "verdict": result.verdict,
        "largest_ratio_to_running_perturbation": float(np.max(result.error[seen] / running[seen])),
        "parts": {
            part.name: {
                "passed": part.passed,
                "absolute": part.errors.absolute,
                "relative": part.errors.relative,
                "tolerance_at_the_end": part.tolerance,
            }
            for part in result
        },
        "error": [float(f"{x:.2e}") for x in result.error],
        "perturbation": [float(f"{x:.2e}") for x in result.perturbation],
    }


def draw(about: dict[str, Any], out: Path) -> None:
    """Draw both pictures."""

    def curves(run: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.array(run[name]) for name in ("error", "perturbation")}

    default = {"SGD": curves(about["three epochs of the default run"])}
    title = (
        "The default run in JAX and in PyTorch, float64, same weights and batches, three epochs:\n"
        "they diverge as fast as a one-ULP perturbation of the initial weights grows"
    )
    with plots.theme():
        write_picture(plots.divergence(default, title), out / "verify_training.png")
    optimizers = {
        plots.style.OPTIMIZERS[name].label: curves(run)
        for name, run in about["one epoch of each optimizer"].items()
    }
    title = "One epoch of each optimizer in JAX and in PyTorch, float64, same weights and batches"
    with plots.theme():
        write_picture(
            plots.divergence(optimizers, title, limit=about["limit"]),
            out / "verify_training_optimizers.png",
        )


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
