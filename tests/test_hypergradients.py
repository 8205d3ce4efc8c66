"""Derivatives through training: compared with finite differences, both modes, and checkpointing."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import hypergradients, training

# Small, so that no unit switches within a difference's reach: twice 6 steps of 16 images.
CONFIG = jm.Config(hidden=(5,), epochs=2, batch_size=16, eval_batch_size=32, dtype="float64")

# Far from 0, where a difference would need values that make no sense, and from small roots, whose
# curvature would drown it.
POINTS = {
    "sgd": {"learning_rate": 0.1},
    "momentum": {"learning_rate": 0.03, "momentum": 0.7},
    "adagrad": {
        "learning_rate": 0.02,
        "initial_accumulator_value": 0.02,
        "eps": 0.01,
        "eps_root": 0.003,
    },
    "rmsprop": {"learning_rate": 0.004, "decay": 0.8, "eps": 0.01, "eps_root": 0.003},
    "adadelta": {"learning_rate": 0.7, "rho": 0.8, "eps": 0.01, "eps_root": 0.003},
    "adam": {"learning_rate": 0.004, "b1": 0.8, "b2": 0.97, "eps": 0.01, "eps_root": 0.003},
}


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    return first_digits(96, 64)


# Compiling takes nearly all of the time here.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def vector(values) -> np.ndarray:
    return np.array([float(value) for value in jax.tree.leaves(values)])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", jm.optim.NAMES)
def test_both_modes_match_differences_in_every_hyperparameter(optimizer, dataset):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    hyper = {**POINTS[optimizer], "init_scale": 1.1}
    assert hyper.keys() == {*jm.default_hyper(config), "init_scale"}
    with jax.enable_x64(True):
        key, data = jax.random.key(1), dataset.arrays()
        train, names = jm.make_train(config), tuple(hyper)
        # Checkpointing costs compile time; the optimizer with the largest state stands for all.
        scan = jm.checkpointed_scan if optimizer == "adam" else jax.lax.scan
        going_back = jm.make_train(config, scan=scan)
        going_forward = quick(jm.hypergradient(train, names))
        forward = going_forward(key, hyper, data)
        reverse = quick(jm.hypergradient(going_back, names, mode="reverse"))(key, hyper, data)
        h = 1e-5
        below2, below, above, above2 = (
            np.array(
                [
                    float(going_forward(key, {**hyper, name: value * (1 + move * h)}, data)[0])
                    for name, value in sorted(hyper.items())
                ]
            )
            for move in (-2, -1, 1, 2)
        )
        by_size = vector(forward[1]) * vector(hyper)
    loss = float(forward[0])
    # Where a unit switched between two of the points, the second difference would have a jump.
    assert np.all(np.abs(below + above - 2 * loss) < 1e-8)
    near, far = (above - below) / (2 * h), (above2 - below2) / (4 * h)
    # An error of h^2 is four times as large at twice the distance; rounding of some dozen units.
    tolerance = np.abs(far - near) + 32 * np.finfo(float).eps * loss / h
    assert np.all(np.abs(by_size - near) <= tolerance), (by_size, near, tolerance)
    assert np.all(tolerance < 1e-4 * np.abs(by_size)), (by_size, tolerance)
    np.testing.assert_allclose(vector(reverse[1]), vector(forward[1]), rtol=1e-10)
    np.testing.assert_allclose(reverse[0], loss, rtol=1e-14)


@pytest.mark.slow
def test_derivatives_by_layer_sum_to_that_by_the_common_rate(dataset):
    config = dataclasses.replace(CONFIG, optimizer="momentum", hidden=(6, 5), epochs=1)
    hyper = {**POINTS["momentum"]}
    rates = dict.fromkeys(("dense_0", "dense_1", "dense_2"), hyper["learning_rate"])
    with jax.enable_x64(True):
        key, data = jax.random.key(1), dataset.arrays()
        # With short last batches, of 7 images and of 5.
        train_images, train_labels, test_images, test_labels = data
        data = jm.data.Arrays(
            train_images[:87], train_labels[:87], test_images[:37], test_labels[:37]
        )
        train = jm.make_train(config, scan=jm.checkpointed_scan)
        plain = jm.hypergradient(jm.make_train(config), "learning_rate")
        loss, common = quick(plain)(key, hyper, data)
        slope = quick(jm.hypergradient(train, ["learning_rate"], mode="reverse"))
        same_loss, by_layer = slope(key, {**hyper, "learning_rate": rates}, data)
        # A layer whose rate is zero stays where it started.
        frozen = {**hyper, "learning_rate": {**rates, "dense_1": 0.0}}
        state, _ = jax.jit(train)(key, frozen, data)
        start = training.init(key, frozen, config)
    parts = by_layer["learning_rate"]
    assert parts.keys() == rates.keys()
    np.testing.assert_allclose(same_loss, loss, rtol=1e-13)
    np.testing.assert_allclose(vector(parts).sum(), common["learning_rate"], rtol=1e-10)
    assert len(set(vector(parts).tolist())) == 3
    before, after = (each.params["params"] for each in (start, state))
    for layer in rates:
        is_still = np.array_equal(before[layer]["weight"], after[layer]["weight"])
        assert is_still == (layer == "dense_1")


@pytest.mark.slow
def test_any_run_and_any_loss_of_it_can_be_differentiated(dataset):
    def train(key, hyper, data):
        del data
        w = hyper["init_scale"] * jax.random.normal(key, (3,)) - hyper["learning_rate"] ** 2
        metrics = jnp.stack([jnp.sum(w), jnp.sum(jnp.sin(w))])
        history = training.History(*([w] * 8))._replace(train_loss=metrics, eval_loss=3 * metrics)
        return training.TrainState(w, ()), history

    key, hyper = jax.random.key(0), {"learning_rate": 0.5, "init_scale": 1.5}
    drawn = np.asarray(jax.random.normal(key, (3,)), float)
    w = 1.5 * drawn - 0.25
    by_w = {
        hypergradients.train_loss: (np.sin(w).sum(), np.cos(w)),
        hypergradients.eval_loss: (3 * np.sin(w).sum(), 3 * np.cos(w)),
        lambda state, _: jnp.sum(state.params**2): ((w**2).sum(), 2 * w),
    }
    for loss, (value, slope) in by_w.items():
        for mode in ("forward", "reverse"):
            differentiate = jm.hypergradient(train, tuple(hyper), loss=loss, mode=mode)
            found, by = differentiate(key, hyper, dataset.arrays())
            np.testing.assert_allclose(found, value, rtol=1e-5)
            np.testing.assert_allclose(by["init_scale"], slope @ drawn, rtol=1e-5)
            np.testing.assert_allclose(by["learning_rate"], -slope.sum(), rtol=1e-5)
    only = jm.hypergradient(train, "init_scale")(key, hyper, dataset.arrays())[1]
    assert only.keys() == {"init_scale"}


@pytest.mark.slow_except("0")
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 16, 30])
def test_checkpointed_scan_is_a_scan(steps):
    def body(carry, x):
        carry = {"a": jnp.sin(carry["a"]) + x["p"], "n": carry["n"] + 1}
        return carry, (carry["a"] * x["q"], carry["n"])

    def run(scan, a, xs):
        carry, (ys, counts) = scan(body, {"a": a, "n": 0}, xs)
        return jnp.sum(carry["a"] ** 2) + jnp.sum(ys), (carry, ys, counts)

    rng = np.random.default_rng(0)
    xs = {"p": jnp.asarray(rng.normal(size=(steps, 3))), "q": jnp.asarray(rng.normal(size=steps))}
    a = jnp.asarray(rng.normal(size=3))
    differentiated = [
        jax.value_and_grad(lambda a, xs, scan=scan: run(scan, a, xs), (0, 1), has_aux=True)(a, xs)
        for scan in (jax.lax.scan, jm.checkpointed_scan)
    ]
    plain, checkpointed = (jax.tree.leaves(each) for each in differentiated)
    for one, other in zip(plain, checkpointed, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-6)


def bytes_needed(steps: int, mode: str, scan) -> int:
    """What the compiled derivative of an epoch of so many steps holds beside its arguments."""
    config = jm.Config(hidden=(8,), epochs=1, batch_size=2, eval_batch_size=2)

    def array(dtype, *shape) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    samples = 2 * steps
    data = jm.data.Arrays(
        array(jnp.uint8, samples, 28, 28),
        array(jnp.int32, samples),
        array(jnp.uint8, 4, 28, 28),
        array(jnp.int32, 4),
    )
    slope = jm.hypergradient(jm.make_train(config, scan=scan), "learning_rate", mode=mode)
    compiled = jax.jit(slope).lower(jax.random.key(0), jm.default_hyper(config), data).compile()
    # Neither mode differentiates the shuffled order: some words for each image.
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes - 64 * samples


@pytest.mark.slow
def test_memory_grows_as_the_root_of_the_steps_when_checkpointed_and_not_at_all_forwards():
    short, long = 64, 64 * 16
    growth = {
        (mode, scan): bytes_needed(long, mode, scan) / bytes_needed(short, mode, scan)
        for mode, scan in (
            ("forward", jax.lax.scan),
            ("reverse", jax.lax.scan),
            ("reverse", jm.checkpointed_scan),
        )
    }
    assert growth["forward", jax.lax.scan] < 1.1
    assert growth["reverse", jax.lax.scan] > 12
    assert growth["reverse", jm.checkpointed_scan] < 4.4


@pytest.mark.slow
def test_what_cannot_be_differentiated_is_refused(dataset):
    train = jm.make_train(dataclasses.replace(CONFIG, optimizer="adadelta", dtype="float32"))
    with pytest.raises(jm.InputError, match=r"mode is 'backward'; choose forward or reverse"):
        jm.hypergradient(train, "rho", mode="backward")
    key, data = jax.random.key(0), dataset.arrays()
    hyper = jm.default_hyper(jm.Config(optimizer="adadelta"))
    for name in ("learning_rate", "init_scale", "momentum"):
        with pytest.raises(
            jm.InputError, match=rf"wrt is '{name}'.* no such number; it has rho, eps, eps_root"
        ):
            jm.hypergradient(train, name)(key, hyper, data)
    wrong = {"learning_rate": {"dense_0": 0.1, "dense_7": 0.1}}
    with pytest.raises(
        jm.InputError,
        match="has the layers dense_0, dense_7; give one rate for each of dense_0, dense_1",
    ):
        jm.make_train(dataclasses.replace(CONFIG, dtype="float32"))(key, wrong, data)
