"""Compare every drop-in for an optimizer with `torch.optim`: 2,000 steps in float64.

    python scripts/parity_optimizers.py                       # everything
    python scripts/parity_optimizers.py --sources random      # one source, into the same file
    python scripts/parity_optimizers.py --cases nadam radam   # two optimizers' cases

A case is a drop-in with arguments, which PyTorch's class of that name is given too. Each runs on
the six sources of gradients of `jaxmnist.verify`, or on those that have shapes which the optimizer
takes: Muon's parameters are matrices, so that it has no "stream" and no "network". What climbs runs
on given gradients alone, since it leaves every bound where they follow it. Adafactor with a large
rate has no "network": one unit in the last place of its start grows to 0.6 of the displacement.

What is allowed: a relative error of 1e-12 where the gradients are given (random, sparse, stream);
where they follow the trajectory (quadratic, rosenbrock, network) ten times what one unit in the
last place of the start has grown to by then, or 1e-12 where that is more.

PyTorch itself computes some of it in fewer bits, and so do the drop-ins: NAdam's product of
momenta, ASGD's rate and average's share are rounded to float32 there and here. Muon's iteration is
in bfloat16, where the libraries' sums have other orders: its steps are compared with that iteration
in float64 on both sides, and `tests/parity/test_optimizers.py` counts how often the bfloat16 ones
differ.

Writes `figures/parity_optimizers.json` and exits with 1 if anything fails.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from comparison_rows import cell, compare_all, end

from jaxmnist import interop, parity, provenance, verify
from jaxmnist.verify.gradient_sources.lookup import FOLLOWING
from jaxmnist.verify.precision import precision


class Case(NamedTuple):
    """A drop-in's name, PyTorch's, and the arguments of both."""

    name: str
    torch: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.arguments.items())})"

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of gradients that have shapes which the optimizer takes."""
        without = ("stream", "network") if self.name == "muon" else ()
        if "maximize" in self.arguments:
            without = FOLLOWING
        if self.name == "adafactor" and self.arguments:
            without = ("network",)
        return tuple(source for source in verify.SOURCES if source not in without)

    def params(self, source: str) -> Any:
        """Return parameters for that source, or None for its own."""
        if source in ("stream", "network") or self.name not in ("muon", "adafactor"):
            return None
        shapes = {"square": (4, 4), "tall": (5, 3), "wide": (2, 6)}
        if self.name == "adafactor":
            shapes |= {"vector": (5,), "kernels": (2, 3, 4)}
        if source not in FOLLOWING:
            return {name: np.zeros(shape) for name, shape in shapes.items()}
        rng = np.random.default_rng(0)
        return {name: rng.uniform(-1.5, 1.5, shape) for name, shape in shapes.items()}

    def torch_factory(self) -> Callable[[Any], Any]:
        """Return a function from a list of parameters to PyTorch's optimizer."""

        def factory(params: Any) -> Any:
            import torch

            if self.torch == "SparseAdam":
                return _sparse()(params, **self.arguments)
            return getattr(torch.optim, self.torch)(params, **self.arguments)

        return factory


def _sparse() -> Any:
    """PyTorch's SparseAdam, which makes dense gradients sparse in their rows."""
    import torch

    class Sparse(torch.optim.SparseAdam):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.grad = weight.grad.to_sparse(1)
            return super().step(closure)

    return Sparse


_DECOUPLED: Final = {"weight_decay": 0.02, "decoupled_weight_decay": True}
CASES: Final = tuple(
    Case(name, torch, arguments)
    for name, torch, *every in (
        (
            "sgd",
            "SGD",
            {},
            {"lr": 0.01, "momentum": 0.9},
            {"lr": 0.01, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02},
            {"lr": 0.01, "momentum": 0.8, "nesterov": True},
            {"lr": 0.01, "momentum": 0.8, "maximize": True},
        ),
        (
            "adam",
            "Adam",
            {},
            {"weight_decay": 0.002, "betas": (0.8, 0.99)},
            {"amsgrad": True, "betas": (0.9, 0.9)},
            {"amsgrad": True, "eps": 1e-3},
            {"weight_decay": 0.02, "maximize": True},
        ),
        ("adamw", "AdamW", {}, {"amsgrad": True, "weight_decay": 0.05}),
        (
            "nadam",
            "NAdam",
            {},
            {"momentum_decay": 0.05, "eps": 1e-3, "weight_decay": 0.02},
            _DECOUPLED,
        ),
        ("radam", "RAdam", {}, {"eps": 1e-3, "weight_decay": 0.02}, _DECOUPLED),
        (
            "adagrad",
            "Adagrad",
            {},
            {"lr_decay": 0.1, "weight_decay": 0.02, "initial_accumulator_value": 0.5},
        ),
        ("adadelta", "Adadelta", {}, {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.02}),
        ("adamax", "Adamax", {}, {"betas": (0.8, 0.9), "eps": 1e-2, "weight_decay": 0.02}),
        (
            "rmsprop",
            "RMSprop",
            {"lr": 1e-3},
            {"lr": 1e-3, "momentum": 0.5, "eps": 1e-3, "weight_decay": 0.02},
            {"lr": 1e-3, "centered": True, "eps": 1e-2, "momentum": 0.9},
        ),
        ("rprop", "Rprop", {}, {"lr": 1e-3, "etas": (0.3, 1.1), "step_sizes": (1e-5, 0.1)}),
        ("asgd", "ASGD", {}, {"lambd": 0.05, "alpha": 0.5, "t0": 20, "weight_decay": 0.02}),
        (
            "adafactor",
            "Adafactor",
            {},
            # From the fifth step on the relative step is smaller than the rate.
            {"lr": 0.5, "beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 2, "weight_decay": 0.02},
        ),
        (
            "muon",
            "Muon",
            {},
            {"nesterov": False, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"},
        ),
        ("sparse_adam", "SparseAdam", {}, {"betas": (0.8, 0.99), "eps": 1e-3}),
    )
    for arguments in every
)
"""Every drop-in with its defaults and with every argument that changes its arithmetic.

Adam's decay is small, and NAdam's and RMSprop's epsilon beside their decay is large: a weight that
has no gradient but its decay, divided by the root of that gradient's own square, swings around 0 in
steps of the rate, whose sign rounding decides, so that nothing can be compared. By a decay of 0.02
one unit in the last place of NAdam's start grows to half of the displacement on the stream, and of
Adam's on the network to three quarters.
"""


def compare(case: Case, source: Any, steps: int, params: Any = None) -> verify.Comparisons:
    """Compare a case's drop-in with PyTorch's optimizer.

    Args:
        case: The case.
        source: One of the case's sources, or a function of the step and the parameters.
        steps: How many.
        params: Where both start, or None for the case's own.

    Returns:
        The comparison of displacements, and of what both keep under names of one meaning.
    """
    with wide_muon():
        return verify.optimizer(
            getattr(parity, case.name)(**case.arguments),
            case.torch_factory(),
            params=case.params(source) if params is None else params,
            gradients=source,
            steps=steps,
        )


def state_error(case: Case, steps: int) -> float:
    """Run a case here and in PyTorch on the same gradients, and compare all that both keep.

    Args:
        case: The case.
        steps: How many.

    Returns:
        The largest relative error of a leaf of the state, that of PyTorch's being converted by
        `jaxmnist.interop.optimizer_from_torch`: also of what has no name in `verify.optimizer`.
    """
    import torch

    shapes = {"a": (3, 2), "b": (2, 3)} | ({} if case.name == "muon" else {"c": (3,)})
    rng = np.random.default_rng(0)
    start = {name: rng.uniform(-1, 1, shape) for name, shape in shapes.items()}
    weights = {name: torch.tensor(w, requires_grad=True) for name, w in start.items()}
    optimizer = case.torch_factory()([*weights.items()])
    with wide_muon(), precision("float64"):
        params = jax.tree.map(jnp.asarray, start)
        tx: Any = getattr(parity, case.name)(**case.arguments)
        state, update = tx.init(params), jax.jit(tx.update)
        for step in range(steps):
            for number, weight in enumerate(weights.values()):
                weight.grad = torch.tensor(np.cos(step + number + start["abc"[number]]))
            gradients = {
                name: jnp.asarray(np.cos(step + number + start["abc"[number]]))
                for number, name in enumerate(weights)
            }
            optimizer.step()
            updates, state = update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        if case.torch == "SparseAdam":
            optimizer.__class__ = torch.optim.SparseAdam
        _, expected = interop.optimizer_from_torch(optimizer, params)
        pairs = zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True)
        errors = [
            float(np.abs(np.asarray(a) - np.asarray(e)).max() / max(np.abs(e).max(), 1e-300))
            for a, e in pairs
            if np.size(e) and e.dtype != jnp.int32  # SGD and Muon do not count in PyTorch.
        ]
    return max(errors, default=0.0)


@contextmanager
def wide_muon() -> Iterator[None]:
    """Let Muon's iteration be in the parameters' own precision, here and in PyTorch."""
    import torch

    ours: Any = import_module("jaxmnist.parity.optimizers.muon")
    theirs: Any = torch.Tensor
    before = ours.ITERATION_DTYPE, theirs.bfloat16
    ours.ITERATION_DTYPE, theirs.bfloat16 = jnp.float64, theirs.clone
    try:
        yield
    finally:
        ours.ITERATION_DTYPE, theirs.bfloat16 = before


def main(
    steps: int = 2000,
    sources: tuple[str, ...] = verify.SOURCES,
    cases: tuple[str, ...] = (),
    out: Path = Path("figures/parity_optimizers.json"),
) -> None:
    """Run the comparisons, write each as it ends, and print the table.

    Args:
        steps: In each comparison.
        sources: Which gradients; the file's rows for others are kept.
        cases: Which optimizers, by the drop-ins' names; none for all.
        out: The file.
    """
    about = {
        **provenance.record("python scripts/parity_optimizers.py", "optax", "torch"),
        "dtype": "float64",
        "steps": steps,
    }
    every = {f"{case} {source}": (case, source) for case in CASES for source in case.sources}
    wanted = (
        (name, partial(compare, case, source, steps))
        for name, (case, source) in every.items()
        if source in sources and (not cases or case.name in cases)
    )
    rows = compare_all(out, about, [*every], wanted)
    print("| drop-in | " + " | ".join(verify.SOURCES) + " |")
    print("|---" * (1 + len(verify.SOURCES)) + "|")
    for case in CASES:
        cells = [cell(rows.get(f"{case} {source}")) for source in verify.SOURCES]
        print(f"| {case} | " + " | ".join(cells) + " |")
    end(rows)


if __name__ == "__main__":
    tyro.cli(main)
