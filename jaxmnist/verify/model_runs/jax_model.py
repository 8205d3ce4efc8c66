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

WHO = "apply_fn"

Shapes = dict[str, jax.ShapeDtypeStruct]
Cotangents = Mapping[str, tuple[np.ndarray, np.ndarray]]


class JaxModel:
    """A function of parameters and inputs, ready to run; inside `jax.enable_x64` only."""

    def __init__(
        self,
        apply_fn: Callable[..., Any],
        params: Any,
        inputs: Arguments,
        names: Mapping[int, str],
        named: Callable[[Any], dict[str, Any]],
    ) -> None:
        """Find the outputs' shapes.

        Args:
            apply_fn: ``apply_fn(params, *positional, **keyword)``.
            params: A tree of NumPy arrays.
            inputs: Positional and keyword arguments, trees of NumPy arrays.
            names: Of the inputs to differentiate in, by their position among all leaves.
            named: From a tree like the parameters to its leaves by name.

        Raises:
            InputError: The function raises, or returns what is no array.
        """
        self._params, self._names, self._named = params, dict(names), named
        self._flat, self._structure = jax.tree.flatten(inputs)

        def outputs(params: Any, flat: list[Any]) -> dict[str, Any]:
            positional, keyword = self._structure.unflatten(flat)
            returned = apply_fn(params, *positional, **keyword)
            return {name: jnp.asarray(x) for name, x in leaves_by_name(returned, WHO).items()}

        self._outputs = outputs
        with blamed_on(WHO, self._flat):
            self.shapes: Shapes = jax.eval_shape(
                outputs, jax.tree.map(jnp.asarray, params), [jnp.asarray(x) for x in self._flat]
            )

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
        with blamed(WHO, "when differentiated"):
            return self._measured(jax.jit(self._function(cotangents, dtype))(*self._arguments()))

    def perturbed(self, cotangents: Cotangents, dtype: str, times: int) -> list[Measured]:
        """Compute the same again, with every intermediate value perturbed.

        Args:
            cotangents: As for `run`.
            dtype: float64 or float32.
            times: How many times.

        Returns:
            What was computed each time.
        """
        again = jax.jit(with_perturbed_intermediates(self._function(cotangents, dtype), dtype))
        arguments = self._arguments()
        return [self._measured(again(signs(seed), *arguments)) for seed in range(times)]

    def _arguments(self) -> tuple[Any, list[Any], list[Any]]:
        flat = [jnp.asarray(x) for x in self._flat]
        return jax.tree.map(jnp.asarray, self._params), [flat[i] for i in self._names], flat

    def _function(self, cotangents: Cotangents, dtype: str) -> Callable[..., Any]:
        """The gradients in the parameters and the chosen inputs, and the outputs."""

        def weighted_sum(params: Any, chosen: list[Any], flat: list[Any]) -> tuple[Any, Any]:
            flat = list(flat)
            for index, x in zip(self._names, chosen, strict=True):
                flat[index] = x
            outputs = self._outputs(params, flat)
            total = jnp.zeros((), dtype)
            for name, (real, imaginary) in cotangents.items():
                total += jnp.sum(jnp.real(outputs[name]).astype(dtype) * real)
                if jnp.iscomplexobj(outputs[name]):
                    total += jnp.sum(jnp.imag(outputs[name]).astype(dtype) * imaginary)
            return total, outputs

        return jax.grad(weighted_sum, argnums=(0, 1), has_aux=True)

    def _measured(self, found: Any) -> Measured:
        (params, inputs), outputs = jax.device_get(found)
        gradients = self._named(params) | dict(zip(self._names.values(), inputs, strict=True))
        return Measured(outputs, gradients)
