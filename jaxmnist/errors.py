"""A person's mistake: its exception, and the right word nearest to a mistyped one."""

import difflib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 2000
"""Characters of a message; what is wrong stands at its start, and what to do at its end."""


class InputError(ValueError):
    """Input that cannot be used: the message names the value, what is allowed, and what to do.

    The commands print it as one line and exit with status 2; a library caller catches it like
    any other `ValueError`. Characters that cannot be printed, which a file's name may have, are
    written as `printable` does; of a message that a huge value makes too long the middle is left
    out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, LONGEST))


def printable(text: str) -> str:
    r"""Write a text in one line that a terminal shows as it is.

    Args:
        text: Such as a file's name, which may have any characters, or bytes that are not UTF-8.

    Returns:
        The text, with an escape in place of each control character, line break, mark of direction
        and byte that is no character.

    >>> print(printable("a\nb\x1b[31m"))
    a\x0ab\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else _escaped(each)
        for each in text
    )


def shortened(text: str, most: int = 60) -> str:
    r"""Write a text as `printable` does, without the middle of a long one.

    Args:
        text: Such as the name of a class, which may have any characters and any length.
        most: How many characters are shown, at least 3.

    Returns:
        The text, with … in place of what is left out.

    >>> print(shortened("a\n" + "b" * 300 + "c", 9))
    a\x0…bbbc
    """
    if len(text) > 20 * most:  # Of which nothing in the middle needs an escape.
        text = text[: 10 * most] + text[-10 * most :]
    text = printable(text)
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # A byte that is not UTF-8, as Python has it in names.
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def nearest(word: object, choices: Iterable[str]) -> str:
    """Suggest the choice that a mistyped word most likely stands for.

    Capitals, hyphens and underscores do not count. In this order: the same word, initials, the
    beginning of a choice, a similar spelling (`difflib`), a part of a choice, an abbreviation.

    Args:
        word: What was given.
        choices: What is allowed; options of a command with their dashes.

    Returns:
        The end of an error message, or "" where no choice is near.

    >>> nearest("adm", ["sgd", "momentum", "adam"])
    "; did you mean 'adam'?"
    >>> nearest("--lr", ["--epochs", "--learning-rate"])
    '; did you mean --learning-rate?'
    >>> nearest("xyz", ["sgd", "adam"])
    ''
    """
    plain = {choice: _plain(choice) for choice in choices}
    given = _plain(str(word))
    if not given:
        return ""
    close = difflib.get_close_matches(given, plain.values(), n=1, cutoff=0.6)
    rules = (
        lambda each: each == given,
        lambda each: _initials(each) == given,
        lambda each: each.startswith(given),
        lambda each: each in close,
        lambda each: len(given) > 2 and given in each,
        lambda each: _abbreviates(given, each) or _abbreviates(each, given),
    )
    for rule in rules:
        for choice, each in plain.items():
            if rule(each):
                return f"; did you mean {choice if choice.startswith('-') else repr(choice)}?"
    return ""


def _plain(word: str) -> str:
    return word.strip("-").lower().replace("_", "-")


def _initials(word: str) -> str:
    """Return the first letters of a word of several parts."""
    parts = re.split(r"[-/]", word)
    return "".join(part[:1] for part in parts) if len(parts) > 1 else ""


def _abbreviates(short: str, long: str) -> bool:
    """Return whether the letters of one word are in the other, in order, from the first on."""
    letters = iter(long)
    return len(short) > 1 and short[0] == long[:1] and all(letter in letters for letter in short)
