"""A run has one writer, and an old run stays until the new one has its first epoch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxmnist as jm
from jaxmnist import locks, runs
from jaxmnist.runs import replacement
from jaxmnist.training import History

pytestmark = pytest.mark.usefixtures("undrawn")

# ------------------------------------------------------------------------------- --overwrite


@pytest.mark.slow
def test_old_run_stays_until_the_new_one_has_an_epoch(copy, npz, config, contents):
    (copy / "notes.txt").write_text("mine")
    before = contents(copy)
    new = jm.Config(hidden=(8,), epochs=1, eval_batch_size=48, seed=9)
    session = runs.open_run(new, str(npz), path=copy, overwrite=True, checkpoint_every=1)
    beside = {f".new/{name}" for name in ("config.json",)}
    assert contents(copy).keys() - before.keys() == {".lock", *beside}
    assert {name: contents(copy)[name] for name in before} == before
    assert runs.read(copy).config == config
    session.close()  # As after an error, or a loss that is not finite.
    assert contents(copy) == before

    session = runs.open_run(new, str(npz), path=copy, overwrite=True, checkpoint_every=1)
    jm.fit(new, session.data, on_epoch=lambda *it: runs.record_epoch(session.run, *it))
    session.close()
    kept = {path.name for path in copy.iterdir()}
    written = {"config.json", "metrics.jsonl", "model.safetensors", "checkpoints"}
    assert kept == {"notes.txt", *written}
    run, _ = runs.load(copy)
    assert run.config == new
    assert (copy / "metrics.jsonl").read_text().count("\n") == 1
    assert [path.name for path in (copy / "checkpoints").iterdir()] == ["1"]


@pytest.mark.slow
def test_run_that_cannot_be_trained_leaves_the_old_one(copy, npz, train, contents, capsys):
    before = contents(copy)
    words = ["--dataset", npz, "--out", copy, "--overwrite", "--epochs", "1"]
    with pytest.raises(SystemExit):
        train(*words, "--hidden", "99999999999", "--eval-batch-size", "48")
    assert "78499999999215 weights; at most" in capsys.readouterr().err
    assert contents(copy) == before
    with pytest.raises(SystemExit):
        train(*words, "--hidden", "8", "--learning-rate", "1e38", "--eval-batch-size", "48")
    assert "0 whole epochs before it" in capsys.readouterr().err
    assert contents(copy) == before


@pytest.mark.slow_except("checkpoints")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "checkpoints"])
def test_file_that_cannot_be_replaced_leaves_the_old_run(name, copy, npz, monkeypatch, contents):
    before = contents(copy)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == copy / name:
            raise PermissionError(1, "Operation not permitted", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    new = jm.Config(hidden=(4,), epochs=1, eval_batch_size=48, seed=9)
    session = runs.open_run(new, str(npz), path=copy, overwrite=True)
    message = f"cannot write the run to {copy}: {name}: Operation not permitted"
    with pytest.raises(jm.InputError, match=message):
        jm.fit(new, session.data, on_epoch=lambda *it: runs.record_epoch(session.run, *it))
    assert runs.read(copy).config.seed == 3
    session.close()
    assert contents(copy) == before


@pytest.mark.slow
def test_old_run_that_cannot_be_removed_does_not_keep_from_the_new_one(
    copy, npz, monkeypatch, contents
):
    remove = shutil.rmtree

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if not (Path(path) / ".old").exists():
            remove(path, ignore_errors=ignore_errors)
        elif not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    new = jm.Config(hidden=(4,), epochs=1, eval_batch_size=48, seed=9)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        session = runs.open_run(new, str(npz), path=copy, overwrite=True)
        jm.fit(new, session.data, on_epoch=lambda *it: runs.record_epoch(session.run, *it))
        session.close()
        assert runs.read(copy).config == new
    assert list(copy.glob(".removed-*/.old/config.json"))
    session = runs.open_run(new, str(npz), path=copy, overwrite=True)
    session.close()
    assert contents(copy).keys() == {"config.json", "metrics.jsonl", "model.safetensors"}


# Kills a process at each of its works on files while a new run takes the old one's place.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from jaxmnist.runs import replacement
source, target = Path(sys.argv[1]), Path(sys.argv[2])
EVENTS = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
moment = 0
while True:
    moment += 1
    place = target / str(moment)
    shutil.copytree(source, place)
    child = os.fork()
    if not child:
        seen = 0
        def watch(event, args):
            global seen
            seen += event in EVENTS
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        replacement.replace_old(place)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(moment)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_folder_has_one_of_the_two_runs(copy, npz, tmp_path, contents):
    new = jm.Config(hidden=(4,), epochs=1, eval_batch_size=48, seed=9)
    shutil.rmtree(copy / "checkpoints")  # Of it a few files are enough.
    (copy / "checkpoints" / "5").mkdir(parents=True)
    (copy / "checkpoints" / "5" / "some").touch()
    session = runs.open_run(new, str(npz), path=copy, overwrite=True)
    beside = replacement.beside(session.run)
    params = session.run.model.init(jax.random.key(9), jnp.zeros((1, 28, 28)))
    runs.append_epoch(beside, 0, params, History(*(jnp.float32(x) for x in range(8))))
    old = contents(copy)
    (tmp_path / "killed").mkdir()
    process = subprocess.run(
        [sys.executable, "-c", KILLED, copy, tmp_path / "killed"],
        capture_output=True,
        text=True,
        check=True,
    )
    session.close()
    expected = {name.removeprefix(".new/") for name in old if name.startswith(".new/")}
    found = []
    for moment in range(1, int(process.stdout) + 1):
        place = tmp_path / "killed" / str(moment)
        (place / ".lock").unlink()
        run = runs.read(place)  # Finishes what was begun.
        found.append(run.config.seed)
        if run.config == new:
            assert contents(place).keys() == expected
            assert all(contents(place)[name] == old[f".new/{name}"] for name in expected)
        else:
            assert contents(place).keys() == old.keys() - {".lock"}
    assert set(found) == {3, 9}
    assert found == sorted(found)
    assert len(found) > 10


@pytest.mark.slow
def test_leftover_of_a_killed_run_is_not_resumed(stopped, whole, train, results):
    shutil.copytree(stopped, stopped / ".new")
    (stopped / ".new" / "config.json").write_text("{")
    train("--resume", stopped)
    assert results(stopped) == results(whole)


# ------------------------------------------------------------------------------- one writer

HOLD = """
import sys
from pathlib import Path
from jaxmnist import locks
locks.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_second_writer_is_told_who_the_first_is_and_readers_are_not_kept_out(
    stopped, npz, refused, contents, options
):
    before = contents(stopped)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, stopped],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        words = f"{stopped} is in use by process {holder.pid} on ", " since ", str(stopped)
        refused(["--resume", stopped], *words)
        new = ["--dataset", npz, *options, "--out", stopped]
        refused([*new, "--overwrite"], *words)
        refused(new, *words)
        runs.load(stopped)
        assert contents(stopped).keys() - before.keys() == {locks.NAME}
        holder.kill()
    runs.open_run(jm.Config(), resume=stopped).close()
    assert not (stopped / locks.NAME).exists()


@pytest.mark.slow
def test_two_trainings_into_one_new_folder_are_one(npz, tmp_path, options):
    """Started at once, one of them trains, and the other is refused."""
    words = ["train", "--dataset", npz, *options, "--epochs", "1", "--out", tmp_path / "run"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "jaxmnist", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=240), process.returncode) for process in started]
    assert sorted(status for _, status in ended) == [0, 2]
    ((_, err),) = [streams for streams, status in ended if status]
    # Where the other has just taken the lock, it may not have written yet which process it is.
    assert f"{tmp_path / 'run'} is in use by " in err or "holds a run already" in err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0]
