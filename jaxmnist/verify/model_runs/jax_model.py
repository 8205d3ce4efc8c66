"""A JAX function on given parameters and inputs: its outputs, gradients and their noise."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.blame import blamed, blamed_on
from jaxmnist.verify.model_runs.leaves import Arguments, leaves_by_name
from jaxmnist.verify.model_runs.noise import signs, with_perturbed_intermediates
from jaxmnist.verify.model_runs.torch_model import Measured
from jaxmnist.verify.programs import compiled

WHO = "apply_fn"
STATE = "updated state."
"""Before the names of what `apply_fn` returns besides its outputs."""

Shapes = dict[str, jax.ShapeDtypeStruct]
Cotangents = Mapping[str, tuple[np.ndarray, np.ndarray]]


class JaxModel:
    """A function of parameters and inputs, ready to run; inside `jax.enable_x64` only.

    Attributes:
        function: ``function(params, flat)`` from arrays by path and the inputs' leaves to outputs
            by name; the updated state has the paths of the parameters after `STATE`.
        shapes: Of the outputs, and `state_shapes` of the updated state.
        params: Arrays by path.
        flat: The inputs' leaves.
        names: Of the inputs to differentiate in, by their position among all leaves.
    """

    def __init__(
        self,
        apply_fn: Callable[..., Any],
        params: Mapping[str, np.ndarray],
        inputs: Arguments,
        names: Mapping[int, str],
        build: Callable[[Mapping[str, Any]], Any],
        named: Callable[[Any], Mapping[str, Any]],
        who: str = WHO,
    ) -> None:
        """Find the outputs' shapes.

        Args:
            apply_fn: ``apply_fn(params, *positional, **keyword)``, to outputs, or to outputs and
                a tree whose paths are those of some of the parameters: the updated state.
            params: NumPy arrays by path.
            inputs: Positional and keyword arguments, trees of NumPy arrays.
            names: Of the inputs to differentiate in, by their position among all leaves.
            build: From arrays by path to the tree that `apply_fn` takes.
            named: From such a tree, or a part of it, to arrays by path.
            who: The function, for messages.

        Raises:
            InputError: The function raises, or returns what is no array.
        """
        self.params, self.names, self._who = dict(params), dict(names), who
        self.flat, self._structure = jax.tree.flatten(inputs)

        def function(params: Mapping[str, Any], flat: list[Any]) -> dict[str, Any]:
            positional, keyword = self._structure.unflatten(flat)
            returned = apply_fn(build(params), *positional, **keyword)
            state: Mapping[str, Any] = {}
            if isinstance(returned, tuple) and len(returned) == 2:
                found = _paths(named, returned[1])
                if found and found.keys() <= self.params.keys():
                    returned, state = returned[0], found
            outputs = leaves_by_name(returned, who)
            outputs |= {STATE + name: x for name, x in state.items()}
            return {name: jnp.asarray(x) for name, x in outputs.items()}

        self.function = function
        with blamed_on(who, self.flat):
            shapes = jax.eval_shape(function, *self._arrays())
        self.shapes: Shapes = {n: s for n, s in shapes.items() if not n.startswith(STATE)}
        self.state_shapes: Shapes = {n: s for n, s in shapes.items() if n.startswith(STATE)}

    def run(self, cotangents: Cotangents, dtype: str) -> Measured:
        """Compute the outputs, and the gradients of their weighted sum.

        Args:
            cotangents: The weights of the real and the imaginary parts, by output.
            dtype: float64 or float32.

        Returns:
            What was computed.

        Raises:
            InputError: The function cannot be differentiated.
        """
        with blamed(self._who, "when differentiated"):
            run = compiled(self._gradients(cotangents, dtype))
            return self._measured(run(*self._arguments()))

    def perturbed(self, cotangents: Cotangents, dtype: str, times: int) -> list[Measured]:
        """Compute the same again, with every intermediate value perturbed.

        Args:
            cotangents: As for `run`.
            dtype: float64 or float32.
            times: How many times.

        Returns:
            What was computed each time.
        """
        again = compiled(with_perturbed_intermediates(self._gradients(cotangents, dtype), dtype))
        arguments = self._arguments()
        return [self._measured(again(signs(seed), *arguments)) for seed in range(times)]

    def _arrays(self) -> tuple[dict[str, Any], list[Any]]:
        params = {name: jnp.asarray(x) for name, x in self.params.items()}
        return params, [jnp.asarray(x) for x in self.flat]

    def _arguments(self) -> tuple[dict[str, Any], list[Any], list[Any]]:
        params, flat = self._arrays()
        return params, [flat[i] for i in self.names], flat

    def _gradients(self, cotangents: Cotangents, dtype: str) -> Callable[..., Any]:
        """The gradients in the parameters and the chosen inputs, and the outputs."""

        def weighted_sum(params: Any, chosen: list[Any], flat: list[Any]) -> tuple[Any, Any]:
            flat = list(flat)
            for index, x in zip(self.names, chosen, strict=True):
                flat[index] = x
            outputs = self.function(params, flat)
            total = jnp.zeros((), dtype)
            for name, (real, imaginary) in cotangents.items():
                total += jnp.sum(jnp.real(outputs[name]).astype(dtype) * real)
                if jnp.iscomplexobj(outputs[name]):
                    total += jnp.sum(jnp.imag(outputs[name]).astype(dtype) * imaginary)
            return total, outputs

        return jax.grad(weighted_sum, argnums=(0, 1), has_aux=True)

    def _measured(self, found: Any) -> Measured:
        (params, inputs), returned = jax.device_get(found)
        outputs = {n: x for n, x in returned.items() if not n.startswith(STATE)}
        state = {n.removeprefix(STATE): x for n, x in returned.items() if n.startswith(STATE)}
        gradients = params | dict(zip(self.names.values(), inputs, strict=True))
        return Measured(outputs, gradients, state)


def _paths(named: Callable[[Any], Mapping[str, Any]], tree: Any) -> Mapping[str, Any]:
    """Arrays by path; nothing where it is no tree."""
    if hasattr(tree, "shape"):
        return {}
    try:
        return named(tree)
    except Exception:
        return {}
