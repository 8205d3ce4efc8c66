"""Which of the logs' libraries are installed, and what installs one that is not."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

from jaxmnist.errors import InputError, nearest

LIBRARIES: Final = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}
"""The module that each kind of log needs; the extra that installs it has the kind's name."""
RECORD: Final = "logs.json"
"""The file in a run's folder by which its logs are continued."""


def check_installed(kinds: Iterable[str]) -> None:
    """Refuse a log whose library is not installed, or that is of no known kind.

    Args:
        kinds: Such as ``["tensorboard"]``.

    Raises:
        InputError: One of them cannot be written.

    >>> check_installed(["tensorbord"])
    Traceback (most recent call last):
    jaxmnist.errors.InputError: there is no log 'tensorbord'; ... did you mean 'tensorboard'?
    """
    for kind in kinds:
        if kind not in LIBRARIES:
            raise InputError(
                f"there is no log {kind!r}; choose from {', '.join(LIBRARIES)}"
                f"{nearest(kind, LIBRARIES)}"
            )
        if find_spec(LIBRARIES[kind]) is None:
            raise InputError(
                f"the log {kind} needs {LIBRARIES[kind]}, which is not installed; this installs "
                f"it: pip install 'jaxmnist[{kind}]'"
            )
