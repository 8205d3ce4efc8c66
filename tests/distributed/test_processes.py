"""One run of several real processes on this machine, one of which may be killed.

Every process listens and talks on 127.0.0.1 only, and is killed and reaped when its test ends.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs
from jaxmnist.distributed import processes

# Softmax regression, and test batches that are all whole: little to compile for many processes.
CONFIG = jm.Config(hidden=(), optimizer="momentum", epochs=4, eval_batch_size=50, seed=1)
OPTIONS = (
    *("--hidden", "--optimizer", "momentum", "--epochs", "4", "--eval-batch-size", "50"),
    *("--seed", "1", "--checkpoint-every", "1"),
)
LOST = "another process of this run stopped or cannot be reached, so this one stops too"
LIMIT = 240
"""Seconds that any process may take, on a busy machine too."""

# The command, in a process that sends itself a signal when its third epoch is over.
SIGNALLED = """
import os, signal, sys
from jaxmnist import cli, training
run_epochs = training.run_epochs

def stopping(run_epoch, state, indices, on_epoch, shapes):
    def then_stop(index, *reached):
        on_epoch(index, *reached)
        if index == 2:
            os.kill(os.getpid(), signal.{})
    return run_epochs(run_epoch, state, indices, then_stop, shapes)

training.run_epochs = stopping
cli.main(sys.argv[1:])
"""

# A task of one's own whose steps are random and which has a state: both are of the whole batch.
TASK = """
import numpy as np
import optax
from flax import linen as nn
import jaxmnist as jm


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.tanh(nn.Dense(4)(x)))
        return nn.Dense(1)(x)[:, 0]


def task(config):
    return jm.task(Network(), optax.sgd(0.1), lambda out, y: (out - y) ** 2)


def data(config):
    x = np.random.default_rng(0).normal(size=(53, 3)).astype(np.float32)
    return (x, x.sum(1)), (x[:20], x[:20].sum(1))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    words: list, places: list[dict], stops: dict[int, str] | None = None
) -> Iterator[list[subprocess.Popen]]:
    """Start `jaxmnist train --distributed` once for each place; none outlives the block.

    A place is options (``--name``) and environment variables; ``stops`` has a process send itself
    a signal.
    """
    started = []
    try:
        for index, place in enumerate(places):
            own = [word for name in place if name[:2] == "--" for word in (name, place[name])]
            variables = {name: str(place[name]) for name in place if name[:2] != "--"}
            code = SIGNALLED.format((stops or {}).get(index, "")) if index in (stops or {}) else ""
            command = ["-c", code] if code else ["-m", "jaxmnist"]
            started.append(
                subprocess.Popen(
                    [sys.executable, *command, "train", *map(str, [*words, *own]), "--distributed"],
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def by_options(count: int, **more: object) -> list[dict]:
    address = f"127.0.0.1:{free_port()}"
    return [
        {
            "--coordinator-address": address,
            "--num-processes": count,
            "--process-id": index,
            **{f"--{name.replace('_', '-')}": value for name, value in more.items()},
        }
        for index in range(count)
    ]


def by_environment(count: int) -> list[dict]:
    address = f"127.0.0.1:{free_port()}"
    return [
        {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": count,
            "JAX_PROCESS_ID": index,
        }
        for index in range(count)
    ]


def by_slurm(count: int) -> list[dict]:
    port = free_port()
    return [
        {
            "SLURM_JOB_ID": 7,
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_NTASKS": count,
            "SLURM_STEP_NUM_NODES": 1,
            "SLURM_PROCID": index,
            "SLURM_LOCALID": index,
            "JAX_COORDINATOR_PORT": port,
            # SLURM's hosts are not known to be this one: without this, all its doors are open.
            "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
        }
        for index in range(count)
    ]


def ended(process: subprocess.Popen) -> tuple[int, list[str], str]:
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out.splitlines(), err


@pytest.fixture(scope="module")
def npz(first_digits_npz) -> Path:
    return first_digits_npz(160, 100)


@pytest.fixture(scope="module")
def alone(npz):
    """The run on one device, in this process."""
    return jm.fit(CONFIG, jm.load_dataset(npz))


def assert_is_the_run(folder: Path, alone, epochs: int = CONFIG.epochs) -> None:
    """The folder's metrics and weights are those of one process, to float32 rounding."""
    state, history = alone
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(epochs))
    for name, values in history._asdict().items():
        found = [line[name] for line in lines]
        np.testing.assert_allclose(found, values[:epochs], rtol=1e-5, atol=1e-6)
    if epochs == CONFIG.epochs:
        written = jm.interop.load_safetensors(folder / "model.safetensors")
        for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_killed_process_stops_the_other_three_and_the_run_goes_on(npz, alone, tmp_path):
    folder = tmp_path / "run"
    words = ["--dataset", npz, *OPTIONS, "--out", folder]
    with running(words, by_environment(4), {2: "SIGKILL"}) as started:
        assert started[2].wait(LIMIT) == -signal.SIGKILL
        killed = time.monotonic()
        others = [ended(started[index]) for index in (0, 1, 3)]
        # At once, long before the heartbeat's 30 s.
        assert time.monotonic() - killed < 15
    for status, _, err in others:
        assert status != 0
        assert re.fullmatch(rf"jaxmnist: {LOST}[^\n]*\n", err)
    # The third epoch's metrics may be written before its checkpoint, or both, or neither.
    epochs = (folder / "metrics.jsonl").read_text().count("\n")
    assert epochs in (2, 3)
    assert_is_the_run(folder, alone, epochs)

    # It resumes in two processes, which SLURM connects, to the results of one.
    with running(["--resume", folder], by_slurm(2)) as started:
        first, second = map(ended, started)
    assert (first[0], first[2]) == (0, "")
    assert second == (0, [], "")
    lines = [line.split(",")[0] for line in first[1]]
    (done,) = re.findall(r"^resuming after epoch ([23]) of 4$", lines[0])
    assert lines[1 : 5 - int(done)] == [f"epoch: {epoch}" for epoch in range(int(done), 4)]
    assert lines[-1] == f"wrote: {folder}"
    assert (folder / "predictions.csv").exists()
    assert_is_the_run(folder, alone)


def test_first_process_killed_stops_the_other(npz, alone, tmp_path):
    """It is the one that the others meet at, writes the files and prints."""
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    with running(words, by_options(2), {0: "SIGKILL"}) as started:
        assert started[0].wait(LIMIT) == -signal.SIGKILL
        killed = time.monotonic()
        status, out, err = ended(started[1])
        assert time.monotonic() - killed < 15
    assert (status != 0, out) == (True, [])
    assert re.fullmatch(rf"jaxmnist: {LOST}[^\n]*\n", err)
    assert_is_the_run(tmp_path / "run", alone, 3)


def test_silent_process_is_given_up_after_the_heartbeat_timeout(npz, tmp_path):
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    with running(words, by_options(2, heartbeat_timeout=3), {1: "SIGSTOP"}) as started:
        os.waitid(os.P_PID, started[1].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        stopped = time.monotonic()
        status, _, err = ended(started[0])
        assert 1 < time.monotonic() - stopped < 30
    assert status != 0
    assert err == f"jaxmnist: {LOST}\n"


def test_task_is_trained_by_two_processes_as_by_one(tmp_path):
    """Started by two for 2 epochs of 4 steps, and resumed by two for 2 more."""
    file, folder = tmp_path / "network.py", tmp_path / "run"
    file.write_text(TASK)
    sizes = "--batch-size", "16", "--eval-batch-size", "10", "--seed", "1"
    first = [file, *sizes, "--epochs", "2", "--checkpoint-every", "1", "--out", folder]
    for words in (first, ["--resume", folder, "--epochs", "4"]):
        with running(words, by_options(2)) as started:
            one, other = map(ended, started)
        assert (one[0], one[2]) == (0, "")
        assert other == (0, [], "")
    file = runs.TaskFile(str(file), TASK)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        task, data = file.task(jm.Config()), file.data(jm.Config())
        state, history = jm.fit(task, data, epochs=4, batch_size=16, eval_batch_size=10, seed=1)
        written = runs.load_model(runs.read(folder), data)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # As `assert_is_the_run`: other sums of 16 numbers, in 16 steps.
    for name, values in history.items():
        np.testing.assert_allclose([line[name] for line in lines], values, rtol=1e-5, atol=1e-6)
    for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(state.model), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------- refusals


def test_task_that_uses_jax_before_the_processes_meet_is_refused(tmp_path):
    (tmp_path / "early.py").write_text(TASK + "\nimport jax\nKEY = jax.random.key(0)\n")
    words = [tmp_path / "early.py", "--out", tmp_path / "run"]
    with running(words, by_options(2)[:1]) as started:
        status, out, err = ended(started[0])
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "JAX was used before the run's processes were connected" in err
    assert "move such lines into task or data" in err


def test_what_the_first_process_refuses_all_refuse(npz, tmp_path):
    (tmp_path / "curves.png").write_text("mine")
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path]
    with running(words, by_options(2)) as started:
        line = f"jaxmnist: {tmp_path} holds a run already (curves.png): "
        for status, out, err in map(ended, started):
            assert (status, out, err.count("\n")) == (2, [], 1)
            assert err.startswith(line)
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]


def test_processes_that_do_not_meet_say_so(npz, tmp_path):
    """Only one of two comes to one address, and no one at all to the other."""
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    places = [by_options(2, start_timeout=2)[index] for index in (0, 1)]
    with running(words, places) as started:
        for process, place in zip(started, places, strict=True):
            status, out, err = ended(process)
            assert (status != 0, out, err.count("\n")) == (True, [], 1)
            address = place["--coordinator-address"]
            assert err.startswith(f"jaxmnist: not all 2 processes met at {address} within 2 s:")
            assert "--num-processes" in err
    assert list(tmp_path.iterdir()) == []


def test_processes_that_are_not_known_say_what_is_missing():
    with running([], [{}, {"--coordinator-address": "127.0.0.1:1"}]) as started:
        (status, _, nothing), (also, _, no_number) = map(ended, started)
    assert (status, also) == (2, 2)
    for err, word in ((nothing, "coordinator_address"), (no_number, "Number of processes")):
        assert re.fullmatch(rf"jaxmnist: the run's processes are not known \({word}[^\n]*\n", err)
        assert "--coordinator-address HOST:PORT, --num-processes and --process-id" in err


def test_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(jm.InputError, match=f"cannot listen at {address}: .*another port"):
            processes.join(processes.Processes(address, num_processes=2, process_id=0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"coordinator_address": "127.0.0.1"}, "'127.0.0.1'; it must be HOST:PORT"),
        ({"coordinator_address": "here:99999"}, "'here:99999'; it must be HOST:PORT"),
        ({"num_processes": 0}, "num_processes is 0; .*at least 1"),
        ({"process_id": -1}, "process_id is -1; .*at least 0"),
        ({"num_processes": 2, "process_id": 2}, "process_id is 2; .*from 0 to 1"),
        ({"start_timeout": 0}, "start_timeout is 0; .*at least 1"),
        ({"heartbeat_timeout": 0}, "heartbeat_timeout is 0; .*at least 1"),
    ],
    ids=str,
)
def test_processes_that_cannot_be_are_refused(values, message):
    with pytest.raises(jm.InputError, match=message):
        processes.join(processes.Processes(**values))


def test_environment_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(jm.InputError, match="JAX_NUM_PROCESSES is 'two'"):
        processes.join(processes.Processes("127.0.0.1:1"))


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")]
)
def test_machine_whose_own_name_has_no_address_is_told_what_to_write(error, monkeypatch, refused):
    def resolve(name: str, *_: object) -> None:
        assert name == "nowhere-7"
        raise error

    def connect(*_: object, **__: object) -> None:
        pytest.fail("it must be refused before it connects")

    monkeypatch.setattr(socket, "gethostname", lambda: "nowhere-7")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(jax.distributed, "initialize", connect)
    with refused("own name, 'nowhere-7', has no address", "'127.0.0.1 nowhere-7' to /etc/hosts"):
        processes.join(processes.Processes("127.0.0.1:1", num_processes=2, process_id=1))


def test_process_that_is_alone_decides_for_itself():
    assert not processes.joined()
    assert processes.is_first()
    assert processes.from_first(lambda: {"epoch": 3}) == {"epoch": 3}
    processes.leave()
