"""`jaxmnist predict`: classify images with a trained network, or show a task's outputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.errors import InputError, printable, shortened

if TYPE_CHECKING:
    from rich.text import Text

    from jaxmnist.runs import Run


@in_its_precision
def predict(
    run: Positional[Path],
    indices: tuple[int, ...] = (),
    images: tuple[Path, ...] = (),
    show_input: Path | None = None,
) -> None:
    """Classify test images, or pictures of your own, with a trained network.

    Of a task in a file of your own, the outputs are shown: of classifiers the two largest.

    Args:
        run: The folder of a run.
        indices: Which test images of the run's data set, from 0.
        images: Files with one digit each, dark on light or light on dark, of any size up to 100
            million pixels: PNG, JPEG, WebP or BMP.
        show_input: A .png to write: each picture beside what the network was shown of it.
    """
    if not indices and not images:
        raise InputError("nothing to predict: give --indices 0 1 2 or --images FILE ...")
    if show_input is not None and not images:
        raise InputError("--show-input draws pictures: give --images FILE ...")
    from jaxmnist import runs

    trained = runs.read(run)
    if trained.task_file is None:
        _predict_digits(run, indices, images, show_input)
    else:
        if show_input is not None:
            raise InputError(f"--show-input is for runs of the tutorial's task; omit it for {run}")
        _predict_task(trained, indices, images)


def _predict_digits(
    run: Path, indices: tuple[int, ...], images: tuple[Path, ...], show_input: Path | None
) -> None:
    import jax.numpy as jnp
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset
    from jaxmnist.data.pictures import digit_in, read_picture

    trained, params = runs.load(run)
    names, labels, inputs = [], [], []
    if indices:
        dataset = load_dataset(trained.dataset or "mnist", trained.data_dir)
        count = len(dataset.test_labels)
        for index in indices:
            if not 0 <= index < count:
                raise InputError(
                    f"there is no test image {index}; indices go from 0 to {count - 1}"
                )
            names.append(f"test image {index}")
            labels.append(trained.class_name(int(dataset.test_labels[index])))
            inputs.append(dataset.test_images[index])
    screen = make_console()
    pictures = [read_picture(path) for path in images]
    for path, picture in zip(images, pictures, strict=True):
        found = digit_in(picture, str(path))
        if found.left_out:
            say(screen, f"{path}: left out {' and '.join(found.left_out)}")
        names.append(str(path))
        labels.append("")
        inputs.append(found.image)

    batch = jnp.asarray(np.stack(inputs))
    probabilities = training.predict(params, batch, apply_fn=trained.model.apply)
    table = Table("image", "label", "prediction", "probability", "next", "probability")
    for name, label, row in zip(names, labels, np.asarray(probabilities), strict=True):
        likeliest = np.argsort(-row, kind="stable")[:2]
        guesses = [
            cell for index in likeliest for cell in (_named(trained, index), f"{row[index]:.4f}")
        ]
        table.add_row(Text(printable(name), overflow="fold"), Text(shortened(label)), *guesses)
    screen.print(table)
    if show_input is not None:
        likeliest = np.asarray(probabilities).argmax(axis=1)[-len(images) :]
        guessed = [trained.class_name(int(index)) for index in likeliest]
        _show_input(show_input, images, pictures, inputs[len(indices) :], guessed)
        say(screen, f"wrote: {show_input}")


def _show_input(
    path: Path, images: tuple[Path, ...], pictures: list[Any], shown: list[Any], guesses: list[str]
) -> None:
    """Draw each picture beside what the network was shown of it."""
    from jaxmnist import plots
    from jaxmnist.plots.save import write_picture

    with plots.theme():
        figure = plots.inputs(pictures, shown, [image.name for image in images], guesses)
        write_picture(figure, path)


def _predict_task(trained: "Run", indices: tuple[int, ...], images: tuple[Path, ...]) -> None:
    """Print a task's outputs for test samples, or for pictures of digits."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from jaxmnist import runs, training
    from jaxmnist.data import load_arrays
    from jaxmnist.data.digits import is_digits
    from jaxmnist.data.pictures import read_digit

    predict = trained.task.predict
    if predict is None:
        raise InputError(f"the task of {trained.path} has no predict; jaxmnist.task gives it one")
    data = trained.data(load_arrays)
    model = runs.load_model(trained, data)
    test = jax.tree.map(np.asarray, training.split_pair(data)[1])
    count = training.samples_in(test, "test")
    if unknown := [index for index in indices if not 0 <= index < count]:
        raise InputError(f"there is no test sample {unknown[0]}; indices go from 0 to {count - 1}")
    if images and not is_digits(test):
        raise InputError(
            f"--images is for tasks whose data are images of 28x28 bytes with a class each; the "
            f"data of {trained.path} are others: give --indices"
        )
    rows = jax.tree.map(lambda leaf: leaf[np.array(indices, int)], test)
    if images:
        pictures = np.stack([read_digit(path) for path in images])
        rows = tuple(
            np.concatenate([mine, more])
            for mine, more in zip(
                rows, (pictures, np.zeros(len(images), rows[1].dtype)), strict=True
            )
        )
    outputs = np.asarray(predict(model, jax.tree.map(jnp.asarray, rows)))
    targets = rows[1] if isinstance(rows, tuple | list) and len(rows) == 2 else None
    is_classifier = (
        isinstance(targets, np.ndarray)
        and targets.dtype.kind in "iu"
        and (targets.ndim, outputs.ndim) == (1, 2)
        and outputs.shape[1] > 1
    )
    names = [*(f"test sample {index}" for index in indices), *map(str, images)]
    columns = ("prediction", "output", "next", "output") if is_classifier else ("output",)
    table = Table("sample", "target", *columns)
    for row, name in enumerate(names):
        target: Any = _shown(targets[row]) if row < len(indices) and targets is not None else ""
        if is_classifier:
            likeliest = np.argsort(-outputs[row], kind="stable")[:2]
            cells = [
                cell for i in likeliest for cell in (_named(trained, i), f"{outputs[row][i]:.4f}")
            ]
            if row < len(indices) and targets is not None:
                target = _named(trained, targets[row])
        else:
            cells = [_shown(outputs[row])]
        table.add_row(Text(printable(name), overflow="fold"), target, *cells)
    make_console().print(table)


def _named(run: "Run", label: Any) -> "Text":
    """Return what a class is called, for a cell of a table."""
    from rich.text import Text

    return Text(shortened(run.class_name(int(label))), overflow="fold")


def _shown(value: Any) -> str:
    """Return a number, or an array on one line, long ones shortened."""
    import numpy as np

    if np.ndim(value) == 0:
        return f"{value:.4f}" if np.issubdtype(value.dtype, np.floating) else str(value)
    shown = np.array2string(np.ravel(value), precision=4, threshold=8, edgeitems=3)
    return f"{shown} of shape {np.shape(value)}" if np.ndim(value) > 1 else shown
