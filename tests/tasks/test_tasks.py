"""Any task is one pure run: its numbers, its keys, its derivatives and how often it is traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist import losses, training

KEY = jax.random.key(0)
SIZES: Any = {"epochs": 2, "batch_size": 4}  # Of 10 samples: the last batch of an epoch has 2.


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_float64_run_matches_a_plain_loop(line):
    with jax.enable_x64(True):
        task = line.task(metrics={"absolute": lambda out, y: jnp.abs(out - y)})
        state, history = jm.fit(task, line.data, **SIZES)
        (x, y), (x_test, y_test) = line.data
        tx = optax.adamw(0.05, weight_decay=0.01)
        params = {"w": jax.random.normal(KEY, (3,), float), "b": jnp.zeros((), float)}
        opt_state = tx.init(params)

        def loss(params, x, y):
            return ((line.apply(params, x) - y) ** 2).mean()

        # Some 100 roundings of numbers below 10 in each of 6 steps.
        close = {"rtol": 0, "atol": 6 * 100 * 10 * 2**-53}
        for epoch in range(2):
            order = np.asarray(training.epoch_order(KEY, epoch, 10))
            values = []
            for rows in (order[:4], order[4:8], order[8:]):
                value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
                values.append(float(value))
                updates, opt_state = tx.update(grads, opt_state, params)
                params = optax.apply_updates(params, updates)
            np.testing.assert_allclose(history["train_loss"][epoch], np.mean(values), **close)
            by_sample = np.average(values, weights=[4, 4, 2])
            np.testing.assert_allclose(history["train_loss_per_sample"][epoch], by_sample, **close)
            errors = np.abs(line.apply(params, x_test) - y_test)
            found = history["eval_absolute"][epoch], history["eval_absolute_per_sample"][epoch]
            wanted = (errors[:4].mean() + errors[4]) / 2, errors.mean()
            np.testing.assert_allclose(found, wanted, **close)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), state.params, params)
        assert {leaf.dtype for leaf in history.values()} == {np.dtype(float)}


OPTIMIZERS = {
    "adamw": optax.adamw(0.01),
    "reduce_on_plateau": optax.chain(
        optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1, rtol=0.5)
    ),
    "polyak_sgd": optax.polyak_sgd(0.5),
    "lbfgs": optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(5)),
    "multi_steps": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
}


@pytest.mark.slow_except("polyak_sgd")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_has_the_bits_of_jitted_make_train(line, name):
    task = line.task(optimizer=OPTIMIZERS[name], hyper={})
    fitted = jm.fit(task, line.data, **SIZES)
    assert_equal(fitted, jax.jit(jm.make_train(task, **SIZES))(KEY, {}, line.data))
    start = task.init(KEY, {}, jnp.ones((1, 3))).params
    assert jnp.abs(fitted[0].params["w"] - start["w"]).max() > 0.01


@pytest.mark.slow
def test_lbfgs_is_given_the_loss_of_the_batch(line):
    """One step on all the data, as Optax's own example of a line search makes it."""
    tx = OPTIMIZERS["lbfgs"]
    part = jax.tree.map(jnp.array, line.data[0])
    task = line.task(optimizer=tx, hyper={})
    state = training.start(KEY, {}, task, part)
    moved, _ = training.update(state, part, KEY, measure=task.measure, tx=tx)

    def loss(params):
        return ((line.apply(params, part[0]) - part[1]) ** 2).mean()

    value, grad = jax.value_and_grad(loss)(state.params)
    updates, _ = tx.update(
        grad, state.opt_state, state.params, value=value, grad=grad, value_fn=loss
    )
    wanted = optax.apply_updates(state.params, updates)
    assert loss(wanted) < value / 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), moved.params, wanted)


@pytest.mark.slow_except("polyak_sgd", "reduce_on_plateau")
@pytest.mark.parametrize("tx", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_train_step_takes_any_optimizer(tx):
    params = {"w": jnp.zeros((784, 10))}
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    labels = np.arange(8)

    def apply_fn(params, x):
        return 0.01 * x.reshape(len(x), -1) @ params["w"]

    state = training.TrainState(params, tx.init(params))
    step = jax.jit(
        lambda state: training.train_step(state, images, labels, apply_fn=apply_fn, tx=tx)
    )
    losses = []
    for _ in range(4):
        state, metrics = step(state)
        losses.append(metrics.loss)
    np.testing.assert_allclose(losses[0], np.log(10), rtol=1e-6)
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_rows_of_map_and_vmap_are_single_runs(line):
    train = jm.make_train(line.task(), **SIZES)
    hypers = {"learning_rate": jnp.array([0.01, 0.1]), "weight_decay": jnp.array([0.0, 0.5])}
    data = jax.tree.map(jnp.array, line.data)
    single = jax.jit(train)
    rows = [{name: leaf[i] for name, leaf in hypers.items()} for i in (0, 1)]
    singles = [single(KEY, hyper, data) for hyper in rows]
    mapped = jax.jit(lambda h: jax.lax.map(lambda hyper: train(KEY, hyper, data), h))(hypers)
    vmapped = jax.jit(jax.vmap(train, (None, 0, None)))(KEY, hypers, data)
    for i in (0, 1):
        for rows in (mapped, vmapped):
            jax.tree.map(
                # A few roundings in each of 6 steps.
                lambda row, one, i=i: np.testing.assert_allclose(row[i], one, rtol=6 * 2**-20),
                rows,
                singles[i],
            )
    assert abs(singles[0][1]["eval_loss"][-1] - singles[1][1]["eval_loss"][-1]) > 0.1


@pytest.mark.slow
def test_hypergradients_equal_finite_differences_in_float64(line):
    def optimizer(hyper):
        shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, 2, 6)
        return optax.adamw(
            lambda step: hyper["peak"] * shape(step), weight_decay=hyper["weight_decay"]
        )

    with jax.enable_x64(True):
        hyper = {"peak": 0.1, "weight_decay": 0.2}
        train = jm.make_train(line.task(optimizer=optimizer, hyper=hyper), **SIZES)
        data = jax.tree.map(jnp.array, line.data)
        _, found = jax.jit(jm.hypergradient(train, tuple(hyper)))(KEY, hyper, data)
        run = jax.jit(train)
        # Numbers of Python would be rounded to float32 by the schedule, which Optax computes in it.
        hyper = jax.tree.map(lambda value: jnp.array(value, float), hyper)
        for name, value in hyper.items():
            # The difference's own errors are h^2, 1e-10, and rounding by h, 1e-11.
            up, down = (
                run(KEY, {**hyper, name: value + h}, data)[1]["eval_loss"][-1]
                for h in (1e-5, -1e-5)
            )
            np.testing.assert_allclose(found[name], (up - down) / 2e-5, rtol=1e-6)
            assert abs(found[name]) > 1e-3


def test_traced_once_for_two_fits_and_three_rates(line):
    traces = []

    def loss(outputs, targets):
        traces.append(None)
        return (outputs - targets) ** 2

    # A number of Python and a weakly typed array, which the first step makes strong.
    model = (
        lambda key: {"w": jnp.zeros(3), "b": 0.0},
        lambda params, x: x @ params["w"] + params["b"],
    )
    task = line.task(model=model, loss=loss)
    jm.fit(task, line.data, **SIZES)
    once = len(traces)
    assert once == 4  # A full and a short batch, of training and of evaluation.
    for rate in (0.1, 0.2, 0.3):
        jm.fit(task, line.data, **SIZES, hyper={**task.hyper, "learning_rate": rate})
    jm.fit(task, line.data, **SIZES, seed=3)
    assert len(traces) == once


def test_metrics_of_a_batch_have_no_mean_over_samples(line):
    """A loss that is one number is minimised as it is."""
    batch_loss = line.task(
        loss=lambda outputs, targets: ((outputs - targets) ** 2).mean(),
        metrics={"largest": lambda outputs, targets: outputs.max(), "one": lambda out, y: out},
    )
    state, history = jm.fit(batch_loss, line.data, **SIZES)
    wanted, _ = jm.fit(line.task(), line.data, **SIZES)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.params, wanted.params
    )
    names = ("loss", "largest", "one", "one_per_sample")
    assert sorted(history) == sorted(
        f"{part}_{name}" for part in ("train", "eval") for name in names
    )


@pytest.mark.slow
def test_batches_of_dicts_and_data_without_labels(line):
    (x, y), (x_test, y_test) = line.data
    named = {"y": y, "more": {"x": x}}, {"y": y_test, "more": {"x": x_test}}
    task = line.task(transform=lambda batch, key, training: (batch["more"]["x"], batch["y"]))
    assert_equal(jm.fit(task, named, **SIZES), jm.fit(line.task(), line.data, **SIZES))

    both = np.column_stack([x, y]), np.column_stack([x_test, y_test])
    task = line.task(transform=lambda batch, key, training: (batch[:, :3], batch[:, 3]))
    assert_equal(jm.fit(task, both, **SIZES), jm.fit(line.task(), line.data, **SIZES))
    model = task.init(KEY, task.hyper, x[:1])
    wanted = line.apply(model.params, x_test)
    np.testing.assert_allclose(task.predict(model, jnp.array(both[1])), wanted, rtol=1e-5)


@pytest.mark.slow
def test_transform_is_given_each_step_a_key_of_its_own():
    """By the documented rule: fold_in(step key, 0); and an evaluation has always the same."""

    def transform(batch, key, training):
        return batch, jax.random.uniform(key, batch.shape) if training else jnp.zeros(len(batch))

    model = (lambda key: jnp.zeros(()), lambda params, x: x + 0 * params)
    drawn = lambda outputs, targets: targets.sum()  # noqa: E731
    task = jm.task(model, optax.sgd(1.0), drawn, transform=transform)
    part = jnp.zeros(4)
    _, history = jm.fit(task, (part, part), epochs=2, batch_size=2)
    for epoch in range(2):
        keys = [jax.random.fold_in(training.epoch_key(KEY, epoch), step) for step in range(2)]
        sums = [jax.random.uniform(jax.random.fold_in(key, 0), (2,)).sum() for key in keys]
        np.testing.assert_allclose(history["train_loss"][epoch], np.mean(sums), rtol=1e-6)
    assert history["train_loss"][0] != history["train_loss"][1]


@pytest.mark.slow
def test_make_train_takes_numpy_data_without_jit(line):
    """To rounding: step by step XLA compiles smaller programs."""
    train = jm.make_train(line.task(), epochs=1, batch_size=4)
    one, other = (
        train(KEY, line.task().hyper, line.data),
        jax.jit(train)(KEY, line.task().hyper, line.data),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, other)


@pytest.mark.slow
def test_labels_out_of_range_are_nan_where_torch_refuses(torch):
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    labels = np.array([0, 3, 1])
    wanted = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    found = losses.cross_entropy_with_integer_labels(jnp.array(logits), jnp.array(labels))
    np.testing.assert_allclose(found, wanted, rtol=3 * 2**-23)
    for label in (-1, 4):
        labels[1] = label
        with pytest.raises(IndexError):
            torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
        assert np.isnan(
            losses.cross_entropy_with_integer_labels(jnp.array(logits), jnp.array(labels))
        )
