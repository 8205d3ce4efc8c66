"""A run's summary: its curves and its first predictions as pictures, and those as a table."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist import plots
from jaxmnist.atomic import write_whole
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.digits import is_digits
from jaxmnist.errors import printable
from jaxmnist.plots.curves import CURVES
from jaxmnist.plots.save import write_picture
from jaxmnist.plots.style import literal
from jaxmnist.runs.names import CURVES as CURVES_PICTURE
from jaxmnist.runs.names import PREDICTIONS
from jaxmnist.runs.run import Run
from jaxmnist.tasks import Batch, Model, Task
from jaxmnist.training import History, Params, by_name, predict
from jaxmnist.training.state import Metered


def save_pictures(run: Run, params: Params, history: History, dataset: Dataset) -> None:
    """Draw the curves (D11) and the first test batch's predictions (D10), and write its table.

    Args:
        run: A run of the tutorial's task that `create` began.
        params: Its final parameters.
        history: Its metrics, at least one epoch.
        dataset: The images it was trained on.

    Raises:
        InputError: The files cannot be written.
    """
    curves = {name: np.asarray(values) for name, values in history._asdict().items()}
    layers = "-".join(str(size) for size in run.config.hidden) or "none"
    title = f"{literal(run.dataset or '')}, {run.config.optimizer}, hidden layers {layers}"
    images = dataset.test_images[: run.config.eval_batch_size]
    labels = dataset.test_labels[: run.config.eval_batch_size]
    probabilities = jax.jit(predict, static_argnames="apply_fn")(
        params, jnp.asarray(images), apply_fn=run.model.apply
    )
    predictions = np.asarray(probabilities).argmax(axis=1)
    with plots.theme():
        write_picture(plots.training_curves(curves, title), run.path / CURVES_PICTURE)
        for field in CURVES:
            write_picture(plots.training_curve(curves, field), run.path / f"{field}.png")
        _draw_predictions(run, images, labels, predictions)
    _write_table(run, labels, predictions)


def save_task_pictures(run: Run, model: Model, history: Metered, test: Batch) -> None:
    """Draw the curves of a task's metrics, and its first predictions if it classifies digits.

    Args:
        run: A run with a task's file that `create` began.
        model: Its final parameters and state.
        history: Its metrics, at least one epoch.
        test: Its test data, or the first batch of them.

    Raises:
        InputError: The files cannot be written.
    """
    test = jax.tree.map(lambda leaf: leaf[: run.config.eval_batch_size], test)
    predictions = _classes(run.task, model, test)
    curves = {name: np.asarray(values) for name, values in by_name(history).items()}
    name = literal(Path(run.task_file.path).stem if run.task_file else "")
    with plots.theme():
        if predictions is not None:
            images, labels = map(np.asarray, test)
            _draw_predictions(run, images, labels, predictions)
            _write_table(run, labels, predictions)
        title = name if run.dataset is None else f"{name}, {literal(run.dataset)}"
        write_picture(plots.metric_curves(curves, title), run.path / CURVES_PICTURE)


def _classes(task: Task, model: Model, test: Any) -> np.ndarray | None:
    """Return the predicted classes of digits, or None if the task classifies none."""
    if task.predict is None or not is_digits(test):
        return None
    outputs: Callable[..., Any] = jax.jit(task.predict)
    shape = jax.eval_shape(outputs, model, test)
    if getattr(shape, "ndim", 0) != 2 or shape.shape[1] <= int(np.max(test[1])):
        return None
    return np.asarray(outputs(model, test)).argmax(axis=1)


def _draw_predictions(
    run: Run, images: np.ndarray, labels: np.ndarray, predictions: np.ndarray
) -> None:
    score = f"First test batch: {np.sum(predictions != labels)} of {len(labels)} wrong"
    figure = plots.digits(images, labels, predictions, score, run.class_names)
    write_picture(figure, run.path / "predictions.png")


def _write_table(run: Run, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Write the classes by their numbers, and by their names where they have some."""
    columns = {"label": labels.tolist(), "prediction": predictions.tolist()}
    if run.class_names:
        columns |= {
            f"{column}_name": [printable(run.class_name(label)) for label in columns[column]]
            for column in ("label", "prediction")
        }
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("index", *columns))
    rows.writerows(zip(range(len(labels)), *columns.values(), strict=True))
    write_whole(run.path / PREDICTIONS, table.getvalue().encode())
