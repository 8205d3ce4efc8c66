"""Compare the six optimizers, in each convention, with where the convention comes from.

    python scripts/verify_optimizers.py                      # everything
    python scripts/verify_optimizers.py --sources network    # one source, into the same file

In float64, the tutorial's convention against the formulas in NumPy, PyTorch's against
`torch.optim`, Optax's against Optax: every optimizer on every source of gradients for 2,000 steps,
the displacement from the start and every accumulator that both keep.

What is allowed: a relative error of 1e-12 where the gradients are given (random, sparse, stream).
Where they follow the trajectory (quadratic, rosenbrock, network) ten times what one unit in the
last place of the start has grown to by then, or 1e-12 where that is more: a start's perturbation is
made once, rounding at every step, and a trajectory that converges forgets the first and not the
second. Growth is the most of five perturbed starts, or of one for the network with its many
elements: by one alone, RMSProp in Optax's convention was called apart where growth sets in,
1e-12 at step 497 of the quadratic, although both end with the same growth.

Nothing upstream stands in the way in float64; two things bound what the numbers say:

- Optax and PyTorch compute Adam's `1 - b2**t` by subtraction, which at t = 1 and 0.999 is wrong by
  up to 2^-53 / 0.001 = 1.1e-13 of itself, and the first step by half of that. That is most of
  Adam's 1e-14. Optax does it in the default float type, so that in float32 its first steps are
  wrong by 1e-5; PyTorch does it in double precision.
- RMSProp's steps keep their size at the bottom of a valley and take their sign from a gradient
  near zero, so that there a rounding turns a whole step: one unit in the last place grows from
  1e-15 to a hundredth of the way within some steps. In the tutorial's convention this comes after
  400 steps or more, on Rosenbrock too; at PyTorch's rate of 0.01 after 200 on the quadratic and 50
  on Rosenbrock, and on the network nothing is left of the way in the end. Before it both agree to
  1e-15; after it a comparison can say nothing.

Writes `figures/verify_optimizers.json` and exits with 1 if anything fails. The network is the real
one, 243,622 parameters three times over, and takes nearly all of the time: an hour on two cores
shared with other work, the rest six minutes.
"""

from functools import partial
from pathlib import Path

import tyro
from comparison_rows import cell, compare_all, end

from jaxmnist import optim, provenance, verify

REFERENCES = {
    "document": verify.numpy_reference,
    "pytorch": verify.torch_reference,
    "optax": verify.optax_reference,
}


def main(
    steps: int = 2000,
    sources: tuple[str, ...] = verify.SOURCES,
    optimizers: tuple[str, ...] = optim.NAMES,
    out: Path = Path("figures/verify_optimizers.json"),
) -> None:
    """Run the comparisons, write each as it ends, and print the table.

    Args:
        steps: In each comparison.
        sources: Which gradients; the file's rows for others are kept.
        optimizers: Which optimizers; likewise.
        out: The file.
    """
    about = {
        **provenance.record("python scripts/verify_optimizers.py", "optax", "torch"),
        "dtype": "float64",
        "steps": steps,
    }
    order = [
        f"{name} {convention} {gradients}"
        for name in optim.NAMES
        for convention in REFERENCES
        for gradients in verify.SOURCES
    ]

    def compare(name: str, convention: str, gradients: str) -> verify.Comparisons:
        tx = optim.create(name, convention=convention)
        reference = REFERENCES[convention](name)
        return verify.optimizer(tx, reference, gradients=gradients, steps=steps)

    wanted = (
        (f"{name} {convention} {gradients}", partial(compare, name, convention, gradients))
        for name in optimizers
        for convention in REFERENCES
        for gradients in sources
    )
    rows = compare_all(out, about, order, wanted)
    print("| optimizer | convention | " + " | ".join(verify.SOURCES) + " |")
    print("|---" * (2 + len(verify.SOURCES)) + "|")
    for name in optim.NAMES:
        for convention in REFERENCES:
            row = (rows.get(f"{name} {convention} {gradients}") for gradients in verify.SOURCES)
            print(f"| {name} | {convention} | " + " | ".join(map(cell, row)) + " |")
    end(rows)


if __name__ == "__main__":
    tyro.cli(main)
