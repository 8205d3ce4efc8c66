"""Turn JAX's 64-bit numbers on for a command whose run is in float64."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxmnist.reading import read_json


def in_its_precision(command: Callable[..., None]) -> Callable[..., None]:
    """Enable 64-bit numbers, which are off by default, while a command on a float64 run runs.

    Args:
        command: With a parameter ``dtype``, ``config``, ``run`` or ``resume``. A task's own
            ``Config`` may have a field ``dtype``.

    Returns:
        The command, with the same signature.
    """

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(command).bind(*args, **kwargs)
        bound.apply_defaults()
        if _dtype_of(bound.arguments) != "float64":
            return command(*args, **kwargs)
        import jax

        with jax.enable_x64(True):
            return command(*args, **kwargs)

    return run_command


def _dtype_of(given: Mapping[str, Any]) -> Any:
    """Look up a command's dtype; None if its run cannot be read, which reading it will report."""
    run = given.get("resume") or given.get("run")
    if run is None:
        return given["dtype"] if "dtype" in given else getattr(given["config"], "dtype", None)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        about = read_json(run / "config.json")
        return (about["task"]["options"] if "task" in about else about["config"])["dtype"]
