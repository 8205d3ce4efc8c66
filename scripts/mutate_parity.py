"""Break the drop-ins of `jaxmnist.parity` one line at a time and ask their comparisons to notice.

The mutations: an epsilon moved or ten times as large, a decay changed in its third digit, a count
that is one off, an order turned round, a default changed. The optimizers' are noticed by
`parity_optimizers.py`, which compares steps and state with `torch.optim`; those of the schedules,
of clipping and of LBFGS by their tests. `mutation.py` has what all mutation scripts share.

    python scripts/mutate_parity.py                # all of them
    python scripts/mutate_parity.py nadam asgd     # two drop-ins'
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from mutation import Mutation, run, run_python, run_script
from parity_optimizers import CASES, compare, state_error

STEPS = 40
TESTS = (
    "tests/parity/test_schedules.py",
    "tests/parity/test_drop_in.py",
    "tests/parity/test_lbfgs.py",
)

# drop-in, what is broken, the source text (once in its file), what replaces it
OPTIMIZERS: Final = [
    ("sgd", "first gradient dampened too", "state.step == 0", "state.step < 0"),
    ("sgd", "dampening for its complement", "1.0, 1 - dampening", "1.0, dampening"),
    (
        "sgd",
        "decay after the velocity",
        "decay(weight_decay), *velocity,",
        "*velocity, decay(weight_decay),",
    ),
    ("sgd", "rate of 1e-3", "lr: Scheduled = 1e-3", "lr: Scheduled = 1.1e-3"),
    ("adam", "smallest in place of largest", "jnp.maximum, state.max", "jnp.minimum, state.max"),
    ("adam", "second correction dropped", " / jnp.sqrt(second) + eps", " + eps"),
    (
        "adam",
        "eps before the correction",
        "(jnp.sqrt(s) / jnp.sqrt(second) + eps)",
        "((jnp.sqrt(s) + eps) / jnp.sqrt(second))",
    ),
    ("adam", "decays exchanged", "parts) if decoupled", "parts) if not decoupled"),
    ("adam", "eps of 1e-8", re.compile(r"(def adam\((?s:.*?)eps: Number = )1e-8"), r"\g<1>1e-7"),
    ("adamw", "decay of 1e-2", "decay: Number = 1e-2", "decay: Number = 1.1e-2"),
    ("adamw", "decay coupled", "amsgrad, maximize, True)", "amsgrad, maximize, False)"),
    (
        "adamw",
        "amsgrad ignored",
        "eps, weight_decay, amsgrad, maximize, True",
        "eps, weight_decay, False, maximize, True",
    ),
    ("nadam", "next momentum is this one", "(t + 1) * momentum_decay", "t * momentum_decay"),
    ("nadam", "product not rounded", "now.astype(jnp.float32)", "now"),
    (
        "nadam",
        "product one late",
        "(1 - now) / (1 - product)",
        "(1 - now) / (1 - state.mu_product)",
    ),
    ("nadam", "base of 0.96", "0.96 ** (t * m", "0.961 ** (t * m"),
    ("nadam", "eps of 1e-8", "eps: Number = 1e-8", "eps: Number = 1e-7"),
    ("radam", "length above 5", "length > 5", "length > 4"),
    (
        "radam",
        "eps after the correction",
        "factor / (jnp.sqrt(v) + eps)",
        "factor / (jnp.sqrt(v) + eps * jnp.sqrt(second))",
    ),
    ("radam", "length one late", "2 * t * (1 - second)", "2 * (t - 1) * (1 - second)"),
    ("radam", "correction of the factor dropped", " * jnp.sqrt(second)\n", "\n"),
    (
        "adagrad",
        "rate one late",
        "moments.real(count) * lr_decay",
        "(moments.real(count) + 1) * lr_decay",
    ),
    ("adagrad", "eps inside the root", "eps=eps, eps_root=0.0", "eps=0.0, eps_root=eps"),
    ("adagrad", "eps of 1e-10", "eps: Number = 1e-10", "eps: Number = 1e-9"),
    ("adagrad", "sum starts at 0", "adagrad(rate, initial_accumulator_value", "adagrad(rate, 0.0"),
    ("adadelta", "share of 0.9", "rho: Number = 0.9", "rho: Number = 0.901"),
    ("adadelta", "eps of 1e-6", "eps: Number = 1e-6", "eps: Number = 1e-5"),
    (
        "adadelta",
        "decay after the direction",
        "decay(weight_decay), optax.scale_by_adadelta(rho, eps)",
        "optax.scale_by_adadelta(rho, eps), decay(weight_decay)",
    ),
    ("adamax", "eps of 1e-8", "eps: Number = 1e-8", "eps: Number = 1e-7"),
    ("adamax", "second share of 0.999", "(0.9, 0.999)", "(0.9, 0.998)"),
    (
        "adamax",
        "decay after the direction",
        "decay(weight_decay), direction",
        "direction, decay(weight_decay)",
    ),
    ("rmsprop", "eps inside the root", "eps_in_sqrt=False)\n", "eps_in_sqrt=True)\n"),
    ("rmsprop", "share of 0.99", "alpha: Number = 0.99", "alpha: Number = 0.989"),
    ("rmsprop", "not centred", "scale_by_stddev if centered", "scale_by_rms if centered"),
    ("rmsprop", "no velocity", "[optax.trace(momentum)]", "[]"),
    ("rprop", "growth of 1.2", "(0.5, 1.2)", "(0.5, 1.21)"),
    (
        "rprop",
        "gradient kept after a change",
        "RpropState(kept, sizes)",
        "RpropState(updates, sizes)",
    ),
    ("rprop", "step of the size before", "* s, kept, sizes)", "* s, kept, state.step_size)"),
    ("rprop", "rate of 1e-2", "lr: Scheduled = 1e-2", "lr: Scheduled = 1.1e-2"),
    ("asgd", "power of 0.75", "alpha: Number = 0.75", "alpha: Number = 0.76"),
    ("asgd", "rate one late", "lambd * lr * t)", "lambd * lr * (t - 1))"),
    ("asgd", "decay of 1e-4", "lambd: Number = 1e-4", "lambd: Number = 1.1e-4"),
    ("asgd", "average of the place before", "moved = w + change", "moved = w"),
    ("asgd", "average begins one late", "jnp.maximum(1, t - t0)", "jnp.maximum(1, t - 1 - t0)"),
    ("adafactor", "count one late", "share = t**beta2_decay", "share = (t + 1) ** beta2_decay"),
    (
        "adafactor",
        "rate falls as 1/t",
        "jnp.minimum(lr, 1 / jnp.sqrt(t))",
        "jnp.minimum(lr, 1 / t)",
    ),
    ("adafactor", "decay at the relative rate", "change - lr * weight", "change - rate * weight"),
    ("adafactor", "eps not squared", "least * least", "least"),
    ("adafactor", "rows for columns", "jnp.mean(row, -2,", "jnp.mean(row, -1,"),
    ("muon", "share of 0.95", "momentum: Scheduled = 0.95", "momentum: Scheduled = 0.951"),
    (
        "muon",
        "eps added",
        "jnp.maximum(norm, narrow(jnp.asarray(eps)))",
        "(norm + narrow(jnp.asarray(eps)))",
    ),
    ("muon", "one step fewer", "in range(steps)", "in range(steps - 1)"),
    ("muon", "shape turned round", "max(1, rows / columns)", "max(1, columns / rows)"),
    (
        "muon",
        "not ahead",
        "moments.average(buffer, updates, momentum) if nesterov else buffer",
        "buffer",
    ),
    (
        "sparse_adam",
        "absent rows averaged",
        "jnp.where, present, dense.exp_avg, state",
        "lambda p, d, s: d, present, dense.exp_avg, state",
    ),
    (
        "sparse_adam",
        "eps after the correction",
        "(jnp.sqrt(v) + eps)",
        "(jnp.sqrt(v) + eps * jnp.sqrt(second))",
    ),
    ("sparse_adam", "absent rows moved", "jnp.where(row, jnp.sqrt", "jnp.where(True, jnp.sqrt"),
]

# drop-in, its file, and the same
OTHERS: Final = [
    ("clip_grad_norm", "clipping", "1e-6 of the norm", "total + 1e-6", "total + 1e-5"),
    ("clip_grad_norm", "clipping", "gradients grow", "jnp.minimum(1.0, max", "(max"),
    (
        "clip_grad_value",
        "clipping",
        "limit",
        "optax.clip(clip_value)",
        "optax.clip(2 * clip_value)",
    ),
    ("step_lr", "decays", "one early", "floor(t / step_size)", "floor((t + 1) / step_size)"),
    ("multi_step_lr", "decays", "one late", "astype(t.dtype) <= t", "astype(t.dtype) < t"),
    ("constant_lr", "decays", "one late", "t < total_iters", "t <= total_iters"),
    (
        "linear_lr",
        "decays",
        "never ends",
        "jnp.minimum(t, total_iters) / total_iters\n        return",
        "t / total_iters\n        return",
    ),
    ("exponential_lr", "decays", "one early", "lr * gamma**t)", "lr * gamma ** (t + 1))"),
    ("polynomial_lr", "decays", "linear", "/ total_iters) ** power", "/ total_iters)"),
    ("lambda_lr", "decays", "one early", "lr * lr_lambda(t)", "lr * lr_lambda(t + 1)"),
    ("multiplicative_lr", "decays", "from 0", "fori_loop(1, ", "fori_loop(0, "),
    (
        "cosine_annealing_lr",
        "cycles",
        "stays low",
        "jnp.cos(math.pi * t / T_max)",
        "jnp.cos(math.pi * jnp.minimum(t, T_max) / T_max)",
    ),
    ("cosine_annealing_warm_restarts", "cycles", "one late", "T_0 <= t) - 1", "T_0 < t) - 1"),
    ("cyclic_lr", "cycles", "heights not halved", "rising / 2 ** (cycle - 1)", "rising"),
    (
        "cyclic_lr",
        "cycles",
        "momentum in phase",
        "max_momentum - (max_momentum - base",
        "base_momentum + (max_momentum - base",
    ),
    (
        "one_cycle",
        "cycles",
        "top one late",
        "first = pct_start * total_steps - 1",
        "first = pct_start * total_steps",
    ),
    ("one_cycle", "cycles", "end one late", "total_steps - 1)\n", "total_steps)\n"),
    ("sequential_lr", "combined", "one late", "t < start", "t <= start"),
    ("chained", "combined", "not divided", "(each(t) / lr)", "each(t)"),
    ("reduce_on_plateau", "plateau", "one early", "bad > patience", "bad >= patience"),
    ("reduce_on_plateau", "plateau", "eps ignored", "- lower > eps", "- lower > 0"),
    ("reduce_on_plateau", "plateau", "cooldown counted", "better | in_cooldown", "better"),
    ("lbfgs", "lbfgs", "scale not updated", "(is_kept, scale, memory.h_diag)", "(False, scale, 1)"),
    ("lbfgs", "lbfgs", "pairs in the other order", "num_old - 1 - number", "num_old * 0 + number"),
    ("lbfgs", "lbfgs", "first step not shortened", "memory.n_iter == 1", "memory.n_iter == 0"),
    ("lbfgs", "lbfgs", "oldest pair kept", "jnp.roll(old, -1, 0)", "jnp.roll(old, 1, 0)"),
    (
        "lbfgs",
        "lbfgs",
        "one evaluation more",
        "evals >= limits.max_eval",
        "evals > limits.max_eval",
    ),
    (
        "lbfgs",
        "lbfgs",
        "tolerance of 1e-9",
        "tolerance_change: Number = 1e-9",
        "tolerance_change: Number = 1e-6",
    ),
    (
        "lbfgs",
        "lbfgs",
        "last iteration evaluated",
        "at.n_iter == limits.max_iter",
        "at.n_iter > limits.max_iter",
    ),
    ("lbfgs", "strong_wolfe", "slope left of 0.9", "_C2 = 0.9", "_C2 = 0.5"),
    ("lbfgs", "strong_wolfe", "decrease of 1e-4", "_C1 = 1e-4", "_C1 = 0.3"),
    ("lbfgs", "strong_wolfe", "cubic", "- 3 * (a.loss", "- 2 * (a.loss"),
    ("lbfgs", "strong_wolfe", "room at the ends", "room = 0.1 *", "room = 0.2 *"),
    ("lbfgs", "strong_wolfe", "trials", "found.ls_iter + 1", "found.ls_iter"),
    ("lbfgs", "strong_wolfe", "longest step", "now.t * 10", "now.t * 5"),
]

SHARED: Final = [
    ("sgd", "drop_in", "never climbs", "-1 if maximize else 1", "1"),
    ("nadam", "moments", "correction one late", "jnp.power(decay, t)", "jnp.power(decay, t + 1)"),
    ("nadam", "moments", "sizes for squares", "jnp.square", "jnp.abs"),
]

FOLDERS: Final[Mapping[str, str]] = dict.fromkeys(
    ("clipping", "drop_in", "moments", "lbfgs", "strong_wolfe"), "optimizers"
)
ALONE: Final = ("drop_in", "moments", "combined")

NAMES: Final = tuple(dict.fromkeys(row[0] for row in (*OPTIMIZERS, *OTHERS)))
FILES: Final = {"adamw": "adam"}


def mutations() -> Iterator[Mutation]:
    """Yield all."""
    for name, what, old, new in OPTIMIZERS:
        yield Mutation(what, f"parity/optimizers/{FILES.get(name, name)}.py", old, new, name)
    for name, file, what, old, new in (*OTHERS, *SHARED):
        folder = FOLDERS.get(file, "schedules")
        yield Mutation(what, f"parity/{folder}/{file}.py", old, new, name)


def rounds(chosen: list[Mutation]) -> Iterator[list[Mutation]]:
    """Yield groups that can be tried at once: no two that the same comparison can notice.

    Those of `adam` and `adamw` are in one file; what others are made of is broken alone.
    """
    yield from ([mutation] for mutation in chosen if Path(mutation.file).stem in ALONE)
    left = [mutation for mutation in chosen if Path(mutation.file).stem not in ALONE]
    while left:
        group: dict[str, Mutation] = {}
        for mutation in left:
            group.setdefault(FILES.get(mutation.optimizer, mutation.optimizer), mutation)
        yield [*group.values()]
        left = [mutation for mutation in left if mutation not in group.values()]


def failures(names: Sequence[str]) -> dict[str, list[str]]:
    """Return each case of an optimizer that differs from PyTorch's, with where."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for case in (case for case in CASES if case.name in names):
        # Rows without a gradient are what SparseAdam is for.
        result = compare(case, "sparse" if case.name == "sparse_adam" else "random", STEPS)
        if first := result.first_divergence:
            found[case.name].append(f"{case}: step {first.step}, {first.leaf}")
        elif not state_error(case, STEPS) < 1e-12:
            found[case.name].append(f"{case}: state")
    return found


def failing(copy: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what fails in the copy, by drop-in: cases of optimizers, tests of all else."""
    optimizers = [name for name in names if name in {row[0] for row in OPTIMIZERS}]
    others = [name for name in names if name not in optimizers]
    found = run_script(__file__, copy, optimizers) if optimizers else {}
    if others:
        # Their own tests: those of others could not notice.
        chosen = ("-k", " or ".join(others))
        options = ("-q", "-rf", "--tb=no", "-o", "addopts=")
        done = run_python(copy, "-m", "pytest", *options, *chosen, *TESTS)
        failed = re.findall(r"^FAILED \S+::test_(.+?) - ", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1):  # a program that does not run shows nothing
            raise SystemExit(f"{done.stdout}{done.stderr}")
        for name in others:
            mine = [test for test in failed if re.search(rf"(?<![a-z]){name}(?![a-z])", test)]
            found[name] = sorted({test.split("[")[0] for test in mine})
    return found


if __name__ == "__main__":
    sys.exit(run(__file__, [*mutations()], failing, rounds, failures, NAMES))
