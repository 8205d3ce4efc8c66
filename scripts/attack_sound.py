"""Sound files of every kind that the package reads, and what reads each."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from attack_damage import (
    damaged_bytes,
    damaged_idx,
    damaged_json,
    damaged_npz,
    damaged_picture,
)
from hypothesis import strategies as st
from PIL import Image

from jaxmnist import figures, runs
from jaxmnist.config import Config
from jaxmnist.data import Dataset, catalogue, load_arrays, load_dataset, prepare
from jaxmnist.data.idx import FILE_NAMES
from jaxmnist.data.pictures import read_picture
from jaxmnist.figures.picture import redraw
from jaxmnist.runs import folder as run_folder
from jaxmnist.runs.python_file import read_text
from jaxmnist.sweep import folder as sweep_folder
from jaxmnist.training import History


class Reader(NamedTuple):
    """A kind of file, and what reads it."""

    name: str
    folder: Path
    """The sound files."""
    files: tuple[str, ...]
    """Those that are damaged, one at a time."""
    damage: Callable[[bytes], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]
    """Called with a folder of one damaged file and the rest sound."""
    keeps: bool = True
    """Whether reading must leave every file as it is."""


def sound_readers(place: Path) -> list[Reader]:
    """Write sound files of every kind, and return what reads them."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 28, 28), np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    made = [
        _npz(place / "npz", images, labels),
        _idx(place / "idx", images, labels),
        *_pictures(place),
        *_run(place / "run"),
        *_sweep(place / "sweep"),
        _figures(place / "figures"),
        _tfds(place / "tfds", images, labels),
    ]
    task = place / "task"
    task.mkdir()
    (task / "task.py").write_text("def task(config):\n    return None\n")
    made.append(
        Reader("task's file", task, ("task.py",), damaged_bytes,
               lambda path: read_text(path / "task.py", "the file of a task"))
    )  # fmt: skip
    return made


def _npz(place: Path, images: np.ndarray, labels: np.ndarray) -> Reader:
    place.mkdir()
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:3], "y_test": labels[:3]}
    np.savez_compressed(place / "a.npz", allow_pickle=False, **arrays)

    def read(path: Path) -> None:
        load_arrays(path / "a.npz")
        load_dataset(path / "a.npz")

    return Reader("npz", place, ("a.npz",), damaged_npz, read)


def _idx(place: Path, images: np.ndarray, labels: np.ndarray) -> Reader:
    place.mkdir()
    for name, array in zip(FILE_NAMES, (images, labels, images[:3], labels[:3]), strict=True):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (place / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return Reader(
        "IDX", place, tuple(f"{name}.gz" for name in FILE_NAMES), damaged_idx, load_dataset
    )


def _pictures(place: Path) -> Iterator[Reader]:
    drawn = np.full((60, 50), 255, np.uint8)
    drawn[15:45, 22:28] = 0
    files = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}
    (place / "pictures").mkdir()
    for ending, kind in files.items():
        Image.fromarray(drawn).save(place / "pictures" / f"a.{ending}", kind)

    def read(path: Path) -> None:
        for ending in files:
            read_picture(path / f"a.{ending}")

    names = tuple(f"a.{ending}" for ending in files)
    yield Reader("picture", place / "pictures", names, damaged_picture, read)
    folder = place / "images" / "one"
    folder.mkdir(parents=True)
    kinds = {**files, "gif": "GIF", "tif": "TIFF"}
    for ending, kind in kinds.items():
        Image.fromarray(drawn).save(folder / f"a.{ending}", kind)
    names = tuple(f"one/a.{ending}" for ending in kinds)
    yield Reader("image folder", folder.parent, names, damaged_picture, load_arrays)


def _run(place: Path) -> Iterator[Reader]:
    run = runs.Run(place, Config(hidden=(3,), epochs=3), 10)
    params = run.model.init(jax.random.key(0), jnp.zeros((1, 28, 28)))
    runs.create(run)
    for epoch in range(3):
        runs.append_epoch(run, epoch, params, History._make(jnp.arange(8) / 8 + epoch))

    def read(path: Path) -> None:
        found = runs.read(path)
        run_folder.read_metrics(found)
        runs.is_finished(found)
        runs.about(found)

    def load(path: Path) -> None:
        runs.load(path)

    yield Reader("config.json", place, ("config.json",), damaged_json, read)
    yield Reader("metrics.jsonl", place, ("metrics.jsonl",), damaged_json, read)
    yield Reader("model.safetensors", place, ("model.safetensors",), damaged_bytes, load)


def _sweep(place: Path) -> Iterator[Reader]:
    axes = {"learning_rate": (0.1, 0.2), "seed": (0, 1)}
    images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4)
    data = Dataset(images, labels, images, labels, num_classes=10, name="blank")
    config, losses = Config(epochs=2), np.array([0.5, 0.25], np.float32)
    sweep_folder.enter(place, config, axes, data, "attack")
    sweep_folder.append(place, dict.fromkeys(range(4), History._make([losses] * 8)))

    def read(path: Path) -> None:
        found = sweep_folder.enter(path, config, axes, data, "attack")
        if len(found) == 4:
            histories = [found[index] for index in range(4)]
            jax.tree.map(lambda *cells: np.stack(cells), *histories)

    yield Reader("sweep.json", place, ("sweep.json",), damaged_json, read)
    # A line that was cut off is taken away, so that its run is done again.
    yield Reader("cells.jsonl", place, ("cells.jsonl",), damaged_json, read, keeps=False)


def _figures(place: Path) -> Reader:
    place.mkdir()
    kept = Path(__file__).parents[1] / "figures"
    names = [name for name, picture in figures.PICTURES.items() if picture.animate is None]
    for name in names:
        about = json.loads((kept / f"{name}.json").read_text())
        # Without what is not drawn, so that all damage is to what is.
        (place / f"{name}.json").write_text(json.dumps({"data": about["data"]}))

    def read(path: Path) -> None:
        sound = {name: (place / f"{name}.json").read_bytes() for name in names}
        changed = [n for n in names if (path / f"{n}.json").read_bytes() != sound[n]]
        for name in changed:
            redraw(figures.PICTURES[name], path)

    return Reader(
        "figure", place, tuple(f"{name}.json" for name in names), damaged_json, read, keeps=False
    )


def prepared_set(place: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Prepare a small set under a standard set's name, with three test images; return its folder.

    Args:
        place: The folder of prepared sets.
        images: The training images.
        labels: Theirs.
    """
    source = place.with_name(f"{place.name} idx")
    _idx(source, images, labels.astype(np.uint8))
    few = catalogue.StandardSet("kmnist", len(images), 3, range(10))
    catalogue.STANDARD_SETS["kmnist"] = few
    return prepare("kmnist", source, place)


def _tfds(place: Path, images: np.ndarray, labels: np.ndarray) -> Reader:
    # array_record wants 64 KiB.
    made = prepared_set(place, np.tile(images, (15, 1, 1)), np.tile(labels, 15))
    files = [path.relative_to(place) for path in made.iterdir()]

    def damage(content: bytes) -> st.SearchStrategy[bytes]:
        return damaged_json(content) if content.startswith(b"{") else damaged_bytes(content)

    def read(path: Path) -> None:
        load_dataset("kmnist", path)

    return Reader("TFDS", place, tuple(map(str, files)), damage, read)
