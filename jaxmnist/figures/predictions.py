"""What the trained network predicts for the first test batch (D10)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.config import Config
from jaxmnist.data import load_dataset
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Numbers
from jaxmnist.model import MLP
from jaxmnist.training import fit, predict


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    mnist = load_dataset("mnist")
    config = Config()
    state, _ = fit(
        config, mnist, on_epoch=lambda epoch, *_: on_progress((epoch + 1) / config.epochs)
    )
    batch = slice(config.eval_batch_size)
    images = mnist.test_images[batch]
    probabilities = predict(state.params, jnp.asarray(images), apply_fn=MLP().apply)
    return {
        "seed": config.seed,
        "images": images,
        "labels": mnist.test_labels[batch],
        "predictions": np.asarray(probabilities).argmax(axis=1),
    }


def _draw(data: Data) -> Figure:
    wrong = np.sum(np.not_equal(data["labels"], data["predictions"]))
    title = f"The first test batch after the tutorial's run: {wrong} of {len(data['labels'])} wrong"
    images = np.array(data["images"], np.uint8)
    return plots.digits(images, data["labels"], data["predictions"], title)


_FORM: Final = {
    "images": Numbers("128 28 28", 0, 255, whole=True),
    "labels": Numbers("128", 0, 9, whole=True),
    "predictions": Numbers("128", 0, 9, whole=True),
}

PICTURE: Final = Picture("predictions", "D10", _compute, _draw, form=_FORM)
