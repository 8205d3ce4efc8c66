"""`jaxmnist evaluate`: measure a trained network on test images, or a task on its test data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import Run


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
    from jaxmnist import runs

    trained = runs.read(run)
    if trained.task_file is None:
        _evaluate_tutorial(run, dataset, data_dir)
    else:
        _evaluate_task(trained, dataset, data_dir)


def _evaluate_tutorial(run: Path, dataset: str | None, data_dir: str | None) -> None:
    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset

    trained, params = runs.load(run)
    images = load_dataset(dataset or trained.dataset or "mnist", data_dir or trained.data_dir)
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


def _evaluate_task(trained: "Run", dataset: str | None, data_dir: str | None) -> None:
    import jax.numpy as jnp

    from jaxmnist import runs, training
    from jaxmnist.data import load_arrays
    from jaxmnist.data.device import on_device

    own = trained.data(load_arrays)
    model = runs.load_model(trained, own)
    data = own if dataset is None else load_arrays(dataset, data_dir or trained.data_dir)
    test = on_device(training.split_pair(data)[1])
    samples = training.samples_in(test, "test")
    batch_size = min(trained.config.eval_batch_size, samples)
    means = training.measure_epoch(model, test, measure=trained.task.measure, batch_size=batch_size)
    over_batches, over_samples = training.average(means.per_example, batch_size, samples)
    name = dataset or trained.dataset or trained.path
    screen = make_console()
    say(screen, f"{name}: {samples} test samples in batches of {batch_size}")
    per_batch = {name: jnp.mean(values) for name, values in means.per_batch.items()}
    say(screen, f"mean over batches: {_listed({**_by_name(over_batches), **per_batch})}")
    if shown := _listed(_by_name(over_samples)):
        say(screen, f"mean over samples: {shown}")


def _by_name(metrics: Any) -> dict[str, Any]:
    return dict(metrics._asdict() if hasattr(metrics, "_asdict") else metrics)


def _listed(metrics: dict[str, Any]) -> str:
    return ", ".join(f"eval_{name}: {float(value):.6f}" for name, value in metrics.items())
