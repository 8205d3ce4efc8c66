"""The source text of a row's expressions, so that what the page prints is what was run."""

import ast
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from jaxmnist.errors import InputError

Span = tuple[tuple[int, int], tuple[int, int]]
"""Line and column of the beginning and of the end."""


def expression(function: Callable[..., Any]) -> str:
    """Return the body of a lambda as text.

    Args:
        function: A lambda of a module on disk.

    Returns:
        Its body on one line.

    Raises:
        InputError: It is no lambda.

    >>> from jaxmnist.parity.table.losses import rows
    >>> expression(rows()[0].torch)
    'F.mse_loss(p, t)'
    """
    return _body(function.__code__)


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters.

    >>> parameters(lambda p, t: p)
    ['p', 't']
    """
    return list(inspect.signature(function).parameters)


@lru_cache(None)
def _body(code: CodeType) -> str:
    first, last = _span(code)
    for lambda_, begins, ends in _lambdas(code.co_filename):
        if begins <= first and last <= ends:
            return ast.unparse(lambda_.body)
    raise InputError(f"{code.co_name} is no lambda; a row's expressions must be lambdas")


@lru_cache
def _lambdas(file: str) -> list[tuple[ast.Lambda, tuple[int, int], tuple[int, int]]]:
    """The lambdas of a file with their bodies' places, inner ones first."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            body = node.body
            ends = (body.end_lineno or body.lineno, body.end_col_offset or body.col_offset)
            found.append((node, (body.lineno, body.col_offset), ends))
    return sorted(found, key=lambda each: (each[1], tuple(-x for x in each[2])), reverse=True)


def _span(code: CodeType) -> Span:
    """The places in the source that a function's instructions came from."""
    places = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if line is not None and end_line is not None and column and end_column
    ]
    return min(begin for begin, _ in places), max(end for _, end in places)
