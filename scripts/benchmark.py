"""Measure jaxmnist against other programs for the same task, and against what the machine can do.

Every program trains the tutorial's network on MNIST as its framework's users would write it. They
take turns, after a warm-up that is not counted, and only ratios within a round are compared, since
a machine's speed changes. In the part `epoch` a program's losses are first compared with
jaxmnist's, from the same weights on the same batches: one that trains something else is an error.

    python scripts/benchmark.py --out figures

Writes `benchmark.json`, and from it `benchmark.md` and `benchmark.png`. Parts that are not asked
for stay as the JSON has them. Needs the extra `test`; Keras and a C++ compiler (for torch.compile)
are left out where they are missing. A quarter of an hour on two idle cores, on which nothing else
must run. Linux and macOS only.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, get_args

import tyro
from benchmarks import picture, problem, shell, table
from benchmarks.parts import epoch, evaluation, growth, models, optimizers, start_up

from jaxmnist import provenance
from jaxmnist.atomic import write_whole

Part = Literal[
    "epoch",
    "evaluation",
    "start-up",
    "whole-run",
    "accuracy",
    "memory",
    "optimizers",
    "models",
    "growth",
]
PARTS: Final[dict[Part, Callable[[problem.Problem, int], dict[str, Any]]]] = {
    "epoch": epoch.measure,
    "evaluation": evaluation.measure,
    "start-up": start_up.first_epoch,
    "whole-run": start_up.whole_run,
    "accuracy": start_up.accuracy,
    "memory": start_up.memory,
    "optimizers": optimizers.measure,
    "models": models.measure,
    "growth": growth.measure,
}


def main(
    out: Path = Path("figures"),
    rounds: int = 5,
    only: tuple[Part, ...] = get_args(Part),
    images: int = 60_000,
    draw_only: bool = False,
) -> None:
    """Measure, write and draw.

    Args:
        out: The folder of the three files.
        rounds: How often each program is timed after its warm-up.
        only: The parts to measure.
        images: The first so many training images, and at most as many test images, to try it out.
        draw_only: Make the table and the picture of the JSON that is there.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "benchmark.json"
    about: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    about = {"parts": about.get("parts", {})}
    given = problem.load(images)
    for part in () if draw_only else only:
        print(f"{part}:", flush=True)
        began = time.perf_counter()
        found = PARTS[part](given, rounds)
        about["parts"][part] = {
            **made_by(part, rounds, images),
            "seconds_it_took": round(time.perf_counter() - began),
            **found,
        }
        write_whole(path, json.dumps(about, indent=2).encode() + b"\n")
    write_whole(out / "benchmark.md", table.markdown(about).encode())
    picture.draw(about, out / "benchmark.png")
    print(f"wrote: {path}, benchmark.md and benchmark.png")


def made_by(part: Part, rounds: int, images: int) -> dict[str, Any]:
    """Return where a part's numbers come from: command, machine, versions and thread settings."""
    typed = f"python scripts/benchmark.py --only {part} --rounds {rounds}"
    if images != 60_000:
        typed += f" --images {images}"
    packages = ("jaxlib", "flax", "optax", "torch", "keras", "equinox", "python")
    torch: Any = sys.modules.get("torch")
    return {
        **provenance.record(typed, *packages),
        "processor": provenance.machine()["processor"],
        "threads": {
            "cores": provenance.cores(),
            "torch": torch.get_num_threads() if torch else "not loaded by this part",
            **shell.environment(),
        },
        "rounds": rounds,
    }


if __name__ == "__main__":
    tyro.cli(main)
