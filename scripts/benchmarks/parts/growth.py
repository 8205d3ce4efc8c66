"""How an epoch's cost grows with the batch size, the width, the depth and the data's size."""

from typing import Any

from benchmarks.parts.variants import epoch
from benchmarks.peers.ours import config_of
from benchmarks.problem import Problem
from benchmarks.rounds import Program, in_turns, power_law, summary

BATCH_SIZES = (16, 32, 64, 128, 256, 512)
WIDTHS = (64, 128, 256, 512)
"""Units of each of two hidden layers."""
DEPTHS = (1, 2, 4, 8)
"""Hidden layers of 128 units."""
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)
"""Of the training images."""


def measure(problem: Problem, rounds: int) -> dict[str, Any]:
    """Let epochs of all sizes take turns, and fit an exponent to each kind of size.

    Args:
        problem: What is trained.
        rounds: How many are counted.

    Returns:
        ``by_size``, by the kind of size: an epoch's seconds at each size, and the exponent p of
        the least squares fit ``seconds = c size^p`` to the medians, with its standard error.
    """
    samples = len(problem.train_labels)
    kinds: dict[str, dict[int, Program]] = {
        "batch size": {
            size: epoch(config_of(problem, batch_size=size), problem)
            for size in BATCH_SIZES
            if size <= samples
        },
        "width": {
            width: epoch(config_of(problem, hidden=(width, width)), problem) for width in WIDTHS
        },
        "depth": {
            depth: epoch(config_of(problem, hidden=(128,) * depth), problem) for depth in DEPTHS
        },
        "training images": {
            count: epoch(config_of(problem), fewer(problem, count))
            for count in (round(share * samples) for share in SHARES)
        },
    }
    programs = {
        f"{kind} {size}": program
        for kind, sizes in kinds.items()
        for size, program in sizes.items()
    }
    measured = in_turns(programs, rounds)
    found = {}
    for kind, sizes in kinds.items():
        seconds = {size: summary(measured[f"{kind} {size}"]["seconds"]) for size in sizes}
        medians = [values["median"] for values in seconds.values()]
        found[kind] = {"seconds": seconds, **power_law(list(sizes), medians)}
    return {"by_size": found}


def fewer(problem: Problem, count: int) -> Problem:
    """The problem with its first training images."""
    return problem._replace(
        train_images=problem.train_images[:count], train_labels=problem.train_labels[:count]
    )
