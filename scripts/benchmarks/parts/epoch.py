"""An epoch of every peer and of jaxmnist, and what its matrix products alone take."""

import math
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import curves, floors, peers
from benchmarks.peers import OURS, PEERS
from benchmarks.problem import Peer, Problem
from benchmarks.rounds import Program, in_turns, ratios, summary, timed

PRODUCTS, LARGE = "the products alone", "a large product"


def measure(problem: Problem, rounds: int, names: tuple[str, ...] = tuple(PEERS)) -> dict[str, Any]:
    """Check every peer's loss curve, and then let all of them take turns.

    Args:
        problem: What is trained.
        rounds: Epochs of each that are counted.
        names: Of the peers.

    Returns:
        Seconds, ratios to jaxmnist, and jaxmnist's ratios to the two floors.
    """
    left_out = {name: reason for name in names if (reason := peers.missing(name))}
    curve = curves.reference(problem, min(curves.STEPS, len(problem.train_labels) // 128))
    deviations, programs = {}, {}
    for name in names:
        if name in left_out:
            print(f"left out: {name}: {left_out[name]}", flush=True)
            continue
        peer = peers.build(name, problem)
        deviations[name] = round(curves.check(name, peer, curve), 4)
        print(f"{name}: the same losses", flush=True)
        programs[name] = epoch_of(peer)
    programs[PRODUCTS] = timed(floors.training_products(problem))
    programs[LARGE] = timed(floors.large_product())
    measured = in_turns(programs, rounds)

    training = {name: measured[name]["training"] for name in deviations}
    whole = {
        name: [math.fsum(pair) for pair in zip(*measured[name].values(), strict=True)]
        for name in deviations
    }
    large = measured[LARGE]["seconds"]
    at_large_rate = [
        seconds * floors.training_operations(problem) / (2 * floors.LARGE**3) for seconds in large
    ]
    return {
        "left_out": left_out,
        "checked": {
            "steps": len(curve.losses),
            "largest_deviation_as_a_share_of_the_allowed": deviations,
        },
        "seconds": {
            **{
                name: {what: summary(values) for what, values in measured[name].items()}
                for name in deviations
            },
            PRODUCTS: summary(measured[PRODUCTS]["seconds"]),
            "the products at a large one's rate": summary(at_large_rate),
        },
        "large_product_gflops": summary([2e-9 * floors.LARGE**3 / seconds for seconds in large]),
        "ratios": {
            "epoch / jaxmnist's": to_ours(whole),
            "training / jaxmnist's": to_ours(training),
            "jaxmnist's training / floor": {
                PRODUCTS: summary(ratios(training[OURS], measured[PRODUCTS]["seconds"])),
                "the products at a large one's rate": summary(
                    ratios(training[OURS], at_large_rate)
                ),
            },
        },
    }


def epoch_of(peer: Peer) -> Program:
    """Time a peer's training, in an order of its own, and its evaluation after it."""

    def program() -> Mapping[str, float]:
        clock = time.perf_counter()
        peer.train(None)
        between = time.perf_counter()
        peer.evaluate()
        return {"training": between - clock, "evaluation": time.perf_counter() - between}

    return program


def to_ours(seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Divide every peer's seconds by jaxmnist's of the same round."""
    return {
        name: summary(ratios(values, seconds[OURS]))
        for name, values in seconds.items()
        if name != OURS
    }
