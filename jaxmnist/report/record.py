"""What a run was, in words: its configuration, its machines, its versions and its command."""

import itertools
import shlex
from collections.abc import Mapping
from typing import Any

from jaxmnist.config import Config, default_hyper
from jaxmnist.conventions import shown
from jaxmnist.errors import printable
from jaxmnist.runs import Run

_WITHOUT_MEANING = ("epoch",)


def rows(run: Run, about: Mapping[str, Any], trained: int) -> list[tuple[str, str]]:
    """Describe a run.

    Args:
        run: The run.
        about: Its `config.json`.
        trained: How many epochs it has.

    Returns:
        What is described, and how.
    """
    config = run.config
    found = [("Data", run.dataset or "of the task's file")]
    if run.task_file is None:
        rate = default_hyper(config)["learning_rate"]
        found += [
            ("Network", network(run)),
            (
                "Optimizer",
                f"{config.optimizer}{'' if rate is None else f', learning rate {rate:g}'}",
            ),
            (
                "Convention",
                "the tutorial's" if config.convention == "document" else config.convention,
            ),
            ("Precision", config.dtype),
        ]
    else:
        found.append(("Task", run.task_file.path))
        found += [(f"Option {name}", shown(value)) for name, value in run.task_file.options.items()]
    found += [
        ("Epochs", f"{trained} of {config.epochs}"),
        ("Batch size", f"{config.batch_size} in training, {config.eval_batch_size} in tests"),
        ("Seed", str(config.seed)),
    ]
    for each in run.machines:
        parts = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in each.items()
                 if name not in _WITHOUT_MEANING and value not in ("", None)]  # fmt: skip
        found.append((f"Machine from epoch {each['epoch']}", ", ".join(parts)))
    if not run.machines and about.get("device"):
        found.append(("Device", _plain(about["device"])))
    if about.get("versions"):
        found.append(("Versions", _plain(about["versions"])))
    if commit := about.get("git"):
        found.append(("Commit", _plain(commit)))
    if run.data_sha256:
        found.append(("SHA-256 of the data", run.data_sha256))
    found.append(("Command", command(run)))
    return [(what, printable(text)) for what, text in found]


def network(run: Run) -> str:
    """Describe the tutorial's network.

    >>> from pathlib import Path
    >>> network(Run(Path("run"), Config(hidden=(20,)), 10))
    '784-20-10, 15,910 parameters'
    """
    sizes = (784, *run.config.hidden, run.num_classes)
    count = sum(outputs * (inputs + 1) for inputs, outputs in itertools.pairwise(sizes))
    return f"{'-'.join(map(str, sizes))}, {count:,} parameters"


def command(run: Run) -> str:
    """Return the command that trains a run anew.

    Args:
        run: The run.

    Returns:
        A line for a shell; only the options that differ from their defaults.

    >>> from pathlib import Path
    >>> command(Run(Path("run"), Config(optimizer="adam", epochs=3), 10))
    'jaxmnist train --optimizer adam --epochs 3'
    """
    words = ["jaxmnist", "train"]
    plain = Config()
    values: dict[str, Any] = {
        name: value for name, value in vars(run.config).items() if value != getattr(plain, name)
    }
    if run.task_file is not None:
        words.append(run.task_file.path)
        values |= run.task_file.options
    if run.dataset != "mnist":
        values["dataset"] = run.dataset
    values["data_dir"] = run.data_dir
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def names_of(runs: list[Run]) -> list[str]:
    """Name runs by their folders, by the whole path where two folders have one name.

    >>> from pathlib import Path
    >>> names_of([Run(Path("a/x"), Config(), 10), Run(Path("b/x"), Config(), 10)])
    ['a/x', 'b/x']
    """
    short = [run.path.absolute().name or str(run.path) for run in runs]
    return [
        printable(str(run.path) if short.count(name) > 1 else name)
        for run, name in zip(runs, short, strict=True)
    ]


def _plain(value: Any) -> str:
    """Write what JSON held in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)
