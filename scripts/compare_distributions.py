"""Ask whether JAX and PyTorch, each with its own randomness, end in the same place.

The tutorial's run in float32, 20 epochs, from several seeds in each framework as its users run it:
each draws its own initial weights and its own order. No two runs can then be compared number by
number; what can be compared is where the runs end. Of every run, two metrics: the mean over the
last five epochs of the test accuracy, and of the train loss.

Test: Mann and Whitney's for each metric, two-sided and exact (five seeds in each framework can be
split in 252 ways), at the level 0.05 for both metrics together, 0.025 for each. By ranks, because
single epochs of plain SGD dip far, and one such run would decide a test of means. A test that
finds nothing says only as much as it would have found: its power is simulated, as the smallest
shift of a normal distribution, in its standard deviations, that it finds in four of five cases.

    python scripts/compare_distributions.py --seeds 5 --out figures

Writes `distributions.json` after each seed and draws `distributions.png` from it; seeds that are
in the file already are not run again. Needs the extra `torch`. A seed takes about a minute on two
idle cores.
"""

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import jaxmnist as jm
from jaxmnist import plots, provenance
from jaxmnist.plots.save import write_picture

METRICS = ("train_loss", "train_accuracy", "eval_loss", "eval_accuracy")
TESTED = ("eval_accuracy", "train_loss")
LAST = 5
LEVEL = 0.05 / len(TESTED)
POWER = 0.8


def main(seeds: int = 5, epochs: int = 20, out: Path = Path("figures")) -> None:
    """Run what is missing, test, write, draw and print.

    Args:
        seeds: How many in each framework, from 0.
        epochs: Of every run.
        out: The folder for `distributions.json` and `distributions.png`.
    """
    out.mkdir(parents=True, exist_ok=True)
    # The products are small: a second thread would mostly wait for the first.
    torch.set_num_threads(1)
    path = out / "distributions.json"
    config = jm.Config(epochs=epochs)
    measured: dict[str, dict[str, list[list[float]]]] = {
        framework: {name: [] for name in METRICS} for framework in ("JAX", "PyTorch")
    }
    if path.exists() and (kept := json.loads(path.read_text()))["epochs"] == epochs:
        measured = kept["history"]

    dataset = jm.load_dataset("mnist")
    for seed in range(seeds):
        for framework, run in (("JAX", run_in_jax), ("PyTorch", run_in_torch)):
            if seed < len(measured[framework]["train_loss"]):
                continue
            for name, values in run(seed, config, dataset).items():
                measured[framework][name].append(values)
            about = {
                **provenance.record(
                    f"python scripts/compare_distributions.py --seeds {seeds} --epochs {epochs}",
                    "torch",
                ),
                "config": asdict(config),
                "epochs": epochs,
                "history": measured,
            }
            path.write_text(json.dumps(about) + "\n")
            print(f"seed {seed} in {framework}: {measured[framework]['eval_accuracy'][-1][-1]:.4f}")

    about = json.loads(path.read_text())
    about["test"] = judged(about["history"])
    path.write_text(json.dumps(about) + "\n")
    history = {
        framework: {name: np.array(rows) for name, rows in metrics.items()}
        for framework, metrics in about["history"].items()
    }
    verdicts = {name: verdict["p_value"] for name, verdict in about["test"]["figures"].items()}
    with plots.theme():
        write_picture(plots.distributions(history, LAST, verdicts), out / "distributions.png")
    print(json.dumps(about["test"], indent=2))


def run_in_jax(seed: int, config: jm.Config, dataset: jm.Dataset) -> dict[str, list[float]]:
    """The run as `jaxmnist train` makes it."""
    _, history = jm.fit(jm.Config(**{**asdict(config), "seed": seed}), dataset)
    return {name: np.asarray(getattr(history, name)).tolist() for name in METRICS}


def run_in_torch(seed: int, config: jm.Config, dataset: jm.Dataset) -> dict[str, list[float]]:
    """The tutorial's program with PyTorch's initialisation and shuffling, on tensors in memory."""
    torch.manual_seed(seed)
    sizes = (784, *config.hidden, dataset.num_classes)
    layers = [
        layer
        for inputs, outputs in itertools.pairwise(sizes)
        for layer in (torch.nn.Linear(inputs, outputs), torch.nn.ReLU())
    ]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    parts = {
        "train": tensors(dataset.train_images, dataset.train_labels),
        "eval": tensors(dataset.test_images, dataset.test_labels),
    }
    history: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(config.epochs):
        for part, (images, labels) in parts.items():
            train = part == "train"
            order = torch.randperm(len(labels)) if train else torch.arange(len(labels))
            losses, accuracies = [], []
            for batch in order.split(config.batch_size if train else config.eval_batch_size):
                with torch.set_grad_enabled(train):
                    logits = network(images[batch])
                    loss = torch.nn.functional.cross_entropy(logits, labels[batch])
                if train:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.item())
                accuracies.append((logits.argmax(1) == labels[batch]).float().mean().item())
            history[f"{part}_loss"].append(float(np.mean(losses)))
            history[f"{part}_accuracy"].append(float(np.mean(accuracies)))
    return history


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a part, normalised and flat, and their classes."""
    x = (torch.from_numpy(images).flatten(1).float() / 255 - 0.5) / 0.5
    return x, torch.from_numpy(labels).long()


def judged(history: dict[str, dict[str, list[list[float]]]]) -> dict[str, Any]:
    """Return the test of each metric, and what it could have found."""
    ends = {
        name: {
            framework: np.array(metrics[name])[:, -LAST:].mean(axis=1)
            for framework, metrics in history.items()
        }
        for name in TESTED
    }
    n = len(ends[TESTED[0]]["JAX"])
    detectable = smallest_detectable_shift(n)
    figures = {}
    for name, by_framework in ends.items():
        here, there = by_framework["JAX"], by_framework["PyTorch"]
        deviation = float(np.sqrt((here.var(ddof=1) + there.var(ddof=1)) / 2)) if n > 1 else 0.0
        figures[name] = {
            "JAX": here.tolist(),
            "PyTorch": there.tolist(),
            "difference of means": float(here.mean() - there.mean()),
            "standard deviation of a run": deviation,
            "p_value": float(p_values(here[None], there[None])[0]),
            "smallest difference found in four of five cases": detectable * deviation,
        }
    return {
        "test": "exact two-sided Mann-Whitney test",
        "seeds": n,
        "figure": f"mean of the last {LAST} epochs",
        "level of each": LEVEL,
        "power": POWER,
        "smallest shift found with that power, in standard deviations": detectable,
        "agree": all(figure["p_value"] > LEVEL for figure in figures.values()),
        "figures": figures,
    }


def p_values(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The share of all splits of each row whose mean ranks are as far apart as these, or further.

    >>> print(p_values(np.array([[1.0, 2.0, 3.0]]), np.array([[4.0, 5.0, 60.0]])))
    [0.1]
    """
    pooled = np.concatenate([here, there], axis=1)
    n, total = here.shape[1], pooled.shape[1]
    # Ties, which share their mean rank, have as many below as above.
    below = (pooled[:, None, :] < pooled[:, :, None]).sum(axis=2)
    above = (pooled[:, None, :] > pooled[:, :, None]).sum(axis=2)
    ranks = below - above  # twice the distance from the middle rank: whole, and 0 on average
    splits = [np.isin(np.arange(total), c) for c in itertools.combinations(range(total), n)]
    distances = np.abs(ranks @ np.array(splits, int).T)
    return np.mean(distances >= np.abs(ranks[:, :n].sum(axis=1))[:, None], axis=1)


def smallest_detectable_shift(n: int, trials: int = 4000) -> float:
    """How many standard deviations apart two normal distributions must be for the power wanted."""
    generator = np.random.default_rng(0)
    here, there = generator.standard_normal((2, trials, n))
    for shift in np.arange(0.5, 8.0, 0.05):
        if np.mean(p_values(here + shift, there) <= LEVEL) >= POWER:
            return float(round(shift, 2))
    return float("inf")


if __name__ == "__main__":
    tyro.cli(main)
