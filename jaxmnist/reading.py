"""Files that others wrote, read within bounds: regular files of a limited size, and sound JSON."""

import json
import math
import os
import stat
from itertools import chain
from pathlib import Path
from typing import Any, Final

from jaxmnist.atomic import read_whole
from jaxmnist.errors import InputError

MAX_BYTES: Final = "JAXMNIST_MAX_BYTES"
"""The environment variable that `--max-bytes` sets."""
DEFAULT_MAX_BYTES: Final = 4 * 2**30
"""How much memory one data set, model or race may take where nothing else is asked for."""
MAX_JSON_BYTES: Final = 64 * 2**20
"""The largest JSON file, or line of one, that is parsed."""
MAX_DEPTH: Final = 32
"""How deeply its lists and objects may be nested."""
_LARGEST: Final = 2**64
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def max_bytes() -> int:
    """Return how many bytes what is read may take in memory, as the environment has it.

    Raises:
        InputError: The environment has no such number.

    >>> max_bytes() // 2**30
    4
    """
    given = os.environ.get(MAX_BYTES)
    return DEFAULT_MAX_BYTES if given is None else parse_bytes(given)


def parse_bytes(text: str) -> int:
    """Read a number of bytes as a person writes it.

    Args:
        text: A whole number, with K, M, G or T for powers of 1024.

    Returns:
        The number, at least 1.

    Raises:
        InputError: It is none.

    >>> parse_bytes("16G")
    17179869184
    """
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18 and unit in _UNITS):
        raise InputError(
            f"--max-bytes is {text[:40]!r}; it must be a whole number, such as 8G or 500M"
        )
    if not (number := int(digits) * _UNITS[unit]):
        raise InputError("--max-bytes is 0; it must be at least 1")
    return number


def check_bytes(what: str, needed: int) -> None:
    """Refuse what needs more memory than is allowed, before any of it is allocated.

    Args:
        what: The beginning of the message: what is asked for.
        needed: How many bytes it takes.

    Raises:
        InputError: That is more than `max_bytes`.

    >>> check_bytes("a.npz", 2**33)
    Traceback (most recent call last):
    jaxmnist.errors.InputError: a.npz needs 8.0 GiB of memory; at most 4.0 GiB are ...
    """
    if needed > (allowed := max_bytes()):
        raise InputError(
            f"{what} needs {_size(needed)} of memory; at most {_size(allowed)} are allowed; "
            "raise that with --max-bytes, such as --max-bytes 16G"
        )


def _size(count: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 2**power // 10:
            # A whole number's own division has no limit; a float's ends at 1e308.
            tenths = count * 10 // 2**power
            return f"{tenths // 10:,}.{tenths % 10} {unit}" if count < 2**90 else "over 2**90 bytes"
    return f"{count} bytes"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~user` replaced by the home folder.

    Args:
        path: As a person gives it.

    Raises:
        InputError: There is no such user, or the path has a null character.

    >>> expanded("data/x.npz")
    PosixPath('data/x.npz')
    """
    text = os.fspath(path)
    if "\0" in text:
        raise InputError(f"{text!r} has a null character; give the path of a file or folder")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{text}: there is no user {text.split('/')[0]}; write ./{text} for a file of that name"
        ) from error


def check_regular(path: Path) -> int:
    """Refuse a path that is a device, a FIFO or a socket, which might never end.

    Args:
        path: The file; a link is followed.

    Returns:
        Its size in bytes.

    Raises:
        InputError: It is neither a regular file nor a folder.
        OSError: It cannot be looked at.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise InputError(f"{path} is a device, a FIFO or a socket; a regular file is needed")
    return about.st_size


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a whole file, if it is a regular one of a limited size.

    Args:
        path: The file.
        most: How many bytes it may have; None for `max_bytes`.

    Returns:
        Its content.

    Raises:
        InputError: It is no regular file, or a larger one.
        OSError: It cannot be read.
    """
    size = check_regular(path)
    if most is None:
        check_bytes(str(path), size)
        most = max_bytes()
    if size > most:
        raise InputError(f"{path} has {size:,} bytes; at most {most:,} are read")
    return read_whole(path, most)


def read_json(path: Path) -> Any:
    """Read a JSON file within bounds.

    Args:
        path: The file, of at most 64 MiB.

    Returns:
        What it holds.

    Raises:
        InputError: It is no regular file, or a larger one.
        ValueError: It is no JSON, or one that `parse_json` refuses.
        OSError: It cannot be read.
    """
    return parse_json(read_bytes(path, MAX_JSON_BYTES))


def parse_json(content: str | bytes, finite: bool = True) -> Any:
    """Parse JSON whose nesting and numbers are bounded.

    Args:
        content: The JSON, in UTF-8.
        finite: Whether NaN and infinity are refused.

    Returns:
        What it holds.

    Raises:
        ValueError: It is no JSON, is nested more than 32 deep, has a number that is not finite or
            a whole number of more than 64 bits.

    >>> parse_json('{"epoch": 3}')
    {'epoch': 3}
    >>> parse_json("[1e999]")
    Traceback (most recent call last):
    ValueError: the number 1e999 is too large
    """

    def constant(name: str) -> float:
        if finite:
            raise ValueError(f"the number {name} is not finite")
        return float(name)

    try:
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(
            text, parse_constant=constant, parse_float=_parse_float, parse_int=_parse_int
        )
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(f"it is no JSON: {error.msg}", error.doc, error.pos) from None
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [each.values() if type(each) is dict else each for each in level
                 if type(each) is dict or type(each) is list]  # fmt: skip
        if not inner:
            return value
        level = list(chain.from_iterable(inner))
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _parse_int(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= _LARGEST:
        raise ValueError(f"the whole number {text[:20]}... of {len(text)} digits is too large")
    return int(text)
