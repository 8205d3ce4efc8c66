"""Turn a command line into a call to be made, and a mistake in it into one line."""

import contextlib
import functools
import inspect
import io
import itertools
import logging
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import tyro
from tyro.conf import (
    FlagCreatePairsOff,
    OmitArgPrefixes,
    Positional,
    PositionalMetavarFromFieldName,
    Suppress,
)
from tyro.extras import SubcommandApp

from jaxmnist import __version__
from jaxmnist.cli.cache import keep_programs
from jaxmnist.cli.console import fail, speaking
from jaxmnist.cli.data import data_list, data_prepare, data_show
from jaxmnist.cli.evaluate import evaluate
from jaxmnist.cli.examples import EXAMPLES
from jaxmnist.cli.export import export
from jaxmnist.cli.figures import figures
from jaxmnist.cli.predict import predict
from jaxmnist.cli.race import race
from jaxmnist.cli.report import report
from jaxmnist.cli.reproduce import reproduce
from jaxmnist.cli.runs import runs
from jaxmnist.cli.sweep import sweep
from jaxmnist.cli.sweep_task import for_swept_file
from jaxmnist.cli.train import train
from jaxmnist.cli.train_task import for_task_file
from jaxmnist.cli.verify import verify
from jaxmnist.cli.verify_file import for_pairs_file
from jaxmnist.errors import nearest
from jaxmnist.reading import MAX_BYTES, parse_bytes

Command = Callable[..., None]
Group = Mapping[str, Any]
"""Commands, and groups of them, by name."""

COMMANDS: Final[Group] = {
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "sweep": sweep,
    "runs": runs,
    "reproduce": reproduce,
    "report": report,
    "verify": verify,
    "race": race,
    "figures": figures,
    "export": export,
    "data": {"list": data_list, "prepare": data_prepare, "show": data_show},
}

_DESCRIPTIONS = {
    "jaxmnist": (
        "MNIST training as pure functions in JAX. `jaxmnist --version` prints the version, and "
        "`jaxmnist --print-completion bash` (or zsh) a script that completes commands there: "
        'eval "$(jaxmnist --print-completion bash)". `jaxmnist COMMAND --help` has examples.'
    ),
    "data": "List, prepare and look at data sets.",
}
_EVERYWHERE = (
    "--max-bytes 16G, after any command, lets a data set, a model's file or a race take 16 GiB of "
    "memory; without it, 4 GiB. --no-cache, after any command, compiles all programs anew; without "
    "it they are kept in the user's cache folder. -q, after any command, prints errors alone; -v "
    "says more."
)
_NO_CACHE = ("--no-cache", "--no_cache")
_LEVELS = {"-v": 1, "--verbose": 1, "-q": -1, "--quiet": -1}
_CONFIG = (FlagCreatePairsOff, OmitArgPrefixes, PositionalMetavarFromFieldName)
_OF_THE_PROGRAM = ("--version", "--print-completion")
# Options that the parser adds: help, and scripts that complete commands in a shell.
_HELP = ("-h", "--help")
_SHELLS = ("bash", "zsh")
_COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


def parse(arguments: Sequence[str] | None) -> Callable[[], None]:
    """Find the command and read its options; print a mistake and exit with 2.

    Args:
        arguments: The command line without the program's name; None takes the process's own.

    Returns:
        The command with its arguments, to be called.
    """
    words, limit = _max_bytes(list(sys.argv[1:] if arguments is None else arguments))
    words, level = _verbosity(words)
    kept = [word for word in words if word not in _NO_CACHE]
    call = _parse(list(kept))

    def run() -> None:
        if kept == words:
            keep_programs()
        if level > 0:
            logging.disable(logging.NOTSET)  # Libraries may say what the program leaves out.
        with _limited(limit), speaking(level):
            call()

    return run


def _max_bytes(words: list[str]) -> tuple[list[str], int | None]:
    """Return the words without --max-bytes, which every command has, and its value."""
    names = ("--max-bytes", "--max_bytes")
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in names or index == 0:
            continue
        if not equals and index + 1 == len(words):
            fail("--max-bytes needs a value")
        value, rest = (
            (value, words[index + 1 :]) if equals else (words[index + 1], words[index + 2 :])
        )
        return words[:index] + rest, parse_bytes(value)
    return words, None


def _verbosity(words: list[str]) -> tuple[list[str], int]:
    """Return the words without -v and -q, which every command has, and what they mean."""
    command, options = words[:1], words[1:]
    found = {_LEVELS[word]: word for word in options if word in _LEVELS}
    if len(found) > 1:
        fail(f"{found[-1]} and {found[1]} contradict each other: omit one")
    return command + [word for word in options if word not in _LEVELS], sum(found)


@contextlib.contextmanager
def _limited(limit: int | None) -> Iterator[None]:
    """Let files take so many bytes of memory, if a number was given."""
    earlier = os.environ.get(MAX_BYTES)
    if limit is not None:
        os.environ[MAX_BYTES] = str(limit)
    try:
        yield
    finally:
        if limit is not None:
            os.environ.pop(MAX_BYTES)
            if earlier is not None:
                os.environ[MAX_BYTES] = earlier


def _parse(words: list[str]) -> Callable[[], None]:
    """Find the command that some words mean, and read its options."""
    found: Any = COMMANDS
    path = ["jaxmnist"]
    while isinstance(found, Mapping):
        choices = f"choose one of {', '.join(found)}"
        if not words:
            fail(f"{path[-1]} needs a command; {choices}")
        if words[0].startswith("-"):
            return _parse_group(found, path, words)
        word = words.pop(0)
        if word not in found:
            fail(f"{path[-1]} has no command {word!r}; {choices}{nearest(word, found)}")
        found = found[word]
        path.append(word)
    if found is train:
        found, words = for_task_file(_with_values(words))
    elif found is sweep:
        found, words = for_swept_file(words)
    elif found is verify:
        found, words = for_pairs_file(words)
    return _parse_command(found, " ".join(path), words)


def _with_values(words: list[str]) -> list[str]:
    """Return the words of `train` with an empty value after `--profile`, if it has none."""
    made = []
    for word, following in itertools.pairwise([*words, "-"]):
        made.append(word)
        if word == "--profile" and following.startswith("-"):
            made.append("")
    return made


def _parse_group(group: Group, path: list[str], words: list[str]) -> Callable[[], None]:
    """Answer what is asked of the program, or of a group of commands, as a whole."""
    known = [*_HELP, *_COMPLETION, *(_OF_THE_PROGRAM if len(path) == 1 else [])]
    option = words[0].split("=")[0]
    if option not in known:
        fail(
            f"{path[-1]} has no option {option}; a command's options follow it: "
            f"{' '.join(path)} COMMAND {words[0]}{nearest(option, known)}"
        )
    if option == "--version":
        sys.stdout.write(f"jaxmnist {__version__}\n")
        sys.exit()
    if option == "--print-completion":
        given = words[0].split("=")[1:] or words[1:]
        if len(given) != 1 or given[0] not in _SHELLS:
            fail(f"--print-completion needs a shell: {' or '.join(_SHELLS)}")
        words = [_COMPLETION[0], *given]
    return _app(group).cli(
        prog=" ".join(path), description=_DESCRIPTIONS[path[-1]], args=words, config=_CONFIG
    )


def _app(group: Group) -> SubcommandApp:
    app = SubcommandApp()
    for name, command in group.items():
        if isinstance(command, Mapping):
            app.command(_app(command), name=name, help=_DESCRIPTIONS[name])
        else:
            app.command(name=name)(command)
    return app


def _parse_command(command: Command, name: str, words: list[str]) -> Callable[[], None]:
    own = name.removeprefix("jaxmnist ")
    given = [word.split("=")[0] for word in words if re.match("--[a-zA-Z]", word)]
    known = [*_options(command), *_HELP, *_COMPLETION]
    for option in given:
        if option.replace("_", "-") not in known:
            fail(f"{own} has no option {option}; see {name} --help{nearest(option, known)}")

    # From Python 3.13 on a docstring comes without its indentation, before that with it.
    about, args, options = inspect.cleandoc(command.__doc__ or "").partition("\nArgs:")

    @functools.wraps(command)
    def defer(*args: Any, **kwargs: Any) -> Callable[[], None]:
        if "given" in kwargs:
            kwargs["given"] = frozenset(option[2:].replace("-", "_") for option in given)
        return functools.partial(command, *args, **kwargs)

    examples = "".join(f"\n\n{example}" for example in EXAMPLES.get(own, ()))
    defer.__doc__ = f"{about.rstrip()}\n\n{_EVERYWHERE}\n\nFor example:{examples}\n{args}{options}"
    read = functools.partial(
        tyro.cli, defer, prog=name, args=words, config=_CONFIG, return_unknown_args=True
    )
    complaint, page = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with (
            _wide_screen(),
            contextlib.redirect_stderr(complaint),
            contextlib.redirect_stdout(page),
        ):
            call, unknown = read()
    except SystemExit as stopped:
        if stopped.code == 2:
            fail(_one_line(complaint.getvalue()))
        call, unknown = read()  # It was asked for help: again, now for the reader's own screen.
    if unknown:
        fail(f"{own} does not understand {' '.join(unknown)}; see {name} --help")
    return call


def _options(command: Command) -> list[str]:
    """List the options of a command as they are written, without the parser's own."""
    names = ["max_bytes"]
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        kind, *marks = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        if name == "return" or Positional in marks or Suppress in marks:
            continue
        if is_dataclass(kind):
            names += [field.name for field in fields(kind)]
        else:
            names.append(next((mark.name for mark in marks if getattr(mark, "name", "")), name))
    return ["--" + name.replace("_", "-") for name in names]


@contextlib.contextmanager
def _wide_screen() -> Iterator[None]:
    """Have the parser wrap nothing: its message is not for the screen."""
    screen = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if screen is not None:
            os.environ["COLUMNS"] = screen


# tyro 1.0.17 has no public interface to what is wrong with a value or an argument that is missing:
# `tyro._errors` has one, and says that it may change in any release. So its message is read, and
# whatever cannot be recognised in it is passed on in full, in one line.
def _one_line(box: str) -> str:
    """Read what is wrong from the parser's framed message: all of it but the last paragraph."""
    paragraphs: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(" │")
        if text.startswith("─"):
            paragraphs.append([])
        elif not text.startswith(("╭", "╰")):
            paragraphs[-1] += text.split()
    wrong, *hints = (" ".join(words) for words in paragraphs[:-1] or paragraphs)
    wrong = re.sub(r"^Error parsing [A-Z]\w*: ", "", wrong)  # A value refused by `Config`.
    if unreadable := re.search(r"^Error parsing (\S+): .*'([^']*)'\]?$", wrong):
        wrong = f"{unreadable[1]} cannot be {unreadable[2]!r}"
        hints = [f"it is {hint.removeprefix('Argument helptext: ')}" for hint in hints]
    elif choice := re.search(r"^invalid choice '(.*)' for argument '(\S+)'\. .*\((.*)\)", wrong):
        choices = re.findall(r"'([^']*)'", choice[3])
        wrong = f"{choice[2]} cannot be {choice[1]!r}; choose one of {', '.join(choices)}"
        wrong += nearest(choice[1], choices)
    elif valueless := re.search(r"^Missing value for argument '(\S+)'\. Expected (\d+)", wrong):
        wrong = f"{valueless[1]} needs {'a value' if valueless[2] == '1' else valueless[2]}"
    elif missing := re.search(r"^Missing from jaxmnist (.*?): (.*)$", wrong):
        wrong = f"{missing[1]} needs {missing[2]}"
        hints = [hint.replace("Unrecognized options:", "it does not know") for hint in hints]
    return "; ".join([wrong, *hints])
