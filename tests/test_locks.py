"""A folder has one writer: who comes second is told who that is, and death frees the folder."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

import jaxmnist as jm
from jaxmnist import locks

HOLD = """
import sys, time
from pathlib import Path
from jaxmnist import locks
locks.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_is_told_who_holds_the_lock_and_death_frees_it(holder, tmp_path):
    with pytest.raises(jm.InputError) as refusal:
        locks.take(tmp_path)
    said = re.escape(f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()} ")
    assert re.fullmatch(
        said + r"since 20\d\d-[^\n]+ \(-c [^\n]+\): wait for it[^\n]*", str(refusal.value)
    )
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(jm.InputError, match="is in use by"):
        locks.take(tmp_path / "link")  # Under another name as well.
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / locks.NAME).exists()
    locks.take(tmp_path)
    locks.release(tmp_path)
    assert not (tmp_path / locks.NAME).exists()


def test_look_at_whether_a_folder_is_free_refuses_nobody(monkeypatch, tmp_path):
    """A look holds the lock for an instant: who takes it then waits, and is not refused."""
    looking = os.open(tmp_path / locks.NAME, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    assert locks.take(tmp_path)
    os.close(looking)
    locks.release(tmp_path)


def test_holder_that_is_just_writing_who_it_is_is_named(holder, monkeypatch, tmp_path):
    about = (tmp_path / locks.NAME).read_bytes()
    (tmp_path / locks.NAME).write_bytes(b"")
    monkeypatch.setattr("time.sleep", lambda _: (tmp_path / locks.NAME).write_bytes(about))
    with pytest.raises(jm.InputError, match=f"is in use by process {holder.pid} "):
        locks.take(tmp_path)


def test_process_may_take_its_own_lock_again_and_a_block_releases_it(tmp_path):
    ends = []
    with locks.released_at_end():
        locks.take(tmp_path, lambda: ends.append((tmp_path / locks.NAME).exists()))
        locks.take(tmp_path)
        assert ends == []
    assert ends == [True]
    assert list(tmp_path.iterdir()) == []
    locks.release(tmp_path)


def test_block_leaves_locks_of_before(tmp_path):
    locks.take(tmp_path)
    with locks.released_at_end():
        locks.take(tmp_path)
    assert (tmp_path / locks.NAME).exists()
    locks.release(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b"[" * 5000])
def test_holder_that_says_nothing_is_another_process(content, holder, tmp_path):
    (tmp_path / locks.NAME).write_bytes(content)
    with pytest.raises(jm.InputError, match="is in use by another process"):
        locks.take(tmp_path)


def test_planted_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / locks.NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(jm.InputError, match="cannot write"):
        locks.take(tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"


def test_file_system_without_locks_is_said(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"):
        locks.take(tmp_path)
