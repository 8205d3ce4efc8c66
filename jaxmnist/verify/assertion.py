"""`verify.assert_same`: a comparison as an assertion, for tests."""

from typing import Any

import optax

from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.verify.compare import Comparison, Comparisons
from jaxmnist.verify.identify.explain import Explanation
from jaxmnist.verify.model import model
from jaxmnist.verify.optimizer import optimizer
from jaxmnist.verify.whole_run.entry import training

AnyResult = Comparison | Comparisons | Explanation


def assert_same(what: AnyResult | Any, *args: Any, **options: Any) -> AnyResult:
    """Assert that a comparison passed, and fail with its table where it did not.

    Args:
        what: A result of this package's verifiers; or the first argument of the verifier to call:
            an Optax transformation (`optimizer`), a `Config` (`training`), or a function of
            parameters and inputs (`model`).
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
        return model(what, *args, **options)
    raise InputError(
        f"there is nothing to compare a {type(what).__name__} by; it must be a result, an "
        "optax.GradientTransformation, a Config, or a function of parameters and inputs"
    )
