"""`jaxmnist verify --ours --reference`: compare two things that are named by their modules."""

import ast
import json as json_module
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from tyro.conf import arg

from jaxmnist.cli.console import make_console, say
from jaxmnist.errors import InputError

_Values = Annotated[tuple[str, ...], arg(metavar="NAME=VALUE …")]
_OwnValues = Annotated[tuple[str, ...] | None, arg(metavar="NAME=VALUE …")]
_Name = Annotated[str, arg(metavar="MODULE:NAME")]


def verify_pair(
    ours: _Name,
    reference: _Name,
    kwargs: _Values = (),
    ours_kwargs: _OwnValues = None,
    steps: int | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    json: bool = False,
) -> None:
    """Compare something in JAX with PyTorch's by their names; exit with 1 if they differ.

    For example: jaxmnist verify --ours optax:adamw --ours-kwargs learning_rate=1e-3
    weight_decay=0.1 --reference torch.optim:AdamW --kwargs lr=1e-3 weight_decay=0.1

    The reference tells what is compared: a class of torch.optim, of torch.optim.lr_scheduler, a
    function of torch.nn.init, or any function or module without parameters, such as
    torch.nn.functional:gelu and torch.nn:MSELoss. Modules in this folder can be named too.

    Args:
        ours: In JAX: an optimizer, schedule, initializer or function of arrays, or a function that
            returns one of the first three, such as optax:adamw.
        reference: In PyTorch, such as torch.optim:AdamW; of an optimizer also another one in JAX.
        kwargs: The reference's keyword arguments, as Python literals; ours gets them too where
            --ours-kwargs is not given. A scheduler's "lr" is that of its optimizer.
        ours_kwargs: Those of ours; none after it for none.
        steps: Of optimizers (by default 500) and schedules (by default 100).
        shape: Of a function's arguments (by default 6 5), of what an initializer draws (by default
            30 20, inputs before outputs), or of an optimizer's parameter.
        dtype: The precision of all arithmetic.
        json: Print a JSON object instead of a table.
    """
    from jaxmnist.runs.python_file import named
    from jaxmnist.verify.pair import Given, compare_pair

    shared = _literals("--kwargs", kwargs)
    own = shared if ours_kwargs is None else _literals("--ours-kwargs", ours_kwargs)
    remedy = "correct --ours-kwargs"
    if ours_kwargs is None:
        remedy = "give its own, or none, after --ours-kwargs, for --kwargs is the reference's"
    mine = named("--ours", ours)
    if ours_kwargs and not callable(mine):
        raise InputError(f"{ours} is not callable, and cannot take --ours-kwargs; omit them")
    found = compare_pair(
        Given(ours, mine, own, remedy),
        Given(reference, named("--reference", reference), shared, "correct --kwargs"),
        steps=steps,
        shape=shape,
        dtype=dtype,
    )
    name, result = f"{ours} and {reference}", found.result
    if json:
        about = result.as_dict()
        if found.explanation is not None:
            about["explanation"] = found.explanation
        written = {"passed": result.passed, "results": {name: about}}
        sys.stdout.write(json_module.dumps(written, indent=2) + "\n")
    else:
        screen = make_console()
        for line in f"{name}: {result}".splitlines():
            say(screen, line)
        if found.explanation is not None:
            say(screen, found.explanation)
    if not result.passed:
        sys.exit(1)


def _literals(option: str, words: Sequence[str]) -> Mapping[str, Any]:
    """Read NAME=VALUE words, whose values are Python literals."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(
                f"{option} has {word!r}; each must be NAME=VALUE, such as lr=1e-3, with no space "
                "around the sign"
            )
        if name in found:
            raise InputError(f"{option} has {name} twice; give it once")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            quoted = f"; for text, write {name}=\"'{text}'\"" if text.isidentifier() else ""
            raise InputError(
                f"{option}: {name} is {text!r:.80}; it must be a Python literal, such as 1e-3, "
                f"True or (0.9,0.999){quoted}"
            ) from None
    return found
