"""Break the optimizers one line at a time and ask the trajectory tests to notice.

The mutations: an `eps` moved across the root or made ten times larger, a decay changed in its third
digit, a bias correction dropped, the learning rate moved into or out of the velocity, another
initial value. Against each, `tests/optim/test_trajectories.py` runs, and the table lists which of
that optimizer's tests failed. `mutation.py` has what all mutation scripts share.

One run of the tests tries one mutation of every optimizer at once: they share no line, and each
test belongs to one optimizer. Mutations of shared arithmetic run alone.

    python scripts/mutate_optimizers.py            # all of them
    python scripts/mutate_optimizers.py adam       # one optimizer's

On two CPU cores shared with other work: 96 mutations, all caught, in 3 to 7 minutes.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from mutation import Mutation, run, run_python

from jaxmnist import conventions

TESTS = "tests/optim/test_trajectories.py"

FULL = ".real_accumulators_like(params"

# optimizer, what is broken, the source text (once in the optimizer's file), what replaces it
EQUATIONS = [
    ("sgd", "sign", "-rate * g", "rate * g"),
    (
        "momentum",
        "rate's placement swapped",
        "_step_rate_inside if learning_rate_in_velocity else _step_rate_outside",
        "_step_rate_outside if learning_rate_in_velocity else _step_rate_inside",
    ),
    ("momentum", "rate taken out of velocity", "* velocity + rate * g", "* velocity + g"),
    ("momentum", "rate dropped outside", "-rate * velocity", "-velocity"),
    ("momentum", "dampened", "* velocity + g\n    ", "* velocity + (1 - momentum) * g\n    "),
    ("momentum", "velocity starts at 1e-3", ".accumulators_like(params", f"{FULL}, 1e-3"),
    (
        "adagrad",
        "eps moved in",
        "root(sum_of_squares + eps_root) + eps",
        "root(sum_of_squares + eps_root + eps)",
    ),
    (
        "adagrad",
        "eps_root moved out",
        "root(sum_of_squares + eps_root)",
        "root(sum_of_squares) + eps_root",
    ),
    ("adagrad", "initial value ignored", "params, initial_accumulator_value)", "params)"),
    (
        "rmsprop",
        "eps moved in",
        "root(mean_square + eps_root) + eps",
        "root(mean_square + eps_root + eps)",
    ),
    (
        "rmsprop",
        "eps_root moved out",
        "root(mean_square + eps_root)",
        "root(mean_square) + eps_root",
    ),
    ("rmsprop", "average starts at 1e-3", FULL, f"{FULL}, 1e-3"),
    ("rmsprop", "average's weights swapped", "(g), decay)", "(g), 1 - decay)"),
    (
        "adadelta",
        "eps moved in, below",
        "root(mean_square + eps_root) + eps",
        "root(mean_square + eps_root + eps)",
    ),
    (
        "adadelta",
        "eps_root moved out, below",
        "root(mean_square + eps_root)",
        "root(mean_square) + eps_root",
    ),
    (
        "adadelta",
        "eps moved in, above",
        "root(mean_square_update + eps_root) + eps",
        "root(mean_square_update + eps_root + eps)",
    ),
    (
        "adadelta",
        "eps_root moved out, above",
        "root(mean_square_update + eps_root)",
        "root(mean_square_update) + eps_root",
    ),
    ("adadelta", "rate seen by the average", "magnitude(change)", "magnitude(rate * change)"),
    ("adadelta", "climbs", "return -rate * change", "return rate * change"),
    (
        "adadelta",
        "first average starts at 1e-3",
        f"mean_square=arithmetic{FULL}",
        f"mean_square=arithmetic{FULL}, 1e-3",
    ),
    (
        "adadelta",
        "second average starts at 1e-3",
        f"update=arithmetic{FULL}",
        f"update=arithmetic{FULL}, 1e-3",
    ),
    ("adam", "first correction dropped", "first * mu", "mu"),
    ("adam", "second correction dropped", "second * nu", "nu"),
    ("adam", "corrections swapped", "first * mu", "second * mu"),
    ("adam", "corrected one step late", "count=count, **hyper", "count=count + 1, **hyper"),
    ("adam", "eps moved in", "root(n + eps_root) + eps", "root(n + eps_root + eps)"),
    ("adam", "eps_root moved out", "root(n + eps_root)", "root(n) + eps_root"),
    ("adam", "mu starts at 1e-3", ".accumulators_like(params", f"{FULL}, 1e-3"),
    ("adam", "nu starts at 1e-3", FULL, f"{FULL}, 1e-3"),
]

SHARED_FILE = "optim/arithmetic.py"

# What it holds, with an optimizer that uses it.
SHARED = [
    ("sgd", "schedule starts at 1", "learning_rate(count)", "learning_rate(count + 1)"),
    ("adagrad", "square not squared", "else jnp.square(x)", "else jnp.abs(x)"),
    ("rmsprop", "average's old share", "(old - weight * old)", "old"),
    ("adam", "correction's power by 1e-6", "math.log(decay)", "math.log(decay) * (1 + 1e-6)"),
]


def mutations() -> Iterator[Mutation]:
    """Yield those of the equations, then each default of each convention."""
    for optimizer, what, old, new in EQUATIONS:
        yield Mutation(what, f"optim/{optimizer}.py", old, new, optimizer)
    for optimizer, what, old, new in SHARED:
        yield Mutation(what, SHARED_FILE, old, new, optimizer)
    for optimizer in conventions.NAMES:
        for convention in conventions.CONVENTIONS:
            for argument, value in conventions.defaults(optimizer, convention).items():
                yield _changed_default(optimizer, convention, argument, value)


def _changed_default(
    optimizer: str, convention: str, argument: str, value: float | bool | None
) -> Mutation:
    changed = _changed(argument, value)
    what = f"{convention}: {argument} {value} -> {changed}"
    if convention == "document":  # the factory's own default
        file, old = f"optim/{optimizer}.py", rf"(?<=\n    ){argument}(: [^=\n]+) = [^,\n]+(?=,?\n?)"
        if optimizer == "sgd":
            old = rf"{argument}(: LearningRate) = [^)]+"
        new = rf"{argument}\1 = {changed}"
    else:
        file, old = "conventions.py", (
            rf'(    "{optimizer}": {{\n(?:(?!^    }}).*\n)*?'
            rf' +"{convention}": {{[^}}]*?"{argument}": )[^,}}]+'
        )  # fmt: skip
        new = rf"\g<1>{changed}"
    return Mutation(what, file, re.compile(old, re.MULTILINE), new, optimizer)


def _changed(argument: str, value: float | bool | None) -> float | bool:
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1.001
    if argument.startswith("eps"):
        return 10 * value or 1e-12
    if argument == "initial_accumulator_value":
        return value + 1e-3
    if argument == "learning_rate":
        return 1.001 * value
    return round(value + (0.001 if value < 0.99 else -0.001), 3)  # a decay's third digit


def rounds(chosen: list[Mutation]) -> Iterator[list[Mutation]]:
    """Yield groups that can be tried at once: no two of one optimizer, shared arithmetic alone."""
    yield from ([mutation] for mutation in chosen if mutation.file == SHARED_FILE)
    own = [mutation for mutation in chosen if mutation.file != SHARED_FILE]
    by_optimizer = [[m for m in own if m.optimizer == name] for name in conventions.NAMES]
    for group in zip_longest(*by_optimizer):
        yield [mutation for mutation in group if mutation is not None]


def failing(copy: Path, optimizers: Sequence[str]) -> dict[str, list[str]]:
    """Return the tests of each optimizer that fail in the copy."""
    failed = failing_tests(copy)
    return {
        name: sorted({test.split("[")[0] for test in failed if name in test}) for name in optimizers
    }


def failing_tests(copy: Path) -> list[str]:
    """Return the trajectory tests whose assertions fail for the package in `copy`."""
    done = run_python(copy, "-m", "pytest", "-q", "-rf", "--tb=no", "-o", "addopts=", TESTS)
    failed = re.findall(r"^FAILED \S+::test_(.+?) - (.*)$", done.stdout, re.MULTILINE)
    crashed = [reason for _, reason in failed if not reason.lower().startswith("assert")]
    if done.returncode not in (0, 1) or crashed:  # a program that does not run shows nothing
        raise SystemExit(f"{done.stdout}{done.stderr}")
    return [test for test, _ in failed]


if __name__ == "__main__":
    sys.exit(run(__file__, [*mutations()], failing, rounds))
