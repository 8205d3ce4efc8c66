"""A file is whole or as it was, and nothing but a regular file is written or read."""

import os
import secrets
import stat
from pathlib import Path

import pytest

import jaxmnist as jm
from jaxmnist import atomic


@pytest.fixture
def victim(tmp_path) -> Path:
    path = tmp_path / "victim"
    path.write_text("mine")
    return path


def test_write_whole_replaces_a_link_and_leaves_its_target(victim, tmp_path):
    (tmp_path / "it").symlink_to(victim)
    atomic.write_whole(tmp_path / "it", b"new")
    assert victim.read_text() == "mine"
    assert (tmp_path / "it").read_bytes() == b"new"
    assert not (tmp_path / "it").is_symlink()


def test_planted_partial_files_are_not_followed(victim, tmp_path, monkeypatch):
    """Not under the name that was used before, nor under one that was guessed."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    names = ("it.partial", ".it.guessed.partial")
    for name in names:
        (tmp_path / name).symlink_to(victim)
    with pytest.raises(jm.InputError, match=r"cannot write .*: File exists"):
        atomic.write_whole(tmp_path / "it", b"new")
    assert victim.read_text() == "mine"
    assert all((tmp_path / name).is_symlink() for name in names)
    monkeypatch.undo()
    atomic.write_whole(tmp_path / "it", b"new")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, FileExistsError])
def test_block_that_fails_leaves_what_was_there_and_nothing_else(error, victim, tmp_path):
    def write() -> None:
        with atomic.replacing(victim) as file:
            file.write(b"half")
            raise error

    with pytest.raises(jm.InputError if error is FileExistsError else error):
        write()
    assert victim.read_text() == "mine"
    assert [*tmp_path.iterdir()] == [victim]


@pytest.mark.parametrize("through_link", [False, True])
def test_devices_fifos_and_folders_are_neither_replaced_nor_read(through_link, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, word in (("fifo", "FIFO"), ("folder", "Is a directory"), ("/dev/null", "device")):
        place = tmp_path / name
        if through_link:
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(place)
        path = tmp_path / "link" if through_link else place
        before = path.lstat()
        with pytest.raises(jm.InputError, match=f"cannot write {path}: .*{word}"):
            atomic.write_whole(path, b"new")
        with pytest.raises(jm.InputError, match=f"cannot write {path}: "):
            atomic.append(path, b"new")
        with pytest.raises(OSError, match=word):
            atomic.read_whole(path)
        assert path.lstat().st_mode == before.st_mode
        assert path.lstat().st_ino == before.st_ino


def test_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(tmp_path, monkeypatch):
    done = []
    flush, rename = os.fsync, Path.replace
    kind = {True: "folder", False: "file"}

    def flushed(descriptor: int) -> None:
        flush(descriptor)
        done.append(kind[stat.S_ISDIR(os.fstat(descriptor).st_mode)])

    def renamed(path: Path, other: Path) -> Path:
        done.append("rename")
        return rename(path, other)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    atomic.write_whole(tmp_path / "it", b"new")
    assert done == ["file", "rename", "folder"]
    done.clear()
    for _ in range(2):
        atomic.append(tmp_path / "lines", b"line\n")
    assert done == ["file", "folder", "file"]
    assert (tmp_path / "lines").read_bytes() == b"line\nline\n"


def test_append_that_fails_leaves_no_half_line(tmp_path, monkeypatch):
    atomic.append(tmp_path / "lines", b"first\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(jm.InputError, match=r"cannot write .*lines: No space left"):
        atomic.append(tmp_path / "lines", b"second\n")
    assert (tmp_path / "lines").read_bytes() == b"first\n"


def test_modes_are_those_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    atomic.write_whole(tmp_path / "it", b"new")
    assert (tmp_path / "it").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_long_names_can_be_written_and_leftovers_removed(tmp_path):
    for name in ("x" * 255, "é" * 127):
        atomic.write_whole(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    (tmp_path / ".it.0123.partial").touch()
    (tmp_path / "mine.partial").touch()
    atomic.remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"x" * 255, "é" * 127, "mine.partial"}


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_interruption_after_any_call_leaves_no_partial_file(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    owner = Path if call == "replace" else os
    real = getattr(owner, call)

    def interrupted(*arguments, **keywords):
        real(*arguments, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_whole(path, b"new")
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() in (b"old", b"new")
