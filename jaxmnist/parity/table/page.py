"""The parity table as a page and as JSON: every row run, and what came of it."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from jaxmnist import provenance
from jaxmnist.interop.parameters import require_torch
from jaxmnist.parity.table import (
    activations,
    classification,
    clipping,
    functions,
    initializers,
    layers,
    losses,
    optimizers,
    schedules,
)
from jaxmnist.parity.table.prove import Proof, missing, prove
from jaxmnist.parity.table.row import EQUAL, Kind, Row

KINDS: Final[tuple[Kind, ...]] = tuple(
    module.KIND
    for module in (
        optimizers,
        schedules,
        clipping,
        losses,
        classification,
        layers,
        activations,
        functions,
        initializers,
    )
)

_PACKAGES: Final = ("python", "torch", "optax", "flax")
_TITLES: Final = (
    *("PyTorch", "taken for its equal", "verdict", "difference"),
    *("equal", "error", "error of the equal"),
)
_HEAD: Final = """# PyTorch and JAX, side by side

What equals what, and what does not. Each row has a call of PyTorch, the expression of JAX, Flax or
Optax that people take for its equal, whether it is, and the expression that is. Every row was run:
one that is called equal passed the comparison, one that is not failed it, and the expression called
equal passed. The errors are the largest relative ones of those comparisons.

`F` is torch.nn.functional, `tnn` torch.nn, `optim` torch.optim, `L` torch.optim.lr_scheduler,
`init` torch.nn.init, `utils` torch.nn.utils; `nn` is flax.linen, `jn` jax.nn.initializers, `parity`
and `jm_losses` are jaxmnist's. Functions that begin with an underscore, and the arrays, are in
`jaxmnist/parity/table/`, where each row is written once.
"""


class Entry(NamedTuple):
    """A row with its proof."""

    kind: Kind
    row: Row
    proof: Proof


def rows() -> Iterator[tuple[Kind, Row]]:
    """Yield all rows whose drop-ins are there, in the page's order."""
    require_torch()
    for kind in KINDS:
        yield from ((kind, row) for row in kind.rows() if missing(row) is None)


def not_there() -> list[str]:
    """Return the drop-ins that rows need and `jaxmnist.parity` has not."""
    found = (missing(row) for kind in KINDS for row in kind.rows())
    return sorted({name for name in found if name is not None})


def entries(on_row: Callable[[str, int], None] = lambda text, count: None) -> list[Entry]:
    """Run all rows.

    Args:
        on_row: Told each row's call of PyTorch before it is run, and the number of rows.

    Returns:
        The rows with their proofs.

    Raises:
        InputError: PyTorch is not installed.
    """
    chosen = list(rows())
    found = []
    for kind, row in chosen:
        on_row(row.texts[0], len(chosen))
        found.append(Entry(kind, row, prove(kind, row)))
    return found


def identity(kind: Kind, row: Row) -> dict[str, Any]:
    """Return what a row claims, without running it, as the JSON has it."""
    torch, jax, equal = row.texts
    return {
        "kind": kind.title,
        "torch": torch,
        "jax": jax,
        "verdict": row.verdict,
        "difference": row.difference,
        "equal": jax if row.verdict == EQUAL else equal,
        "steps": kind.steps,
    }


def as_json(found: list[Entry], command: str) -> str:
    """Write the rows as JSON.

    Args:
        found: All of them.
        command: That made them.

    Returns:
        The text: versions, the kinds, and the rows with their errors; an infinite one is "inf".
    """
    written = [
        {
            **identity(kind, row),
            "max_error": _number(proof.max_error),
            "equal_error": _number(proof.max_error if row.verdict == EQUAL else proof.equal_error),
            "cause": proof.cause,
        }
        for kind, row, proof in found
    ]
    about = {kind.title: kind.about for kind in KINDS}
    record = provenance.record(command, *_PACKAGES)
    return json.dumps({**record, "seed": 0, "kinds": about, "rows": written}, indent=1) + "\n"


def as_markdown(found: list[Entry]) -> str:
    """Write the rows as a page of tables, one for each kind.

    Args:
        found: All of them.

    Returns:
        The text.
    """
    counts = Counter("equal up to" if "up to" in e.row.verdict else e.row.verdict for e in found)
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    versions = provenance.versions(*_PACKAGES)
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        _HEAD,
        f"{len(found)} rows: {counted}. Made by `jaxmnist verify parity` with {made}.\n",
    ]
    for kind in KINDS:
        lines = [
            f"## {kind.title}\n",
            f"{kind.about}\n",
            f"| {' | '.join(_TITLES)} |",
            "|" + "---|" * len(_TITLES),
        ]
        lines += [_line(entry) for entry in found if entry.kind is kind]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(entry: Entry) -> str:
    torch, jax, equal = entry.row.texts
    is_equal = entry.row.verdict == EQUAL
    cells = [
        _code(torch),
        _code(jax),
        entry.row.verdict,
        entry.row.difference.replace("|", "\\|"),
        "the same" if is_equal else "none" if equal is None else _code(equal),
        _shown(entry.proof.max_error),
        _shown(entry.proof.max_error if is_equal else entry.proof.equal_error),
    ]
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _shown(error: float | None) -> str:
    if error is None:
        return ""
    return "0" if error == 0 else "∞" if math.isinf(error) else f"{error:.0e}"


def _number(error: float | None) -> float | str | None:
    if error is None or math.isfinite(error):
        return None if error is None else float(f"{error:.3g}")
    return str(error)
