"""Time programs in interleaved rounds, and compute ratios and exponents from their seconds."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

Program = Callable[[], Mapping[str, float]]
"""Runs something once and returns what it measured, by name, such as ``{"training": 0.6}``."""
Rounds = dict[str, dict[str, list[float]]]
"""What each program measured, by the program's name and its own: one number for every round."""

PAUSE = 0.5
"""Seconds before each program: another framework's threads spin for a while after their work."""


def timed(function: Callable[[], Any], repeats: int = 1) -> Program:
    """Make a program of a function, which must return only when its work is done.

    Args:
        function: What is timed.
        repeats: How often it is called in a round; the seconds are those of one call.

    Returns:
        A program that measures ``seconds``.
    """

    def program() -> Mapping[str, float]:
        clock = time.perf_counter()
        for _ in range(repeats):
            function()
        return {"seconds": (time.perf_counter() - clock) / repeats}

    return program


def in_turns(programs: Mapping[str, Program], rounds: int, pause: float = PAUSE) -> Rounds:
    """Run every program once in each round, one after the other.

    A change in the machine's speed touches all programs of a round, so that ratios within a round
    can be compared. A round before the first warms every program up and is not counted.

    Args:
        programs: By name.
        rounds: How many are counted.
        pause: Seconds before each program.

    Returns:
        What they measured.

    >>> in_turns({"a": lambda: {"seconds": 2.0}}, rounds=3, pause=0)
    round 1 of 3: a 2 s
    round 2 of 3: a 2 s
    round 3 of 3: a 2 s
    {'a': {'seconds': [2.0, 2.0, 2.0]}}
    """
    measured: Rounds = {name: {} for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            time.sleep(pause)
            for what, value in program().items():
                measured[name].setdefault(what, [])
                if number:
                    measured[name][what].append(value)
        if number:
            sums = {
                name: sum(values[-1] for values in found.values())
                for name, found in measured.items()
            }
            line = ", ".join(f"{name} {value:.3g} s" for name, value in sums.items())
            print(f"round {number} of {rounds}: {line}", flush=True)
    return measured


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Divide what two programs measured in the same rounds.

    Args:
        values: One number for every round.
        base: The other program's.

    Returns:
        The paired ratios.

    >>> ratios([2.0, 6.0], [1.0, 2.0])
    [2.0, 3.0]
    """
    return [value / other for value, other in zip(values, base, strict=True)]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Describe one number of every round.

    Args:
        values: The numbers.

    Returns:
        Their median and range, and the numbers themselves to four digits.

    >>> summary([3.0, 1.0, 2.0])
    {'median': 2.0, 'minimum': 1.0, 'maximum': 3.0, 'rounds': [3.0, 1.0, 2.0]}
    """
    short = [float(f"{value:.4g}") for value in values]
    return {
        "median": statistics.median(short),
        "minimum": min(short),
        "maximum": max(short),
        "rounds": short,
    }


def power_law(sizes: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Fit ``seconds = c · size^p`` by least squares of the logarithms.

    Args:
        sizes: At least two different ones.
        seconds: One number for each.

    Returns:
        The exponent p and its standard error, which is 0 of two points.

    >>> power_law([1, 2, 4], [3.0, 6.0, 12.0])["exponent"]
    1.0
    """
    fit: Any = stats.linregress(np.log(sizes), np.log(seconds))
    return {
        "exponent": round(float(fit.slope), 3),
        "standard_error": round(float(fit.stderr), 3),
    }
