"""The notation of an operation: a formula of its operands, and a symbol in a drawing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

SUM: Final = 1
PRODUCT: Final = 2
POWER: Final = 3
ATOM: Final = 4


class Expression(NamedTuple):
    """A formula, and how tightly its outermost operation binds."""

    text: str
    binding: int = ATOM


_INFIX: Final[Mapping[str, tuple[str, int]]] = {
    "add": (" + ", SUM),
    "sub": (" - ", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "pow": ("**", POWER),
}
_SYMBOLS: Final = {"add": "+", "sub": "-", "mul": "×", "div": "/", "pow": "^"}
_NAMES: Final = {
    "add_any": "add",
    "broadcast_in_dim": "broadcast",
    "convert_element_type": "convert",
    "dot_general": "dot",
    "logistic": "sigmoid",
    "select_n": "select",
}


def operation_name(primitive: str) -> str:
    """Return the usual name of one of JAX's operations: "sum" for "reduce_sum"."""
    return _NAMES.get(primitive, primitive.removeprefix("reduce_"))


def write(operation: str, params: Mapping[str, Any], operands: Sequence[Expression]) -> Expression:
    """Write an operation as a formula, with the parentheses that it needs and no others.

    >>> x, y = Expression("x"), Expression("y")
    >>> write("div", {}, [Expression("1"), write("add", {}, [x, y])]).text
    '1/(x + y)'
    """
    if operation in _INFIX:
        infix, binding = _INFIX[operation]
        left, right = operands
        # Of equals, the left one comes first anyway, except among powers.
        first = _inside(left, binding + (operation == "pow"))
        return Expression(first + infix + _inside(right, binding + 1), binding)
    if operation == "neg":
        return Expression("-" + _inside(operands[0], PRODUCT), SUM)
    if operation == "integer_pow":
        return Expression(f"{_inside(operands[0], ATOM)}**{params['y']}", POWER)
    return Expression(f"{operation}({', '.join(operand.text for operand in operands)})")


def symbol(operation: str, params: Mapping[str, Any], numbers: Sequence[Expression | None]) -> str:
    """Write an operation as short as a drawing has room for; "·" stands for its one operand.

    Args:
        operation: Its name.
        params: JAX's parameters of it.
        numbers: Its operands, where they are written in the code, and None for each other node.

    >>> symbol("add", {}, [None, None]), symbol("add", {}, [Expression("1"), None])
    ('+', '+ 1')
    >>> symbol("div", {}, [Expression("1"), None]), symbol("neg", {}, [None])
    ('1/·', '× -1')
    """
    if operation == "neg":
        return "× -1"
    if operation == "integer_pow":
        return f"^{params['y']}"
    if all(number is None for number in numbers):
        return _SYMBOLS.get(operation, operation)
    if operation in _SYMBOLS:
        left, right = numbers
        number = left if right is None and operation in ("add", "mul") else right
        if number is not None:
            return f"{_SYMBOLS[operation]} {number.text}"
    if operation in (*_INFIX, "max", "min"):
        return write(operation, params, [number or Expression("·") for number in numbers]).text
    return operation


def _inside(operand: Expression, binding: int) -> str:
    return operand.text if operand.binding >= binding else f"({operand.text})"
