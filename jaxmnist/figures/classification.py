"""Part A of the document: the data, the run, and what the network makes of it (D4, D10, D11)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.config import Config
from jaxmnist.data import load_dataset
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.model import MLP
from jaxmnist.training import History, fit, predict

SEEDS: Final = 5


def _digits(report: Report) -> Mapping[str, Any]:
    del report
    mnist = load_dataset("mnist")
    return {"images": mnist.train_images[:64], "labels": mnist.train_labels[:64]}


def _draw_digits(data: Data) -> Figure:
    images = np.array(data["images"], np.uint8)
    return plots.digits(images, data["labels"], title="The first 64 training images and labels")


def _predictions(report: Report) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    config = Config()
    state, _ = fit(config, mnist, on_epoch=lambda epoch, *_: report((epoch + 1) / config.epochs))
    batch = slice(config.eval_batch_size)
    images = mnist.test_images[batch]
    probabilities = predict(state.params, jnp.asarray(images), apply_fn=MLP().apply)
    return {
        "seed": config.seed,
        "images": images,
        "labels": mnist.test_labels[batch],
        "predictions": np.asarray(probabilities).argmax(axis=1),
    }


def _draw_predictions(data: Data) -> Figure:
    wrong = np.sum(np.not_equal(data["labels"], data["predictions"]))
    title = f"The first test batch after the document's run: {wrong} of {len(data['labels'])} wrong"
    images = np.array(data["images"], np.uint8)
    return plots.digits(images, data["labels"], data["predictions"], title)


def _training(report: Report) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    histories = []
    for seed in range(SEEDS):
        config = Config(seed=seed)

        def on_epoch(epoch: int, *_: Any, done: int = seed, epochs: int = config.epochs) -> None:
            report((done + (epoch + 1) / epochs) / SEEDS)

        histories.append(fit(config, mnist, on_epoch=on_epoch)[1])
    return {
        "seeds": range(SEEDS),
        "history": {
            name: np.stack([getattr(history, name) for history in histories])
            for name in History._fields
        },
    }


def _draw_training(data: Data) -> Figure:
    history = {name: np.array(values) for name, values in data["history"].items()}
    title = f"The document's run from {len(data['seeds'])} seeds (thin) and their mean"
    return plots.training_curves(history, title)


def _tabulate_training(data: Data) -> str:
    accuracy, loss = (np.array(data["history"][name]) for name in ("eval_accuracy", "train_loss"))
    rows = [
        "| seed | last epoch | mean of last five | best epoch | train loss, last epoch |",
        "|---|---|---|---|---|",
    ]
    for seed, one, of_train in zip(data["seeds"], accuracy, loss, strict=True):
        rows.append(
            f"| {seed} | {one[-1]:.4f} | {one[-5:].mean():.4f} | {one.max():.4f} "
            f"(epoch {one.argmax()}) | {of_train[-1]:.4f} |"
        )
    rows.append(
        f"| mean | {accuracy[:, -1].mean():.4f} | {accuracy[:, -5:].mean():.4f} "
        f"| {accuracy.max(axis=1).mean():.4f} | {loss[:, -1].mean():.4f} |"
    )
    return "\n".join(rows) + "\n"


PICTURES: Final = (
    Picture("digits", "D4", _digits, _draw_digits),
    Picture("predictions", "D10", _predictions, _draw_predictions),
    Picture(
        "training",
        "D8, D9, D11",
        _training,
        _draw_training,
        table=_tabulate_training,
        themes=("light", "dark"),
    ),
)
