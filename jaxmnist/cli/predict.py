"""`jaxmnist predict`: classify images with a trained network."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.errors import InputError


@in_its_precision
def predict(
    run: Positional[Path],
    indices: tuple[int, ...] = (),
    images: tuple[Path, ...] = (),
    show_input: Path | None = None,
) -> None:
    """Classify test images, or pictures of your own, with a trained network.

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
        guesses = [cell for index in likeliest for cell in (str(index), f"{row[index]:.4f}")]
        table.add_row(Text(name, overflow="fold"), label, *guesses)
    screen.print(table)
    if show_input is not None:
        from jaxmnist import plots
        from jaxmnist.plots.save import write_picture

        shown = inputs[len(indices) :]
        guesses = np.asarray(probabilities).argmax(axis=1)[len(indices) :]
        with plots.theme():
            figure = plots.inputs(pictures, shown, [path.name for path in images], guesses)
            write_picture(figure, show_input)
        say(screen, f"wrote: {show_input}")
