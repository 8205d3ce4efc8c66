"""Attack the package with what damaged, hostile and unlucky machines do to it, and report findings.

    python scripts/attack.py --minutes 2
    python scripts/attack.py --minutes 60 --seed 7 --out figures/attack.json
    python scripts/attack.py --only signals disks

Each attack runs in a process of its own, so that one that dies is a finding too. The last line says
how many inputs there were and how many findings; the exit status is 1 if there was any. The JSON
has, for each attack, the inputs by kind and what came of them, and every finding with the input
that gives it again.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

import tyro
from attack_flips import attack_flips
from attack_readers import attack_readers
from attack_signals import attack_processes, attack_signals
from attack_writers import attack_disks, attack_writers

from jaxmnist import provenance

Attack = Callable[[float, int, Path], Mapping[str, Any]]
"""``attack(seconds, seed, place)``: ``inputs`` by kind, ``outcomes`` by word, a list ``findings``,
and ``skipped``, with the reason, by kind. What it writes is in the folder ``place``."""

ATTACKS: Final[Mapping[str, Attack]] = {
    "readers": attack_readers,
    "flips": attack_flips,
    "signals": attack_signals,
    "processes": attack_processes,
    "writers": attack_writers,
    "disks": attack_disks,
}


def main(
    minutes: float = 2.0, out: Path | None = None, seed: int = 0, only: tuple[str, ...] = ()
) -> None:
    """Run attacks, each for an equal share of the time.

    Args:
        minutes: How long, all attacks together; each has some inputs in any case.
        out: The JSON to write.
        seed: Of the damage: the same seed begins with the same inputs.
        only: Which attacks; by default all.
    """
    if unknown := [name for name in only if name not in ATTACKS]:
        sys.exit(f"there is no attack {unknown[0]}; choose from {', '.join(ATTACKS)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    chosen = {name: ATTACKS[name] for name in only} or ATTACKS
    share = 60 * minutes / len(chosen)
    # As the program sets it: the attacks' own processes import JAX before it could.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    found: dict[str, Any] = {}
    for name, attack in chosen.items():
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            found[name] = {**_in_a_process(attack, share, seed, Path(place).resolve())}
        found[name]["seconds"] = round(time.monotonic() - begun, 1)
        counts = ", ".join(f"{kind} {count}" for kind, count in found[name]["inputs"].items())
        print(f"{name}: {counts}; {found[name]['outcomes']}")
        for kind, reason in found[name].get("skipped", {}).items():
            print(f"  skipped {kind}: {reason}")
        for finding in found[name]["findings"]:
            print(f"  {finding['kind']}: {finding['what']}\n    {finding['input']}")
    inputs = sum(sum(each["inputs"].values()) for each in found.values())
    findings = sum(len(each["findings"]) for each in found.values())
    if out is not None:
        chosen_words = f" --only {' '.join(only)}" if only else ""
        command = f"python scripts/attack.py --minutes {minutes:g} --seed {seed}{chosen_words}"
        about = {
            **provenance.record(f"{command} --out {out}", "hypothesis"),
            "inputs": inputs,
            "attacks": found,
        }
        out.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{inputs} inputs, {findings} findings")
    sys.exit(1 if findings else 0)


def _in_a_process(attack: Attack, seconds: float, seed: int, place: Path) -> Mapping[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(attack, seconds, seed, place).result()
        except BrokenProcessPool as error:
            died = {"kind": attack.__name__, "what": f"the process died: {error}", "input": ""}
            return {"inputs": {}, "outcomes": {}, "findings": [died]}


if __name__ == "__main__":
    tyro.cli(main)
