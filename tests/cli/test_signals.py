"""A command that a signal stops: one line, the signal's status, and nothing lost."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

import jaxmnist as jm
from jaxmnist import runs

# The program, in which something happens first.
PROGRAM = """
import hashlib, os, signal, sys
{}
from jaxmnist.__main__ import main
main()
"""
# It sends itself a signal in the middle of the import of a module.
WHILE_IMPORTING = """
class Stopping:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Stopping())
"""
# Minutes in C, which Python's handlers of signals wait for.
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)"
LONG_START = f"""
from jaxmnist import runs
def long_start(*_, **__):
    print("busy", flush=True)
    {BUSY}
runs.open_run = long_start
"""
LONG_EPOCH = f"""
from jaxmnist.training import host_loop
run_epochs = host_loop.run_epochs
def long_epochs(run_epoch, *rest):
    def long_epoch(index, state):
        if index == 1:
            print("busy", flush=True)
            {BUSY}
        return run_epoch(index, state)
    return run_epochs(long_epoch, *rest)
host_loop.run_epochs = long_epochs
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
NAME = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@pytest.fixture
def start(tmp_path) -> Callable[..., subprocess.Popen]:
    """A function that starts the program with SIGINT as a terminal has it, or ignored."""

    def start(*words: object, code: str = "", ignored: bool = False) -> subprocess.Popen:
        handler = signal.SIG_IGN if ignored else signal.default_int_handler
        # A test run in the background may ignore SIGINT, and its children would too.
        own = signal.signal(signal.SIGINT, handler)
        command = ["-c", PROGRAM.format(code)] if code else ["-m", "jaxmnist"]
        try:
            return subprocess.Popen(
                [sys.executable, *command, *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        finally:
            signal.signal(signal.SIGINT, own)

    return start


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    """The exit status, and what is on stderr."""
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def read_until(process: subprocess.Popen, beginning: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            return
    pytest.fail(f"it ended before {beginning!r}: {end_of(process)}")


def train_words(npz, out, options) -> list:
    return ["train", "--dataset", npz, "--out", out, *options, "--checkpoint-every", "5"]


def test_sigterm_saves_the_epochs_state_and_the_resumed_run_has_the_same_bytes(
    start, npz, options, tmp_path, run_command, contents
):
    words = [*train_words(npz, tmp_path / "run", options), "--epochs", "100000"]
    process = start(*words)
    read_until(process, "epoch: 6")
    process.send_signal(signal.SIGTERM)
    status, err = end_of(process)
    done = (tmp_path / "run" / "metrics.jsonl").read_text().count("\n")
    line = f"after epoch {done} of 100000; to continue: jaxmnist train --resume {tmp_path / 'run'}"
    assert (status, err) == (143, f"jaxmnist: stopped by SIGTERM {line}\n")
    assert (tmp_path / "run" / "checkpoints" / str(done)).is_dir()

    # One more epoch each: of the run that was stopped, and of one that was not.
    again = tmp_path / "again"
    config = jm.Config(**{**vars(runs.read(tmp_path / "run").config), "epochs": done + 1})
    whole = jm.fit(config, jm.load_dataset(npz))
    about = tmp_path / "run" / "config.json"
    about.write_text(about.read_text().replace("100000", str(done + 1)))
    printed = run_command("train", "--resume", tmp_path / "run")
    assert f"resuming after epoch {done} of {done + 1}" in printed
    jm.interop.save_safetensors(whole[0].params, again)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == again.read_bytes()


@pytest.mark.slow_except("tyro-2", "jaxlib._jax-2")
@pytest.mark.parametrize(
    ("module", "number"),
    [("tyro", signal.SIGINT), ("jaxlib._jax", signal.SIGINT), ("optax", signal.SIGTERM)],
)
def test_signal_while_starting_ends_with_a_line(start, module, number, npz, options, tmp_path):
    code = WHILE_IMPORTING.format(module=module, number=number.name)
    process = start(*train_words(npz, tmp_path / "run", options), code=code)
    assert end_of(process) == (STATUS[number], f"jaxmnist: stopped by {NAME[number]}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_first_signal_ends_a_start_in_compiled_code_within_seconds(start, npz, options, tmp_path):
    process = start(*train_words(npz, tmp_path / "run", options), code=LONG_START)
    read_until(process, "busy")
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == (143, "jaxmnist: stopped by SIGTERM\n")
    assert time.monotonic() - sent < 10


@pytest.mark.slow
def test_second_signal_ends_a_long_epoch_at_once(start, npz, options, tmp_path):
    process = start(*train_words(npz, tmp_path / "run", options), code=LONG_EPOCH)
    read_until(process, "busy")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)  # The first one waits for the epoch.
    process.send_signal(signal.SIGINT)
    resume = f"jaxmnist train --resume {tmp_path / 'run'}"
    line = f"jaxmnist: stopped by Ctrl-C after epoch 1 of 2; to continue: {resume}\n"
    assert end_of(process) == (130, line)


@pytest.mark.slow
def test_ignored_signal_stays_ignored(start, npz, options, tmp_path):
    process = start(*train_words(npz, tmp_path / "run", options), ignored=True)
    read_until(process, "epoch: 0")
    process.send_signal(signal.SIGINT)
    assert end_of(process) == (0, "")


@pytest.mark.slow
def test_stopped_sweep_keeps_its_finished_runs(start, npz, tmp_path):
    words = ["sweep", "--dataset", npz, "--out", tmp_path / "sweep", "--hidden", "4"]
    words += ["--eval-batch-size", "48", "--epochs", "1", "--seed", "0..9999"]
    process = start(*words)
    cells = tmp_path / "sweep" / "cells.jsonl"
    limit = time.monotonic() + 60
    while not (cells.exists() and cells.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    kept = "; the runs that are finished are kept, and the same command trains the others"
    assert end_of(process) == (130, f"jaxmnist: stopped by Ctrl-C{kept}\n")
    assert cells.read_text().endswith("\n")
