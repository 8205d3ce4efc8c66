"""`jaxmnist verify FILE`: compare the pairs that a person's own file defines."""

import itertools
import json as json_module
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.cli.verify import verify
from jaxmnist.cli.verify_pair import verify_pair
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.verify.assertion import AnyResult

_WANTED = "pairs()"
_RETURNS = (
    "names with what to compare: a dict, or pairs of a name and a result of jaxmnist.verify, a "
    "function that returns one, or a tuple of arguments for verify.assert_same"
)


def for_pairs_file(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """Choose the command that `verify` with some words means.

    Args:
        words: What follows `verify`.

    Returns:
        `verify`, the command for a file of pairs where a .py comes first, or that for two names
        where one of them is given; and the words.

    Raises:
        InputError: One name is missing, an option is given twice, or names with a file.
    """
    options = [word.partition("=")[0].replace("_", "-") for word in words if word[:2] == "--"]
    is_file = bool(words) and words[0].endswith(".py") and not words[0].startswith("-")
    if not set(_OF_NAMES) & set(options):
        return (verify_file if is_file else verify), list(words)
    if not {"-h", "--help"} & set(words):
        _check_names(words, options)
    return verify_pair, list(words)


_OF_NAMES = ("--ours", "--reference", "--kwargs", "--ours-kwargs")


def _check_names(words: Sequence[str], options: Sequence[str]) -> None:
    """Refuse words that give more, or less, than two names."""
    for option in options:
        if options.count(option) > 1:
            raise InputError(f"{option} is given twice; give it once, with all its values after it")
    for before, word in itertools.pairwise(["", *words]):
        is_file = word.endswith(".py") and "=" not in word and before not in _OF_NAMES[:2]
        if word[:1] != "-" and (not before or is_file):
            given = next(option for option in _OF_NAMES if option in options)
            raise InputError(
                f"{word} and {given} are both given; give a file of pairs or what to verify, or "
                "--ours and --reference"
            )
    if lacking := [option for option in _OF_NAMES[:2] if option not in options]:
        raise InputError(
            f"verify needs {lacking[0]} MODULE:NAME; give both, such as --ours optax:adamw "
            "--reference torch.optim:AdamW"
        )


def verify_file(file: Positional[Path], json: bool = False) -> None:
    """Compare what a Python file pairs up; exit with 1 if anything differs.

    The file has a function ``pairs()`` that returns a dict, or yields pairs, of a name and what to
    compare: a result of ``jaxmnist.verify``, a function that returns one, or a tuple of arguments
    for ``jaxmnist.verify.assert_same``.

    Args:
        file: The file, a .py.
        json: Print a JSON object with every result instead of tables.
    """
    from jaxmnist.runs.python_file import called, check_function, read_text, run_text
    from jaxmnist.verify.assertion import compared

    path = str(file.absolute())
    module = run_text(read_text(file, "a file of pairs"), path)
    check_function(module, _WANTED, _RETURNS)
    screen = make_console()
    found: dict[str, Any] = {}
    passed = []
    for name, what in _pairs(path, called(path, "pairs", module.pairs)):
        result: AnyResult = called(path, f"pairs, {name}", lambda what=what: compared(*what))
        passed.append(result.passed)
        if json:
            found[name] = json_module.loads(result.to_json())
        else:
            for line in f"{name}: {result}".splitlines():
                say(screen, line)
    if not passed:
        raise InputError(f"{path}: pairs returned nothing to compare; it must return {_RETURNS}")
    if json:
        about = {"passed": all(passed), "results": found}
        sys.stdout.write(json_module.dumps(about, indent=2) + "\n")
    else:
        say(screen, f"{sum(passed)} of {len(passed)} pairs passed")
    if not all(passed):
        sys.exit(1)


def _pairs(path: str, returned: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each name with the arguments of `compared`."""
    items = iter(returned.items() if isinstance(returned, Mapping) else _iterable(path, returned))
    while True:
        try:
            item = _next(path, items)
        except StopIteration:
            return
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            raise InputError(f"{path}: pairs gave {item!r:.80}; it must give {_RETURNS}")
        name, what = item
        yield name, what if isinstance(what, tuple) else (what,)


def _iterable(path: str, returned: Any) -> Any:
    try:
        return iter(returned)
    except TypeError:
        raise InputError(
            f"{path}: pairs returned a {type(returned).__name__}; it must return {_RETURNS}"
        ) from None


def _next(path: str, items: Iterator[Any]) -> Any:
    """The next pair of a generator, whose errors are the person's."""
    from jaxmnist.runs.python_file import called

    done = object()
    item = called(path, "pairs", lambda: next(items, done))
    if item is done:
        raise StopIteration
    return item
