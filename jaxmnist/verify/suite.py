"""What `jaxmnist verify` runs: every function here, compared with every reference that has it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from jaxmnist import interop, optim
from jaxmnist.config import Config
from jaxmnist.conventions import TABLE
from jaxmnist.data import Dataset, load_dataset, normalize
from jaxmnist.errors import InputError
from jaxmnist.model import MLP
from jaxmnist.verify.calculus import calculus
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.identify.explain import explain
from jaxmnist.verify.losses import losses
from jaxmnist.verify.model import model
from jaxmnist.verify.optimizer import optimizer
from jaxmnist.verify.references import numpy_reference, optax_reference, torch_reference
from jaxmnist.verify.whole_run.entry import training

OPTIMIZER_STEPS: Final = 300
OPTIMIZER_GRADIENTS: Final = ("random", "sparse", "quadratic")
MODEL_IMAGES: Final = 64
TRAINING_IMAGES: Final = 1000
TRAINING_RUNS: Final = (("sgd", "document"), ("adam", "pytorch"))


class Check(NamedTuple):
    """A comparison to make."""

    what: str
    """The part of the suite: losses, model, optimizers, training or calculus."""
    name: str
    against: str
    """numpy, torch or optax."""
    run: Callable[[], Comparisons]
    explain: Callable[[], Any] | None = None
    """Why it fails, where there is a way to find out; its `str` is the answer."""


def checks(
    what: str = "all",
    against: str | None = None,
    convention: str | None = None,
    dtype: str = "float64",
) -> tuple[Check, ...]:
    """Plan the suite; nothing runs before each check's own `run`.

    By default an optimizer's convention is compared with where it comes from: the tutorial's with
    the formulas in NumPy, PyTorch's with PyTorch, Optax's with Optax. The formulas know every
    convention. A convention compared with another's origin differs, and is explained.

    Args:
        what: losses, model, optimizers, training, calculus, or all.
        against: numpy (the formulas), torch or optax; None for whatever has it.
        convention: document, pytorch or optax, of the optimizers and the training; None for all.
        dtype: float64 or float32.

    Returns:
        The checks in the order to run them.

    Raises:
        InputError: Nothing is left to check, or a convention is asked of what has none.

    >>> [(check.name, check.against) for check in checks("losses")]
    [('losses', 'numpy'), ('losses', 'torch'), ('losses', 'optax')]
    """
    if what != "all" and what not in _PLANS:
        raise InputError(f"what is {what!r}; it must be one of {', '.join(PARTS)}, all")
    if convention is not None and what not in ("all", *_WITH_CONVENTION):
        raise InputError(
            f"{what} has no convention; {' and '.join(_WITH_CONVENTION)} have, and so has all"
        )
    parts = PARTS if what == "all" else (what,)
    every = [check for part in parts for check in _PLANS[part](against, convention, dtype)]
    chosen = tuple(check for check in every if against in (None, check.against))
    if not chosen:
        possible = dict.fromkeys(check.against for check in _PLANS[what](None, None, dtype))
        raise InputError(
            f"against is {against!r}; {what} can be compared only with {', '.join(possible)}"
        )
    return chosen


def _losses(against: str | None, convention: str | None, dtype: str) -> Iterator[Check]:
    for reference in ("numpy", "torch", "optax"):
        yield Check("losses", "losses", reference, partial(losses, against=reference, dtype=dtype))


def _model(against: str | None, convention: str | None, dtype: str) -> Iterator[Check]:
    yield Check("model", f"model, {MODEL_IMAGES} images", "torch", partial(_run_model, dtype))


def _run_model(dtype: str) -> Comparisons:
    mnist = load_dataset("mnist")
    images = normalize(jnp.asarray(mnist.test_images[:MODEL_IMAGES])).reshape(MODEL_IMAGES, -1)
    params = MLP().init(jax.random.key(0), images)
    labels = mnist.test_labels[:MODEL_IMAGES]
    return model(MLP().apply, params, interop.params_to_module(params), images, labels, dtype=dtype)


def _optimizers(against: str | None, convention: str | None, dtype: str) -> Iterator[Check]:
    for name in optim.NAMES:
        for ours, reference in _pairs(against, convention):
            if ours not in TABLE[name] or not _has(reference, name):
                continue
            tx = optim.create(name, convention=ours)
            theirs = _REFERENCES[reference](name, ours)
            yield Check(
                "optimizers",
                f"{name} ({ours})",
                reference,
                partial(_run_optimizer, tx, theirs, dtype),
                partial(explain, tx, theirs),
            )


def _pairs(against: str | None, convention: str | None) -> tuple[tuple[str, str], ...]:
    """Which convention is compared with what."""
    if against is not None and convention is not None:
        return ((convention, against),)
    if against == "numpy":
        return tuple((each, "numpy") for each in optim.CONVENTIONS)
    if convention is not None:
        return tuple((convention, each) for each in dict.fromkeys(("numpy", _ORIGINS[convention])))
    return tuple(_ORIGINS.items())


def _has(reference: str, name: str) -> bool:
    entry = optim.ENTRIES[name]
    return {"numpy": True, "torch": entry.torch, "optax": entry.optax}[reference] is not None


_ORIGINS: Final = {"document": "numpy", "pytorch": "torch", "optax": "optax"}
_REFERENCES: Final[dict[str, Callable[[str, str], Any]]] = {
    "numpy": lambda name, convention: numpy_reference(name, convention=convention),
    "torch": lambda name, _: torch_reference(name),
    "optax": lambda name, _: optax_reference(name),
}


def _run_optimizer(tx: Any, reference: Any, dtype: str) -> Comparisons:
    results = {
        gradients: optimizer(tx, reference, gradients=gradients, steps=OPTIMIZER_STEPS, dtype=dtype)
        for gradients in OPTIMIZER_GRADIENTS
    }
    return Comparisons(
        f"{', '.join(OPTIMIZER_GRADIENTS)} gradients",
        tuple(
            replace(part, name=f"{gradients}: {part.name}")
            for gradients, result in results.items()
            for part in result
        ),
    )


def _training(against: str | None, convention: str | None, dtype: str) -> Iterator[Check]:
    for name, origin in TRAINING_RUNS:
        config = Config(optimizer=name, convention=convention or origin, epochs=1)
        yield Check(
            "training",
            f"training on {TRAINING_IMAGES:,} images, {name} ({config.convention})",
            "torch",
            partial(_run_training, config, dtype),
        )


def _run_training(config: Config, dtype: str) -> Comparisons:
    mnist = load_dataset("mnist")
    some = Dataset(
        mnist.train_images[:TRAINING_IMAGES],
        mnist.train_labels[:TRAINING_IMAGES],
        mnist.test_images[:TRAINING_IMAGES],
        mnist.test_labels[:TRAINING_IMAGES],
        num_classes=mnist.num_classes,
        name=f"the first {TRAINING_IMAGES:,} images of {mnist.name}",
    )
    return training(config, some, dtype=dtype)


def _calculus(against: str | None, convention: str | None, dtype: str) -> Iterator[Check]:
    yield Check("calculus", "calculus", "numpy", partial(calculus, dtype=dtype))


_PLANS: Final[dict[str, Callable[[str | None, str | None, str], Iterator[Check]]]] = {
    "losses": _losses,
    "model": _model,
    "optimizers": _optimizers,
    "training": _training,
    "calculus": _calculus,
}
PARTS: Final = tuple(_PLANS)
_WITH_CONVENTION: Final = ("optimizers", "training")
