"""A run that was stopped resumes from its newest complete checkpoint as if it never stopped."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs
from jaxmnist.runs import names as files

pytestmark = pytest.mark.usefixtures("undrawn")


# ------------------------------------------------------------------------------- the library


@pytest.mark.slow_except("adam")
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


@pytest.mark.slow
def test_rewind_gives_back_the_state_and_the_metrics(stopped, npz, config):
    states = []
    _, history = jm.fit(config, jm.load_dataset(npz), on_epoch=lambda *it: states.append(it[1]))
    epoch, state, past = runs.rewind(runs.read(stopped))
    assert epoch == 4
    assert isinstance(past, jm.History)
    assert jax.tree.structure(state) == jax.tree.structure(states[3])
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(states[3]), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(past, history, strict=True):
        np.testing.assert_array_equal(one, other[:4])


@pytest.mark.slow
def test_float64_comes_back_where_an_event_loop_runs(tmp_path):
    """As in a notebook: Orbax then works in a thread, where JAX's context does not hold."""
    config = jm.Config(hidden=(8,), optimizer="adam", epochs=2, dtype="float64")
    run = runs.Run(tmp_path / "run", config, 10, checkpoint_every=1)

    async def written_and_read():
        with jax.enable_x64(True):
            state = jm.training.init(jax.random.key(0), jm.default_hyper(config), config)
            runs.create(run)
            runs.record_epoch(run, 0, state, jm.History(*(jnp.float32(0.1),) * 8))
            return state, runs.rewind(run)[1]

    with ThreadPoolExecutor() as thread:  # In this one a browser's event loop may run already.
        written, read = thread.submit(asyncio.run, written_and_read()).result()
    for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(read), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------- Orbax's interfaces


class Held(NamedTuple):
    """What a checkpoint of the tutorial's task has held since the first version."""

    params: Any
    opt_state: Any


def held(run: Path) -> Held:
    """What the newest checkpoint of a run holds, as this version reads it."""
    epoch, state, _ = runs.rewind(runs.read(run))
    assert epoch == 4
    assert state is not None
    return jax.device_get(Held(state.params, state.opt_state))


def check_same_bits(one: Held, other: Held) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, others in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (mine.dtype, mine.shape) == (others.dtype, others.shape)
        assert mine.tobytes() == others.tobytes()


@pytest.mark.slow
def test_checkpoint_that_orbaxs_v0_interface_wrote_is_gone_on_from(stopped, whole, train, results):
    """Written here without this version's own code, which may come to use another interface."""
    from orbax import checkpoint as v0

    place = stopped / "checkpoints"
    record = json.loads((place / "4" / "record" / "metadata").read_text())
    content = held(stopped)
    shutil.rmtree(place)
    with v0.CheckpointManager(place) as manager:
        default, record = v0.args.StandardSave(content), v0.args.JsonSave(record)
        manager.save(4, args=v0.args.Composite(default=default, record=record))
    check_same_bits(held(stopped), content)
    assert train("--resume", stopped).startswith("resuming after epoch 4 of 5\n")
    assert results(stopped) == results(whole)


def test_checkpoint_is_read_by_orbaxs_v1_interface(stopped):
    """So that it stays readable when that replaces the other; its arrays as NumPy's."""
    from orbax.checkpoint import v1

    content = held(stopped)
    like = jax.tree.map(np.zeros_like, content)
    place = stopped / "checkpoints" / "4"
    read = v1.load_checkpointables(place, {"default": like, "record": None})
    check_same_bits(read["default"], content)
    assert read["record"] == json.loads((place / "record" / "metadata").read_text())


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
def killed(npz, tmp_path_factory, options) -> list[Path]:
    """Runs that were killed at moments spread over their work on files."""
    folders = tmp_path_factory.mktemp("killed")
    process = subprocess.run(
        [sys.executable, "-c", KILLED, folders, "--dataset", npz, *options],
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


@pytest.mark.slow
def test_killed_at_any_moment_ends_with_the_same_bytes(
    killed, whole, train, results, metrics_of, checkpoints
):
    expected = results(whole)
    reached = []
    for folder in killed:
        before = metrics_of(folder) if (folder / "metrics.jsonl").exists() else ""
        printed = train("--resume", folder)
        (epoch,) = re.findall(r"^resuming after epoch (\d) of 5$", printed, re.MULTILINE)
        reached.append((int(epoch), before.count("\n")))
        assert results(folder) == expected
        assert checkpoints(folder) == checkpoints(whole)
    # They went on from different checkpoints, and some had figures past theirs.
    assert {epoch for epoch, _ in reached} >= {0, 2, 4}, reached
    assert any(lines > epoch for epoch, lines in reached), reached


def test_half_a_line_and_halves_of_files_are_dropped(stopped, whole, train, results, checkpoints):
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "train_lo')
    (stopped / "model.safetensors.partial").write_bytes(b"half")
    (stopped / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
    (stopped / "checkpoints" / "5.orbax-checkpoint-tmp" / "manifest.ocdbt").write_bytes(b"half")
    train("--resume", stopped)
    assert results(stopped) == results(whole)
    assert checkpoints(stopped) == checkpoints(whole)


@pytest.mark.slow
def test_folder_whose_name_reads_as_a_pattern(stopped, whole, train, results):
    folder = stopped.rename(stopped.with_name("runs [1]*?"))
    train("--resume", folder)
    assert results(folder) == results(whole)
    # From what was written under that name.
    assert train("--resume", folder, "--epochs", 6).startswith("resuming after epoch 5 of 6\n")


def test_checkpoint_past_the_metrics_is_not_gone_on_from(
    stopped, whole, train, results, metrics_of, checkpoints
):
    """After a power cut the figures may be older than the checkpoint that was made of them."""
    lines = metrics_of(stopped).splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:3]))
    assert train("--resume", stopped).startswith("resuming after epoch 2 of 5\nepoch: 2,")
    assert results(stopped) == results(whole)
    assert checkpoints(stopped) == checkpoints(whole)


def test_run_killed_before_its_first_checkpoint_begins_again(
    stopped, whole, train, results, metrics_of
):
    shutil.rmtree(stopped / "checkpoints")
    lines = metrics_of(stopped).splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:2]))
    assert train("--resume", stopped).startswith("resuming after epoch 0 of 5\nepoch: 0,")
    assert results(stopped) == results(whole)


def test_run_killed_while_drawing_is_drawn(copy, whole, train, results):
    for name in ("predictions.csv", "predictions.png"):
        (copy / name).unlink()
    assert "epoch: " not in train("--resume", copy)
    assert results(copy) == results(whole)


# ------------------------------------------------------------------------------- finished runs


def test_finished_run_says_so_and_is_left_alone(copy, train, contents):
    before = contents(copy)
    assert train("--resume", copy) == (
        f"{copy} is finished: its 5 epochs are trained, and nothing was changed; "
        "to train it further, give a larger --epochs\n"
    )
    assert contents(copy) == before


@pytest.mark.slow
def test_finished_run_goes_on_to_more_epochs(
    copy, npz, tmp_path, train, results, checkpoints, options
):
    train("--dataset", npz, *options, "--epochs", 7, "--out", tmp_path / "longer")
    printed = train("--resume", copy, "--epochs", 7)
    assert printed.startswith("resuming after epoch 5 of 7\nepoch: 5,")
    assert results(copy) == results(tmp_path / "longer")
    assert json.loads((copy / "config.json").read_text())["config"]["epochs"] == 7
    # Every second epoch and the last, and the newest three of them.
    assert checkpoints(tmp_path / "longer") == ["4", "6", "7"]
    assert checkpoints(copy) == ["5", "6", "7"]


def test_checkpoints_can_be_left_away(npz, tmp_path, refused, train, options):
    options = [*options, "--epochs", 1, "--checkpoint-every", 0]
    train("--dataset", npz, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "is finished" in train("--resume", tmp_path / "run")
    words = ("has no checkpoints", "--checkpoint-every 0")
    refused(["--resume", tmp_path / "run", "--epochs", 2], tmp_path / "run", *words)


@pytest.mark.slow
def test_overwrite_drops_the_old_checkpoints(copy, npz, refused, train, checkpoints, options):
    for name in ("config.json", *files.RESULTS):
        (copy / name).unlink()
    new = ["--dataset", npz, *options, "--epochs", 1, "--out", copy]
    refused(new, "holds a run already (checkpoints)")
    train(*new, "--overwrite")
    assert checkpoints(copy) == ["1"]
