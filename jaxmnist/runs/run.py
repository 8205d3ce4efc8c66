"""What a run is: its folder and its configuration, to and from what JSON can hold."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.model import MLP


@dataclass(frozen=True)
class Run:
    """A run's folder and the content of its `config.json`.

    Attributes:
        path: The folder.
        config: The run's configuration.
        num_classes: Number of logits.
        dataset: The data set's name or path, as `load_dataset` takes it.
        data_dir: The folder of prepared data sets; None for the default one.
        checkpoint_every: Epochs between checkpoints; the last epoch has one too. 0 for none.
        keep: How many checkpoints to keep, the newest.

    Raises:
        InputError: ``checkpoint_every`` or ``keep`` is a value that no run can have.
    """

    path: Path
    config: Config
    num_classes: int
    dataset: str = "mnist"
    data_dir: str | None = None
    checkpoint_every: int = 0
    keep: int = 1

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_every", 0), ("keep", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"{name} is {value!r}; it must be a whole number of at least {least}"
                )

    @property
    def model(self) -> MLP:
        """The run's network."""
        return MLP(self.config.hidden, self.num_classes, self.config.dtype)


def about(run: Run) -> dict[str, Any]:
    """Describe a run in what JSON can hold.

    Args:
        run: The run.

    Returns:
        All of it but its path.
    """
    return {
        "dataset": run.dataset,
        "data_dir": run.data_dir,
        "num_classes": run.num_classes,
        "config": asdict(run.config),
        "checkpoint_every": run.checkpoint_every,
        "keep": run.keep,
    }


def from_about(path: Path, about: dict[str, Any]) -> Run:
    """Return the run that `about` described.

    Args:
        path: The run's folder.
        about: What `about` returned; it may have more entries.

    Returns:
        The run.

    Raises:
        ValueError: A value is one that no run can have.
        TypeError: A value is of another type.
        KeyError: An entry is missing.
    """
    config = Config(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
    run = Run(
        path,
        config,
        about["num_classes"],
        about["dataset"],
        about["data_dir"],
        about.get("checkpoint_every", 0),  # The first version's runs have none.
        about.get("keep", 1),
    )
    if not isinstance(run.dataset, str) or not isinstance(run.data_dir, str | None):
        raise TypeError(f"dataset is {run.dataset!r} and data_dir {run.data_dir!r}")
    model = MLP(config.hidden, run.num_classes)  # Its shapes need no dtype.
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28)))
    return run
