"""One run of several real processes on this machine, one of which may be killed.

Every process listens and talks on 127.0.0.1 only, and is killed and reaped when its test ends.
"""

import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm

# Softmax regression, and test batches that are all whole: little to compile for many processes.
CONFIG = jm.Config(hidden=(), optimizer="momentum", epochs=4, eval_batch_size=50, seed=1)
OPTIONS = (
    *("--hidden", "--optimizer", "momentum", "--epochs", "4", "--eval-batch-size", "50"),
    *("--seed", "1", "--checkpoint-every", "1"),
)
LOST = "another process of this run stopped or cannot be reached, so this one stops too"


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


@pytest.mark.slow
def test_killed_process_stops_the_other_three_and_the_run_goes_on(
    npz, alone, tmp_path, running, by_environment, by_slurm, ended, limit
):
    folder = tmp_path / "run"
    words = ["--dataset", npz, *OPTIONS, "--out", folder]
    with running(words, by_environment(4), {2: "SIGKILL"}) as started:
        assert started[2].wait(limit) == -signal.SIGKILL
        killed = time.monotonic()
        others = [ended(started[index]) for index in (0, 1, 3)]
        # At once, long before the heartbeat's 30 s.
        assert time.monotonic() - killed < 15
    for status, _, err in others:
        assert status == 1
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
    assert lines.pop(1) == "the machine is not as it was (devices 4 before"  # 2 now
    assert lines[1 : 5 - int(done)] == [f"epoch: {epoch}" for epoch in range(int(done), 4)]
    assert lines[-1] == f"wrote: {folder}"
    assert (folder / "predictions.csv").exists()
    assert_is_the_run(folder, alone)


@pytest.mark.slow
def test_first_process_killed_stops_the_other(
    npz, alone, tmp_path, running, by_options, ended, limit
):
    """It is the one that the others meet at, writes the files and prints."""
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    with running(words, by_options(2), {0: "SIGKILL"}) as started:
        assert started[0].wait(limit) == -signal.SIGKILL
        killed = time.monotonic()
        status, out, err = ended(started[1])
        assert time.monotonic() - killed < 15
    assert (status, out) == (1, [])
    assert re.fullmatch(rf"jaxmnist: {LOST}[^\n]*\n", err)
    assert_is_the_run(tmp_path / "run", alone, 3)


@pytest.mark.slow
def test_silent_process_is_given_up_after_the_heartbeat_timeout(
    npz, tmp_path, running, by_options, ended
):
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    with running(words, by_options(2, heartbeat_timeout=3), {1: "SIGSTOP"}) as started:
        os.waitid(os.P_PID, started[1].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        stopped = time.monotonic()
        status, _, err = ended(started[0])
        assert 1 < time.monotonic() - stopped < 30
    assert status == 1
    assert err == f"jaxmnist: {LOST}\n"


@pytest.mark.slow
def test_signal_to_one_process_stops_both_after_the_same_epoch(
    npz, alone, tmp_path, running, by_options, ended
):
    folder = tmp_path / "run"
    # The last of these options count: no checkpoint is due when the signal comes.
    words = ["--dataset", npz, *OPTIONS, "--epochs", "6", "--checkpoint-every", "6"]
    with running([*words, "--out", folder], by_options(2), {1: "SIGTERM"}) as started:
        ends = [ended(process) for process in started]
    line = (
        "jaxmnist: stopped by SIGTERM after epoch 4 of 6; to continue: "
        f"jaxmnist train --resume {folder} --distributed\n"
    )
    assert [(status, err) for status, _, err in ends] == [(143, line)] * 2
    assert_is_the_run(folder, alone, 4)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["4"]


def listening(pid: int) -> set[str]:
    """The addresses at which a process listens, as the kernel writes them."""
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # It was closed in the meantime.
            sockets.add(str(file.readlink()))
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {
        line[1].split(":")[0]
        for line in lines
        if line[3] == "0A" and f"socket:[{line[9]}]" in sockets
    }


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, and the same in IPv6's form."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="this system lists no sockets")
def test_processes_of_one_machine_listen_at_the_loopback_interface_alone(
    npz, tmp_path, running, by_options
):
    words = ["--dataset", npz, *OPTIONS, "--epochs", "100000", "--out", tmp_path / "run"]
    places = by_options(2)
    port = places[0]["--coordinator-address"].rpartition(":")[2]
    for place, host in zip(places, ("localhost", "[::1]"), strict=True):
        place["--coordinator-address"] = f"{host}:{port}"
    with running(words, places) as started:
        assert started[0].stdout is not None
        assert started[0].stdout.readline().startswith("epoch: 0")
        assert [listening(process.pid) <= LOOPBACK for process in started] == [True, True]
        assert listening(started[1].pid)  # Gloo's; the other has the service's, too.


# ------------------------------------------------------------------------------- refusals


@pytest.mark.slow
def test_processes_refuse_by_themselves_before_they_join(
    npz, tmp_path, running, by_options, ended, limit
):
    """One of two, whose partner never comes: they refuse long before the time to wait is over."""
    (tmp_path / "curves.png").write_text("mine")
    options = {"--process-id": 0, "--start-timeout": 3 * limit}
    cases = (
        (["--dataset", npz, "--out", tmp_path], "holds a run already (curves.png)"),
        (["--dataset", tmp_path / "none.npz"], "none.npz: cannot be opened"),
        (["--dataset", npz, "--batch-size", 500], "batch_size is 500; the data has only 160"),
        (["--resume", tmp_path], "holds no run"),
    )
    places = [{**by_options(2)[0], **options} for _ in cases]
    for (words, message), place in zip(cases, places, strict=True):
        with running(words, [place]) as started:
            status, out, err = ended(started[0])
        assert (status, out, err.count("\n")) == (2, [], 1)
        assert message in err


@pytest.mark.slow
def test_what_the_first_process_refuses_all_refuse(npz, tmp_path, running, by_options, ended):
    (tmp_path / "curves.png").write_text("mine")
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path]
    with running(words, by_options(2)) as started:
        line = f"jaxmnist: {tmp_path} holds a run already (curves.png): "
        for status, out, err in map(ended, started):
            assert (status, out, err.count("\n")) == (2, [], 1)
            assert err.startswith(line)
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["options", "data"])
def test_process_with_other_options_or_data_stops_all_with_what_differs(
    what, npz, tmp_path, running, by_options, ended
):
    """The same command on two hosts, whose files of the same name are not the same."""
    places = by_options(2)
    for index, place in enumerate(places):
        (tmp_path / str(index)).mkdir()
        place["PWD"] = tmp_path / str(index)
        with np.load(npz) as arrays:
            changed = dict(arrays)
        if what == "data":
            changed["y_train"] = np.roll(changed["y_train"], index)
        else:
            place["--batch-size"] = 32 + index
        np.savez(tmp_path / str(index) / "few.npz", **changed)
    words = ["--dataset", "few.npz", *OPTIONS, "--out", "run"]
    said = {
        "options": "was started with different options than process 0: batch_size is 33, and 32",
        "data": "has other data than process 0: few.npz has the SHA-256 ",
    }
    with running(words, places) as started:
        for status, out, err in map(ended, started):
            assert (status, out, err.count("\n")) == (2, [], 1)
            assert err.startswith(f"jaxmnist: process 1 {said[what]}")
    assert not (tmp_path / "0" / "run").exists()


@pytest.mark.slow
def test_processes_that_do_not_meet_say_so(npz, tmp_path, running, by_options, ended):
    """Only one of two comes to one address, and no one at all to the other."""
    words = ["--dataset", npz, *OPTIONS, "--out", tmp_path / "run"]
    places = [by_options(2, start_timeout=2)[index] for index in (0, 1)]
    with running(words, places) as started:
        for process, place in zip(started, places, strict=True):
            status, out, err = ended(process)
            assert (status, out, err.count("\n")) == (2, [], 1)
            address = place["--coordinator-address"]
            assert err.startswith(f"jaxmnist: not all 2 processes met at {address} within 2 s:")
            assert "--num-processes" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_processes_that_are_not_known_say_what_is_missing(running, ended):
    with running([], [{}, {"--coordinator-address": "127.0.0.1:1"}]) as started:
        (status, _, nothing), (also, _, no_number) = map(ended, started)
    assert (status, also) == (2, 2)
    for err, word in ((nothing, "coordinator_address"), (no_number, "Number of processes")):
        assert re.fullmatch(rf"jaxmnist: the run's processes are not known \({word}[^\n]*\n", err)
        assert "--coordinator-address HOST:PORT, --num-processes and --process-id" in err
