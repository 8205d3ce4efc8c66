"""Where numbers come from: the command, the machine and the versions that made a file.

Every file of results carries this record, so that a reader can run it again.
"""

import os
import platform
from importlib import metadata


def record(command: str | None = None, *packages: str) -> dict[str, str | dict[str, str]]:
    """Return what JSON stores about how its numbers were made.

    Args:
        command: What was typed; None where no one command made them.
        *packages: Distributions whose versions matter too, as `versions` takes them.

    Returns:
        ``command`` (where there is one), ``machine`` (architecture, cores and JAX's backend) and
        ``versions``.

    >>> sorted(record("python measure.py"))
    ['command', 'machine', 'versions']
    """
    import jax

    machine = f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}"
    typed = {} if command is None else {"command": command}
    return {**typed, "machine": machine, "versions": versions(*packages)}


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of jaxmnist, JAX and NumPy, and of further packages.

    Args:
        *packages: Names of distributions, such as torch or array-record; python is the
            interpreter.

    Returns:
        Versions by name. A package that is not installed has none.

    >>> list(versions("python", "no-such-package"))
    ['jaxmnist', 'jax', 'numpy', 'python']
    """
    found = {}
    for name in dict.fromkeys(("jaxmnist", "jax", "numpy", *packages)):
        try:
            found[name] = platform.python_version() if name == "python" else metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Return what the last bits of a seed's numbers depend on besides the program.

    XLA splits sums on a CPU among its threads, which are as many as the process's cores.

    Returns:
        ``cores`` that this process may use, ``device``, ``xla_flags`` from the environment, and
        the version of ``jax``.

    >>> list(machine())
    ['cores', 'device', 'xla_flags', 'jax']
    """
    import jax

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "device": jax.devices()[0].device_kind,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax": jax.__version__,
    }
