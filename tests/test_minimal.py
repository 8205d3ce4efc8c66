"""`scripts/minimal.py` computes what `jm.fit` computes, from the same weights in the same order."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import training

SCRIPT = Path(__file__).parent.parent / "scripts/minimal.py"
TRAIN, TEST = 1000, 300  # Neither is a multiple of its batch size, 64 or 128.


def load() -> Any:
    spec = importlib.util.spec_from_file_location("minimal", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_linens_layout(params: Any) -> Any:
    """Our parameters under the names and in the layout of Flax's own Dense: kernels (in, out)."""
    return {
        "params": {
            f"Dense_{index}": {"kernel": layer["weight"].T, "bias": layer["bias"]}
            for index, layer in enumerate(params["params"].values())
        }
    }


def test_it_is_short_and_needs_jax_flax_optax_and_numpy_only():
    text = SCRIPT.read_text()
    assert text.count("\n") <= 90
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules == {"sys", "functools", "pathlib", "typing", "jax", "flax", "optax", "numpy"}


@pytest.mark.slow
def test_its_own_weights_are_drawn_as_ours():
    """The same shapes, and uniform within ±1/√fan_in: to the bound, and not beyond."""
    params = load().model.init(jax.random.key(0), np.zeros((1, 784), np.float32))
    config = jm.Config()
    ours = training.init(jax.random.key(0), jm.hyper(config), config).params
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, in_linens_layout(ours))
    for layer in params["params"].values():
        bound = layer["kernel"].shape[0] ** -0.5
        sizes = np.abs(np.concatenate([layer["kernel"].ravel(), layer["bias"]]))
        assert sizes.max() <= bound
        # Of n uniform magnitudes all stay below 0.9 of the bound with probability 0.9^n < 1e-9.
        assert sizes.size < 200 or sizes.max() > 0.9 * bound
        assert abs(sizes.mean() / bound - 0.5) < 5 / np.sqrt(12 * sizes.size)  # 5 deviations


@pytest.mark.slow
def test_an_epoch_has_the_metrics_of_fit(first_digits):
    """Within what 32 units in the last place of every initial weight change.

    A float32 sum of the 784 products of the first layer is off by about √784 = 28 units in the
    last place, and by another amount for each layout and compiler. So the two programs may differ
    by as much as one of them does from weights that are off by 32 units at random.
    """
    minimal, digits, seed = load(), first_digits(TRAIN, TEST), 3
    config = jm.Config(epochs=1, seed=seed)
    key = jax.random.key(seed)
    _, history = jm.fit(config, digits)
    expected = [history.train_loss, history.train_accuracy, history.eval_loss]
    expected = np.concatenate([*expected, history.eval_accuracy])

    start = in_linens_layout(training.init(key, jm.hyper(config), config).params)
    order = training.epoch_order(key, 0, TRAIN)
    train = (digits.train_images, digits.train_labels)
    test = (digits.test_images, digits.test_labels)

    def run(params: Any) -> np.ndarray:
        state = params, minimal.optimizer.init(params)
        return np.array(minimal.run_epoch(state, order, train, test)[1])

    rng = np.random.default_rng(0)

    def perturb(leaf: Any) -> Any:
        change = 1 + rng.choice([-1, 1], leaf.shape) * 32 * np.finfo(np.float32).eps
        return np.float32(leaf * change)

    found = run(start)
    changes = [np.abs(run(jax.tree.map(perturb, start)) - found) for _ in range(4)]
    allowed = np.max(changes, axis=0)
    losses = np.array([True, False, True, False])
    assert np.all(allowed[losses] < 1e-4)  # An epoch with another order or batch differs by more.
    np.testing.assert_array_less(np.abs(found - expected)[losses], allowed[losses])
    # An accuracy moves by whole images, where two logits are within rounding of each other.
    np.testing.assert_allclose(found[~losses], expected[~losses], rtol=0, atol=2 / TEST)
