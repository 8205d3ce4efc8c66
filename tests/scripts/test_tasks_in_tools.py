"""Each worked task in the tools that take any run: jit, sweeps, derivatives, landscapes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist import landscapes, runs, sweep, training

NAMES = ("linen_cnn", "nnx_mlp", "equinox_mlp", "pendulum", "autoencoder")
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _promotion():
    """The libraries of the models promote ranks and dtypes themselves."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jit_has_the_bits_of_fit(name, example, fitted, assert_same_arrays):
    one = example(name)
    with jax.enable_x64(name == "pendulum"):
        train = jax.jit(jm.make_train(one.task, **one.sizes))
        assert_same_arrays(train(KEY, one.task.hyper, one.data), fitted(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_row_of_a_sweep_is_the_single_run(name, example, fitted):
    """To rounding: in a sweep's program the compiler fuses a step otherwise."""
    one, (_, history) = example(name), fitted(name)
    with jax.enable_x64(name == "pendulum"):
        rate = one.task.hyper["learning_rate"]
        found = sweep.run(
            one.task, {"learning_rate": [rate, 2 * rate], "seed": [0, 1]}, one.data, **one.sizes
        )
    eps = float(jnp.finfo(history["eval_loss"].dtype).eps)
    for metric, values in history.items():
        np.testing.assert_allclose(found.history[metric][0], values, rtol=16 * eps)
    assert len({*found.history["eval_loss"][:, 0].tolist()}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_is_restored_bit_by_bit(name, example, fitted, tmp_path, assert_same_arrays):
    """With `test_jit_has_the_bits_of_fit`: a stopped run is resumed to the same bytes."""
    one, (state, history) = example(name), fitted(name)
    path = Path(one.module.__file__)
    sizes = {"epochs": 2, "batch_size": 8, "eval_batch_size": one.sizes["eval_batch_size"]}
    options = {key: value for key, value in vars(one.config).items() if key != "epochs"}
    file = runs.TaskFile(str(path), path.read_text(), options)
    with jax.enable_x64(name == "pendulum"):
        run = runs.Run(tmp_path / "run", jm.Config(**sizes), 10, None, None, 1, 1, file)
        runs.create(run)
        metrics = {key: values[0] for key, values in history.items()}
        runs.record_epoch(run, 0, state, metrics)
        rows = jax.tree.map(lambda leaf: leaf[:1], one.data[0])
        epoch, restored, past = runs.rewind(runs.read(run.path), rows)
        written = runs.load_model(run, one.data)
    assert epoch == 1
    assert past is not None
    assert_same_arrays(restored, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert_same_arrays(written, state.model)
    assert_same_arrays(training.by_name(past), dict(history))


def scheduled(hyper):
    """AdamW, whose rate rises to a peak in two steps and falls again."""
    shape = optax.warmup_cosine_decay_schedule(0.2, 1.0, 1, 4)
    return optax.adamw(
        lambda step: hyper["learning_rate"] * shape(step),
        weight_decay=hyper["weight_decay"],
        eps_root=1e-16,
    )


def in_float64(task: jm.Task) -> jm.Task:
    """The task with parameters and state in float64."""

    def init(key, hyper, inputs):
        return jax.tree.map(lambda leaf: leaf.astype(float), task.init(key, hyper, inputs))

    return task._replace(init=init)


def whole_batches(one) -> tuple:
    """The first 16 samples, two batches of 8, and the sizes for them: one kind of batch each."""
    data = jax.tree.map(lambda leaf: jnp.array(leaf[:16]), one.data)
    test = min(16, len(jax.tree.leaves(data[1])[0]))
    return data, {**one.sizes, "eval_batch_size": test}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hypergradient_equals_finite_differences(name, example):
    """By the weight decay and by the peak of a schedule."""
    one = example(name)
    with jax.enable_x64(True):
        data, sizes = whole_batches(one)
        task = in_float64(one.task)
        if name != "linen_cnn":  # The only one with both of its own.
            task = task._replace(optimizer=scheduled)
        hyper = {**task.hyper, "learning_rate": 0.01, "weight_decay": 0.1}
        hyper = jax.tree.map(lambda value: jnp.array(value, float), hyper)
        names = "learning_rate", "weight_decay"
        slope = jax.jit(jm.hypergradient(jm.make_train(task, **sizes), names))
        _, found = slope(KEY, hyper, data)

        # So near that no ReLU switches within, and so far that rounding, 1e-16 by it, is small.
        for name, h in (("learning_rate", 1e-8), ("weight_decay", 1e-4)):
            up, down = (
                slope(KEY, {**hyper, name: hyper[name] + step}, data)[0] for step in (h, -h)
            )
            np.testing.assert_allclose(found[name], (up - down) / (2 * h), rtol=1e-6)
            assert abs(found[name]) > 1e-4


@pytest.mark.slow
def test_sweep_of_the_cnn_traces_once(example):
    """As often for 36 cells as for one."""
    one = example("linen_cnn")
    data, sizes = whole_batches(one)

    def traces(axes):
        traced = []

        def measure(*arguments):
            traced.append(arguments)
            return one.task.measure(*arguments)

        task = one.task._replace(measure=measure)
        found = sweep.run(task, axes, data, **sizes)
        assert len(found.cells) == np.prod([len(values) for values in axes.values()])
        return len(traced)

    axes = {
        "learning_rate": [1e-3, 2e-3, 3e-3],
        "weight_decay": [1e-3, 1e-2, 1e-1],
        "seed": [0, 1, 2, 3],
    }
    once = traces({name: values[:1] for name, values in axes.items()})
    assert once == traces(axes)


@pytest.mark.slow
def test_landscape_of_the_cnn(example, fitted, assert_same_arrays):
    """Its course is that of `fit`, and its plane has at (0, 0) the loss that `fit` evaluated."""
    one, (state, history) = example("linen_cnn"), fitted("linen_cnn")
    run = landscapes.make_course(one.task, every=2, epochs=1, batch_size=8)
    reached, course = jax.jit(run)(KEY, one.task.hyper, one.data)
    assert course.steps.tolist() == [0, 2, 3]
    last = jax.tree.map(lambda leaf: leaf[-1], course.snapshots)
    assert_same_arrays(last, reached.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        reached.params,
        state.params,
    )
    assert set(course.batches) == {"loss", "accuracy"}
    np.testing.assert_allclose(course.batches["loss"].mean(), history["train_loss"][0], rtol=1e-5)

    test = jax.tree.map(jnp.array, one.data[1])

    def loss(params):
        model = jm.Model(params, state.model_state)
        return one.task.measure(model, test, None, False)[0]["loss"].mean()

    plane = landscapes.random_plane(KEY, state.params)
    at = jnp.array([-0.5, 0.0, 0.5])
    losses = jax.jit(lambda plane: landscapes.loss_on_plane(loss, plane, at, at))(plane)
    np.testing.assert_allclose(losses[1, 1], history["eval_loss"][0], rtol=1e-6)
    np.testing.assert_allclose(
        losses[0, 2], loss(landscapes.point_on(plane, at[2], at[0])), rtol=1e-5
    )
    assert np.ptp(losses) > 1e-3
