"""`jaxmnist predict`: classify images with a trained network."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.errors import InputError


@in_its_precision
def predict(
    run: Positional[Path],
    indices: tuple[int, ...] = (),
    images: tuple[Path, ...] = (),
) -> None:
    """Classify test images, or pictures of your own, with a trained network.

    Args:
        run: The folder of a run.
        indices: Which test images of the run's data set, from 0.
        images: Files with one digit each, dark on light or light on dark, of any size.
    """
    if not indices and not images:
        raise InputError("nothing to predict: give --indices 0 1 2 or --images FILE ...")
    import jax.numpy as jnp
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset
    from jaxmnist.data.pictures import read_digit

    trained, params = runs.load(run)
    names, labels, inputs = [], [], []
    if indices:
        dataset = load_dataset(trained.dataset, trained.data_dir)
        count = len(dataset.test_labels)
        for index in indices:
            if not 0 <= index < count:
                raise InputError(
                    f"there is no test image {index}; indices go from 0 to {count - 1}"
                )
            names.append(f"test image {index}")
            labels.append(str(dataset.test_labels[index]))
            inputs.append(dataset.test_images[index])
    for path in images:
        names.append(str(path))
        labels.append("")
        inputs.append(read_digit(path))

    batch = jnp.asarray(np.stack(inputs))
    probabilities = training.predict(params, batch, apply_fn=trained.model.apply)
    table = Table("image", "label", "prediction", "probability", "next", "probability")
    for name, label, row in zip(names, labels, np.asarray(probabilities), strict=True):
        likeliest = np.argsort(-row, kind="stable")[:2]
        guesses = [cell for index in likeliest for cell in (str(index), f"{row[index]:.4f}")]
        table.add_row(Text(name, overflow="fold"), label, *guesses)
    make_console().print(table)
