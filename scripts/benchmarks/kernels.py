"""Count what a compiled program launches in each turn of its loops, from XLA's own text of it.

On a GPU a step of a small network is bound by launches; on a CPU every such piece is a pass over
memory. A fusion, a product, a sort or a copy counts as one, what only names or views memory as
none, and a call as what it calls.
"""

import re
from collections import Counter
from collections.abc import Mapping

FREE = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
        *("opt-barrier", "partition-id", "replica-id", "add-dependency"),
    )
)
"""Instructions that run nothing."""
TRANSFERS = frozenset(("infeed", "outfeed", "send", "recv", "send-done", "recv-done"))
"""Instructions that talk to the host."""

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$")
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


def loops(text: str) -> dict[str, Counter[str]]:
    """Count the kernels of one turn of every loop of a program.

    Args:
        text: ``jit(f).lower(…).compile().as_text()``.

    Returns:
        By the name of a loop's body: how many instructions of each kind one turn runs. A loop
        within a loop is one ``while`` of the outer one, and has an entry of its own.
    """
    computations = parse(text)
    bodies = [
        match
        for instructions in computations.values()
        for operation, line in instructions
        if operation == "while"
        for match in re.findall(r"body=%?([\w.\-]+)", line)
    ]
    return {body: _count(body, computations) for body in bodies}


def of_step(text: str) -> Counter[str]:
    """Return the kernels of a training step: of the loop whose turn has the most products.

    Args:
        text: As `loops` takes it.

    Raises:
        ValueError: The program has no loop with a product.
    """
    found = max(loops(text).values(), key=products, default=Counter())
    if not products(found):
        raise ValueError("the program has no loop with a matrix product in it")
    return found


def products(counted: Mapping[str, int]) -> int:
    """Return how many matrix products there are: as instructions, or as calls of a library."""
    return sum(
        number for kind, number in counted.items() if kind.partition(" ")[0] in ("dot", "gemm")
    )


def parse(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of every computation: their kind and their line."""
    computations: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations.setdefault(header.group(1), [])
        elif instruction := _INSTRUCTION.match(line):
            rest = _without_type(instruction.group(1))
            if name := re.match(r"[\w\-]+(?=\()", rest):
                current.append((name.group(), line))
    return computations


def _without_type(text: str) -> str:
    """Drop the type before an instruction's name, which may be a tuple with spaces in it."""
    depth = 0
    for index, character in enumerate(text):
        depth += character in "({[" and 1
        depth -= character in ")}]" and 1
        if character == " " and depth == 0:
            return text[index + 1 :]
    return text


def _count(name: str, computations: Mapping[str, list[tuple[str, str]]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for operation, line in computations[name]:
        if operation in ("call", "conditional", "async-start"):
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += re.findall(r"[\w.\-]+", branches)
            for each in called:
                counted += _count(each, computations)
        elif operation == "custom-call":
            target = (re.findall(r'custom_call_target="([^"]*)"', line) or ["?"])[0]
            kind = "gemm" if re.search("gemm|matmul|dot", target, re.IGNORECASE) else "custom-call"
            counted[f"{kind} {target}"] += 1
        elif operation == "fusion" and _is_product(line, computations):
            counted["dot in a fusion"] += 1
        elif operation not in FREE and not operation.endswith("-done"):
            counted[operation] += 1
    return counted


def _is_product(line: str, computations: Mapping[str, list[tuple[str, str]]]) -> bool:
    return any(
        operation == "dot"
        for called in _CALLED.findall(line)
        for operation, _ in computations.get(called, [])
    )
