"""Where the commands keep compiled programs: the next process of the same kind starts sooner."""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Final

SIZE: Final = 2**26
"""Bytes that all programs may take. With a limit JAX holds a lock while it reads or writes one."""


def keep_programs() -> None:
    """Let JAX keep what it compiles in the user's cache folder, and look there first.

    Nothing is changed where JAX runs already, where its own variables say something about it, or
    where the folder cannot be written: programs are then compiled as if there were none.
    """
    if "jax" in sys.modules or any(
        name in os.environ for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    ):
        return
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("jaxmnist"), "xla")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(SIZE)
    # JAX leaves out what it compiles within a second: here that is nearly everything.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # A program that is damaged, of another machine or too large is compiled again.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
