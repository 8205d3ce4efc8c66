"""Where and how a run was trained, from which epoch on: what the last bits of its numbers need."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from jaxmnist import provenance
from jaxmnist.runs.run import Run

HOW: Final[Mapping[str, Any]] = {"devices": 1, "processes": 1, "stream": False}
"""How a run is trained where nothing else is recorded: on one device, from memory."""
_OF_THE_SOURCE: Final = ("jaxmnist", "commit", "dirty")
"""What `jaxmnist.provenance.machine` returns that is no property of the machine."""


def here(epoch: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `Run.machines` for this process.

    Args:
        epoch: The first epoch that it trains.
        how: With which of `HOW`; what is as there is not recorded.

    Returns:
        ``epoch``, what `jaxmnist.provenance.machine` returns, and what differs from `HOW`.
    """
    others = {name: value for name, value in how.items() if value != HOW[name]}
    return {"epoch": epoch, **provenance.machine(), **others}


def trained_until(run: Run, epoch: int, say: Callable[[str], None], how: Mapping[str, Any]) -> Run:
    """Return a run with the texts and the machines that trained it up to an epoch, and this.

    Args:
        run: The run that is resumed.
        epoch: How many of its epochs are trained.
        say: Called with a line, if this machine is another.
        how: As `here` takes it.

    Returns:
        The run, with an entry for this machine if the last one is not of it.
    """
    machines = [each for each in run.machines if each["epoch"] < epoch]
    now = here(epoch, how)
    if not machines or {**machines[-1], "epoch": epoch} != now:
        changed = (
            [
                f"{name} {before} before, {after} now"
                for name, before, after in differences(machines[-1], now)
                if name.replace(" ", "_") not in _OF_THE_SOURCE
            ]
            if machines
            else []
        )
        machines.append(now)
        if changed:
            say(
                f"the machine is not as it was ({'; '.join(changed)}): the numbers are the same "
                "to rounding, and not to the last bit"
            )
    if run.task_file is not None:
        earlier = tuple((text, min(epochs, epoch)) for text, epochs in run.task_file.earlier)
        run = replace(run, task_file=replace(run.task_file, earlier=earlier))
    return replace(run, machines=tuple(machines))


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Compare two entries of `Run.machines`, each of which may lack what versions before had not.

    Args:
        before: The one.
        after: The other.

    Yields:
        What differs, in words, and both values.

    >>> list(differences({"epoch": 0, "cores": 2}, {"epoch": 3, "cores": 4, "devices": 2}))
    [('cores', '2', '4'), ('devices', '1', '2')]
    """
    first, second = {**HOW, **before}, {**HOW, **after}
    names = [name for name in (*before, *after, *HOW) if name in first and name in second]
    for name in dict.fromkeys(names):
        if name != "epoch" and first[name] != second[name]:
            yield name.replace("_", " "), _shown(first[name]), _shown(second[name])


def _shown(value: Any) -> str:
    return "none" if value in ("", None) else str(value)
