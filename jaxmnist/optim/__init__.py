"""Six optimizers, each written from its recurrence, as plain Optax gradient transformations.

    optimizer = adam(learning_rate=0.001)
    state = optimizer.init(params)
    updates, state = optimizer.update(gradients, state)
    params = optax.apply_updates(params, updates)

Each factory's defaults are the tutorial's. `create` makes any of them by name, with the defaults
of the tutorial, of PyTorch or of Optax, which `jaxmnist.conventions` lists.

**To add one**, write `optim/<name>.py` with its factory and its `ENTRY`, add its rows to
`conventions.TABLE` (and any new argument to `conventions.ARGUMENTS`), its look to
`plots.style.OPTIMIZERS` and its formula in NumPy to `verify.references`. The lookup by name, the
commands' options, the conversion to PyTorch, the verification and the race follow.

**Hyperparameters** are Python numbers or traced scalars, so that one compiled program serves
every value, `jax.vmap` runs many, and `jax.grad` goes through. A learning rate may also be an
Optax schedule. `optax.inject_hyperparams` takes each factory, and `create`, whose numbers are
then those given to it. It stores them in the parameters' dtype unless told otherwise: for bfloat16
parameters, where 0.999 is 1, pass it `hyperparam_dtype=jnp.float32`.

**Extra arguments** to `update` are taken and ignored, such as the `value` of a loss that
`optax.contrib.reduce_on_plateau` next to them needs.

**Dtypes.** Accumulators and arithmetic are in float32 or wider; an update has its gradient's
dtype.

**Complex leaves.** A square is |g|², one real number, so a coordinate keeps its direction in the
complex plane. PyTorch instead treats the real and imaginary parts as two parameters. `jax.grad`
of a real loss returns the conjugate of the direction of ascent: conjugate it before `update`, as
with any Optax optimizer.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import optax

from jaxmnist.conventions import ARGUMENTS, check_arguments, defaults
from jaxmnist.conventions import CONVENTIONS as CONVENTIONS
from jaxmnist.conventions import NAMES as NAMES
from jaxmnist.conventions import hyperparameters as hyperparameters
from jaxmnist.optim.adadelta import AdadeltaState as AdadeltaState
from jaxmnist.optim.adadelta import adadelta as adadelta
from jaxmnist.optim.adagrad import AdagradState as AdagradState
from jaxmnist.optim.adagrad import adagrad as adagrad
from jaxmnist.optim.adam import AdamState as AdamState
from jaxmnist.optim.adam import adam as adam
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry
from jaxmnist.optim.momentum import MomentumState as MomentumState
from jaxmnist.optim.momentum import momentum as momentum
from jaxmnist.optim.rmsprop import RmspropState as RmspropState
from jaxmnist.optim.rmsprop import rmsprop as rmsprop
from jaxmnist.optim.sgd import SgdState as SgdState
from jaxmnist.optim.sgd import sgd as sgd

ENTRIES: Final[Mapping[str, Entry]] = {
    name: import_module(f"{__name__}.{name}").ENTRY for name in NAMES
}
"""What each optimizer's file states about it, in the order of `NAMES`."""

# A name is the factory and not the module, also where no line above says so for type checkers.
globals().update({name: entry.factory for name, entry in ENTRIES.items()})


def create(
    name: str,
    learning_rate: LearningRate | None = None,
    convention: str = "document",
    **overrides: Hyperparameter | None,
) -> optax.GradientTransformationExtraArgs:
    """Make the optimizer `name` with the defaults of `convention`.

    Args:
        name: One of `NAMES`.
        learning_rate: A number, a traced scalar or an Optax schedule; None for the convention's
            default, which for the tutorial's Adadelta is to have none.
        convention: One of `CONVENTIONS`; "document" is the tutorial's.
        **overrides: Arguments of that optimizer's factory, in place of the convention's; None is
            the convention's.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to the parameters.

    Raises:
        InputError: The name, the convention or an argument is unknown, or a Python number is
            outside its range.

    >>> import jax.numpy as jnp
    >>> optimizer = create("momentum", 0.5, convention="pytorch", momentum=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}, velocity {state.velocity:.4f}")
    -0.5000, velocity 1.0000
    -2.2500, velocity 4.5000
    """
    arguments = defaults(name, convention)
    given = {argument: value for argument, value in overrides.items() if value is not None}
    check_arguments(name, **given)
    arguments |= given
    if learning_rate is not None:
        arguments["learning_rate"] = learning_rate
    return optax.with_extra_args_support(ENTRIES[name].factory(**arguments))


def _signature() -> inspect.Signature:
    """Name every argument of any optimizer, for what reads signatures, not ``**overrides``.

    `optax.inject_hyperparams` takes ``**overrides`` for an argument of that name.
    """
    first = list(inspect.signature(create).parameters.values())[:-1]
    others = (
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in ARGUMENTS
        if name != "learning_rate"
    )
    return inspect.Signature([*first, *others])


create.__signature__ = _signature()  # pyright: ignore[reportFunctionMemberAccess]
