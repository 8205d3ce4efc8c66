"""A run's summary: its curves and its first predictions as pictures, and those as a table."""

import csv
import io

import jax.numpy as jnp
import numpy as np

from jaxmnist import plots
from jaxmnist.atomic import write_whole
from jaxmnist.data.dataset import Dataset
from jaxmnist.plots.curves import CURVES
from jaxmnist.plots.save import write_picture
from jaxmnist.runs.folder import PREDICTIONS
from jaxmnist.runs.run import Run
from jaxmnist.training import History, Params, predict


def save_pictures(run: Run, params: Params, history: History, dataset: Dataset) -> None:
    """Draw the curves (D11) and the first test batch's predictions (D10), and write its table.

    Args:
        run: A run that `create` began.
        params: Its final parameters.
        history: Its metrics, at least one epoch.
        dataset: The images it was trained on.

    Raises:
        InputError: The files cannot be written.
    """
    curves = {name: np.asarray(values) for name, values in history._asdict().items()}
    layers = "-".join(str(size) for size in run.config.hidden) or "none"
    title = f"{run.dataset}, {run.config.optimizer}, hidden layers {layers}"
    images = dataset.test_images[: run.config.eval_batch_size]
    labels = dataset.test_labels[: run.config.eval_batch_size]
    probabilities = predict(params, jnp.asarray(images), apply_fn=run.model.apply)
    predictions = np.asarray(probabilities).argmax(axis=1)
    score = f"First test batch: {np.sum(predictions != labels)} of {len(labels)} wrong"
    with plots.theme():
        write_picture(plots.training_curves(curves, title), run.path / "curves.png")
        for field in CURVES:
            write_picture(plots.training_curve(curves, field), run.path / f"{field}.png")
        figure = plots.digits(images, labels, predictions, score)
        write_picture(figure, run.path / "predictions.png")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("index", "label", "prediction"))
    rows.writerows(zip(range(len(labels)), labels.tolist(), predictions.tolist(), strict=True))
    write_whole(run.path / PREDICTIONS, table.getvalue().encode())
