"""Attack the package with what damaged, hostile and unlucky machines do to it, and report findings.

    python scripts/attack.py --minutes 2
    python scripts/attack.py --minutes 60 --seed 7 --out figures/attack.json

Each attack runs in a process of its own, so that one that dies is a finding too. The last line says
how many inputs there were and how many findings; the exit status is 1 if there was any. The JSON
has, for each attack, the inputs by kind and what came of them, and every finding with the input
that gives it again.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

import tyro
from attack_readers import attack_readers

from jaxmnist import provenance

Attack = Callable[[float, int], Mapping[str, Any]]
"""``attack(seconds, seed)``: ``inputs`` by kind, ``outcomes`` by word, and a list ``findings``."""

ATTACKS: Final[Mapping[str, Attack]] = {"readers": attack_readers}


def main(minutes: float = 2.0, out: Path | None = None, seed: int = 0) -> None:
    """Run every attack for an equal share of the time.

    Args:
        minutes: How long, all attacks together.
        out: The JSON to write.
        seed: Of the damage: the same seed begins with the same inputs.
    """
    share = 60 * minutes / len(ATTACKS)
    found: dict[str, Any] = {}
    for name, attack in ATTACKS.items():
        begun = time.monotonic()
        found[name] = {**_in_a_process(attack, share, seed), "seconds": 0.0}
        found[name]["seconds"] = round(time.monotonic() - begun, 1)
        counts = ", ".join(f"{kind} {count}" for kind, count in found[name]["inputs"].items())
        print(f"{name}: {counts}; {found[name]['outcomes']}")
        for finding in found[name]["findings"]:
            print(f"  {finding['kind']}: {finding['what']}\n    {finding['input']}")
    inputs = sum(sum(each["inputs"].values()) for each in found.values())
    findings = sum(len(each["findings"]) for each in found.values())
    if out is not None:
        command = f"python scripts/attack.py --minutes {minutes:g} --seed {seed} --out {out}"
        about = {**provenance.record(command, "hypothesis"), "inputs": inputs, "attacks": found}
        out.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{inputs} inputs, {findings} findings")
    sys.exit(1 if findings else 0)


def _in_a_process(attack: Attack, seconds: float, seed: int) -> Mapping[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(attack, seconds, seed).result()
        except BrokenProcessPool as error:
            died = {"kind": attack.__name__, "what": f"the process died: {error}", "input": ""}
            return {"inputs": {}, "outcomes": {}, "findings": [died]}


if __name__ == "__main__":
    tyro.cli(main)
