"""The gradients of a comparison: a function of the step and the parameters, and its start."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.named_trees import Layout, Named, map_named
from jaxmnist.verify.rounding import PERTURBATIONS


class Loss(NamedTuple):
    """The loss of one step, for an optimizer that asks for it."""

    step: int
    function: Callable[[Any, Any], Any]
    """Of the step's number and a tree of parameters; JAX can differentiate it in the tree."""
    evaluate: Callable[[Named], tuple[float, Named]]
    """From parameters by name to the loss and its gradients."""


@dataclass(frozen=True)
class Gradients:
    """A source of gradients, and the parameters it is for.

    Attributes:
        name: What it is, for the report.
        params: Where the optimizer starts: a tree of NumPy arrays.
        at: ``at(step, leaves) -> leaves``: the gradients of a step, from the parameters by name.
        follows: Whether the gradients depend on the parameters.
        origin: Added to the parameters before the gradient is taken, by name, or None.
        steps: How many steps there are gradients for, or None for any number.
        starts: The number of perturbed starts that error growth is measured from.
        loss: ``loss(step, tree) -> number``, of which these are the gradients, or None.
    """

    name: str
    params: Any
    at: Callable[[int, Named], Named]
    follows: bool
    origin: Named | None = None
    steps: int | None = None
    starts: int = PERTURBATIONS
    loss: Callable[[Any, Any], Any] | None = None

    def __call__(self, step: int, params: Named) -> Named:
        """Take the gradients of a step for these parameters.

        Raises:
            InputError: A gradient is NaN or infinite.
        """
        where = params if self.origin is None else map_named(np.add, self.origin, params)
        gradients = self.at(step, where)
        for leaf, gradient in gradients.items():
            broken = ~np.isfinite(gradient)
            if broken.any():
                raise InputError(
                    f"the gradient of {leaf} is {gradient[broken][0]} at step {step} of the "
                    f"{self.name} gradients; every gradient must be finite"
                    + (", so the optimizer must not diverge" if self.follows else "")
                )
        return gradients

    def loss_of(self, step: int) -> Loss | None:
        """The loss of a step, if there is one."""
        function, layout = self._loss_here, Layout.of(self.params)
        if function is None:
            return None

        def evaluate(params: Named) -> tuple[float, Named]:
            with blamed("the loss", f"at step {step}"):
                value = function(step, layout.tree(params))
            return float(value), self(step, params)

        return Loss(step, function, evaluate)

    @cached_property
    def _loss_here(self) -> Callable[[Any, Any], Any] | None:
        """The loss of the parameters that the optimizer has: one function, to compile once."""
        if self.loss is None or self.origin is None:
            return self.loss
        loss, origin = self.loss, Layout.of(self.params).tree(self.origin)
        return lambda step, tree: loss(step, jax.tree.map(jnp.add, origin, tree))

    def perturbations(self) -> "list[Gradients]":
        """The same from perturbed starts, to measure error growth; none where all is given."""
        return [self.perturbed(seed) for seed in range(self.starts if self.follows else 0)]

    def perturbed(self, seed: int) -> "Gradients":
        """Perturb every element of the start by one unit in the last place, up or down by chance.

        A zero moves by a unit of its leaf's largest element, or of 1.

        Args:
            seed: Of the directions.

        Returns:
            The same source with the perturbed start.
        """
        rng = np.random.default_rng(seed)

        def perturb(start: np.ndarray) -> np.ndarray:
            sizes = np.abs(start)
            largest = sizes.max(initial=0.0)
            sizes = np.where(sizes > 0, sizes, largest if largest > 0 else 1.0)
            step = np.spacing(sizes.astype(np.abs(start).dtype))
            return np.asarray(start + step * rng.choice([-1, 1], start.shape), start.dtype)

        if self.origin is not None:
            return replace(self, origin=map_named(perturb, self.origin))
        layout = Layout.of(self.params)
        return replace(
            self, params=layout.tree(map_named(perturb, layout.named(self.params, "params")))
        )
