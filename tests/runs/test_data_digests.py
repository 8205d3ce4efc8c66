"""The SHA-256 of a run's data: the same in memory and streamed, another where they differ."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import runs
from jaxmnist.data import StoredPart, StoredSet, load_arrays, open_arrays, stored_arrays
from jaxmnist.runs import digests


def run_on(dataset, data_dir=None) -> runs.Run:
    return runs.Run(Path("run"), jm.Config(), 10, dataset, data_dir)


def write_npz(path, changed=()) -> None:
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(7, 3, 2)))
    for index in changed:
        x[index] += 1
    np.savez(path, x_train=x, y_train=np.arange(7), x_test=x[:4], y_test=np.arange(4))


def write_images(path, changed=()) -> None:
    for index in range(5):
        pixels = np.full((3, 4), index + 9 * (index in changed), np.uint8)
        (path / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / "a" / f"{index}.png")


@pytest.mark.parametrize(("name", "write"), [("a.npz", write_npz), ("images", write_images)])
def test_digest_is_that_in_memory(name, write, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_PIECE_BYTES", 100)  # Two samples of the .npz.
    run = run_on(str(tmp_path / name))
    found = []
    for changed in ((), (4,), (3,)):
        write(tmp_path / name, changed)
        found += [digests.of_data(run.data(load), run) for load in (load_arrays, open_arrays)]
    assert found[::2] == found[1::2]
    assert len(set(found)) == 3


def test_digest_of_a_prepared_set_is_that_in_memory(prepared_colours):
    run = run_on("tfds:colours", str(prepared_colours))
    found = {digests.of_data(run.data(load), run) for load in (load_arrays, open_arrays)}
    assert len(found) == 1


def test_digest_of_data_of_its_own_is_that_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_PIECE_BYTES", 64)
    np.save(tmp_path / "x.npy", np.arange(24.0).reshape(6, 4))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    train, test = {"x": mapped, "y": (np.arange(6),)}, {"x": mapped[:2], "y": (np.arange(2),)}
    stored = stored_arrays(train, test)
    run = run_on(None)
    whole = digests.of_data((train, test), run)
    assert digests.of_data(stored, run) == whole
    shifted = StoredPart(6, lambda rows: stored.train.read([(row + 1) % 6 for row in rows]))
    assert digests.of_data(StoredSet(shifted, stored.test), run) != whole
