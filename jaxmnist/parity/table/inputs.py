"""The arrays that the rows' functions are compared on, by the names of their parameters."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from jaxmnist.parity.table.row import Row
from jaxmnist.parity.table.text import parameters
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.function import function

SEED: Final = 0
BATCH, CLASSES = 6, 5


@lru_cache
def inputs() -> dict[str, np.ndarray]:
    """Return the arrays by name: the same numbers every time, each of its own seed.

    Floats are float64, of the rows' batch of 6 and 5 classes unless said otherwise.
    """

    def rng(index: int) -> np.random.Generator:
        return np.random.default_rng((SEED, index))

    shape = (BATCH, CLASSES)
    normal = {name: rng(i).normal(size=shape) for i, name in enumerate(("p", "t", "a", "b", "c"))}
    images = rng(5).normal(size=(2, 3, 8, 8))
    labels = rng(6).integers(0, CLASSES, BATCH)
    frames = rng(7).normal(size=(9, 2, 4))  # (time, batch, symbols), as PyTorch's CTC has them.
    return {
        **normal,
        "rows": rng(30).normal(size=(4, 3)),
        "wide": rng(31).normal(size=(4, 6)) + 1,
        "steps": rng(32).normal(size=(2, 4, 3)),
        "far": 1e6 + rng(34).normal(size=(4, 6)),
        "sequence": rng(35).normal(size=(2, 4, 6)),
        "volume": rng(33).normal(size=(1, 2, 4, 4, 4)),
        "x": 3 * rng(8).normal(size=(4, 10)),
        "logits": rng(9).normal(size=shape),
        "labels": labels,
        "ignored": np.where(np.arange(BATCH) % 3 == 1, -100, labels),
        "weight": rng(10).uniform(0.5, 2.0, CLASSES),
        "targets": _softmax(rng(11).normal(size=shape)),
        "log_p": np.log(_softmax(rng(12).normal(size=shape))),
        "q": rng(13).uniform(0.05, 0.95, shape),
        "bits": (rng(14).random(shape) < 0.5).astype(np.float64),
        "soft": rng(15).random(shape),
        "sure": np.array([0.0, 1.0, 1.0, 0.0]),
        "sure_bits": np.array([0.0, 1.0, 0.0, 1.0]),
        "pos_weight": rng(16).uniform(0.5, 3.0, CLASSES),
        "var": rng(17).uniform(0.3, 2.0, shape),
        "counts": rng(18).poisson(3.0, shape),
        "signs": np.where(rng(19).random(BATCH) < 0.5, -1, 1),
        "sign_table": np.where(rng(20).random(shape) < 0.5, -1, 1),
        "u": rng(21).normal(size=BATCH),
        "v": rng(22).normal(size=BATCH),
        "chosen": np.array([[0, 3, -1, 1, 2], [2, -1, 0, 0, 0], [4, 1, 2, -1, 0]] * 2),
        "with_zeros": normal["a"] * (np.arange(BATCH) % 2)[:, None],
        "ties": np.array([[1.0, 1.0, 0.0, -1.0], [2.0, 2.0, 2.0, -3.0]]),
        "tied": np.array([[1.0, 0.0, 0.0, 4.0], [2.0, -1.0, 3.0, -3.0]]),
        "image": images,
        "maps": rng(23).normal(size=(2, CLASSES, 7)),
        "map_labels": rng(24).integers(0, CLASSES, (2, 7)),
        "series": rng(25).normal(size=(2, 3, 9)),
        "frames": np.log(_softmax(frames)),
        "symbols": np.array([[1, 2, 2], [3, 1, 0]]),
        "frame_lengths": np.array([9, 7]),
        "symbol_lengths": np.array([3, 2]),
        "symbols_from_0": np.array([[0, 1, 1], [2, 0, 0]]),
        "few_frames": np.array([9, 1]),
        **{
            n: rng(27 + i).normal(size=(2, 3, 3, 4))
            for i, n in enumerate(("queries", "keys", "values"))
        },
        "ids": np.array([[0, 3, 1], [5, 0, 0]]),
        "table": rng(26).normal(size=(6, 4)),
    }


def compare_functions(row: Row, other: Callable[..., Any]) -> Comparisons:
    """Compare a row's function of PyTorch with one in JAX, on the arrays that both name.

    A parameter that ends in ``_last`` is the array of that name with its channels last.
    """
    names = parameters(row.torch)
    wrt = None if row.wrt is None else [names.index(name) for name in row.wrt]
    there = [inputs()[name] for name in names]
    if names == parameters(other):
        return function(other, row.torch, tuple(there), wrt=wrt)
    here = [
        np.moveaxis(inputs()[name.removesuffix("_last")], 1, -1)
        if name.endswith("_last")
        else inputs()[name]
        for name in parameters(other)
    ]
    return function(other, row.torch, tuple(here), torch_args=tuple(there), wrt=wrt)


def _softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)
