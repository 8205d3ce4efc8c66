"""The three conventions side by side, with how far each is from the tutorial's, by running them.

    python scripts/conventions_table.py

Every optimizer takes the network's own recorded gradients (the default run's first 1,000, 16
elements of every weight and bias, float64) in each convention. A difference is that of the
displacements from the start after so many steps, in the Euclidean norm over all elements, relative
to the tutorial's. The first table gives all three the tutorial's learning rate, so that what is
left is arithmetic; the second gives each its own default.

Writes `figures/conventions.md` and `figures/conventions.json`; under a minute on two cores.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from jaxmnist import optim, provenance
from jaxmnist.conventions import defaults
from jaxmnist.verify.gradient_sources import source

AFTER = (1, 10, 100, 1000)

SYMBOLS = {
    "learning_rate": "η",
    "eps": "ε",
    "eps_root": "ε",
    "initial_accumulator_value": "s₀",
}


def main(out: Path = Path("figures")) -> None:
    """Run all conventions, write the two files, and print the first.

    Args:
        out: The folder for `conventions.md` and `conventions.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):
        stream = source("stream", steps=max(AFTER))
        gradients = jnp.asarray(
            [np.concatenate(list(stream(step, {}).values())) for step in range(max(AFTER))]
        )
        same_rate = differences(gradients, lambda name, _: rate_of(name, "document"))
        own_rate = differences(gradients, rate_of)
        falling = differences(gradients, lambda *_: harmonic)["momentum"]
    about = {
        **provenance.record("python scripts/conventions_table.py", "optax", "torch"),
        "gradients": f"{gradients.shape[1]} elements of the network's first {max(AFTER)}",
        "after": AFTER,
    }
    measured = {
        "at_the_documents_rate": same_rate,
        "at_its_own_rate": own_rate,
        "momentum_at_a_falling_rate": falling,
    }
    (out / "conventions.json").write_text(json.dumps({"about": about, **measured}, indent=1) + "\n")
    text = page(same_rate, own_rate, falling, about)
    (out / "conventions.md").write_text(text)
    print(text)


def differences(
    gradients: jax.Array, rate: Callable[[str, str], Any]
) -> dict[str, dict[str, list[float]]]:
    """Optimizer -> convention -> the relative difference from the tutorial's after each count."""
    table: dict[str, dict[str, list[float]]] = {}
    for name in optim.NAMES:
        walks = {
            convention: walk(optim.create(name, rate(name, convention), convention), gradients)
            for convention in optim.CONVENTIONS
        }
        documents = walks["document"]
        table[name] = {
            convention: [
                float(np.linalg.norm(d - e) / np.linalg.norm(e))
                for d, e in zip(displacement, documents, strict=True)
            ]
            for convention, displacement in walks.items()
        }
    return table


def walk(tx: optax.GradientTransformation, gradients: jax.Array) -> np.ndarray:
    """The displacement after each of the counts, [counts, elements]."""

    def step(carry: tuple[Any, Any], gradient: jax.Array) -> tuple[tuple[Any, Any], Any]:
        displacement, state = carry
        updates, state = tx.update(gradient, state, displacement)
        displacement = optax.apply_updates(displacement, updates)
        return (displacement, state), displacement

    start = jnp.zeros_like(gradients[0])
    _, displacements = jax.lax.scan(step, (start, tx.init(start)), gradients)
    return np.asarray(displacements)[np.array(AFTER) - 1]


def rate_of(name: str, convention: str) -> float | None:
    """The convention's own learning rate."""
    return optim.hyperparameters(name, convention)["learning_rate"]


def harmonic(count: jax.Array) -> jax.Array:
    """A rate that falls: half after 100 steps, a third after 200."""
    return 0.01 / (1 + count.astype(float) / 100)


def page(
    same_rate: dict[str, dict[str, list[float]]],
    own_rate: dict[str, dict[str, list[float]]],
    falling: dict[str, list[float]],
    about: dict[str, Any],
) -> str:
    """The two tables as Markdown."""
    counts = " | ".join(f"{count}" for count in AFTER)
    lines = [
        "# Three conventions",
        "",
        "The same names, three kinds of arithmetic. The last columns say how far each is from the",
        "tutorial's after 1, 10, 100 and 1,000 of the network's own gradients, all at the",
        "tutorial's learning rate: the norm of the difference of the displacements, relative.",
        "Each is this package's optimizer in that convention, which `verify_optimizers.json`",
        "compares with PyTorch's and Optax's own.",
        "",
        f"Made by `{about['command']}` with torch {about['versions']['torch']} and optax "
        f"{about['versions']['optax']}: {about['gradients']} gradients, float64.",
        "",
        f"| optimizer | convention | recurrence | defaults | {counts} |",
        "|---|---|---|---|" + "---|" * len(AFTER),
    ]
    for name in optim.NAMES:
        for convention in optim.CONVENTIONS:
            cells = [formula(name, convention), constants(name, convention)]
            cells += [shown(x) for x in same_rate[name][convention]]
            lines.append(f"| {name} | {convention} | {' | '.join(cells)} |")
    lines += [
        "",
        "Momentum's two forms diverge only when the rate changes. At 0.01 / (1 + t/100):",
        "",
        f"| optimizer | convention | {counts} |",
        "|---|---|" + "---|" * len(AFTER),
    ]
    lines += [
        f"| momentum | {convention} | {' | '.join(map(shown, values))} |"
        for convention, values in falling.items()
    ]
    lines += [
        "",
        "Each at its own default rate, which is most of the difference wherever the rates differ:",
        "",
        f"| optimizer | convention | {counts} |",
        "|---|---|" + "---|" * len(AFTER),
    ]
    for name in optim.NAMES:
        lines += [
            f"| {name} | {convention} | {' | '.join(map(shown, values))} |"
            for convention, values in own_rate[name].items()
        ]
    return "\n".join(lines) + "\n"


def formula(name: str, convention: str) -> str:
    """The recurrence with its epsilon and its rate where the convention has them."""
    values = defaults(name, convention)
    inside = values.get("learning_rate_in_velocity", values["learning_rate"] is None)
    recurrence = optim.ENTRIES[name].recurrence
    bar = "ŝ" if "ŝ" in recurrence else "s"
    root = f"√({bar}+ε)" if values.get("eps_root") else f"(√{bar}+ε)"
    return recurrence.format(root=root, inside="η" if inside else "", outside="" if inside else "η")


def constants(name: str, convention: str) -> str:
    """The default numbers; an epsilon that is 0 is not in the formula."""
    return ", ".join(
        f"{SYMBOLS.get(argument, argument)} {value:g}"
        for argument, value in optim.hyperparameters(name, convention).items()
        if value is not None and not (argument.startswith("eps") and value == 0)
    )


def shown(difference: float) -> str:
    """A difference; what is no more than rounding is called the same."""
    return "same" if difference < 1e-12 else f"{difference:.1e}"


if __name__ == "__main__":
    tyro.cli(main)
