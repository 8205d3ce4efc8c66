"""Settings for every test: nothing broadcasts across ranks or promotes dtypes silently."""

import ctypes
import gc
import gzip
import importlib.util
import inspect
import io
import json
import os
import re
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from doctest import UnexpectedException
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import interop
from jaxmnist.data import catalogue, prepare
from jaxmnist.data import stream as stream_reading
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.idx import FILE_NAMES

# Where PyTorch is not installed, as on a Python that is too new for it, tests that compare with it
# are left out: whole files that import it, tests that ask for it by the fixture `torch`, and those
# in which it is looked for, examples in the package too.
WITHOUT_TORCH = importlib.util.find_spec("torch") is None
if WITHOUT_TORCH:
    collect_ignore = [
        str(path.parent if path.name == "conftest.py" else path)
        for path in Path(__file__).parent.rglob("*.py")
        if re.search(r"^(import|from) torch", path.read_text(), re.MULTILINE)
    ]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs in pytest's cache folder, for all workers and the next session."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("xla")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        # And the folder of what the command keeps.
        os.environ["XDG_CACHE_HOME"] = str(cache.mkdir("commands"))
        for decoded in cache.mkdir("commands").glob("jaxmnist/*.npz"):
            decoded.unlink(missing_ok=True)  # Of temporary folders of an earlier session.
    # As plugins, since this file's own hooks are not called for the examples in the package.
    config.pluginmanager.register(_BoundedMemory())
    if WITHOUT_TORCH:
        config.pluginmanager.register(_WithoutTorch())


def _looked_for_torch(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return True
        inside = error.exc_info[1] if isinstance(error, UnexpectedException) else None
        error = inside or error.__cause__ or error.__context__
    return False


class _WithoutTorch:
    """Skips tests in which PyTorch is looked for."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        except Exception as error:
            if _looked_for_torch(error):
                pytest.skip("compares with PyTorch, which is not installed")
            raise


_SLOW_EXAMPLES = {
    "hypergradients.hypergradient",
    "landscapes.training_trajectory.make_course",
    "training.host_loop.fit",
    "training.run.make_train",
    "verify.whole_run.entry.training",
    "verify.losses.losses",
    "verify.model.model",
    "verify.optimizer.optimizer",
}
"""Examples that train on the whole of MNIST, or compare a whole of two frameworks."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `slow_except` does not name, and the longest examples."""
    for item in items:
        if item.name.removeprefix("jaxmnist.") in _SLOW_EXAMPLES:
            item.add_marker(pytest.mark.slow)
        marker = item.get_closest_marker("slow_except")
        if marker and isinstance(item, pytest.Function) and item.callspec.id not in marker.args:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Let Python's collector pass over what the imports made, and come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


_MOST_RESIDENT = 1300 << 20
"""Bytes of memory beyond which a worker gives back what a file's tests took.

A file takes up to 500 MB more. Less would cost more: what is forgotten is compiled or read again.
"""


class _BoundedMemory:
    """Forgets a file's compiled programs where they take much memory: a worker stays below 2 GB."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Iterator[None]:
        yield
        if nextitem is not None and nextitem.path == item.path:
            return
        sizes = Path("/proc/self/statm")
        if sizes.exists():
            resident = int(sizes.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            if resident < _MOST_RESIDENT:
                return
        jax.clear_caches()
        gc.collect()
        # The C library keeps what is freed, unless it is told to return it.
        if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
            trim(0)


@pytest.fixture(scope="session")
def torch() -> Any:
    """PyTorch, or a skip where it is not installed."""
    return pytest.importorskip("torch")


@pytest.fixture
def given_torch(request) -> Callable[[Any], Any]:
    """A function that calls a parameter which is a function with PyTorch, and returns any other."""

    def resolved(value: Any) -> Any:
        return value(request.getfixturevalue("torch")) if inspect.isfunction(value) else value

    return resolved


@pytest.fixture
def sequential(torch) -> Callable[[Any], Any]:
    """A function from an MLP's parameters to the tutorial's `nn.Sequential`, in float64."""

    def build(params: Any) -> Any:
        state_dict = interop.params_to_state_dict(params)
        modules: list[Any] = []
        for index in range(0, len(state_dict), 2):
            outputs, inputs = state_dict[f"{index}.weight"].shape
            modules += [torch.nn.Linear(inputs, outputs, dtype=torch.float64), torch.nn.ReLU()]
        module = torch.nn.Sequential(*modules[:-1])
        module.load_state_dict({name: torch.from_numpy(a) for name, a in state_dict.items()})
        return module

    return build


@pytest.fixture(scope="session")
def refused() -> Callable[..., Any]:
    """A function from words to the expectation of an InputError of one line that has them all."""

    def expect(*words: object) -> Any:
        def says(error: jm.InputError) -> bool:
            # The message itself, without the notes that JAX and Grain add to exceptions.
            return "\n" not in str(error) and all(str(word) in str(error) for word in words)

        return pytest.raises(jm.InputError, check=says)

    return expect


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """A function from a folder to its files' contents."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def first_digits() -> Callable[[int, int], jm.Dataset]:
    """A function from two numbers to a data set of MNIST's first training and test images."""
    mnist = jm.load_dataset("mnist")

    def take(train: int, test: int) -> jm.Dataset:
        return jm.Dataset(
            mnist.train_images[:train],
            mnist.train_labels[:train],
            mnist.test_images[:test],
            mnist.test_labels[:test],
            num_classes=10,
            name="mnist, some",
        )

    return take


@pytest.fixture(scope="session")
def first_digits_npz(first_digits, tmp_path_factory) -> Callable[[int, int], Path]:
    """The same as a Keras-style file."""

    def write(train: int, test: int) -> Path:
        digits = first_digits(train, test)
        path = tmp_path_factory.mktemp("data") / "few.npz"
        np.savez(
            path,
            x_train=digits.train_images,
            y_train=digits.train_labels,
            x_test=digits.test_images,
            y_test=digits.test_labels,
        )
        return path

    return write


@pytest.fixture(scope="session")
def prepared_kmnist(first_digits, tmp_path_factory) -> Path:
    """A TFDS data directory: `kmnist` of 650 and 245 real digits, and in `idx` its IDX files."""
    digits = first_digits(650, 245)
    folder = tmp_path_factory.mktemp("prepared")
    arrays = (
        digits.train_images,
        digits.train_labels.astype(np.uint8),
        digits.test_images,
        digits.test_labels.astype(np.uint8),
    )
    (folder / "idx").mkdir()
    for name, array in zip(FILE_NAMES, arrays, strict=True):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / "idx" / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.STANDARD_SETS, "kmnist", StandardSet("kmnist", 650, 245, range(10)))
        prepare("kmnist", folder / "idx", folder)
    return folder


@pytest.fixture(scope="session")
def kmnist_in_memory(prepared_kmnist, tmp_path_factory) -> jm.Dataset:
    """The set that `prepared_kmnist` has on disk, in its stored order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return jm.load_dataset("kmnist", prepared_kmnist)


@pytest.fixture
def damaged_kmnist(prepared_kmnist, tmp_path) -> Path:
    """The folder of a copy of `kmnist` in `tmp_path`, to be damaged."""
    return shutil.copytree(prepared_kmnist / "kmnist", tmp_path / "kmnist") / "3.0.1"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The split of every piece that is read of a set on disk from now on."""
    counted: list[str] = []
    read_rows = stream_reading.read_rows

    def counting(data, split, rows):
        counted.append(split)
        return read_rows(data, split, rows)

    monkeypatch.setattr(stream_reading, "read_rows", counting)
    return counted


@pytest.fixture(scope="session")
def assert_same_arrays() -> Callable[[Any, Any], None]:
    """A function that asserts that two trees have equal arrays."""

    def check(first: Any, second: Any) -> None:
        for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
            np.testing.assert_array_equal(one, other)

    return check


@pytest.fixture(scope="session")
def prepared_colours(prepared_kmnist, tmp_path_factory) -> Path:
    """A TFDS data directory: `colours`, 300 and 130 images of 10x12 pixels in three colours."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = tmp_path_factory.mktemp("colours")
    target = shutil.copytree(prepared_kmnist / "kmnist" / "3.0.1", folder / "colours" / "1.0.0")
    for name, changes in (
        ("features.json", (('"28",', '"10",', 1), ('"28",', '"12",', 1), ('"1"\n', '"3"\n', 1))),
        ("dataset_info.json", (("kmnist", "colours", -1), ("3.0.1", "1.0.0", -1))),
    ):
        text = (target / name).read_text()
        for old, new, count in changes:
            assert old in text
            text = text.replace(old, new, count)
        (target / name).write_text(text)
    info = json.loads((target / "dataset_info.json").read_text())
    rng = np.random.default_rng(0)
    for split in info["splits"]:
        count = {"train": 300, "test": 130}[split["name"]]
        split["shardLengths"] = [str(count)]
        (old,) = target.glob(f"kmnist-{split['name']}.array_record-*")
        old.unlink()
        writer = ArrayRecordWriter(
            str(old.with_name(old.name.replace("kmnist", "colours"))), "group_size:1"
        )
        for label in rng.integers(0, 10, count):
            image = rng.integers(0, 256, (10, 12, 3), np.uint8)
            png = io.BytesIO()
            Image.fromarray(image).save(png, "png")
            example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            example.features.feature["label"].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
    (target / "dataset_info.json").write_text(json.dumps(info))
    return folder
