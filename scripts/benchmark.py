"""Time an epoch here against the tutorial's program and against in-memory PyTorch.

Each round trains and evaluates one epoch of the default run in all three, one after the other, so
that a change in the machine's speed touches all of them; only ratios within a round are reported.

- "document": the tutorial's program in PyTorch, whose DataLoader transforms item by item.
- "in memory": the same loop in PyTorch on tensors that are normalised beforehand.
- "jaxmnist": `jaxmnist.fit`, its shuffling and normalising included.

    python scripts/benchmark.py --rounds 9 --out figures/benchmark.json

Needs the extra `test`. Takes about a minute on two cores; nothing is compiled while it is timed.
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch.utils.data import DataLoader

import jaxmnist as jm
from jaxmnist import provenance

LAYERS = (784, 256, 128, 64, 20, 10)
Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]


def main(rounds: int = 9, out: Path | None = None) -> None:
    """Run the rounds and print the ratios.

    Args:
        rounds: Epochs of each program.
        out: Where to write the results as JSON.
    """
    dataset = jm.load_dataset("mnist")
    others = {
        "document": torch_program(*document_batches(dataset)),
        "in memory": torch_program(*in_memory_batches(dataset)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*others, "jaxmnist")}
    clock = 0.0

    def start_clock() -> None:
        nonlocal clock
        # The other framework's threads spin for a moment after their last work.
        time.sleep(0.5)
        clock = time.perf_counter()

    def on_epoch(epoch: int, *_: object) -> None:
        seconds["jaxmnist"].append(time.perf_counter() - clock)
        for name, run_epoch in others.items():
            start_clock()
            run_epoch()
            seconds[name].append(time.perf_counter() - clock)
        print(f"round {epoch}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items()))
        start_clock()

    # Round 0 warms every program up and is not counted.
    jm.fit(jm.Config(epochs=rounds + 1), dataset, on_compiled=start_clock, on_epoch=on_epoch)
    ratios = {
        name: [a / b for a, b in zip(seconds[name], seconds["jaxmnist"], strict=True)][1:]
        for name in others
    }
    for name, values in ratios.items():
        print(
            f"{name} / jaxmnist: median {statistics.median(values):.2f}, "
            f"{min(values):.2f} to {max(values):.2f} over {rounds} rounds"
        )
    if out is not None:
        about = {
            **provenance.record(f"python scripts/benchmark.py --rounds {rounds}", "torch"),
            "torch_threads": torch.get_num_threads(),
            "ratios": {name: [round(value, 3) for value in r] for name, r in ratios.items()},
        }
        out.write_text(json.dumps(about, indent=2) + "\n")


def torch_program(train: Batches, test: Batches) -> Callable[[], None]:
    """Build the tutorial's network and loop; what is returned runs one epoch of it."""
    layers = [
        module
        for inputs, outputs in itertools.pairwise(LAYERS)
        for module in (torch.nn.Linear(inputs, outputs), torch.nn.ReLU())
    ]
    network = torch.nn.Sequential(*layers[:-1])
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), 1e-1)

    def metrics(logits: torch.Tensor, y: torch.Tensor, loss: torch.Tensor) -> tuple:
        return loss.item(), (logits.max(1)[1] == y).sum() / len(y)

    def epoch() -> None:
        measured = []
        network.train()
        for x, y in train():
            logits = network(x)
            loss = loss_function(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            measured.append(metrics(logits, y, loss))
        network.eval()
        for x, y in test():
            logits = network(x)
            measured.append(metrics(logits, y, loss_function(logits, y)))
        assert len(measured) == 938 + 79
        assert np.isfinite(measured).all()

    return epoch


def document_batches(dataset: jm.Dataset) -> tuple[Batches, Batches]:
    """Let a DataLoader make every image a picture, an array and a tensor on its own."""
    train = DataLoader(
        Pictures(dataset.train_images, dataset.train_labels), batch_size=64, shuffle=True
    )
    test = DataLoader(
        Pictures(dataset.test_images, dataset.test_labels), batch_size=128, shuffle=False
    )
    return lambda: train, lambda: test


class Pictures(torch.utils.data.Dataset):
    """Images and labels, transformed one by one as torchvision and the tutorial do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[index].numpy())
        x = np.array(picture, dtype="float32") / 255
        x = (x - 0.5) / 0.5
        return torch.from_numpy(x.reshape((-1,))), int(self.labels[index])


def in_memory_batches(dataset: jm.Dataset) -> tuple[Batches, Batches]:
    """Normalise all images once and index into them."""

    def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = (torch.from_numpy(images).flatten(1).float() / 255 - 0.5) / 0.5
        return x, torch.from_numpy(labels.astype(np.int64))

    train_x, train_y = tensors(dataset.train_images, dataset.train_labels)
    test_x, test_y = tensors(dataset.test_images, dataset.test_labels)
    return (
        lambda: ((train_x[b], train_y[b]) for b in torch.randperm(len(train_y)).split(64)),
        lambda: zip(test_x.split(128), test_y.split(128), strict=True),
    )


if __name__ == "__main__":
    tyro.cli(main)
