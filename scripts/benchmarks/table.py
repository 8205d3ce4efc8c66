"""The benchmark's results as Markdown, from its JSON."""

from collections.abc import Mapping
from typing import Any

TITLES = {
    "epoch": "An epoch of training and evaluation",
    "evaluation": "An evaluation of the test images",
    "start-up": "From the shell to the first epoch's line",
    "whole-run": "The whole command of 20 epochs, from a cold start",
    "accuracy": "From the shell to a test accuracy, from a cold start",
    "memory": "Peak memory of a process that trains one epoch",
    "optimizers": "An epoch of training with each optimizer",
    "models": "A model among many",
    "growth": "How an epoch's cost grows",
}


def markdown(about: Mapping[str, Any]) -> str:
    """Write every part that was measured as a section with its tables.

    Args:
        about: The JSON of `benchmark.py`.

    Returns:
        A page.
    """
    lines = [
        "# Benchmarks",
        "",
        "Medians over interleaved rounds, with minimum and maximum; ratios are taken within a "
        "round. Every round is in [benchmark.json](benchmark.json), and "
        "[measurements.md](measurements.md) has the other measurements.",
        "",
    ]
    for part, title in TITLES.items():
        if found := about["parts"].get(part):
            lines += [f"## {title}", "", origin(found), "", *SECTIONS.get(part, timed)(found)]
    return "\n".join(lines).rstrip() + "\n"


def origin(found: Mapping[str, Any]) -> str:
    """The command, the machine and the versions of a part."""
    versions = ", ".join(
        f"{name} {found['versions'][name]}"
        for name in ("jax", "torch", "keras", "equinox")
        if name in found["versions"]
    )
    return (
        f"`{found['command']}` on {found['machine']} ({found['processor']}), {versions}; "
        f"{found['seconds_it_took']} s."
    )


def timed(found: Mapping[str, Any]) -> list[str]:
    """Seconds, and ratios."""
    lines = rows(("", "seconds"), {name: spread(x) for name, x in flat(found["seconds"]).items()})
    for title, values in found.get("ratios", {}).items():
        lines += rows((title, "ratio"), {name: spread(value) for name, value in values.items()})
    if "checked" in found:
        lines += [
            f"Before any was timed, the losses of {found['checked']['steps']} steps were compared "
            "with jaxmnist's in float64, from the same weights on the same batches.",
            "",
        ]
    for name, reason in found.get("left_out", {}).items():
        lines += [f"Left out: {name}, because {reason}.", ""]
    return lines


def accuracy(found: Mapping[str, Any]) -> list[str]:
    """Seconds and epochs to the accuracy."""
    cells = {
        name: f"{spread(values)} | {', '.join(map(str, found['epochs'][name]))}"
        for name, values in found["seconds"].items()
    }
    return rows((f"to {found['test_accuracy']:.0%}", "seconds", "epochs, by seed"), cells)


def memory(found: Mapping[str, Any]) -> list[str]:
    """Mebibytes by peer."""
    return rows(("", "MiB"), {name: f"{x:.0f}" for name, x in found["peak_mebibytes"].items()})


def models(found: Mapping[str, Any]) -> list[str]:
    """Ratios by the number of models."""
    train, test = found["images"]
    lines = [f"An epoch on {train} training images, with an evaluation on {test}.", ""]
    for title, values in found["ratios"].items():
        lines += rows(
            (f"{title}: program, models", "ratio"), {n: spread(x) for n, x in values.items()}
        )
    return lines


def growth(found: Mapping[str, Any]) -> list[str]:
    """Exponents, and the seconds that they were fitted to."""
    kinds = found["by_size"]
    cells = {
        kind: f"{values['exponent']:.2f} ± {values['standard_error']:.2f} | "
        + ", ".join(f"{size}: {x['median']:.3g}" for size, x in values["seconds"].items())
        for kind, values in kinds.items()
    }
    return rows(("seconds = c · size^p", "p ± standard error", "median seconds"), cells)


def flat(seconds: Mapping[str, Any]) -> dict[str, Any]:
    """Summaries by name, where a program may have measured several things."""
    found = {}
    for name, value in seconds.items():
        if "median" in value:
            found[name] = value
        else:
            found |= {f"{name}: {what}": x for what, x in value.items()}
    return found


def spread(values: Mapping[str, Any]) -> str:
    """A median with its range, or the one number that there is."""
    median, least, most = (f"{values[name]:.3g}" for name in ("median", "minimum", "maximum"))
    return median if len(values["rounds"]) == 1 else f"{median} ({least} to {most})"


def rows(columns: tuple[str, ...], cells: Mapping[str, str]) -> list[str]:
    """A table with a name in its first column."""
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {name} | {cell} |" for name, cell in cells.items()),
        "",
    ]


SECTIONS = {"accuracy": accuracy, "memory": memory, "models": models, "growth": growth}
