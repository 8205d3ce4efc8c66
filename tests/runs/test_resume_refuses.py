"""`train --resume` refuses what contradicts the run or is damaged, and leaves it as it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxmnist import cli

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.slow_except(
    "--overwrite-omit --overwrite",
    "--out-omit --out",
    "--dataset-dataset is mnist",
    "--batch-size-batch_size is 32",
    "--learning_rate-learning_rate is 0.1",
    "--seed-seed is 0",
)
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--optimizer", "sgd"], ["optimizer is sgd", "has adam", "omit --optimizer"]),
        (["--learning-rate=0.1"], ["learning_rate is 0.1", "has 0.01", "omit --learning-rate"]),
        (["--learning_rate", "0.1"], ["learning_rate is 0.1", "has 0.01"]),
        (["--hidden", "8", "8"], ["hidden is 8 8", "has 8,"]),
        (["--batch-size", "32"], ["batch_size is 32", "has 64"]),
        (["--eval-batch-size", "128"], ["eval_batch_size is 128", "has 48"]),
        (["--seed", "0"], ["seed is 0", "has 3"]),
        (["--convention", "optax"], ["convention is optax", "has document"]),
        (["--epochs", "4"], ["epochs is 4", "has 5", "or more"]),
        (["--dataset", "mnist"], ["dataset is mnist", "few.npz"]),
        (["--data-dir", "there"], ["data_dir is there", "has None"]),
        (["--checkpoint-every", "1"], ["checkpoint_every is 1", "has 2"]),
        (["--keep", "5"], ["keep is 5", "has 3"]),
        (["--out", "there"], ["omit --out"]),
        (["--overwrite"], ["omit --overwrite"]),
    ],
    ids=lambda part: part[0],
)
def test_option_that_contradicts_the_run_is_refused(option, words, stopped, refused, contents):
    before = contents(stopped)
    refused(["--resume", stopped, *option], stopped, *words)
    assert contents(stopped) == before


@pytest.mark.slow
def test_options_that_agree_with_the_run_are_taken(stopped, whole, npz, train, results, options):
    train("--resume", stopped, "--dataset", npz, *options)
    assert results(stopped) == results(whole)


def test_folder_without_a_run_is_refused(tmp_path, refused):
    refused(["--resume", tmp_path], tmp_path, "holds no run")


def test_missing_checkpoints_are_refused(stopped, refused, metrics_of):
    shutil.rmtree(stopped / "checkpoints")
    words = (stopped / "checkpoints", "no whole checkpoint", "4 epochs were trained", "--overwrite")
    refused(["--resume", stopped], *words)
    assert metrics_of(stopped).count("\n") == 4


def damage(folder: Path, kind: str, steps: tuple[str, ...] = ("4",)) -> None:
    """Spoil checkpoints, or have the run disagree with them."""
    if kind == "reshaped":
        about = json.loads((folder / "config.json").read_text())
        about["config"]["hidden"] = [9]
        (folder / "config.json").write_text(json.dumps(about))
        return
    for path in [each for step in steps for each in (folder / "checkpoints" / step).rglob("*")]:
        is_data = "METADATA" not in path.name and "success" not in path.name
        if path.is_file() and is_data and "default" in path.parts:
            content = path.read_bytes()
            other = {"cut": content[:20], "emptied": b"", "other": os.urandom(len(content))}
            path.write_bytes(other[kind])


OPENED = """
import sys
from pathlib import Path
import jaxmnist as jm
from jaxmnist import runs
session = runs.open_run(jm.Config(), resume=Path(sys.argv[1]))
print(session.epoch, *session.notes, sep="\\n")
session.close()
"""


@pytest.mark.slow
def test_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    stopped, whole, tmp_path, train, results
):
    """In processes of their own: a damaged file must not have Orbax speak either, even late."""
    started = {}
    for kind in ("cut", "emptied", "other", "reshaped", "all"):
        folder = Path(shutil.copytree(stopped, tmp_path / kind))
        damage(folder, "other" if kind == "all" else kind, ("2", "4") if kind == "all" else ("4",))
        is_refused = kind in ("reshaped", "all")
        what = ["-m", "jaxmnist", "train", "--resume"] if is_refused else ["-c", OPENED]
        started[kind] = subprocess.Popen(
            [sys.executable, *what, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    ended = {kind: process.communicate(timeout=240) for kind, process in started.items()}
    for kind, (out, err) in ended.items():
        folder = tmp_path / kind
        place = folder / "checkpoints" / "4"
        if kind in ("reshaped", "all"):
            assert (started[kind].returncode, out, err.count("\n")) == (2, "", 1)
            assert not (folder / "superseded").exists()
            continue
        assert (started[kind].returncode, err) == (0, "")
        epoch, note = out.splitlines()
        assert epoch == "2"
        assert note.startswith(f"{place} cannot be read (")
        assert note.endswith("passed over for the checkpoint before it")
    config = tmp_path / "reshaped" / "config.json"
    said = f"jaxmnist: {config} is not what it was: hidden is [9], and the checkpoint of epoch 4 "
    assert ended["reshaped"][1].startswith(f"{said}was written with [8]")
    said = f"jaxmnist: {tmp_path / 'all' / 'checkpoints' / '4'} cannot be read ("
    assert ended["all"][1].startswith(said)
    assert "no whole checkpoint before it" in ended["all"][1]

    assert train("--resume", tmp_path / "cut").startswith("resuming after epoch 2 of 5")
    assert results(tmp_path / "cut") == results(whole)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--checkpoint-every", "-1"], ["checkpoint_every is -1", "at least 0"]),
        (["--keep", "0"], ["keep is 0", "at least 1"]),
        (["--devices", "0"], ["devices is 0", f"this machine has {jax.device_count()}"]),
        (["--devices", "999"], ["devices is 999", "XLA_FLAGS"]),
        (["--num-processes", "2"], ["--num-processes is for --distributed"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_values_that_no_run_can_have_are_refused(option, words, npz, tmp_path, refused, options):
    refused(["--dataset", npz, *options, "--out", tmp_path / "run", *option], *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_full_disk_while_saving_is_said_in_one_line(
    npz, tmp_path, refused, monkeypatch, capsys, options
):
    import orbax.checkpoint

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--dataset", str(npz), *options, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    place = tmp_path / "run" / "checkpoints" / "2"
    assert capsys.readouterr().err == f"jaxmnist: cannot write {place}: No space left on device\n"
