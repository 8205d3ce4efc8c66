"""To PyTorch and back: the parameters and the optimizer's state, with the same numbers.

    state_dict = params_to_state_dict(params)           # nn.Sequential's names
    params = params_from_state_dict(module.state_dict())
    state_dict = opt_state_to_state_dict("adam", opt_state, params, convention="pytorch")
    opt_state, hyper = opt_state_from_state_dict("adam", optimizer.state_dict(), params)
    tx, opt_state = optimizer_from_torch(optimizer, params)     # any of torch.optim's

`save_safetensors` and `load_safetensors` do the first pair through a file. `match` finds which
parameter is which in any other JAX model and PyTorch module.
"""

from importlib import import_module
from typing import Any

from jaxmnist.interop.match import Match as Match
from jaxmnist.interop.match import match as match
from jaxmnist.interop.optimizer_state import (
    opt_state_from_state_dict as opt_state_from_state_dict,
)
from jaxmnist.interop.optimizer_state import opt_state_to_state_dict as opt_state_to_state_dict
from jaxmnist.interop.parameters import flatten as flatten
from jaxmnist.interop.parameters import load_safetensors as load_safetensors
from jaxmnist.interop.parameters import params_from_state_dict as params_from_state_dict
from jaxmnist.interop.parameters import params_to_module as params_to_module
from jaxmnist.interop.parameters import params_to_state_dict as params_to_state_dict
from jaxmnist.interop.parameters import save_safetensors as save_safetensors

# It builds the drop-ins of `jaxmnist.parity`, which lies above this package: resolved when used.
_ABOVE = {"optimizer_from_torch": "jaxmnist.parity.from_torch"}


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        return getattr(import_module(_ABOVE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*globals(), *_ABOVE))
