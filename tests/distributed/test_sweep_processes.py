"""A sweep that several real processes share, each on its own devices, and what they refuse."""

import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from jaxmnist import cli

WORDS = ("--dataset", "few.npz", "--epochs", "2", "--eval-batch-size", "50", "--out", "sweep")
AXES = ("--hidden", "none", "--optimizer", "sgd", "momentum", "--seed", "0..5")
# The command, in a process that sends itself a signal when its first chunk is on the disk.
SIGNALLED = """
import os, signal
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # As the program does, before JAX is loaded.
from jaxmnist.__main__ import main
from jaxmnist.sweep import folder
append = folder.append

def appending(path, finished):
    append(path, finished)
    if path.parent.name == "processes":
        folder.append = append
        os.kill(os.getpid(), signal.{})

folder.append = appending
main()
"""


@pytest.fixture(scope="module")
def npz(first_digits_npz) -> Path:
    return first_digits_npz(160, 100)


@pytest.fixture
def place(npz, tmp_path):
    """A function that makes a folder with the data, where every start writes to `sweep`."""

    def make(name: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "few.npz").write_bytes(npz.read_bytes())
        return tmp_path / name

    return make


@pytest.fixture
def sweeping(running, by_options):
    """A function that starts the processes of a sweep in a folder, for the length of a block."""

    def start(where: Path, count: int, words=(*AXES, *WORDS), stops=None, places=None):
        chosen = [{**each, "PWD": where} for each in by_options(count)]
        for index, more in (places or {}).items():
            chosen[index] |= more
        return running(list(words), chosen, stops, "sweep", SIGNALLED)

    return start


def contents(where: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted((where / "sweep").iterdir())}


def refusals(started, ended) -> list[str]:
    """What the processes print when all refuse: one line each, with status 2."""
    lines = []
    for status, out, err in map(ended, started):
        assert (status, out, err.count("\n")) == (2, [], 1), err
        lines.append(err)
    return lines


@pytest.mark.slow
def test_killed_process_costs_its_own_cells_and_any_start_finishes_them(
    place, sweeping, ended, monkeypatch
):
    """4 processes, one of which is killed; then 3, and then one, to the bytes of one."""
    shared, alone = place("shared"), place("alone")
    with sweeping(shared, 4, stops={2: "SIGKILL"}) as started:
        ends = [ended(process) for process in started]
    line = (
        "jaxmnist: the sweep is not whole: process 2 stopped with 2 of its 3 runs unfinished; the "
        "same command trains the rest\n"
    )
    assert [status for status, *_ in ends] == [1, 1, -signal.SIGKILL, 1]
    assert [err for *_, err in ends] == [line, line, "", line]
    kept = {
        path.parent.name[-1]: path.read_text().count("\n")
        for path in (shared / "sweep").glob("processes/*/cells.jsonl")
    }
    assert kept == {"0": 3, "1": 3, "2": 1, "3": 3}
    assert not (shared / "sweep" / "results.json").exists()

    with sweeping(shared, 3, stops={0: "SIGTERM"}) as started:
        ends = [ended(process) for process in started]
    assert [status for status, *_ in ends] in ([143, 0, 0], [143, 1, 1])
    assert ends[0][2].startswith("jaxmnist: stopped by SIGTERM; the runs that are finished are ")

    for where in (shared, alone):  # On one device, where the processes had one for each core.
        monkeypatch.chdir(where)
        cli.main(["sweep", *AXES, *WORDS])
    assert contents(shared) == contents(alone)
    assert "results.json" in contents(shared)


@pytest.mark.slow
def test_start_takes_no_folder_from_a_process_that_lives(place, sweeping, ended):
    """Of two processes the first is killed, and the second does not respond."""
    shared = place("shared")
    with sweeping(shared, 2, stops={0: "SIGKILL", 1: "SIGSTOP"}) as started:
        assert started[0].wait(240) == -signal.SIGKILL
        deadline = time.monotonic() + 240
        while len(found := [*(shared / "sweep").glob("processes/*-1/cells.jsonl")]) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with sweeping(shared, 2) as others:
            for line in refusals(others, ended):
                assert f"{found[0].parent.name} is in use by process {started[1].pid} " in line
        started[1].send_signal(signal.SIGCONT)
        status, _, err = ended(started[1])
    assert (status, err.count("\n")) == (1, 1)
    # How many runs a chunk has depends on the machine's cores.
    assert re.search("not whole: process 0 stopped with [345] of its 6 runs unfinished", err)


@pytest.mark.parametrize("what", ["options", "axes", "data"])
@pytest.mark.slow
def test_process_with_another_sweep_stops_all_with_what_differs(what, place, sweeping, ended):
    where, other = place("shared"), place("other")
    more = {"options": {"--convention": "optax"}, "axes": {"--init-scale": "2"}, "data": {}}
    if what == "data":
        with np.load(other / "few.npz") as arrays:
            changed = {**arrays, "y_train": np.roll(arrays["y_train"], 1)}
        np.savez(other / "few.npz", **changed)
    moved = {"PWD": other} if what == "data" else {}
    said = {
        "options": "was started with different options than process 0: convention is optax, and "
        "document in process 0",
        "axes": "was started with different options than process 0: the axis init_scale is [2.0], "
        "and missing in process 0",
        "data": "has other data than process 0: train_labels_crc32 is ",
    }
    with sweeping(where, 2, places={1: {**moved, **more[what]}}) as started:
        for line in refusals(started, ended):
            assert line.startswith(f"jaxmnist: process 1 {said[what]}")
    assert not (where / "sweep").exists()


@pytest.mark.slow
def test_folder_that_is_not_shared_and_too_many_processes_are_refused(place, sweeping, ended):
    where, other = place("shared"), place("other")
    with sweeping(where, 2, places={1: {"PWD": other}}) as started:
        for line in refusals(started, ended):
            assert "process 1 does not find what process 0 wrote to sweep; --out must be on" in line
    assert not (other / "sweep").exists()
    with sweeping(where, 3, words=("--seed", "0..1", *WORDS, "--out", "small")) as started:
        for line in refusals(started, ended):
            assert line.startswith("jaxmnist: 3 processes cannot share 2 runs: start at most")
    assert not (where / "small").exists()


TASK = """
import jax.numpy as jnp
import numpy as np
import optax
import jaxmnist as jm


def task(config):
    start = jnp.zeros(3)  # JAX is used when the task is built.
    init = lambda key, x: {"w": start, "b": jnp.zeros(())}
    apply = lambda params, x: x @ params["w"] + params["b"]
    return jm.task((init, apply), lambda hyper: optax.sgd(hyper["rate"]),
                   lambda out, y: (out - y) ** 2, hyper={"rate": 0.1})


def data(config):
    x = np.random.default_rng(0).normal(size=(53, 3)).astype(np.float32)
    return (x, x.sum(1)), (x[:20], x[:20].sum(1))
"""


@pytest.mark.slow
def test_tasks_file_is_swept_by_two_processes_as_by_one(place, sweeping, ended, monkeypatch):
    shared, alone = place("shared"), place("alone")
    sizes = ("--batch-size", "16", "--eval-batch-size", "10", "--epochs", "2", "--out", "sweep")
    words = ("task.py", "--rate", "0.01", "0.1", "0.2", "--seed", "0..1", *sizes)
    for where in (shared, alone):
        (where / "task.py").write_text(TASK)
    with sweeping(shared, 2, words=words) as started:
        (status, out, err), other = map(ended, started)
    assert (status, err, other) == (0, "", (0, [], ""))
    assert out[-1] == "wrote: sweep"
    monkeypatch.chdir(alone)
    cli.main(["sweep", *words])
    assert contents(shared) == contents(alone)


def test_options_of_several_processes_are_for_distributed(place, monkeypatch, capsys):
    monkeypatch.chdir(place("alone"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", "--seed", "0", *WORDS, "--coordinator-address", "127.0.0.1:1"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "jaxmnist: --coordinator-address is for --distributed\n"
