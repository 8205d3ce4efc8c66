"""What classes are called: from TFDS, from folders, and of the sets that are known."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import data, runs
from jaxmnist.data import catalogue, class_names
from jaxmnist.data.catalogue import STANDARD_SETS, StandardSet
from jaxmnist.data.class_names import _NAMES, of_prepared

KMNIST = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", _NAMES)
def test_known_sets_have_a_name_for_each_class(name):
    standard, names = STANDARD_SETS[name], _NAMES[name]
    assert len(names) == (37 if name == "emnist/letters" else standard.labels.stop)
    assert len(set(names)) == len(names)
    if name.startswith("emnist/"):
        assert (names[10], names[11]) == (("J", "K") if name.endswith("letters") else ("A", "B"))


def test_prepared_set_has_tfds_names_also_from_the_cache_and_as_a_stream(prepared_kmnist, cache):
    for _ in range(2):  # The second time from the cache.
        assert jm.load_dataset("kmnist", prepared_kmnist).class_names == KMNIST
    assert data.open_stream("kmnist", prepared_kmnist).class_names == KMNIST
    assert class_names("kmnist", prepared_kmnist) == KMNIST
    assert class_names("tfds:kmnist:3.0.1", prepared_kmnist) == KMNIST


def test_numbers_are_no_names_unless_the_set_is_known(tmp_path):
    (tmp_path / "label.labels.txt").write_text("0\n1\n2\n")
    assert of_prepared(tmp_path, "mnist") == ()
    assert of_prepared(tmp_path, "emnist/balanced:3.0.0")[10] == "A"
    (tmp_path / "label.labels.txt").write_bytes(b"0\n\xff\x1b \n2")
    assert of_prepared(tmp_path, "mnist") == ("0", "\ufffd\x1b", "2")


def test_idx_files_and_npz_of_known_sets_have_names(tmp_path, write_idx, monkeypatch):
    labels = (np.arange(12) % 10).astype(np.uint8)
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    known = StandardSet("fashion_mnist", 12, 5, range(10), digest)
    monkeypatch.setitem(catalogue.STANDARD_SETS, "fashion_mnist", known)
    folder = write_idx(tmp_path / "idx", labels)
    assert jm.load_dataset(folder).class_names[9] == "Ankle boot"
    assert class_names(folder)[0] == "T-shirt/top"
    letters = write_idx(tmp_path / "letters", labels, "emnist-letters-")
    assert jm.load_dataset(letters).class_names == ("0", *"ABCDEFGHI")
    images = np.zeros((12, 28, 28), np.uint8)
    path = tmp_path / "some.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert jm.load_dataset(path).class_names == class_names(path) == _NAMES["fashion_mnist"]
    np.savez(path, x_train=images, y_train=labels[::-1], x_test=images, y_test=labels)
    assert jm.load_dataset(path).class_names == class_names(path) == ()


@pytest.fixture
def write_idx():
    def write(folder: Path, labels: np.ndarray, prefix: str = "") -> Path:
        folder.mkdir()
        for part in ("train", "test" if prefix else "t10k"):
            for kind, array in (
                ("images-idx3", np.zeros((labels.size, 28, 28), np.uint8)),
                ("labels-idx1", labels),
            ):
                head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
                (folder / f"{prefix}{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
        return folder

    return write


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_folders_of_images_name_their_classes(parts, tmp_path):
    names = ["$x^2$", "<script>", "a\nb", "z" * 200]
    for part in parts:
        for name in names:
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for index in range(5):
                Image.new("L", (4, 4)).save(tmp_path / "set" / part / name / f"{index}.png")
    assert class_names(tmp_path / "set") == tuple(sorted(names))
    (_, labels), _ = data.load_arrays(tmp_path / "set")
    assert set(labels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "name", ["mnist", "no such set", "/no/such/place", "emnist/letters", "x.npz"]
)
def test_what_is_not_there_has_no_names(name, tmp_path):
    assert class_names(name, tmp_path) == ()


def test_names_are_one_for_each_class_or_none(refused):
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, int)
    arrays = (images, labels, images, labels)
    with refused("blank: 1 class_names for 2 classes"):
        jm.Dataset(*arrays, num_classes=2, name="blank", class_names=("a",))


def test_run_keeps_the_names_and_one_of_before_is_given_them(prepared_kmnist, tmp_path, cache):
    path = tmp_path / "run"
    config = jm.Config(hidden=(4,), epochs=1, eval_batch_size=48)
    session = runs.open_run(config, "kmnist", str(prepared_kmnist), checkpoint_every=1, path=path)
    session.close()
    about = json.loads((path / "config.json").read_text())
    assert tuple(about["class_names"]) == session.run.class_names == KMNIST
    assert (session.run.class_name(1), session.run.class_name(10)) == ("ki", "10")
    del about["class_names"]
    (path / "config.json").write_text(json.dumps(about))
    assert runs.read(path).class_names == ()
    resumed = runs.open_run(config, resume=path)
    resumed.close()
    assert runs.read(path).class_names == resumed.run.class_names == KMNIST
    for wrong in ("a", ["a", 1], {"a": 1}):
        (path / "config.json").write_text(json.dumps({**about, "class_names": wrong}))
        with pytest.raises(jm.InputError, match="class_names"):
            runs.read(path)


def test_changed_names_are_read_anew(prepared_kmnist, tmp_path, cache):
    shutil.copytree(prepared_kmnist / "kmnist", tmp_path / "kmnist")
    assert jm.load_dataset("kmnist", tmp_path).class_names == KMNIST
    (tmp_path / "kmnist/3.0.1/label.labels.txt").write_text("\n".join("abcdefghij"))
    assert jm.load_dataset("kmnist", tmp_path).class_names == tuple("abcdefghij")
