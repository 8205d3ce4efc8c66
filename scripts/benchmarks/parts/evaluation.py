"""An evaluation of the test images, and what its matrix products alone take."""

from typing import Any

from benchmarks import floors, peers
from benchmarks.peers import OURS
from benchmarks.problem import Problem
from benchmarks.rounds import in_turns, ratios, summary, timed

REPEATS = 5
"""Evaluations in a round: one takes some 50 ms."""


def measure(problem: Problem, rounds: int) -> dict[str, Any]:
    """Let the evaluation and its floors take turns.

    Args:
        problem: What is evaluated.
        rounds: How many are counted.

    Returns:
        Seconds, and the evaluation's ratios to the floors.
    """
    size = problem.eval_batch_size
    whole = len(problem.test_labels)
    programs = {
        OURS: timed(peers.build(OURS, problem).evaluate, REPEATS),
        f"the products alone, {size} images at a time": timed(
            floors.evaluation_products(problem, size), REPEATS
        ),
        "the products alone, all images at once": timed(
            floors.evaluation_products(problem, whole), REPEATS
        ),
        "a large product": timed(floors.large_product()),
    }
    measured = {name: found["seconds"] for name, found in in_turns(programs, rounds).items()}
    share = floors.evaluation_operations(problem) / (2 * floors.LARGE**3)
    measured["the products at a large one's rate"] = [
        share * seconds for seconds in measured.pop("a large product")
    ]
    return {
        "images": whole,
        "seconds": {name: summary(values) for name, values in measured.items()},
        "ratios": {
            "jaxmnist's evaluation / floor": {
                name: summary(ratios(measured[OURS], values))
                for name, values in measured.items()
                if name != OURS
            }
        },
    }
