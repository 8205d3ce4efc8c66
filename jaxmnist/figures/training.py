"""The tutorial's run from five seeds: its accuracy and loss, epoch by epoch (D8, D9, D11)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.config import Config
from jaxmnist.data import load_dataset
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Each, Numbers
from jaxmnist.training import History, fit

SEEDS: Final = 5


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    histories = []
    for seed in range(SEEDS):
        config = Config(seed=seed)

        def on_epoch(epoch: int, *_: Any, done: int = seed, epochs: int = config.epochs) -> None:
            on_progress((done + (epoch + 1) / epochs) / SEEDS)

        histories.append(fit(config, mnist, on_epoch=on_epoch)[1])
    return {
        "seeds": range(SEEDS),
        "history": {
            name: np.stack([getattr(history, name) for history in histories])
            for name in History._fields
        },
    }


def _draw(data: Data) -> Figure:
    history = {name: np.array(values) for name, values in data["history"].items()}
    title = f"The tutorial's run from {len(data['seeds'])} seeds (thin) and their mean"
    return plots.training_curves(history, title)


def _table(data: Data) -> str:
    accuracy, loss = (np.array(data["history"][name]) for name in ("eval_accuracy", "train_loss"))
    rows = [
        "| seed | last epoch | mean of last five | best epoch | train loss, last epoch |",
        "|---|---|---|---|---|",
    ]
    for seed, one, of_train in zip(data["seeds"], accuracy, loss, strict=True):
        rows.append(
            f"| {seed} | {one[-1]:.4f} | {one[-5:].mean():.4f} | {np.nanmax(one):.4f} "
            f"(epoch {np.nanargmax(one)}) | {of_train[-1]:.4f} |"
        )
    rows.append(
        f"| mean | {accuracy[:, -1].mean():.4f} | {accuracy[:, -5:].mean():.4f} "
        f"| {np.nanmax(accuracy, axis=1).mean():.4f} | {loss[:, -1].mean():.4f} |"
    )
    return "\n".join(rows) + "\n"


_FORM: Final = {
    "seeds": Numbers("seeds", whole=True),
    "history": Each(Numbers("seeds epochs"), History._fields),
}

PICTURE: Final = Picture(
    "training", "D8, D9, D11", _compute, _draw, table=_table, themes=("light", "dark"), form=_FORM
)
