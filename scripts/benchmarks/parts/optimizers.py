"""An epoch with each optimizer, relative to SGD's."""

from typing import Any

from benchmarks.parts.variants import epoch
from benchmarks.peers.ours import config_of
from benchmarks.problem import Problem
from benchmarks.rounds import in_turns, ratios, summary
from jaxmnist import optim


def measure(problem: Problem, rounds: int) -> dict[str, Any]:
    """Let an epoch with every optimizer take turns.

    Args:
        problem: What is trained.
        rounds: How many are counted.

    Returns:
        Seconds of training, and ratios to SGD's.
    """
    programs = {
        name: epoch(config_of(problem, optimizer=name, learning_rate=None), problem)
        for name in optim.NAMES
    }
    measured = {name: found["seconds"] for name, found in in_turns(programs, rounds).items()}
    return {
        "seconds": {name: summary(values) for name, values in measured.items()},
        "ratios": {
            "training / SGD's": {
                name: summary(ratios(values, measured["sgd"]))
                for name, values in measured.items()
                if name != "sgd"
            }
        },
    }
