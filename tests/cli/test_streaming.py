"""`train --stream`: the files of a run in memory, resuming, and refusals."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from jaxmnist import cli
from jaxmnist.data import stream as streaming
from jaxmnist.runs import pictures
from jaxmnist.training import streaming as pieces

OPTIONS = [
    "--hidden",
    "8",
    "--epochs",
    "2",
    "--batch-size",
    "64",
    "--eval-batch-size",
    "48",
    "--seed",
    "3",
]


@pytest.fixture
def root(prepared_kmnist: Path) -> Path:
    return prepared_kmnist


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_PIECE", 128)


@pytest.mark.slow
def test_train_stream_writes_what_train_writes(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        pictures, "write_picture", lambda _, path: path.touch()
    )  # They take seconds.
    printed = []
    for name, option in (("memory", []), ("disk", ["--stream"])):
        shown = io.StringIO()
        command = [
            "train",
            "--dataset",
            "kmnist",
            "--data-dir",
            str(root),
            *OPTIONS,
            *option,
        ]
        with contextlib.redirect_stdout(shown):
            cli.main([*command, "--out", str(tmp_path / name)])
        printed.append(shown.getvalue().splitlines())
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    assert sorted(path.name for path in disk.iterdir()) == sorted(
        path.name for path in memory.iterdir()
    )
    for name in ("model.safetensors", "predictions.csv"):
        assert (disk / name).read_bytes() == (memory / name).read_bytes(), name
    recorded, streamed = (json.loads((run / "config.json").read_text()) for run in (memory, disk))
    recorded["machines"][0]["stream"] = True  # All that is recorded of how its data were read.
    assert streamed == recorded
    assert printed[0][:3] == printed[1][:3]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        cli.main(["reproduce", str(disk)])
    assert "the same: 8 metrics of 2 epochs" in shown.getvalue()


@pytest.mark.slow
def test_streamed_run_goes_on_after_a_stop_with_the_same_weights(root, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_picture", lambda _, path: path.touch())
    where = ["--dataset", "kmnist", "--data-dir", str(root), "--stream"]

    def train(*more: str) -> list[str]:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            cli.main(["train", *more])
        return shown.getvalue().splitlines()

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(*where, *OPTIONS, "--epochs", "3", "--checkpoint-every", "1", "--out", str(whole))

    class StoppedError(Exception):
        pass

    read_rows, reads = streaming.read_rows, []

    def read_until_the_second_epoch(*arguments):
        reads.append(arguments)
        # An epoch reads 6 training and 3 test pieces (of 128 and 96): in the midst of the second.
        if len(reads) > 12:
            raise StoppedError
        return read_rows(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "read_rows", read_until_the_second_epoch)
        with pytest.raises(StoppedError):
            train(
                *where, *OPTIONS, "--epochs", "3", "--checkpoint-every", "1", "--out", str(stopped)
            )
    assert (stopped / "metrics.jsonl").read_text().count("\n") == 1
    assert train("--resume", str(stopped), "--stream")[0] == "resuming after epoch 1 of 3"
    for name in ("config.json", "metrics.jsonl", "model.safetensors", "predictions.csv"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_train_stream_refuses_in_one_line_and_writes_nothing(root, tmp_path, capsys):
    for dataset, message in (
        ("mnist", "jaxmnist data prepare mnist"),
        (str(root / "idx"), "IDX"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--dataset", dataset, "--stream", "--out", str(tmp_path / "run")])
        assert stopped.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("jaxmnist: ")
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "run").exists()
