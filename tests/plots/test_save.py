"""Writing a picture: whole files only, in formats that are known."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import jaxmnist as jm
from jaxmnist.plots.save import write_picture


def raises(*words: object):
    """Expect an InputError of one line that has every word."""
    pattern = "".join(f"(?=.*{re.escape(str(word))})" for word in words)
    return pytest.raises(jm.InputError, match=rf"\A{pattern}[^\n]*\Z")


def test_write_picture_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / "a.PNG"
    write_picture(Figure(figsize=(1, 1)), path)
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with raises(f"cannot write {path}", "No space left"):
            write_picture(Figure(figsize=(2, 2)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "pdf", "svg"])
def test_write_picture_knows_its_formats(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    write_picture(Figure(figsize=(1, 1)), path)
    assert path.stat().st_size > 100


@pytest.mark.parametrize("name", ["a", "a.txt", "a.pgf", ".png", "a.png.partial"])
def test_write_picture_refuses_other_formats(name, tmp_path):
    with raises(tmp_path / name, ".png, .jpg, .jpeg, .webp, .pdf, .svg"):
        write_picture(Figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
