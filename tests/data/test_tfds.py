"""Sets of TensorFlow Datasets: read and cached without TensorFlow."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmnist.data import load_dataset, preparation, prepare, prepared_directory
from jaxmnist.data import tfds as reading
from jaxmnist.data.cache import cache_directory

TRAIN, TEST = 90, 70  # Below 64 KiB, array_record refuses a file as too small to be one.

pytestmark = pytest.mark.usefixtures("small_and_at_home")


def cached() -> list[Path]:
    return list(cache_directory().iterdir())


def test_prepared_set_holds_what_the_idx_files_hold(root, source, pairs):
    dataset = load_dataset("kmnist", root)
    assert (dataset.name, dataset.num_classes) == ("kmnist", 10)
    assert pairs(dataset) == pairs(load_dataset(source))


@pytest.mark.parametrize(
    "expression",
    [
        "tfds.data_source('kmnist', data_dir=root)",
        "tfds.builder('kmnist', data_dir=root).as_data_source()",
        "tfds.builder_from_directory(root + '/kmnist/3.0.1').as_data_source()",
    ],
)
def test_prepared_set_is_tfds_own(root, source, expression, pairs):
    code = f"""
import sys
import tensorflow_datasets as tfds
root = sys.argv[1]
splits = {expression}
for split in ("train", "test"):
    for example in splits[split]:
        assert example["image"].shape == (28, 28, 1), example["image"].shape
        print(split, example["image"].tobytes().hex(), int(example["label"]))
assert "tensorflow" not in sys.modules
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(root)], check=True, capture_output=True, text=True
    ).stdout
    expected = [
        f"{split} {image.hex()} {label}"
        for split, examples in pairs(load_dataset(source)).items()
        for image, label in examples
    ]
    assert sorted(out.splitlines()) == sorted(expected)


@pytest.mark.slow
def test_nothing_is_printed_and_tensorflow_stays_out(source, tmp_path):
    code = """
import sys
from jaxmnist.data import catalogue, load_dataset, prepare
catalogue.STANDARD_SETS["kmnist"] = catalogue.StandardSet("kmnist", 90, 70, range(10))
prepare("kmnist", sys.argv[1])
load_dataset("kmnist")
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, str(source)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "elsewhere")},
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "elsewhere" / "kmnist" / "3.0.1").is_dir()


def test_version_in_the_name(root, refused):
    assert load_dataset("tfds:kmnist:3.0.1", root).name == "kmnist:3.0.1"
    with refused("'kmnist:2.0.0'", "not prepared", root, f"prepare kmnist --data-dir {root}"):
        load_dataset("tfds:kmnist:2.0.0", root)


def test_newest_version_is_read(root):
    older, newer = root / "kmnist" / "3.0.9", root / "kmnist" / "3.0.10"
    shutil.copytree(root / "kmnist" / "3.0.1", older)
    shutil.copytree(root / "kmnist" / "3.0.1", newer)
    assert prepared_directory("kmnist", root) == newer
    (newer / "dataset_info.json").unlink()
    assert prepared_directory("kmnist", root) == older


def test_missing_set_says_how_to_prepare_it(tmp_path, refused):
    with refused("'emnist/digits'", tmp_path / "default", "jaxmnist data prepare emnist/digits"):
        load_dataset("emnist/digits")
    with refused("'emnist/digit'", "did you mean 'emnist/digits'?", "array_record"):
        load_dataset("tfds:emnist/digit")


def edit_json(path: Path, old: str, new: str) -> None:
    text = json.dumps(json.loads(path.read_text()))
    assert old in text
    path.write_text(text.replace(old, new))


RECORDS = "kmnist-train.array_record-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: (d / RECORDS).unlink(), ["No such file"]),
        (lambda d: (d / RECORDS).write_bytes(b""), []),
        (lambda d: os.truncate(d / RECORDS, 70_000), []),
        (lambda d: (d / RECORDS).write_bytes(bytes(200_000)), []),
        (lambda d: os.truncate(d / "dataset_info.json", 300), ["JSON"]),
        (lambda d: (d / "dataset_info.json").write_text("{}"), []),
        (lambda d: (d / "dataset_info.json").write_text("[]"), []),
        (lambda d: os.truncate(d / "features.json", 100), []),
        (lambda d: (d / "features.json").unlink(), []),
        (lambda d: edit_json(d / "dataset_info.json", '"90"', '"91"'), []),
    ],
)
def test_damaged_set_says_so(root, damage, words, refused):
    directory = root / "kmnist" / "3.0.1"
    damage(directory)
    with refused(directory, "cannot be read", "prepare again", *words):
        load_dataset("kmnist", root)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("features.json", '"image": {"image"', '"picture": {"image"', ["label, picture", "image"]),
        ("features.json", '"28", "28", "1"', '"32", "32", "3"', ["(32, 32, 3)", "(28, 28, 1)"]),
        ("dataset_info.json", '"name": "test"', '"name": "dev"', ["train, dev", "test"]),
        ("dataset_info.json", '"array_record"', '"tfrecord"', ["tfrecord", "--data-dir"]),
        ("features.json", '"numClasses": "10"', '"numClasses": "5"', ["train record", "5 classes"]),
    ],
)
def test_set_of_another_kind_says_so(root, file, old, new, words, refused):
    directory = root / "kmnist" / "3.0.1"
    edit_json(directory / file, old, new)
    with refused(directory, *words):
        load_dataset("kmnist", root)


class _Broken:
    """Stands for an image that is written as half a PNG file."""

    def __init__(self, array: np.ndarray):
        self.image = _fromarray(array)

    def save(self, file: io.BytesIO, kind: str) -> None:
        png = io.BytesIO()
        self.image.save(png, kind)
        file.write(png.getvalue()[:400])


_fromarray = preparation.Image.fromarray


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (lambda image: _fromarray(image).resize((32, 28)), ["32x28 pixels", "28x28"]),
        (lambda image: _fromarray(image).convert("RGB"), ["mode RGB"]),
        (_Broken, ["cannot be read", "truncated"]),
    ],
)
def test_images_of_another_kind(tmp_path, source, monkeypatch, encode, words, refused):
    monkeypatch.setattr(preparation.Image, "fromarray", encode)
    prepare("kmnist", source, tmp_path)
    with refused(tmp_path / "kmnist", *words):
        load_dataset("kmnist", tmp_path)


def test_emnist_is_stored_as_published_and_read_upright(tmp_path, idx_files, write, pairs):
    files = idx_files("emnist-letters-")
    source = write(tmp_path / "idx", files | idx_files("emnist-digits-"))
    prepare("emnist/letters", source, tmp_path)
    letters = load_dataset("emnist/letters", tmp_path)
    assert letters.num_classes == 37
    only = write(tmp_path / "only", files)
    assert pairs(letters) == pairs(load_dataset(only))  # An IDX folder of EMNIST is upright too.
    raw = gzip.decompress(files["emnist-letters-test-images-idx3-ubyte.gz"])[16 : 16 + 784]
    image = np.frombuffer(raw, np.uint8).reshape(28, 28)
    assert image.T.tobytes() in [each for each, _ in pairs(letters)["test"]]


def test_second_load_reads_no_record(root, monkeypatch, pairs):
    first = load_dataset("kmnist", root)
    monkeypatch.setattr(reading, "_decode", None)
    second = load_dataset("kmnist", root)
    assert (second.num_classes, second.name) == (first.num_classes, "kmnist")
    assert pairs(second) == pairs(first)


def count_decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    decode = reading._decode

    def counting(directory, name):
        calls.append(name)
        return decode(directory, name)

    monkeypatch.setattr(reading, "_decode", counting)
    return calls


def test_changed_set_is_decoded_again(root, monkeypatch, pairs):
    calls = count_decodings(monkeypatch)
    before = load_dataset("kmnist", root)
    path = root / "kmnist" / "3.0.1" / RECORDS
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = load_dataset("kmnist", root)
    load_dataset("kmnist", root)
    assert len(calls) == 2
    assert pairs(before) == pairs(after)
    assert len(cached()) == 1


def test_two_data_directories_have_a_cache_each(root, tmp_path, monkeypatch):
    calls = count_decodings(monkeypatch)
    other = shutil.copytree(root, tmp_path / "other")
    for _ in range(2):
        load_dataset("kmnist", root)
        load_dataset("kmnist", other)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "no archive"])
def test_damaged_cache_is_decoded_again(root, monkeypatch, damage, pairs):
    calls = count_decodings(monkeypatch)
    before = pairs(load_dataset("kmnist", root))
    [cache] = cached()
    content = bytearray(cache.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    cache.write_bytes(
        {"empty": b"", "cut": content[:-100], "flipped": content, "no archive": b"x" * 99}[damage]
    )
    assert pairs(load_dataset("kmnist", root)) == before
    load_dataset("kmnist", root)
    assert len(calls) == 2


def test_without_a_writable_cache(root, tmp_path, monkeypatch, pairs):
    (tmp_path / "cache").write_text("a file where the folder would be")
    calls = count_decodings(monkeypatch)
    assert pairs(load_dataset("kmnist", root)) == pairs(load_dataset("kmnist", root))
    assert len(calls) == 2


def test_user_without_a_home_has_no_cache(root, monkeypatch, pairs):
    def home() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    calls = count_decodings(monkeypatch)
    assert pairs(load_dataset("kmnist", root)) == pairs(load_dataset("kmnist", root))
    assert len(calls) == 2


def test_cache_that_fails_midway_leaves_nothing(root, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    load_dataset("kmnist", root)
    assert cached() == []
