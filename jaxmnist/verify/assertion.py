"""`verify.assert_same`: a comparison as an assertion, for tests."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.verify.compare import Comparison, Comparisons
from jaxmnist.verify.function import function
from jaxmnist.verify.identify.explain import Explanation
from jaxmnist.verify.initializer import initializer
from jaxmnist.verify.model import model
from jaxmnist.verify.optimizer import optimizer
from jaxmnist.verify.schedule import schedule
from jaxmnist.verify.whole_run.entry import training

AnyResult = Comparison | Comparisons | Explanation


def assert_same(what: AnyResult | Any, *args: Any, **options: Any) -> AnyResult:
    """Assert that a comparison passed, and fail with its table where it did not.

    Args:
        what: A result of this package's verifiers; or the first argument of the verifier to call:
            an Optax transformation (`optimizer`), a `Config` (`training`), or a function. What
            follows that tells which: a torch module as the third argument (`model`), or a function
            as the second, and then a number of steps (`schedule`), a shape (`initializer`) or
            arrays (`function`).
        *args: The verifier's other arguments.
        **options: Its options.

    Returns:
        The result.

    Raises:
        AssertionError: It did not pass; the message is the printed result.
        InputError: There is no verifier for this, or the verifier's own.

    >>> from jaxmnist import optim, verify
    >>> assert_same(optim.sgd(), verify.numpy_reference("sgd"), steps=3).passed
    True
    >>> assert_same(optim.sgd(), verify.numpy_reference("adam"), steps=3)
    Traceback (most recent call last):
        ...
    AssertionError: random gradients: FAILED
    ...
    """
    result = compared(what, *args, **options)
    if not result.passed:
        raise AssertionError(str(result))
    return result


def compared(what: AnyResult | Any, *args: Any, **options: Any) -> AnyResult:
    """Compare two things by the verifier that their kind tells.

    Args:
        what: As for `assert_same`; or a function without arguments that returns a result.
        *args: The verifier's other arguments.
        **options: Its options.

    Returns:
        The result.

    Raises:
        InputError: There is no verifier for this, or the verifier's own.
    """
    if isinstance(what, AnyResult):
        if args or options:
            raise InputError("a result is given with more arguments; give the result alone")
        return what
    if isinstance(what, optax.GradientTransformation):
        return optimizer(what, *args, **options)
    if isinstance(what, Config):
        return training(what, *args, **options)
    if callable(what) and not args and not options:
        found = what()
        if not isinstance(found, AnyResult):
            raise InputError(
                f"a function returned a {type(found).__name__}; it must return a result of "
                "jaxmnist.verify"
            )
        return found
    if callable(what):
        return _of_functions(args, options)(what, *args, **options)
    raise InputError(
        f"there is nothing to compare a {type(what).__name__} by; it must be a result, an "
        "optax.GradientTransformation, a Config, or a function of parameters and inputs"
    )


def _of_functions(args: tuple[Any, ...], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The verifier of two functions that takes these arguments after the first one."""
    second, third = (*args, None, None)[:2]
    if hasattr(third, "named_parameters") or {"params", "torch_module"} & options.keys():
        return model
    if type(third) is int or {"steps", "torch_factory"} & options.keys():
        return schedule
    is_shape = isinstance(third, tuple) and third and all(type(size) is int for size in third)
    if is_shape or {"shape", "torch_init"} & options.keys():
        return initializer
    other = second if args else options.get("torch_f")
    given = len(args) > 1 or {"torch_f", "args"} & options.keys()
    return function if given and callable(other) else model
