"""A run that nobody stopped, one that was, and how `train` resumes or refuses it."""

import contextlib
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import jaxmnist as jm
from jaxmnist import cli
from jaxmnist.atomic import write_whole
from jaxmnist.runs import pictures

CONFIG = jm.Config(
    hidden=(8,), optimizer="adam", learning_rate=0.01, epochs=5, eval_batch_size=48, seed=3
)


@pytest.fixture(scope="session")
def config() -> jm.Config:
    """The configuration of the runs that are resumed."""
    return CONFIG


@pytest.fixture(scope="session")
def options() -> list[str]:
    """The same as options of `train`."""
    return [
        *("--hidden", "8", "--optimizer", "adam", "--learning-rate", "0.01", "--epochs", "5"),
        *("--eval-batch-size", "48", "--seed", "3", "--checkpoint-every", "2", "--keep", "3"),
    ]


@pytest.fixture(scope="session")
def train() -> Callable[..., str]:
    """A function that runs `jaxmnist train`, which must succeed, and returns what it printed."""

    def run(*words: object) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            cli.main(["train", *map(str, words)])
        return printed.getvalue()

    return run


@pytest.fixture(scope="session")
def results(contents) -> Callable[[Path], dict[str, bytes]]:
    """The same without the checkpoints, whose files have random names."""

    def read(folder: Path) -> dict[str, bytes]:
        return {name: text for name, text in contents(folder).items() if "checkpoints" not in name}

    return read


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Path], str]:
    """A function from a folder to the text of its metrics."""
    return lambda folder: (folder / "metrics.jsonl").read_text()


@pytest.fixture(scope="session")
def checkpoints() -> Callable[[Path], list[str]]:
    """A function from a folder to the names of its checkpoints."""
    return lambda folder: sorted(path.name for path in (folder / "checkpoints").iterdir())


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time and are not what is looked at: they are written blank."""
    patch.setattr(pictures, "write_picture", lambda _, path: write_whole(path, b"a picture"))


@pytest.fixture
def undrawn(monkeypatch) -> None:
    draw_nothing(monkeypatch)


@pytest.fixture(scope="session")
def npz(first_digits_npz) -> Path:
    return first_digits_npz(300, 100)


@pytest.fixture(scope="session")
def whole(npz, train, options, tmp_path_factory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        train("--dataset", npz, *options, "--out", folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def stopped(copy, metrics_of) -> Path:
    """The run as it was after its fourth epoch's metrics, with checkpoints at 2 and 4 of 5."""
    shutil.rmtree(copy / "checkpoints" / "5")
    lines = metrics_of(copy).splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(lines[:4]))
    (copy / "predictions.csv").unlink()
    return copy


@pytest.fixture
def refused(capsys) -> Callable[..., None]:
    """A function that runs `train`, which must refuse in one line with every word given."""

    def refuse(arguments: list, *words: object) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        assert re.fullmatch(r"jaxmnist: [^\n]+\n", err)
        for word in words:
            assert str(word) in err

    return refuse
