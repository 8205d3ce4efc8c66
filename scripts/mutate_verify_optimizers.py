"""Break the optimizers one line at a time and ask `verify.optimizer` to notice.

The mutations are those of `mutate_optimizers.py`: an epsilon moved across the root or ten times as
large, a bias correction dropped, a decay changed in its third digit, the learning rate moved into
or out of the velocity, another initial value, and more. With each, the optimizer is compared with
NumPy, PyTorch and Optax; the table lists which checks failed, and where first. `mutation.py` has
what all mutation scripts share.

    python scripts/mutate_verify_optimizers.py            # all of them
    python scripts/mutate_verify_optimizers.py adam       # one optimizer's
    python scripts/mutate_verify_optimizers.py --out figures/verify_optimizers_mutations.json

On two CPU cores shared with other work: 96 mutations, all caught, a quarter of an hour.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from mutate_optimizers import mutations, rounds
from mutation import run, run_script

from jaxmnist import optim, verify
from jaxmnist.verify.references import RECURRENCES

STEPS = 60

# Far from every default, so that each has a part in the steps.
ARGUMENTS = {
    "sgd": {},
    "momentum": {"momentum": 0.37, "learning_rate_in_velocity": False},
    "adagrad": {"initial_accumulator_value": 3e-7, "eps": 2e-5, "eps_root": 7e-9},
    "rmsprop": {"decay": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    "adadelta": {"rho": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    "adam": {"b1": 0.43, "b2": 0.61, "eps": 2e-5, "eps_root": 7e-9},
}


def checks(name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of a check, the optimizer, and what to compare it with."""
    factory, recurrence, arguments = optim.ENTRIES[name].factory, RECURRENCES[name], ARGUMENTS[name]
    yield "its defaults, NumPy", factory(), recurrence()
    yield "document, NumPy", optim.create(name), recurrence()
    yield "pytorch, PyTorch", optim.create(name, None, "pytorch"), verify.torch_reference(name)
    yield "optax, Optax", optim.create(name, None, "optax"), verify.optax_reference(name)
    yield "other arguments, NumPy", factory(0.3, **arguments), recurrence(0.3, **arguments)
    yield "a schedule, NumPy", factory(harmonic), recurrence(harmonic)
    yield (
        "a schedule and other arguments, NumPy",
        factory(harmonic, **arguments),
        recurrence(harmonic, **arguments),
    )


def harmonic(count: Any) -> Any:
    """Return a learning rate that falls."""
    return 0.5 / (1.0 + count)


def failures(names: Sequence[str]) -> dict[str, list[str]]:
    """Return each check that an optimizer fails, with where."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for what, tx, reference in checks(name):
            result = verify.optimizer(tx, reference, steps=STEPS)
            if first := result.first_divergence:
                found[name].append(f"{what}: step {first.step}, {first.leaf}")
    return found


if __name__ == "__main__":
    sys.exit(run(__file__, [*mutations()], partial(run_script, __file__), rounds, failures))
