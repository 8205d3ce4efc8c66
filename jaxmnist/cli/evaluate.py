"""`jaxmnist evaluate`: measure a trained network on test images."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.errors import InputError


@in_its_precision
def evaluate(
    run: Positional[Path], dataset: str | None = None, data_dir: str | None = None
) -> None:
    """Measure a trained network on test images.

    Args:
        run: The folder of a run.
        dataset: The data set, if not the run's.
        data_dir: The folder of prepared sets, if not the run's.
    """
    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset

    trained, params = runs.load(run)
    images = load_dataset(dataset or trained.dataset, data_dir or trained.data_dir)
    samples = len(images.test_labels)
    # A set may declare more classes than occur: EMNIST's letters 37, and no label is above 26.
    largest = int(images.test_labels.max())
    if largest >= trained.num_classes:
        raise InputError(
            f"{images.name} has test images of class {largest}; the run in {run} has only the "
            f"classes 0 to {trained.num_classes - 1}; name a set without others by --dataset"
        )
    batch_size = min(trained.config.eval_batch_size, samples)
    data = images.arrays()
    metrics = training.evaluate(
        params,
        data.test_images,
        data.test_labels,
        apply_fn=trained.model.apply,
        batch_size=batch_size,
    )
    screen = make_console()
    say(screen, f"{images.name}: {samples} test images in batches of {batch_size}")
    if images.note:
        say(screen, images.note)
    means = training.average(metrics, batch_size, samples)
    for kind, mean in zip(("batches", "samples"), means, strict=True):
        say(
            screen,
            f"mean over {kind}: Eval Loss: {mean.loss:.6f}, Eval Acc: {mean.accuracy:.6f}",
        )
