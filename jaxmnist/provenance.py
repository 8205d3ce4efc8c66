"""Where numbers come from: the command, the machine and the versions that made a file.

Every file of results carries this record, so that a reader can run it again.
"""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

COMPUTING: Final = (
    *("jaxlib", "flax", "optax", "python"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin"),
)
"""What computes besides jaxmnist, JAX and NumPy, as `versions` takes it."""
_FLAGS: Final = ("default_matmul_precision", "default_prng_impl", "threefry_partitionable")
"""The settings of JAX, without its name, that change a run's numbers."""
# Without what a repository's own settings would have git start, or write.
_STATUS: Final = (
    *("git", "-c", "core.fsmonitor=false", "--no-optional-locks", "status"),
    *("--porcelain=v2", "--branch", "--untracked-files=no"),
)
_GIT_SECONDS: Final = 10.0


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


def machine() -> dict[str, str | int | bool]:
    """Return what the last bits of a seed's numbers depend on besides the options of the run.

    XLA splits sums on a CPU among its threads, which are as many as the process's cores, and
    takes the instructions that the processor has.

    Returns:
        ``cores`` that this process may use, ``device``, ``processor``, ``xla_flags`` from the
        environment, ``jax_flags``, the version of everything that computes by its name, and what
        `commit` returned.

    >>> list(machine())[:8]
    ['cores', 'device', 'processor', 'xla_flags', 'jax_flags', 'jaxmnist', 'jax', 'numpy']
    """
    import jax

    flags = {name: getattr(jax.config, f"jax_{name}", None) for name in _FLAGS}
    return {
        "cores": cores(),
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_flags": " ".join(f"{name}={value}" for name, value in flags.items()),
        **versions(*COMPUTING),
        **commit(),
    }


def cores() -> int:
    """Return how many of the machine's cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def commit() -> dict[str, str | bool]:
    """Return which commit is checked out where the program is started, or where its source is.

    Returns:
        ``commit``, its hash, and ``dirty``, whether a file that git knows has been changed since;
        nothing where there is no repository, or no git.
    """
    found: dict[str, str | bool] = {}
    for folder in (Path.cwd(), Path(__file__).parent):
        try:
            status = subprocess.run(
                _STATUS,
                cwd=folder,
                capture_output=True,
                check=True,
                timeout=_GIT_SECONDS,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        lines = status.stdout.decode(errors="replace").splitlines()
        heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
        if heads and heads[0] != "(initial)":
            changed = any(not line.startswith("#") for line in lines)
            found = {"commit": heads[0], "dirty": changed}
            break
    return found


def _processor() -> str:
    """Return the name of the processor, as Linux has it, or the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return "".join(names[:1]) or platform.processor() or platform.machine()
