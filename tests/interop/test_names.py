"""Names of wrapped and shifted modules: read where there is one reading, with a warning."""

from typing import Any

import jax
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from jaxmnist import interop


def sequential(*between: nn.Module, first: tuple[nn.Module, ...] = ()) -> nn.Sequential:
    """9-7-5-4 with these modules after each hidden layer."""
    torch.manual_seed(0)
    hidden = [nn.Linear(9, 7), *between, nn.Linear(7, 5), *between]
    return nn.Sequential(*first, *hidden, nn.Linear(5, 4))


def compiled(module: nn.Module) -> nn.Module:
    """A module with the names that `torch.compile` gives it, without the compiler's import."""
    return nn.ModuleDict({"_orig_mod": module})


class Lightning(nn.Module):
    """A module with the network as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.net = sequential(nn.ReLU())


MODULES: dict[str, Any] = {
    "DataParallel": lambda: nn.DataParallel(sequential(nn.ReLU())),
    "compiled": lambda: compiled(sequential(nn.ReLU())),
    "both": lambda: nn.DataParallel(compiled(sequential(nn.ReLU()))),
    "an attribute": Lightning,
    "flatten first": lambda: sequential(nn.ReLU(), first=(nn.Flatten(),)),
    "dropout": lambda: sequential(nn.ReLU(), nn.Dropout()),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(sequential(nn.ReLU())),
}


@pytest.mark.parametrize("kind", MODULES)
def test_module_is_read_as_the_tutorials_with_a_warning(kind, tmp_path):
    expected = interop.params_from_state_dict(sequential(nn.ReLU()).state_dict())
    state_dict = MODULES[kind]().state_dict()
    last = [name for name in state_dict if name.endswith("weight")][-1]
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(state_dict), path)
    with pytest.warns(UserWarning, match=f"read as Linear and ReLU in turn: .*{last} as 4.weight"):
        params = interop.params_from_state_dict(state_dict)
    with pytest.warns(UserWarning, match=f"{last} as 4.weight"):
        loaded = interop.load_safetensors(path)
    for each in (params, loaded):
        jax.tree.map(np.testing.assert_array_equal, each, expected)


class Attributes(nn.Module):
    """Layers whose order of use its state_dict does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2, self.fc1 = nn.Linear(9, 9), nn.Linear(9, 9)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (Attributes(), "fc2.weight"),
        (nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9)), "1.weight"),  # Nothing between them.
        (nn.ModuleDict({name: nn.Sequential(nn.Linear(9, 9)) for name in "ab"}), "a.0.weight"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(9, 4)), "3.weight"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 4, bias=False)), "1.weight"),
        (nn.Sequential(nn.Flatten(), nn.Conv2d(1, 2, 3)), "1.weight"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4)), "2.running_mean"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_module_of_no_one_reading_is_refused_with_both_names(module, found, refused):
    with refused(f"'{found}'", "of Linear and ReLU in turn are ['0.weight'"):
        interop.params_from_state_dict(module.state_dict())
