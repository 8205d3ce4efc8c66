"""Sets of TensorFlow Datasets: prepared, read and cached without TensorFlow."""

import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxmnist.data import Dataset, catalogue, load_dataset, preparation, prepare, prepared_directory
from jaxmnist.data import tfds as reading
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.idx import FILE_NAMES
from jaxmnist.errors import InputError

TRAIN, TEST = 90, 70  # Below 64 KiB, array_record refuses a file as too small to be one.


def idx_files(prefix: str = "") -> dict[str, bytes]:
    """The four gzipped IDX files of a small set; labels 1 to 9."""
    rng = np.random.default_rng(0)
    contents = {}
    for name in FILE_NAMES:
        count = TRAIN if name.startswith("train") else TEST
        if "images" in name:
            array = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        else:
            array = (1 + np.arange(count) % 9).astype(np.uint8)
        content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        if prefix:
            name = name.replace("t10k", "test")
        contents[f"{prefix}{name}.gz"] = gzip.compress(content + array.tobytes(), mtime=0)
    return contents


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def pairs(dataset: Dataset) -> dict[str, list[tuple[bytes, int]]]:
    """Image and label, in an order of their own: TFDS shuffles a set when it is prepared."""
    return {
        split: sorted(
            (image.tobytes(), int(label))
            for image, label in zip(
                getattr(dataset, f"{split}_images"),
                getattr(dataset, f"{split}_labels"),
                strict=True,
            )
        )
        for split in ("train", "test")
    }


def refused(*words: object):
    """Expect an InputError of one line, with these words in it."""
    escaped = ["".join(f"\\{c}" if not c.isalnum() else c for c in str(word)) for word in words]
    looks = "".join(f"(?=.*{word})" for word in escaped)
    return pytest.raises(InputError, match=rf"\A{looks}[^\n]*\Z")


@pytest.fixture(autouse=True)
def small_and_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the standard sets be small ones, and every default folder a temporary one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("kmnist", "emnist/digits", "emnist/letters"):
        labels = catalogue.STANDARD_SETS[name].labels
        monkeypatch.setitem(catalogue.STANDARD_SETS, name, StandardSet(name, TRAIN, TEST, labels))


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    source = write(folder / "idx", idx_files())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            catalogue.STANDARD_SETS, "kmnist", StandardSet("kmnist", TRAIN, TEST, range(10))
        )
        prepare("kmnist", source, folder / "root")
    return folder


@pytest.fixture
def root(prepared_once: Path, tmp_path: Path) -> Path:
    """A data directory of one's own, with a small kmnist prepared in it."""
    return shutil.copytree(prepared_once / "root", tmp_path / "root")


@pytest.fixture
def source(prepared_once: Path) -> Path:
    return prepared_once / "idx"


# ------------------------------------------------------------------------------- reading


def test_prepared_set_holds_what_the_idx_files_hold(root, source):
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
def test_prepared_set_is_tfds_own(root, source, expression):
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


def test_version_in_the_name(root):
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


def test_missing_set_says_how_to_prepare_it(tmp_path):
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
def test_damaged_set_says_so(root, damage, words):
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
def test_set_of_another_kind_says_so(root, file, old, new, words):
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
def test_images_of_another_kind(tmp_path, source, monkeypatch, encode, words):
    monkeypatch.setattr(preparation.Image, "fromarray", encode)
    prepare("kmnist", source, tmp_path)
    with refused(tmp_path / "kmnist", *words):
        load_dataset("kmnist", tmp_path)


def test_emnist_is_stored_as_published_and_read_upright(tmp_path):
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


# ------------------------------------------------------------------------------- the cache


def test_second_load_reads_no_record(root, monkeypatch):
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


def test_changed_set_is_decoded_again(root, monkeypatch):
    calls = count_decodings(monkeypatch)
    before = load_dataset("kmnist", root)
    path = root / "kmnist" / "3.0.1" / RECORDS
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = load_dataset("kmnist", root)
    load_dataset("kmnist", root)
    assert len(calls) == 2
    assert pairs(before) == pairs(after)
    assert len(list(reading.cache_directory().iterdir())) == 1


def test_two_data_directories_have_a_cache_each(root, tmp_path, monkeypatch):
    calls = count_decodings(monkeypatch)
    other = shutil.copytree(root, tmp_path / "other")
    for _ in range(2):
        load_dataset("kmnist", root)
        load_dataset("kmnist", other)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "no archive"])
def test_damaged_cache_is_decoded_again(root, monkeypatch, damage):
    calls = count_decodings(monkeypatch)
    before = pairs(load_dataset("kmnist", root))
    [cache] = reading.cache_directory().iterdir()
    content = bytearray(cache.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    cache.write_bytes(
        {"empty": b"", "cut": content[:-100], "flipped": content, "no archive": b"x" * 99}[damage]
    )
    assert pairs(load_dataset("kmnist", root)) == before
    load_dataset("kmnist", root)
    assert len(calls) == 2


def test_without_a_writable_cache(root, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder would be")
    calls = count_decodings(monkeypatch)
    assert pairs(load_dataset("kmnist", root)) == pairs(load_dataset("kmnist", root))
    assert len(calls) == 2


def test_cache_that_fails_midway_leaves_nothing(root, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    load_dataset("kmnist", root)
    assert list(reading.cache_directory().iterdir()) == []


# ------------------------------------------------------------------------------- preparing


def test_prepare_again_does_nothing(root, monkeypatch):
    monkeypatch.setattr(preparation, "import_tfds", None)
    assert prepare("kmnist", "/no/such/folder", root) == root / "kmnist" / "3.0.1"


def test_prepare_mnist_from_the_package(tmp_path, monkeypatch, first_digits):
    few = first_digits(TRAIN, TEST)
    monkeypatch.setattr(preparation, "load_bundled", lambda: few)
    assert prepare("mnist") == tmp_path / "default" / "mnist" / "3.0.1"
    assert pairs(load_dataset("tfds:mnist")) == pairs(few)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_prepare_leaves_nothing(tmp_path, source, monkeypatch, error):
    images = []

    def interrupt(image):
        images.append(image)
        if len(images) == TRAIN + 5:
            raise error
        return _fromarray(image)

    monkeypatch.setattr(preparation.Image, "fromarray", interrupt)
    with pytest.raises(error):
        prepare("kmnist", source, tmp_path / "root")
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []
    assert prepared_directory("kmnist", tmp_path / "root") is None
    assert prepare("kmnist", source, tmp_path / "root").is_dir()


def test_prepare_unknown_name():
    with refused("'cifar10'", "kmnist", "emnist/digits"):
        prepare("cifar10")
    with refused("'kminst'", "did you mean 'kmnist'?"):
        prepare("kminst")


def test_prepare_refuses_another_number_of_images(tmp_path, source):
    with refused(source, "90 training and 70 test images", "fashion_mnist", "60000 and 10000"):
        prepare("fashion_mnist", source, tmp_path)


def test_prepare_refuses_another_sets_labels(tmp_path, source, monkeypatch):
    labels = gzip.decompress((source / f"{FILE_NAMES[1]}.gz").read_bytes())[8:]
    digest = hashlib.sha256(labels).hexdigest()
    change = {"train": TRAIN, "test": TEST}
    sets = catalogue.STANDARD_SETS
    fashion = sets["fashion_mnist"]._replace(**change)
    monkeypatch.setitem(sets, "fashion_mnist", fashion)
    with refused(source, "not those of fashion_mnist"):
        prepare("fashion_mnist", source, tmp_path)
    monkeypatch.setitem(sets, "fashion_mnist", fashion._replace(train_labels_sha256=digest))
    with refused(source, "holds fashion_mnist, not kmnist"):
        prepare("kmnist", source, tmp_path)
    assert prepare("fashion_mnist", source, tmp_path).is_dir()


def test_prepare_refuses_labels_that_the_set_has_not(tmp_path):
    files = idx_files("emnist-letters-")
    labels = "emnist-letters-test-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(files[labels]))
    for label, words in ((0, ["label 0", "1 to 26"]), (27, ["test_labels[0] is 27"])):
        content[8] = label
        source = write(tmp_path / "idx", {**files, labels: gzip.compress(content)})
        with refused(source, *words):
            prepare("emnist/letters", source, tmp_path)


def test_prepare_refuses_another_part_of_emnist(tmp_path):
    source = write(tmp_path / "idx", idx_files("emnist-digits-"))
    with refused(source, "emnist-digits-*", "emnist-letters-train-images-idx3-ubyte"):
        prepare("emnist/letters", source, tmp_path)
    with refused(source, "emnist-digits-*", "kmnist is made from train-images-idx3-ubyte"):
        prepare("kmnist", source, tmp_path)


def test_prepare_where_it_cannot_write(tmp_path, source):
    (tmp_path / "file").write_text("")
    with refused(tmp_path / "file", "--data-dir"):
        prepare("kmnist", source, tmp_path / "file")
    with refused(tmp_path / "file" / "below", "Not a directory", "--data-dir"):
        prepare("kmnist", source, tmp_path / "file" / "below")


def test_prepare_beside_a_faster_process(tmp_path, root, source, monkeypatch):
    def lose(*_):
        shutil.copytree(root / "kmnist", tmp_path / "kmnist")
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(preparation, "_write", lose)
    assert prepare("kmnist", source, tmp_path) == tmp_path / "kmnist" / "3.0.1"


def test_prepare_where_a_broken_folder_is(tmp_path, source):
    (tmp_path / "kmnist" / "3.0.1").mkdir(parents=True)
    with refused(tmp_path / "kmnist" / "3.0.1", "remove it"):
        prepare("kmnist", source, tmp_path)


# ------------------------------------------------------------------------------- the network


def test_published_files_are_those_that_tfds_names():
    tfds = reading.import_tfds()
    fashion = preparation._published_files(tfds.builder("fashion_mnist"))
    assert sorted(file.name for file in fashion) == sorted(f"{name}.gz" for name in FILE_NAMES)
    [emnist] = preparation._published_files(tfds.builder("emnist/digits"))
    assert emnist.name == "gzip.zip"
    assert emnist.url.startswith("https://")
    assert len(emnist.sha256) == 64


@pytest.fixture
def server(tmp_path: Path) -> Iterator[http.server.HTTPServer]:
    """A web server of the folder `tmp_path/served`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path / "served"), **kwargs)

        def log_message(self, format, *args):
            requests.append(self.path)

    requests: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as serving:
        serving.requests = requests  # type: ignore[attr-defined]
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, port: int, contents: dict[str, bytes]) -> None:
    files = [
        preparation._File(
            f"http://127.0.0.1:{port}/{name}", name, hashlib.sha256(content).hexdigest()
        )
        for name, content in contents.items()
    ]
    monkeypatch.setattr(preparation, "_published_files", lambda _: files)


def test_prepare_from_the_network(tmp_path, server, source, monkeypatch):
    write(tmp_path / "served", idx_files())
    publish(monkeypatch, server.server_port, idx_files())
    prepare("kmnist", data_dir=tmp_path)
    assert pairs(load_dataset("kmnist", tmp_path)) == pairs(load_dataset(source))
    assert sorted(server.requests) == sorted(f"/{name}" for name in idx_files())


def test_prepare_emnist_from_its_archive_downloads_once(tmp_path, server, monkeypatch):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        for part in ("digits", "letters"):
            for name, packed in idx_files(f"emnist-{part}-").items():
                content.writestr(f"gzip/{name}", packed)
    served = {"gzip.zip": archive.getvalue()}
    write(tmp_path / "served", served)
    publish(monkeypatch, server.server_port, served)
    for part in ("digits", "letters"):
        prepare(f"emnist/{part}", data_dir=tmp_path)
        expected = load_dataset(write(tmp_path / part, idx_files(f"emnist-{part}-")))
        assert pairs(load_dataset(f"emnist/{part}", tmp_path)) == pairs(expected)
    assert server.requests == ["/gzip.zip"]
    assert [path.name for path in (tmp_path / "downloads").rglob("*") if path.is_file()] == [
        "gzip.zip"
    ]


def assert_nothing_downloaded(root: Path) -> None:
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_download_with_another_content(tmp_path, server, monkeypatch):
    write(tmp_path / "served", dict.fromkeys(idx_files(), b"<html>Moved.</html>"))
    publish(monkeypatch, server.server_port, idx_files())
    with refused("kmnist", f"http://127.0.0.1:{server.server_port}/train", "SHA-256", "--from DIR"):
        prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")


def test_download_that_is_not_there(tmp_path, server, monkeypatch):
    publish(monkeypatch, server.server_port, idx_files())
    with refused("404", "--from DIR"):
        prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")


def test_unreachable_host(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    publish(monkeypatch, port, idx_files())
    names = [f"{name}.gz" for name in FILE_NAMES]
    with refused("kmnist", "refused", "jaxmnist data prepare kmnist --from DIR", *names, "mnist"):
        prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")
    with refused("--from DIR", "emnist-letters-test-labels-idx1-ubyte.gz"):
        prepare("emnist/letters", data_dir=tmp_path / "root")


def test_silent_host_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(monkeypatch, silent.getsockname()[1], idx_files())
        with refused("no answer in 0.1 seconds", "--from DIR"):
            prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")
