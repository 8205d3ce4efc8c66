"""`jaxmnist data`: what it lists, draws and refuses."""

import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm


def test_data_list_names_every_set_and_where_it_lies(tmp_path, run_command, rows_of):
    place = tmp_path / ("deep[red]" * 20)
    (place / "kmnist" / "3.0.1").mkdir(parents=True)
    (place / "kmnist" / "3.0.1" / "dataset_info.json").touch()
    rows = rows_of(run_command("data", "list", "--data-dir", place))
    assert rows == [
        [row.name, row.source, str(row.path or f"not here: jaxmnist data prepare {row.name}")]
        for row in jm.data.available(place)
    ]
    assert ["kmnist", "tfds", str(place / "kmnist" / "3.0.1")] in rows
    assert rows[0][:2] == ["mnist", "bundled"]


def test_data_show_describes_and_draws(npz, tmp_path, run_command):
    line = f"{npz}: 300 training and 100 test images, 10 classes\n"
    assert run_command("data", "show", npz) == line
    out = tmp_path / "digits.png"
    assert run_command("data", "show", npz, "--out", out) == f"{line}wrote: {out}\n"
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["digits", "digits.txt", "digits.pgf", "digits.raw"])
def test_data_show_refuses_a_picture_of_another_kind(name, npz, tmp_path, refused):
    refused(["data", "show", npz, "--out", tmp_path / name], str(tmp_path / name), ".png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_data_show_refuses_a_place_that_cannot_be_written(npz, tmp_path, refused):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for place, word in (
        ("nowhere/digits.png", "No such file"),
        ("file/digits.png", "Not a directory"),
        ("folder.png", "Is a directory"),
    ):
        path = tmp_path / place
        refused(["data", "show", npz, "--out", path], f"cannot write {path}", word)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.png"]
    refused(["data", "show", "nope"], "'nope'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], ["'nope'", "cannot be prepared", "kmnist"]),
        (["fashion-mnist"], ["'fashion-mnist'"]),
        (["mnist2", "--from", "."], ["'mnist2'", "did you mean 'mnist'?"]),
        (["../mnist"], ["'../mnist'", "not a TFDS name"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_data_prepare_refuses_a_name_that_is_none(arguments, words, tmp_path, refused):
    refused(["data", "prepare", *arguments, "--data-dir", tmp_path / "sets"], *words)
    assert list(tmp_path.iterdir()) == []


def test_data_prepare_does_nothing_twice(tmp_path, run_command):
    place = tmp_path / "kmnist" / "3.0.1"
    place.mkdir(parents=True)
    (place / "dataset_info.json").touch()
    printed = run_command("data", "prepare", "kmnist", "--data-dir", tmp_path)
    assert printed == f"already prepared: {place}\n"
