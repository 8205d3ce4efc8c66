"""A person's Python file or module: its errors become one line with their place in it."""

import functools
import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import check_regular


def read_text(path: Path, what: str) -> str:
    """Read a Python file.

    Args:
        path: The file, a .py.
        what: What it is, for messages, such as "a task's file".

    Returns:
        Its text.

    Raises:
        InputError: It is not there, cannot be read, or is no .py.
    """
    if path.suffix != ".py":
        raise InputError(f"{path} is no .py; give {what}, or options only")
    try:
        check_regular(path)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        near = nearest(path.name, [each.name for each in path.absolute().parent.glob("*.py")])
        raise InputError(f"cannot read {path}: {error.strerror}{near}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from error


@functools.lru_cache(maxsize=32)
def run_text(text: str, path: str) -> ModuleType:
    """Run a Python file, once for each text.

    Modules next to it can be imported, as if it were run as a script; they are not recorded.

    Args:
        text: The file's text.
        path: Where it is, for imports and messages.

    Returns:
        The module.

    Raises:
        InputError: The text is no Python, or raises.
    """
    try:
        code = compile(text, path, "exec")
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:  # A null byte.
        raise InputError(f"{path}: {error}") from error
    name = f"file_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # Where dataclasses look their annotations up.
    if (folder := str(Path(path).parent)) not in sys.path:
        sys.path.insert(0, folder)
    called(path, "", lambda: exec(code, vars(module)))  # The person's own file.
    return module


def check_function(module: ModuleType, wanted: str, returns: str) -> None:
    """Refuse a file that lacks a function.

    Args:
        module: The file, run.
        wanted: The function and its arguments, such as ``task(config)``.
        returns: What it must return, in words.

    Raises:
        InputError: It has none.
    """
    name = wanted.partition("(")[0]
    if not callable(getattr(module, name, None)):
        own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise InputError(
            f"{module.__file__} has no function {wanted}, which must return {returns}"
            f"{nearest(name, own)}"
        )


def called(path: str, function: str, call: Callable[[], Any]) -> Any:
    """Call what a file defines; an error in it becomes one line with its place in the file.

    Args:
        path: The file.
        function: The function's name, or "" for the file itself.
        call: Calls it.

    Returns:
        What it returned.

    Raises:
        InputError: It raised.
    """
    try:
        return call()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        place = f"{path}, line {lines[-1]}" if lines else path
        place += f", in {function}" if function else ""
        message = " ".join(str(error).split())
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(f"{place}: {kind}{message}") from error


def named(option: str, text: str) -> Any:
    """Import what a person names, from an installed module or one in the current folder.

    Args:
        option: The option that names it, for messages.
        text: A module and a name in it, such as ``torch.optim:AdamW``; the name may have dots.

    Returns:
        What has that name.

    Raises:
        InputError: The text is of another form, the module cannot be imported, or it has no such
            name.
    """
    home, colon, path = text.partition(":")
    own = Path(home)
    words = [*home.split("."), *path.split(".")]
    if own.suffix == ".py" or not colon or not all(word.isidentifier() for word in words):
        hint = f"; of the file {own} that is {own.stem}:NAME" if own.suffix == ".py" else ""
        raise InputError(
            f"{option} is {text!r}; it must be MODULE:NAME, such as torch.optim:AdamW{hint}"
        )
    found: Any = _imported(option, home)
    before = home
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [name for name in dir(found) if name[0] != "_"]
            raise InputError(
                f"{option} is {text}, and {before} has no {part}{nearest(part, public)}; name "
                "something that it has"
            ) from None
        before = f"{before}.{part}"
    return found


def _imported(option: str, home: str) -> ModuleType:
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(home)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        written = [frame for frame in frames if "importlib" not in frame.filename]
        place = f"{written[-1].filename}, line {written[-1].lineno}: " if len(written) > 1 else ""
        message = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError) and (f"{home}.").startswith(f"{error.name}."):
            place, message = "", f"there is no module {error.name}"
            remedy = "it must be installed, or a file in this folder"
        else:
            message = f"{type(error).__name__}: {message}"
            remedy = "it must be a module that can be imported"
        raise InputError(f"{option}: cannot import {home}: {place}{message}; {remedy}") from error
