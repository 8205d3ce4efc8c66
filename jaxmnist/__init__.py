"""MNIST training as pure functions in JAX.

Names are resolved when first used, so that importing the package, or asking a command for its
help, loads neither JAX nor TensorFlow Datasets nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxmnist import calculus as calculus
    from jaxmnist import data as data
    from jaxmnist import distributed as distributed
    from jaxmnist import export as export
    from jaxmnist import figures as figures
    from jaxmnist import interop as interop
    from jaxmnist import landscapes as landscapes
    from jaxmnist import logs as logs
    from jaxmnist import losses as losses
    from jaxmnist import optim as optim
    from jaxmnist import parity as parity
    from jaxmnist import plots as plots
    from jaxmnist import provenance as provenance
    from jaxmnist import runs as runs
    from jaxmnist import sweep as sweep
    from jaxmnist import tasks as tasks
    from jaxmnist import training as training
    from jaxmnist import verify as verify
    from jaxmnist.config import Config as Config
    from jaxmnist.config import Hyper as Hyper
    from jaxmnist.config import default_hyper as default_hyper
    from jaxmnist.config import hyper as hyper
    from jaxmnist.data import Dataset as Dataset
    from jaxmnist.data import load_dataset as load_dataset
    from jaxmnist.data import normalize as normalize
    from jaxmnist.distributed import data_parallel as parallel  # noqa: F401
    from jaxmnist.distributed import processes as processes
    from jaxmnist.errors import InputError as InputError
    from jaxmnist.hypergradients import checkpointed_scan as checkpointed_scan
    from jaxmnist.hypergradients import hypergradient as hypergradient
    from jaxmnist.model import MLP as MLP
    from jaxmnist.tasks import Model as Model
    from jaxmnist.tasks import Task as Task
    from jaxmnist.tasks import task as task
    from jaxmnist.tasks import tutorial_task as tutorial_task
    from jaxmnist.training import DivergedError as DivergedError
    from jaxmnist.training import History as History
    from jaxmnist.training import TrainState as TrainState
    from jaxmnist.training import fit as fit
    from jaxmnist.training import make_train as make_train

_MODULES = (
    "calculus",
    "data",
    "distributed",
    "export",
    "figures",
    "interop",
    "landscapes",
    "logs",
    "losses",
    "optim",
    "parity",
    "plots",
    "provenance",
    "runs",
    "sweep",
    "tasks",
    "training",
    "verify",
)
_HOMES = {
    "Config": "config",
    "Hyper": "config",
    "default_hyper": "config",
    "hyper": "config",
    "Dataset": "data",
    "load_dataset": "data",
    "normalize": "data",
    "InputError": "errors",
    "checkpointed_scan": "hypergradients",
    "hypergradient": "hypergradients",
    "MLP": "model",
    "Model": "tasks",
    "Task": "tasks",
    "task": "tasks",
    "tutorial_task": "tasks",
    "DivergedError": "training",
    "History": "training",
    "TrainState": "training",
    "fit": "training",
    "make_train": "training",
}

# Modules under the names that they had at the top.
_ALIASES = {
    "parallel": "distributed.data_parallel",
    "processes": "distributed.processes",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _ALIASES:
        return import_module(f"{__name__}.{_ALIASES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*_MODULES, *_ALIASES, *_HOMES, "__version__"))
