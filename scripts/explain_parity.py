"""Ask `verify.explain` and `verify.schedule` for the cause of every difference of the parity table.

    python scripts/explain_parity.py                 # the table's rows, and the pairs next to it
    python scripts/explain_parity.py --only Adam     # those whose calls have this word

Each row of an optimizer or a schedule that differs has, in the table, the names of the causes that
are there; pairs that are not in the table are in `explained_pairs.py`, each with its own. An answer
is *right* if it names all of them and no other, *silent* if it names none ("no known convention"),
and *wrong* in every other case. Writes `figures/explain_parity.json` and `.md`, and exits with 1 if
an answer is wrong, or if fewer than nine in ten of the table's are right.
"""

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from explained_pairs import PAIRS

from jaxmnist import provenance, verify
from jaxmnist.errors import InputError
from jaxmnist.parity.table import optimizers, schedules
from jaxmnist.parity.table.prove import quick
from jaxmnist.parity.table.row import EQUAL, FLOAT32, Row
from jaxmnist.parity.table.text import expression

STEPS = 40
MATRIX = {"w": np.zeros((8, 4))}
ENOUGH = 0.9


class Answer(NamedTuple):
    """What was asked, what is there, and what was said."""

    group: str
    torch: str
    jax: str
    expected: tuple[str, ...]
    said: str
    verdict: str


def main(out: Path = Path("figures/explain_parity.json"), only: str = "") -> None:
    """Ask for every cause, print each answer, and write them.

    Args:
        out: The JSON; the page is next to it.
        only: A word that the calls must have; then nothing is written.
    """
    if not only:
        out.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    with quick(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group, torch, jax, expected, ask in questions():
            if only not in torch + jax:
                continue
            said, names = ask()
            answer = Answer(group, torch, jax, expected, said, judged(expected, names))
            print(f"{answer.verdict:6} {torch} | {jax}\n       {said}", flush=True)
            answers.append(answer)
    counts = Counter((answer.group, answer.verdict) for answer in answers)
    print(dict(counts))
    if not only:
        write(out, answers)
    table = [answer.verdict for answer in answers if answer.group != "Beside the table"]
    right = table.count("right") >= ENOUGH * len(table)
    sys.exit(0 if right and all(answer.verdict != "wrong" for answer in answers) else 1)


Question = tuple[str, str, str, tuple[str, ...], Callable[[], tuple[str, set[str]]]]


def questions() -> Iterator[Question]:
    """Yield the group, both calls, the expected names, and what asks."""
    for row in optimizers.rows():
        if row.verdict != EQUAL:
            torch, jax, _ = row.texts
            yield "Optimizers", torch, jax, row.causes, lambda row=row: of_optimizers(row)
    for row in schedules.rows():
        if row.verdict != EQUAL:
            torch, jax, _ = row.texts
            words = FLOAT32 if row.verdict == FLOAT32 else row.cause
            expected = (words,) if words else ()
            yield "Schedules", torch, jax, expected, lambda row=row: of_schedules(row)
    for pair in PAIRS:
        torch, jax = (expression(each) for each in (pair.torch, pair.jax))
        yield (
            "Beside the table",
            torch,
            jax,
            pair.causes,
            lambda pair=pair: asked(pair.jax(), pair.torch),
        )


def of_optimizers(row: Row) -> tuple[str, set[str]]:
    """Explain a row's optimizers; those that need a closure have nothing to be explained by."""
    if row.on == "start":
        return "not asked: it needs a closure, and has no closed recurrence", set()
    return asked(row.jax(), row.torch)


def asked(tx: Any, reference: Any) -> tuple[str, set[str]]:
    """Explain two optimizers: on a matrix and a vector, or on a matrix where one takes no other."""
    for params in (None, MATRIX):
        try:
            found = verify.explain(tx, reference, params=params, steps=STEPS)
            break
        except InputError as error:
            refused = str(error)
    else:
        return f"not asked: {refused}", set()
    names = {cause.what.rpartition(": ")[2] for cause in found.causes}
    return str(found).split(" First divergence")[0], names


def of_schedules(row: Row) -> tuple[str, set[str]]:
    """Take the cause of a row's schedules; each part's name is what comes before its colon."""
    result: Any = schedules.KIND.compare(row, row.jax)
    parts = [] if result.cause is None else [result.cause]
    expected = FLOAT32 if row.verdict == FLOAT32 else row.cause
    found = {expected} if expected and parts and expected in parts[0] else set(parts)
    return result.cause or "No known convention explains the difference.", found


def judged(expected: tuple[str, ...], names: set[str]) -> str:
    """Call an answer right, silent or wrong."""
    if not names:
        return "silent"
    return "right" if names == set(expected) else "wrong"


def write(out: Path, answers: list[Answer]) -> None:
    """Write the answers as JSON and as a page."""
    record = provenance.record("python scripts/explain_parity.py", "optax", "torch")
    rows = [answer._asdict() for answer in answers]
    out.write_text(json.dumps({**record, "steps": STEPS, "rows": rows}, indent=1) + "\n")
    lines = ["# Causes that verify.explain names", "", _ABOUT, ""]
    for group in dict.fromkeys(answer.group for answer in answers):
        chosen = [answer for answer in answers if answer.group == group]
        counts = Counter(answer.verdict for answer in chosen)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        lines += [f"## {group}", "", f"{len(chosen)} pairs: {counted}.", ""]
        lines += ["| PyTorch | JAX | answer | verdict |", "|---|---|---|---|"]
        for each in chosen:
            cells = (f"`{each.torch}`", f"`{each.jax}`", each.said, each.verdict)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    out.with_suffix(".md").write_text("\n".join(lines))


_ABOUT = (
    "Made by `python scripts/explain_parity.py`. Right: it names every cause that is there and no "
    'other. Silent: it says "no known convention".'
)

if __name__ == "__main__":
    tyro.cli(main)
