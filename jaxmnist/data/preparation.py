"""Preparing TFDS's own sets without TensorFlow.

TFDS's builders do everything but one step without TensorFlow: they hand an image's array to
TensorFlow to be encoded as PNG. Here Pillow encodes it and TFDS's builder does the rest, so the
result is the standard set (name, configuration, version, features, order), stored as array_record,
for anyone's `tfds.data_source`. TFDS writes into a folder of another name and renames it at the
end, so a set that was interrupted is not there at all.
"""

import contextlib
import hashlib
import http.client
import io
import os
import queue
import secrets
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxmnist.data.bundled import load_bundled
from jaxmnist.data.catalogue import (
    STANDARD_SETS,
    StandardSet,
    data_directory,
    prepared_directory,
)
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.idx import FILE_NAMES, find_idx_files, read_idx_files
from jaxmnist.data.tfds import import_tfds
from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import expanded

# A host that has not answered by then counts as unreachable; TFDS itself would try for minutes.
_ANSWER_SECONDS = 8.0
# A download that brings nothing for so long has stalled.
_STALL_SECONDS = 30.0


def prepare(
    name: str,
    source: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Prepare a standard TFDS set as array_record, without TensorFlow.

    Args:
        name: One of `mnist`, `fashion_mnist`, `kmnist`, `emnist/balanced` and EMNIST's other
            parts.
        source: A folder with the set's four IDX files, as published (EMNIST's not turned). By
            default the files are downloaded and checked against TFDS's checksums; `mnist` comes
            from the copy in the package.
        data_dir: TFDS's data directory. By default `TFDS_DATA_DIR` from the environment, then
            `~/tensorflow_datasets`.

    Returns:
        The folder of the prepared set. If it was prepared before, nothing is done.

    Raises:
        InputError: The name is unknown, the source is not that set, the network or a host does
            not answer, or the folder cannot be written.
    """
    standard = STANDARD_SETS.get(name.removeprefix("tfds:"))
    if standard is None:
        raise InputError(
            f"{name!r}: cannot be prepared; "
            f"known are {', '.join(STANDARD_SETS)}{nearest(name, STANDARD_SETS)}"
        )
    root = data_directory(data_dir)
    if prepared := prepared_directory(standard.name, root):
        return prepared
    tfds = import_tfds()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _silence():
            builder = tfds.builder(standard.name, data_dir=root, file_format="array_record")
        if source is not None:
            data = _read_source(standard, expanded(source))
        elif standard.name == "mnist":
            data = load_bundled()
        else:
            data = _download(standard, builder, root / "downloads" / "jaxmnist")
        _write(builder, data)
    except (OSError, RuntimeError) as error:  # The second is what ArrayRecord makes of a full disk.
        if prepared := prepared_directory(standard.name, root):
            return prepared  # Another process was faster.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{root}: {standard.name} cannot be prepared there: {reason}; "
            "give another folder with --data-dir"
        ) from error
    prepared = prepared_directory(standard.name, root)
    if prepared is None:  # TFDS takes a folder of the set's name for the set.
        raise InputError(
            f"{builder.data_dir}: exists but is no prepared set; remove it and prepare again"
        )
    return prepared


def _read_source(standard: StandardSet, folder: Path) -> Dataset:
    """Read and check the standard set's IDX files, images as stored."""
    sets = find_idx_files(folder)
    part = standard.name.removeprefix("emnist/")
    prefix = f"emnist-{part}-" if part != standard.name else ""
    files = sets.get(prefix, sets.get(""))
    if files is None:
        raise InputError(
            f"{folder}: has {', '.join(f'{p}*' for p in sorted(sets))}, but {standard.name} is "
            f"made from {prefix}train-images-idx3-ubyte and its three companions"
        )
    train_images, train_labels, test_images, test_labels = read_idx_files(files)
    data = Dataset(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=standard.labels.stop,
        name=str(folder),
    )
    counts = len(train_images), len(test_images)
    if counts != (standard.train, standard.test):
        raise InputError(
            f"{folder}: {counts[0]} training and {counts[1]} test images, but {standard.name} has "
            f"{standard.train} and {standard.test}; "
            "a folder of other data is loaded by its path"
        )
    least = min(train_labels.min(), test_labels.min())
    if least < standard.labels.start:
        raise InputError(
            f"{folder}: has the label {least}, but {standard.name}'s labels are "
            f"{standard.labels.start} to {standard.labels.stop - 1}"
        )
    # The sets of one shape are easily mistaken for each other, and the mistake would last.
    digest = hashlib.sha256(train_labels.tobytes()).hexdigest()
    known = {each.train_labels_sha256: each.name for each in STANDARD_SETS.values()}
    if digest in known and known[digest] != standard.name:
        raise InputError(f"{folder}: contains {known[digest]}; it must be {standard.name}")
    if standard.train_labels_sha256 not in (None, digest):
        raise InputError(f"{folder}: its training labels are not those of {standard.name}")
    return data


def _write(builder: Any, data: Dataset) -> None:
    """Let TFDS's builder write the set from these arrays."""

    def examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        # The running number as key, as TFDS has it: the keys decide the order of the records.
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "png")
            yield key, {"image": png.getvalue(), "label": int(label)}

    # On the instance, so that the class, and with it all that TFDS records, stays TFDS's own.
    builder._split_generators = lambda _: {
        "train": examples(data.train_images, data.train_labels),
        "test": examples(data.test_images, data.test_labels),
    }
    tfds = import_tfds()
    with tempfile.TemporaryDirectory() as downloads, _silence():
        builder.download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )


class _File(NamedTuple):
    url: str
    name: str
    sha256: str


def _published_files(builder: Any) -> list[_File]:
    """Return what TFDS downloads for this set: four IDX files, or EMNIST's archive of all."""
    return [_File(url, info.filename, info.checksum) for url, info in builder.url_infos.items()]


def _download(standard: StandardSet, builder: Any, downloads: Path) -> Dataset:
    """Download the published files, unless they are there already, and read them."""
    folder = downloads / builder.name
    folder.mkdir(parents=True, exist_ok=True)
    for file in _published_files(builder):
        path = folder / file.name
        if not path.exists() or _sha256(path) != file.sha256:
            _fetch(file, path, standard)
    archive = folder / "gzip.zip"
    if not archive.exists():
        return _read_source(standard, folder)
    prefix = f"emnist-{standard.name.removeprefix('emnist/')}-"
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        with zipfile.ZipFile(archive) as content:
            for member in content.namelist():
                if (base := Path(member).name).startswith(prefix):
                    with content.open(member) as packed, (Path(unpacked) / base).open("wb") as out:
                        shutil.copyfileobj(packed, out)
        return _read_source(standard, Path(unpacked))


def _fetch(file: _File, path: Path, standard: StandardSet) -> None:
    """Download one file to `path`, which appears only when it is whole and has the checksum."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        digest = hashlib.sha256()
        with contextlib.closing(_open(file.url)) as response, partial.open("xb") as out:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise OSError(f"its SHA-256 is {digest.hexdigest()}, not {file.sha256}")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        names = ", ".join(_idx_names(standard))
        raise InputError(
            f"{standard.name}: {file.url} cannot be downloaded: {_reason(error)}; without the "
            f"network, run jaxmnist data prepare {standard.name} --from DIR, where DIR has "
            f"{names}; or use mnist, which is in the package"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _idx_names(standard: StandardSet) -> list[str]:
    if not standard.name.startswith("emnist/"):
        return [f"{name}.gz" for name in FILE_NAMES]
    prefix = standard.name.replace("/", "-")
    return [f"{prefix}-{name.replace('t10k', 'test')}.gz" for name in FILE_NAMES]


def _open(url: str) -> http.client.HTTPResponse:
    """Open a URL, or raise within `_ANSWER_SECONDS`, however long name lookup would take."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "jaxmnist"})
            answers.put(urllib.request.urlopen(request, timeout=_STALL_SECONDS))
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            answers.put(error)

    # A socket's timeout covers neither the lookup nor the sum over several addresses.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer in {_ANSWER_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(error: Exception) -> str:
    # A bare URLError only wraps what happened; an HTTPError is more informative than its reason.
    cause = error.reason if type(error) is urllib.error.URLError else error
    return " ".join(str(cause).split()) or type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep TFDS's progress bars and messages off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
