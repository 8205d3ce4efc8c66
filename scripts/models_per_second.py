"""Count the models trained per second: many under `jax.vmap`, and PyTorch's on the same device.

A model is the tutorial's network, trained by SGD on every training image once and then evaluated
(with `--images`, on so many of each). Three programs:

- "vmap": `jaxmnist.sweep`'s program with all models in step.
- "torch, one by one": the tutorial's loop on tensors in the device's memory; it is timed on one
  model, since a second would take as long, and only on all images.
- "torch, stacked": all models in step by hand, their weights in one tensor (`torch.baddbmm`).

Where JAX has a GPU, PyTorch takes the same one, and the numbers of models are 1, 16, 256, 1024 and
4096; otherwise both have the CPU, and the numbers are 1, 4 and 16, and the sweep's own way on a
CPU, one model after the other on every core, is a fourth program. Each is timed after a warm-up,
and again for every round, in turns; the medians are written.

    python scripts/models_per_second.py --out figures/models_per_second.json

Needs the extra `test`; for a GPU, `jax[cuda]` or its like too.
"""

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch
import tyro
from benchmark import torch_program

import jaxmnist as jm
from jaxmnist import provenance, training
from jaxmnist.sweep import programs

CONFIG = jm.Config(epochs=1)
ON_GPU = (1, 16, 256, 1024, 4096)
ON_CPU = (1, 4, 16)


def main(
    counts: tuple[int, ...] = (),
    rounds: int = 3,
    images: int = 60_000,
    out: Path | None = None,
) -> None:
    """Time every program at every number of models.

    Args:
        counts: Numbers of models; by default what the device can bear.
        rounds: How often each is timed after its warm-up.
        images: Training images, and at most as many test images.
        out: Where to write the results as JSON.
    """
    # Both frameworks ask for the device: JAX must not take all of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cores = f"--xla_force_host_platform_device_count={os.cpu_count()}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {cores}".strip()
    on_gpu = jax.default_backend() == "gpu"
    device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
    counts = counts or (ON_GPU if on_gpu else ON_CPU)
    dataset = some(jm.load_dataset("mnist"), images)
    measured: dict[str, dict[int, float | None]] = {}
    for count in counts:
        timed: dict[str, Callable[[], None]] = {
            "vmap": jax_program(dataset, count, vectorized=True),
            "torch, stacked": partial(train_stacked, dataset, count, device),
        }
        if not on_gpu:
            timed["one on each core"] = jax_program(dataset, count, vectorized=False)
        if count == counts[0] and len(dataset.train_labels) == 60_000:
            timed["torch, one by one"] = single_program(dataset, device)
        for name, seconds in in_turns(timed, rounds).items():
            models = 1 if name == "torch, one by one" else count
            rate = None if seconds is None else round(models / seconds, 3)
            measured.setdefault(name, {})[count] = rate
            print(f"{name}, {models}: {rate} models/s", flush=True)
    if out is not None:
        about = {
            **provenance.record(
                f"python scripts/models_per_second.py --counts {' '.join(map(str, counts))} "
                f"--rounds {rounds} --images {images}",
                "torch",
            ),
            "devices": {
                "jax": jax.devices()[0].device_kind,
                "torch": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            },
            "images": {"train": len(dataset.train_labels), "test": len(dataset.test_labels)},
            "models_per_second": measured,
        }
        out.write_text(json.dumps(about, indent=2) + "\n")


def in_turns(timed: dict[str, Callable[[], None]], rounds: int) -> dict[str, float | None]:
    """Each program's median seconds; None for one that the device's memory does not hold."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    failed = set()
    for _ in range(1 + rounds):
        for name, program in timed.items():
            if name in failed:
                continue
            time.sleep(0.5)  # The other framework's threads spin for a moment.
            clock = time.perf_counter()
            try:
                program()
            except (torch.cuda.OutOfMemoryError, jax.errors.JaxRuntimeError) as error:
                print(f"{name}: {str(error).splitlines()[0]}")
                failed.add(name)
                continue
            seconds[name].append(time.perf_counter() - clock)
    # The first round compiles.
    return {
        name: None if name in failed else statistics.median(values[1:])
        for name, values in seconds.items()
    }


def jax_program(dataset: jm.Dataset, count: int, vectorized: bool) -> Callable[[], None]:
    """The sweep's program for so many seeds, in step on the first device or spread over all."""
    devices = tuple(jax.devices()[: 1 if vectorized else count])
    group = programs.group_of(CONFIG, CONFIG.program(), dataset.num_classes)
    program = programs.program(group, devices, vectorized)
    data = programs.replicate(training.split_pair(dataset.arrays()), devices)
    keys = programs.keys(range(count))
    hypers = programs.stack([jm.hyper(CONFIG)] * count)

    def train() -> None:
        history = jax.block_until_ready(program(keys, hypers, data))
        assert np.isfinite(history.eval_loss).all()

    return train


def single_program(dataset: jm.Dataset, device: torch.device) -> Callable[[], None]:
    """The tutorial's network and loop on tensors that lie on the device."""
    train_x, train_y = tensors(dataset.train_images, dataset.train_labels, device)
    test = list(
        zip(
            *(
                part.split(CONFIG.eval_batch_size)
                for part in tensors(dataset.test_images, dataset.test_labels, device)
            ),
            strict=True,
        )
    )

    def train() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(train_y), device=device)
        return ((train_x[batch], train_y[batch]) for batch in order.split(CONFIG.batch_size))

    with device:
        return torch_program(train, lambda: test)


def train_stacked(dataset: jm.Dataset, count: int, device: torch.device) -> None:
    """Train so many networks in step, each from its own weights and in its own order."""
    generator = torch.Generator(device).manual_seed(0)
    x, y = tensors(dataset.train_images, dataset.train_labels, device)
    sizes = (784, *CONFIG.hidden, dataset.num_classes)
    weights, biases = [], []
    for inputs, outputs in itertools.pairwise(sizes):
        for shape, into in (((count, inputs, outputs), weights), ((count, 1, outputs), biases)):
            bound = inputs**-0.5
            leaf = torch.empty(shape, device=device).uniform_(-bound, bound, generator=generator)
            into.append(leaf.requires_grad_())

    def logits(batch: torch.Tensor) -> torch.Tensor:
        h = batch
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h = torch.relu(torch.baddbmm(bias, h, weight))
        return torch.baddbmm(biases[-1], h, weights[-1])

    def losses(out: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        flat = torch.nn.functional.cross_entropy(
            out.flatten(0, 1), labels.flatten(), reduction="none"
        )
        return flat.view(count, -1).mean(1)

    random = torch.rand(count, len(y), device=device, generator=generator)
    orders = random.argsort(1)
    # Nothing is fetched per step, as in the other programs.
    measured = []
    for batch in orders.split(CONFIG.batch_size, dim=1):
        out = logits(x[batch])
        loss = losses(out, y[batch])
        gradients = torch.autograd.grad(loss.sum(), [*weights, *biases])
        with torch.no_grad():
            for leaf, gradient in zip([*weights, *biases], gradients, strict=True):
                leaf.sub_(gradient, alpha=0.1)
            measured.append((loss.detach(), (out.argmax(2) == y[batch]).float().mean(1)))
    x, y = tensors(dataset.test_images, dataset.test_labels, device)
    with torch.no_grad():
        for images, labels in zip(
            x.split(CONFIG.eval_batch_size), y.split(CONFIG.eval_batch_size), strict=True
        ):
            out = logits(images.expand(count, *images.shape))
            loss = losses(out, labels.expand(count, -1))
            measured.append((loss, (out.argmax(2) == labels).float().mean(1)))
    assert np.isfinite(torch.stack([loss for loss, _ in measured]).cpu().numpy()).all()


def tensors(
    images: np.ndarray, labels: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised rows and their labels on the device."""
    x = torch.from_numpy(images).to(device).flatten(1).float().div(255).sub(0.5).div(0.5)
    return x, torch.from_numpy(labels.astype(np.int64)).to(device)


def some(dataset: jm.Dataset, images: int) -> jm.Dataset:
    """The first images of each part."""
    return jm.Dataset(
        dataset.train_images[:images],
        dataset.train_labels[:images],
        dataset.test_images[:images],
        dataset.test_labels[:images],
        dataset.num_classes,
        dataset.name,
    )


if __name__ == "__main__":
    tyro.cli(main)
