"""A run that was stopped goes on from its newest whole checkpoint as if it had never stopped."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli, runs
from jaxmnist.atomic import write_whole

CONFIG = jm.Config(
    hidden=(8,), optimizer="adam", learning_rate=0.01, epochs=5, eval_batch_size=48, seed=3
)
OPTIONS = [
    *("--hidden", "8", "--optimizer", "adam", "--learning-rate", "0.01", "--epochs", "5"),
    *("--eval-batch-size", "48", "--seed", "3", "--checkpoint-every", "2", "--keep", "3"),
]


def train(*words: object) -> str:
    """Run `jaxmnist train`, which must succeed, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(["train", *map(str, words)])
    return printed.getvalue()


def figures_of(folder: Path) -> str:
    return (folder / "metrics.jsonl").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def results(folder: Path) -> dict[str, bytes]:
    """All files but the checkpoints', whose names are random."""
    return {name: text for name, text in contents(folder).items() if "checkpoints" not in name}


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Pictures take most of the time and are not what is looked at here: they are written blank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_picture", lambda _, path: write_whole(path, b"a picture"))
        yield


@pytest.fixture(scope="module")
def npz(first_digits_npz) -> Path:
    return first_digits_npz(300, 100)


@pytest.fixture(scope="module")
def whole(npz, tmp_path_factory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train("--dataset", npz, *OPTIONS, "--out", folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def stopped(copy) -> Path:
    """The run as it was after its fourth epoch's figures, with checkpoints at 2 and 4 of 5."""
    shutil.rmtree(copy / "checkpoints" / "5")
    lines = figures_of(copy).splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(lines[:4]))
    (copy / "predictions.csv").unlink()
    return copy


@pytest.fixture
def refused(capsys):
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


# ------------------------------------------------------------------------------- the library


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_fit_goes_on_from_a_state_with_the_same_bits(optimizer, npz):
    config = jm.Config(hidden=(8,), optimizer=optimizer, epochs=4, eval_batch_size=48)
    dataset = jm.load_dataset(npz)
    states = []
    state, history = jm.fit(config, dataset, on_epoch=lambda *found: states.append(found))
    seen = []
    again, rest = jm.fit(
        config, dataset, state=states[1][1], epoch=2, on_epoch=lambda *found: seen.append(found[0])
    )
    assert seen == [2, 3]
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(rest, history, strict=True):
        np.testing.assert_array_equal(one, other[2:])
    assert not np.array_equal(*(jax.tree.leaves(found[1].params)[1] for found in states[:2]))


def test_rewind_gives_back_the_state_and_the_figures(stopped, npz):
    states = []
    _, history = jm.fit(CONFIG, jm.load_dataset(npz), on_epoch=lambda *it: states.append(it[1]))
    epoch, state, past = runs.rewind(runs.read(stopped))
    assert epoch == 4
    assert jax.tree.structure(state) == jax.tree.structure(states[3])
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(states[3]), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(past, history, strict=True):
        np.testing.assert_array_equal(one, other[:4])


# ------------------------------------------------------------------------------- killed runs


# Counts what the run does to files through Python, and ends it by SIGKILL at a given moment. One
# process loads the package, which is most of the time; each killed run is a fork of it.
KILLED = """
import json, os, signal, sys
import flax, optax, matplotlib.figure, orbax.checkpoint
from jaxmnist import cli
folders, arguments = sys.argv[1], sys.argv[2:]
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime"}

def start(name, moment):
    place = os.path.join(folders, name)
    seen = 0
    def watch(event, args):
        nonlocal seen
        if event in EVENTS and place + os.sep in str(args[0]):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if not child:
        sys.addaudithook(watch)
        sys.stdout = open(os.devnull, "w")
        cli.main(["train", *arguments, "--out", place])
        with open(os.path.join(folders, "count"), "w") as file:
            file.write(str(seen))
        os._exit(0)
    return child

def status(child):
    return os.waitpid(child, 0)[1]

assert status(start("counted", 0)) == 0
count = int(open(os.path.join(folders, "count")).read())
moments = [round(count * share) for share in (0.15, 0.45, 0.6, 0.75, 0.95)]
children = [start(f"killed-{moment}", moment) for moment in moments]
statuses = [status(child) for child in children]
print(json.dumps({"count": count, "moments": moments, "statuses": statuses}))
"""


@pytest.fixture(scope="module")
def killed(npz, tmp_path_factory) -> list[Path]:
    """Runs that were killed at moments spread over their work on files."""
    folders = tmp_path_factory.mktemp("killed")
    process = subprocess.run(
        [sys.executable, "-c", KILLED, folders, "--dataset", npz, *OPTIONS],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    # Neither Orbax nor anything else speaks.
    assert (process.returncode, process.stderr) == (0, "")
    (line,) = process.stdout.splitlines()
    found = json.loads(line)
    assert found["statuses"] == [9] * len(found["moments"])
    return [folders / f"killed-{moment}" for moment in found["moments"]]


def test_killed_at_any_moment_ends_with_the_same_bytes(killed, whole):
    expected = results(whole)
    reached = []
    for folder in killed:
        before = figures_of(folder) if (folder / "metrics.jsonl").exists() else ""
        printed = train("--resume", folder)
        (epoch,) = re.findall(r"^going on after (\d) of 5 epochs$", printed, re.MULTILINE)
        reached.append((int(epoch), before.count("\n")))
        assert results(folder) == expected
        assert checkpoints(folder) == checkpoints(whole)
    # They went on from different checkpoints, and some had figures past theirs.
    assert {epoch for epoch, _ in reached} >= {0, 2, 4}, reached
    assert any(lines > epoch for epoch, lines in reached), reached


def test_half_a_line_and_halves_of_files_are_dropped(stopped, whole):
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "train_lo')
    (stopped / "model.safetensors.partial").write_bytes(b"half")
    (stopped / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
    (stopped / "checkpoints" / "5.orbax-checkpoint-tmp" / "manifest.ocdbt").write_bytes(b"half")
    train("--resume", stopped)
    assert results(stopped) == results(whole)
    assert checkpoints(stopped) == checkpoints(whole)


def test_checkpoint_past_the_figures_is_not_gone_on_from(stopped, whole):
    """After a power cut the figures may be older than the checkpoint that was made of them."""
    lines = figures_of(stopped).splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:3]))
    assert train("--resume", stopped).startswith("going on after 2 of 5 epochs\nepoch: 2,")
    assert results(stopped) == results(whole)
    assert checkpoints(stopped) == checkpoints(whole)


def test_run_killed_before_its_first_checkpoint_begins_again(stopped, whole):
    shutil.rmtree(stopped / "checkpoints")
    lines = figures_of(stopped).splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:2]))
    assert train("--resume", stopped).startswith("going on after 0 of 5 epochs\nepoch: 0,")
    assert results(stopped) == results(whole)


def test_run_killed_while_drawing_is_drawn(copy, whole):
    for name in ("predictions.csv", "predictions.png"):
        (copy / name).unlink()
    assert "epoch: " not in train("--resume", copy)
    assert results(copy) == results(whole)


# ------------------------------------------------------------------------------- finished runs


def test_finished_run_says_so_and_is_left_alone(copy):
    before = contents(copy)
    assert train("--resume", copy) == (
        f"{copy} is finished: its 5 epochs are trained, and nothing was changed; "
        "a larger --epochs goes on\n"
    )
    assert contents(copy) == before


def test_finished_run_goes_on_to_more_epochs(copy, npz, tmp_path):
    train("--dataset", npz, *OPTIONS, "--epochs", 7, "--out", tmp_path / "longer")
    printed = train("--resume", copy, "--epochs", 7)
    assert printed.startswith("going on after 5 of 7 epochs\nepoch: 5,")
    assert results(copy) == results(tmp_path / "longer")
    assert json.loads((copy / "config.json").read_text())["config"]["epochs"] == 7
    # Every second epoch and the last, and the newest three of them.
    assert checkpoints(tmp_path / "longer") == ["4", "6", "7"]
    assert checkpoints(copy) == ["5", "6", "7"]


def test_checkpoints_can_be_left_away(npz, tmp_path, refused):
    options = [*OPTIONS, "--epochs", 1, "--checkpoint-every", 0]
    train("--dataset", npz, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "is finished" in train("--resume", tmp_path / "run")
    words = ("has no checkpoints", "--checkpoint-every 0")
    refused(["--resume", tmp_path / "run", "--epochs", 2], tmp_path / "run", *words)


def test_overwrite_drops_the_old_checkpoints(copy, npz, refused):
    for name in ("config.json", *runs._RESULTS):
        (copy / name).unlink()
    new = ["--dataset", npz, *OPTIONS, "--epochs", 1, "--out", copy]
    refused(new, "holds a run already (checkpoints)")
    train(*new, "--overwrite")
    assert checkpoints(copy) == ["1"]


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--optimizer", "sgd"], ["optimizer is sgd", "has adam", "leave --optimizer away"]),
        (["--learning-rate=0.1"], ["learning_rate is 0.1", "has 0.01", "--learning-rate away"]),
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
        (["--out", "there"], ["leave --out away"]),
        (["--overwrite"], ["leave --overwrite away"]),
    ],
    ids=lambda part: part[0],
)
def test_option_that_contradicts_the_run_is_refused(option, words, stopped, refused):
    before = contents(stopped)
    refused(["--resume", stopped, *option], stopped, *words)
    assert contents(stopped) == before


def test_options_that_agree_with_the_run_are_taken(stopped, whole, npz):
    train("--resume", stopped, "--dataset", npz, *OPTIONS)
    assert results(stopped) == results(whole)


def test_folder_without_a_run_is_refused(tmp_path, refused):
    refused(["--resume", tmp_path], tmp_path, "holds no run")


def test_missing_checkpoints_are_refused(stopped, refused):
    shutil.rmtree(stopped / "checkpoints")
    words = (stopped / "checkpoints", "no whole checkpoint", "4 epochs were trained", "--overwrite")
    refused(["--resume", stopped], *words)
    assert figures_of(stopped).count("\n") == 4


def damage(folder: Path, kind: str) -> None:
    """Spoil the newest checkpoint, or have the run disagree with it."""
    if kind == "reshaped":
        about = json.loads((folder / "config.json").read_text())
        about["config"]["hidden"] = [9]
        (folder / "config.json").write_text(json.dumps(about))
        return
    for path in (folder / "checkpoints" / "4").rglob("*"):
        if path.is_file() and "METADATA" not in path.name and "success" not in path.name:
            content = path.read_bytes()
            other = {"cut": content[:20], "emptied": b"", "other": os.urandom(len(content))}
            path.write_bytes(other[kind])


def test_damaged_checkpoint_is_refused_and_the_one_before_it_serves(stopped, whole, tmp_path):
    """In processes of their own: a damaged file must not have Orbax speak either, even late."""
    started = {}
    for kind in ("cut", "emptied", "other", "reshaped"):
        folder = Path(shutil.copytree(stopped, tmp_path / kind))
        damage(folder, kind)
        command = [sys.executable, "-m", "jaxmnist", "train", "--resume", folder]
        started[folder] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for folder, process in started.items():
        out, err = process.communicate(timeout=240)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"jaxmnist: {folder / 'checkpoints' / '4'} cannot be read (")
        assert "without that folder" in err
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "4")
    assert train("--resume", tmp_path / "cut").startswith("going on after 2 of 5")
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
def test_values_that_no_run_can_have_are_refused(option, words, npz, tmp_path, refused):
    refused(["--dataset", npz, *OPTIONS, "--out", tmp_path / "run", *option], *words)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_saving_is_said_in_one_line(npz, tmp_path, refused, monkeypatch, capsys):
    import orbax.checkpoint

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--dataset", str(npz), *OPTIONS, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    place = tmp_path / "run" / "checkpoints" / "2"
    assert capsys.readouterr().err == f"jaxmnist: cannot write {place}: No space left on device\n"
