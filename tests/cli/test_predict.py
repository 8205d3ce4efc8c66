"""`jaxmnist predict`: its table, and how it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def digit(dataset, tmp_path) -> Path:
    """The first test image as a PNG."""
    path = tmp_path / "digit.png"
    Image.fromarray(dataset.test_images[0]).save(path)
    return path


def expected_row(name: str, label: str, logits: np.ndarray) -> list[str]:
    odds = np.exp(logits - logits.max())
    first, second = np.argsort(-odds)[:2]
    share = odds / odds.sum()
    return [name, label, str(first), f"{share[first]:.4f}", str(second), f"{share[second]:.4f}"]


@pytest.mark.slow
def test_predict_by_index_and_by_image(
    run, fitted, dataset, digit, run_command, rows_of, logits_of
):
    logits = logits_of(fitted[0].params, dataset.test_images)
    printed = run_command("predict", run, "--indices", 0, 99, 7, 7, "--images", digit)
    labels = dataset.test_labels
    assert rows_of(printed) == [
        *(expected_row(f"test image {i}", str(labels[i]), logits[i]) for i in (0, 99, 7, 7)),
        expected_row(str(digit), "", logits[0]),
    ]
    assert "\x1b" not in printed


@pytest.mark.slow
def test_predict_piped_gives_names_in_full(run, digit, tmp_path, run_command, rows_of):
    names = ["x" * 120 + ".png", "two words.png", "[bold]b.png", "[", "[red", ":smile:.png"]
    for name in names:
        shutil.copy(digit, tmp_path / name)
    printed = run_command("predict", run, "--images", *(tmp_path / name for name in names))
    assert [row[0] for row in rows_of(printed)] == [str(tmp_path / name) for name in names]
    assert all(len(row) == 6 for row in rows_of(printed))


@pytest.mark.parametrize("index", ["100", "-1", str(10**30)])
def test_predict_refuses_an_index_that_is_not_there(index, run, refused):
    arguments = ["predict", run, "--indices", "0", index]
    assert refused(arguments, f"no test image {index}", "0 to 99") == ""


def test_predict_draws_what_the_network_was_shown(run, digit, tmp_path, run_command, refused):
    out = tmp_path / "shown.png"
    printed = run_command("predict", run, "--images", digit, "--show-input", out)
    assert printed.endswith(f"wrote: {out}\n")
    with Image.open(out) as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    refused(["predict", run, "--indices", "0", "--show-input", out], "--show-input", "--images")


def test_predict_refuses_words_for_indices_and_nothing_at_all(run, refused):
    refused(["predict", run, "--indices", "two"], "--indices cannot be 'two'", "INT")
    refused(["predict", run], "nothing to predict", "--indices", "--images")


def test_predict_refuses_pictures_that_cannot_be_read(run, digit, tmp_path, refused):
    (tmp_path / "words.png").write_text("seven")
    (tmp_path / "empty.png").touch()
    Image.new("L", (40, 50), 200).save(tmp_path / "blank.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    (tmp_path / "folder.png").mkdir()
    for name, word in (
        ("missing.png", "No such file"),
        ("words.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("blank.png", "no digit"),
        ("cut.png", "truncated"),
        ("folder.png", "Is a directory"),
    ):
        path = tmp_path / name
        assert refused(["predict", run, "--images", digit, path], str(path), word) == ""


@pytest.mark.slow
def test_predict_works_with_a_single_class(
    tmp_path, run_command, write_npz, rows_of, untrained_run
):
    npz = write_npz(tmp_path / "zeros.npz", classes=1)
    folder = untrained_run(tmp_path / "run", npz, num_classes=1)
    (row,) = rows_of(run_command("predict", folder, "--indices", 0))
    assert row[:4] == ["test image 0", "0", "0", "1.0000"]


@pytest.mark.parametrize("command", [["predict", "--indices", "0"], ["evaluate"]], ids=" ".join)
def test_run_that_is_none_is_refused(command, run, tmp_path, refused, npz):
    name, *rest = command
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty", npz):
        refused([name, place, *rest], str(place), "holds no run", "config.json")
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "config.json").write_text("{")
    refused([name, folder, *rest], str(folder / "config.json"), "no run's configuration")
    shutil.copy(run / "config.json", folder)
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-1])
    refused([name, folder, *rest], str(folder / "model.safetensors"), "not a whole safetensors")
