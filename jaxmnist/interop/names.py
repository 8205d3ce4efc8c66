"""The names of a PyTorch module's parameters as those of the tutorial's ``nn.Sequential``."""

import itertools
import re
import warnings
from collections.abc import Sequence

_NAME = re.compile(r"(?P<prefix>(?:.+\.)?)(?P<index>\d+)\.(?P<leaf>weight|bias)")


def expected_names(count: int) -> list[str]:
    """Return the names of so many affine layers: ``0.weight``, ``0.bias``, ``2.weight`` ..."""
    return [f"{2 * index}.{leaf}" for index in range(count) for leaf in ("weight", "bias")]


def standard_names(names: Sequence[str]) -> dict[str, str] | None:
    """Find which of the tutorial's names each of a module's names stands for.

    A prefix that all share is a wrapper's (``module.`` of DataParallel, ``_orig_mod.`` of
    ``torch.compile``) or that of an attribute. Numbers are places in an ``nn.Sequential``: they
    rise, and between two affine layers lies at least one module, an activation. With
    ``nn.Flatten`` first they are 1, 3, 5 ...; with dropout between, 0, 3, 6 ... Any other names
    have no one reading, such as those of attributes, which may be used in any order.

    Args:
        names: As in a ``state_dict``, in any order.

    Returns:
        The tutorial's name by the one found; None if this is not the only reading.

    >>> standard_names(["module.1.weight", "module.1.bias"])
    {'module.1.weight': '0.weight', 'module.1.bias': '0.bias'}
    """
    found = {name: match for name in names if (match := _NAME.fullmatch(name))}
    if len(found) < len(names) or len({match["prefix"] for match in found.values()}) != 1:
        return None
    places = sorted({int(match["index"]) for match in found.values()})
    if any(after - before < 2 for before, after in itertools.pairwise(places)):
        return None
    at = {
        f"{2 * places.index(int(match['index']))}.{match['leaf']}": name
        for name, match in found.items()
    }
    expected = expected_names(len(places))
    whole = len(at) == len(found) and sorted(at) == sorted(expected)
    return {at[ours]: ours for ours in expected} if whole else None


def warn_renamed(renamed: dict[str, str], stacklevel: int) -> None:
    """Say under which names parameters were read, if these are not their own.

    Args:
        renamed: From `standard_names`.
        stacklevel: As in `warnings.warn`, of the function that calls this one.
    """
    if changed := [f"{name} as {ours}" for name, ours in renamed.items() if name != ours]:
        warnings.warn(
            f"the parameters' names are read as Linear and ReLU in turn: {', '.join(changed)}",
            stacklevel=stacklevel + 1,
        )
