"""Preparing a set of TensorFlow Datasets, from files and from the network, without TensorFlow."""

import gzip
import hashlib
import http.server
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxmnist.data import catalogue, load_dataset, preparation, prepare, prepared_directory
from jaxmnist.data import tfds as reading
from jaxmnist.data.idx import FILE_NAMES

TRAIN, TEST = 90, 70  # Below 64 KiB, array_record refuses a file as too small to be one.

_fromarray = preparation.Image.fromarray

pytestmark = pytest.mark.usefixtures("small_and_at_home")


def test_prepare_again_does_nothing(root, monkeypatch):
    monkeypatch.setattr(preparation, "import_tfds", None)
    assert prepare("kmnist", "/no/such/folder", root) == root / "kmnist" / "3.0.1"


def test_prepare_mnist_from_the_package(tmp_path, monkeypatch, first_digits, pairs):
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


def test_prepare_unknown_name(refused):
    with refused("'cifar10'", "kmnist", "emnist/digits"):
        prepare("cifar10")
    with refused("'kminst'", "did you mean 'kmnist'?"):
        prepare("kminst")


def test_prepare_refuses_another_number_of_images(tmp_path, source, refused):
    with refused(source, "90 training and 70 test images", "fashion_mnist", "60000 and 10000"):
        prepare("fashion_mnist", source, tmp_path)


def test_prepare_refuses_another_sets_labels(tmp_path, source, monkeypatch, refused):
    labels = gzip.decompress((source / f"{FILE_NAMES[1]}.gz").read_bytes())[8:]
    digest = hashlib.sha256(labels).hexdigest()
    change = {"train": TRAIN, "test": TEST}
    sets = catalogue.STANDARD_SETS
    fashion = sets["fashion_mnist"]._replace(**change)
    monkeypatch.setitem(sets, "fashion_mnist", fashion)
    with refused(source, "not those of fashion_mnist"):
        prepare("fashion_mnist", source, tmp_path)
    monkeypatch.setitem(sets, "fashion_mnist", fashion._replace(train_labels_sha256=digest))
    with refused(source, "contains fashion_mnist; it must be kmnist"):
        prepare("kmnist", source, tmp_path)
    assert prepare("fashion_mnist", source, tmp_path).is_dir()


def test_prepare_refuses_labels_that_the_set_has_not(tmp_path, idx_files, write, refused):
    files = idx_files("emnist-letters-")
    labels = "emnist-letters-test-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(files[labels]))
    for label, words in ((0, ["label 0", "1 to 26"]), (27, ["test_labels[0] is 27"])):
        content[8] = label
        source = write(tmp_path / "idx", {**files, labels: gzip.compress(content)})
        with refused(source, *words):
            prepare("emnist/letters", source, tmp_path)


def test_prepare_refuses_another_part_of_emnist(tmp_path, idx_files, write, refused):
    source = write(tmp_path / "idx", idx_files("emnist-digits-"))
    with refused(source, "emnist-digits-*", "emnist-letters-train-images-idx3-ubyte"):
        prepare("emnist/letters", source, tmp_path)
    with refused(source, "emnist-digits-*", "kmnist is made from train-images-idx3-ubyte"):
        prepare("kmnist", source, tmp_path)


def test_prepare_where_it_cannot_write(tmp_path, source, refused):
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


def test_prepare_where_a_broken_folder_is(tmp_path, source, refused):
    (tmp_path / "kmnist" / "3.0.1").mkdir(parents=True)
    with refused(tmp_path / "kmnist" / "3.0.1", "remove it"):
        prepare("kmnist", source, tmp_path)


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


def test_prepare_from_the_network(tmp_path, server, source, monkeypatch, idx_files, write, pairs):
    write(tmp_path / "served", idx_files())
    publish(monkeypatch, server.server_port, idx_files())
    prepare("kmnist", data_dir=tmp_path)
    assert pairs(load_dataset("kmnist", tmp_path)) == pairs(load_dataset(source))
    assert sorted(server.requests) == sorted(f"/{name}" for name in idx_files())


def test_prepare_emnist_from_its_archive_downloads_once(
    tmp_path, server, monkeypatch, idx_files, write, pairs
):
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


def test_download_with_another_content(tmp_path, server, monkeypatch, idx_files, write, refused):
    write(tmp_path / "served", dict.fromkeys(idx_files(), b"<html>Moved.</html>"))
    publish(monkeypatch, server.server_port, idx_files())
    with refused("kmnist", f"http://127.0.0.1:{server.server_port}/train", "SHA-256", "--from DIR"):
        prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")


def test_download_that_is_not_there(tmp_path, server, monkeypatch, idx_files, refused):
    publish(monkeypatch, server.server_port, idx_files())
    with refused("404", "--from DIR"):
        prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")


def test_unreachable_host(tmp_path, monkeypatch, idx_files, refused):
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


def test_silent_host_is_given_up(tmp_path, monkeypatch, idx_files, refused):
    monkeypatch.setattr(preparation, "_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(monkeypatch, silent.getsockname()[1], idx_files())
        with refused("no answer in 0.1 seconds", "--from DIR"):
            prepare("kmnist", data_dir=tmp_path / "root")
    assert_nothing_downloaded(tmp_path / "root")
