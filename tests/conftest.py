"""Settings for every test: nothing broadcasts across ranks or promotes dtypes silently."""

from collections.abc import Callable
from typing import Any

import jax
import pytest
import torch

from jaxmnist import interop

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def sequential() -> Callable[[Any], torch.nn.Sequential]:
    """A function from an MLP's parameters to the document's `nn.Sequential`, in float64."""

    def build(params: Any) -> torch.nn.Sequential:
        state_dict = interop.params_to_state_dict(params)
        modules: list[torch.nn.Module] = []
        for index in range(0, len(state_dict), 2):
            outputs, inputs = state_dict[f"{index}.weight"].shape
            modules += [torch.nn.Linear(inputs, outputs, dtype=torch.float64), torch.nn.ReLU()]
        module = torch.nn.Sequential(*modules[:-1])
        module.load_state_dict({name: torch.from_numpy(a) for name, a in state_dict.items()})
        return module

    return build
