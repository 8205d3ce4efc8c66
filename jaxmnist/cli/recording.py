"""What `train -v` says of a run before it starts, and which logs the run is written to."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from jaxmnist.cli.console import say
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from jaxmnist.runs import Run, Session

LogKind = Literal["tensorboard", "wandb", "mlflow", "trackio"]


def check_installed(kinds: Sequence[str]) -> None:
    """Refuse logs whose library is not installed, without loading JAX if there are none.

    Args:
        kinds: What `--log` was given.

    Raises:
        InputError: One is not installed.
    """
    if kinds:
        from jaxmnist.logs import check_installed

        check_installed(kinds)


def kinds_of(given: Sequence[str], run: "Run", resumed: bool, screen: "Console") -> Sequence[str]:
    """Return the logs that a run is written to.

    Args:
        given: What `--log` was given.
        run: The run.
        resumed: Whether it was started before: then its logs of that time are continued.
        screen: Where to say that one of those cannot be.

    Returns:
        Their kinds.
    """
    from jaxmnist import logs
    from jaxmnist.logs.callback import read_record

    kinds = list(given)
    for kind in read_record(run.path) if resumed and not given else ():
        try:
            logs.check_installed([kind])
            kinds.append(kind)
        except InputError as error:
            say(screen, f"the log {kind} of this run is not continued: {error}")
    return kinds


def starting(session: "Session", stream: bool) -> Iterator[Callable[[], str]]:
    """Say what is trained, where and on what.

    Args:
        session: What to train from, with data.
        stream: Whether the data are read from disk.

    Yields:
        What makes each line.
    """
    run = session.run
    yield lambda: f"run: {run.path}, " + ", ".join(f"{a}: {b}" for a, b in run.options.items())
    yield (
        lambda: (
            "on: "
            + ", ".join(
                f"{name.replace('_', ' ')} {value}"
                for name, value in (run.machines[-1] if run.machines else {}).items()
                if value not in ("", 0)
            )
        )
    )
    yield lambda: _data(session, stream)
    yield lambda: f"parameters: {_parameters(session):,}"


def _data(session: "Session", stream: bool) -> str:
    from jaxmnist.training import sizes

    train, test = sizes(session.data)
    where = "read from disk" if stream else "in memory"
    digest = session.run.data_sha256
    return f"data: {train:,} training and {test:,} test samples {where}, SHA-256 {digest}"


def _parameters(session: "Session") -> int:
    import jax

    from jaxmnist.runs.weights import sample, state_shapes

    shapes = state_shapes(session.run, sample(session.data))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
