"""The first training images and their labels (D4)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.data import load_dataset
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    mnist = load_dataset("mnist")
    return {"images": mnist.train_images[:64], "labels": mnist.train_labels[:64]}


def _draw(data: Data) -> Figure:
    images = np.array(data["images"], np.uint8)
    return plots.digits(images, data["labels"], title="The first 64 training images and labels")


_FORM: Final = {
    "images": Numbers("64 28 28", 0, 255, whole=True),
    "labels": Numbers("64", 0, 9, whole=True),
}

PICTURE: Final = Picture("digits", "D4", _compute, _draw, form=_FORM)
