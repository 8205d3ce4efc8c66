import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.data.batches import permutation
from jaxmnist.training import in_memory

CONFIG = jm.Config(hidden=(16, 8), epochs=3, batch_size=64, eval_batch_size=48)


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    """Real digits, in numbers that leave short last batches: 10 of 64 and 5 of 48."""
    return first_digits(650, 245)


@pytest.fixture(scope="module")
def trained(dataset):
    train = jax.jit(jm.make_train(CONFIG))
    return train(jax.random.key(0), jm.default_hyper(CONFIG), dataset.arrays())


def torch_run(torch, module, orders, dataset, batch_size, eval_batch_size, learning_rate):
    """The tutorial's program, in float64, with the orders given: every batch and the metrics."""
    optimizer = torch.optim.SGD(module.parameters(), learning_rate)
    loss_function = torch.nn.CrossEntropyLoss()

    def batches(images, labels, order, size):
        x = (torch.from_numpy(images).double().flatten(1) / 255 - 0.5) / 0.5
        y = torch.from_numpy(labels.astype(np.int64))
        for start in range(0, len(order), size):
            batch = torch.from_numpy(np.array(order[start : start + size])).long()
            yield x[batch], y[batch]

    metrics, batch_losses = [], []
    for order in orders:
        row = []
        for train in (True, False):
            losses, accuracies, weights = [], [], []
            part = (
                batches(dataset.train_images, dataset.train_labels, order, batch_size)
                if train
                else batches(
                    dataset.test_images,
                    dataset.test_labels,
                    np.arange(len(dataset.test_labels)),
                    eval_batch_size,
                )
            )
            for x, y in part:
                logits = module(x)
                loss = loss_function(logits, y)
                if train:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.item())
                accuracies.append((logits.argmax(1) == y).double().mean().item())
                weights.append(len(y))
            if train:
                batch_losses.append(losses)
            row.append(
                [
                    (np.mean(values), np.average(values, weights=weights))
                    for values in (losses, accuracies)
                ]
            )
        (train_loss, train_accuracy), (eval_loss, eval_accuracy) = row
        four = (train_loss, train_accuracy, eval_loss, eval_accuracy)
        metrics.append([means[0] for means in four] + [means[1] for means in four])
    return np.array(batch_losses), np.array(metrics)


def test_run_matches_the_tutorials_program_in_torch(dataset, sequential, torch):
    config = dataclasses.replace(CONFIG, dtype="float64")
    with jax.enable_x64(True):
        key, data = jax.random.key(5), dataset.arrays()
        start = training.init(key, jm.default_hyper(config), config)
        state, history = jax.jit(jm.make_train(config))(key, jm.default_hyper(config), data)
        _, data_key = jax.random.split(key)
        orders = [permutation(jax.random.fold_in(data_key, e), 650) for e in range(CONFIG.epochs)]

        losses = []
        state_by_epoch = start
        for order in orders:
            state_by_epoch, metrics = training.train_epoch(
                state_by_epoch,
                order,
                data.train_images,
                data.train_labels,
                apply_fn=jm.MLP(CONFIG.hidden).apply,
                tx=jm.optim.sgd(0.1),
                batch_size=64,
            )
            losses.append(metrics.loss)
    module = sequential(start.params)
    expected_losses, expected = torch_run(torch, module, orders, dataset, 64, 48, 0.1)
    assert np.shape(losses) == (3, 11)
    # float64 rounding, 33 steps long; a run of this length magnifies it less than a thousandfold.
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-11)
    np.testing.assert_allclose(np.stack(history, axis=1), expected, rtol=1e-11)
    for name, leaf in jm.interop.flatten(state.params).items():
        np.testing.assert_allclose(leaf, module.get_parameter(name).detach(), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_fit_gives_the_numbers_of_the_jitted_run(dataset, trained):
    epochs = []
    state, history = jm.fit(
        CONFIG, dataset, on_epoch=lambda epoch, state, metrics: epochs.append((epoch, metrics))
    )
    assert [epoch for epoch, _ in epochs] == [0, 1, 2]
    jax.tree.map(np.testing.assert_array_equal, state, trained[0])
    # A mean over 11 batches, which another program may sum in another order.
    rounding = 11 * float(np.finfo(np.float32).eps)
    for fitted, jitted in zip(jax.tree.leaves(history), jax.tree.leaves(trained[1]), strict=True):
        np.testing.assert_allclose(fitted, jitted, rtol=rounding)
    np.testing.assert_array_equal([row.eval_loss for _, row in epochs], history.eval_loss)


@pytest.mark.slow
def test_same_seed_same_numbers_and_other_seed_others(dataset):
    runs = [jm.fit(dataclasses.replace(CONFIG, epochs=1, seed=seed), dataset) for seed in (1, 1, 2)]
    first, again, other = (np.concatenate([*map(np.ravel, jax.tree.leaves(run))]) for run in runs)
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.9


@pytest.mark.slow
def test_init_scale_multiplies_the_initial_parameters_and_reaches_no_optimizer():
    key, hyper = jax.random.key(1), jm.default_hyper(CONFIG)
    drawn = training.init(key, hyper, CONFIG).params
    scaled = training.init(key, {**hyper, "init_scale": 0.5}, CONFIG).params
    for one, half in zip(jax.tree.leaves(drawn), jax.tree.leaves(scaled), strict=True):
        assert jnp.any(one != 0)
        np.testing.assert_array_equal(half, one / 2)


def test_every_epoch_has_its_own_order(dataset):
    images = jnp.zeros_like(jnp.asarray(dataset.train_images))
    orders = []
    for epoch in range(3):
        _, data_key = jax.random.split(jax.random.key(0))
        orders.append(np.asarray(permutation(jax.random.fold_in(data_key, epoch), len(images))))
    assert np.mean(orders[0] == orders[1]) < 0.05
    assert np.mean(orders[1] == orders[2]) < 0.05


@pytest.mark.slow_except("sgd")
@pytest.mark.parametrize("optimizer", jm.optim.NAMES)
def test_one_program_serves_every_hyperparameter_and_seed(dataset, optimizer):
    traces = 0
    config = dataclasses.replace(CONFIG, optimizer=optimizer, epochs=1)
    train = jm.make_train(config)

    @jax.jit
    def counted(key, hyper, data):
        nonlocal traces
        traces += 1
        return train(key, hyper, data)

    data, hyper = dataset.arrays(), jm.default_hyper(config)
    losses = []
    for factor, seed in ((1.0, 0), (0.5, 0), (1.0, 1)):
        scaled = jax.tree.map(lambda value, factor=factor: value * factor, hyper)
        losses.append(float(counted(jax.random.key(seed), scaled, data)[1].train_loss[0]))
    assert traces == 1
    assert len(set(losses)) == (3 if hyper else 2)


@pytest.mark.slow
def test_row_of_a_vmapped_sweep_equals_the_single_run(dataset):
    with jax.enable_x64(True):
        rates = jnp.array([0.03, 0.1, 0.3])
        keys = jax.vmap(jax.random.key)(jnp.array([7, 0, 9]))
        train = jm.make_train(dataclasses.replace(CONFIG, dtype="float64"))
        sweep = jax.jit(jax.vmap(train, in_axes=(0, {"learning_rate": 0}, None)))
        state, history = sweep(keys, {"learning_rate": rates}, dataset.arrays())
        trained = jax.jit(train)(keys[1], {"learning_rate": rates[1]}, dataset.arrays())
        row = jax.tree.map(lambda leaf: leaf[1], (state, history))
    for swept, single in zip(jax.tree.leaves(row), jax.tree.leaves(trained), strict=True):
        # Batched products sum in another order, and training amplifies that: in float64 from
        # 1e-16, so that 33 steps leave it far below what a wrong seed, rate or order would do.
        assert swept.dtype == single.dtype
        np.testing.assert_allclose(swept, single, rtol=1e-9, atol=1e-10)
    assert len(set(np.asarray(history.eval_loss[:, -1]).tolist())) == 3


@pytest.mark.slow
def test_training_is_differentiable_in_the_learning_rate(dataset):
    config = dataclasses.replace(CONFIG, epochs=1, hidden=(8,), dtype="float64")
    with jax.enable_x64(True):
        data = jax.tree.map(lambda leaf: leaf[:200], dataset.arrays())
        train = jm.make_train(config)

        def final_loss(rate):
            return train(jax.random.key(0), {"learning_rate": rate}, data)[1].eval_loss[-1]

        rate, h = jnp.float64(0.1), 1e-6
        reverse = jax.jit(jax.grad(final_loss))(rate)
        forward = jax.jit(jax.jacfwd(final_loss))(rate)
        jitted = jax.jit(final_loss)
        finite = (jitted(rate + h) - jitted(rate - h)) / (2 * h)
    np.testing.assert_allclose(reverse, forward, rtol=1e-11)
    # Central differences: h**2 of truncation, and 1e-16/h = 1e-10 of rounding.
    np.testing.assert_allclose(reverse, finite, rtol=1e-7)


@pytest.mark.slow
def test_train_step_takes_any_model_and_any_optax_optimizer(dataset):
    def apply_fn(params, x):
        return x.reshape(len(x), -1) @ params

    tx = optax.chain(optax.clip_by_global_norm(1.0), jm.optim.adam(1e-3))
    params = jnp.zeros((784, 10))
    state = training.TrainState(params, tx.init(params))
    data = dataset.arrays()
    losses = []
    for _ in range(3):
        state, metrics = training.train_step(
            state, data.train_images[:64], data.train_labels[:64], apply_fn=apply_fn, tx=tx
        )
        losses.append(float(metrics.loss))
    np.testing.assert_allclose(losses[0], np.log(10), rtol=1e-6)
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.slow
def test_batches_larger_than_the_data_are_refused(dataset):
    for field, largest in (("batch_size", 650), ("eval_batch_size", 245)):
        config = dataclasses.replace(CONFIG, epochs=1, **{field: largest + 1})
        message = f"{field} is {largest + 1}; the data has only {largest} samples"
        with pytest.raises(jm.InputError, match=message):
            jm.fit(config, dataset)
        with pytest.raises(jm.InputError, match=message):
            jm.make_train(config)(jax.random.key(0), jm.default_hyper(config), dataset.arrays())
        _, history = jm.fit(dataclasses.replace(config, **{field: largest}), dataset)
        assert np.isfinite(history.eval_loss).all()


@pytest.mark.slow
def test_fit_stops_where_the_loss_stops_being_finite(dataset):
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(
        jm.DivergedError, match=r"became (nan|inf) at step \d+ of epoch 0"
    ) as caught:
        jm.fit(config, dataset)
    error = caught.value
    assert (error.epoch, error.history.train_loss.size) == (0, 0)
    start = training.init(jax.random.key(0), jm.default_hyper(config), config)
    for kept, initial in zip(jax.tree.leaves(error.state), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(kept, initial)

    # The step named is the first whose loss is not finite.
    data = dataset.arrays()
    _, data_key = jax.random.split(jax.random.key(0))
    _, metrics = training.train_epoch(
        start,
        permutation(jax.random.fold_in(data_key, 0), 650),
        data.train_images,
        data.train_labels,
        apply_fn=jm.MLP(config.hidden).apply,
        tx=jm.optim.sgd(1e30),
        batch_size=64,
    )
    assert np.flatnonzero(~np.isfinite(metrics.loss))[0] == error.step


@pytest.mark.slow
def test_fit_keeps_the_epochs_before_a_divergence(dataset, monkeypatch):
    train = in_memory._train
    calls = itertools.count()

    class Poisoned:
        lower = train.lower

        def __call__(self, *arguments):
            state, means = train(*arguments)
            losses = means.per_example.loss
            losses = losses.at[4].set(jnp.inf) if next(calls) == 2 else losses
            return state, means._replace(per_example=means.per_example._replace(loss=losses))

    monkeypatch.setattr(in_memory, "_train", Poisoned())
    with pytest.raises(jm.DivergedError, match="became inf at step 4 of epoch 2") as caught:
        jm.fit(CONFIG, dataset)
    monkeypatch.undo()
    state, history = jm.fit(dataclasses.replace(CONFIG, epochs=2), dataset)
    np.testing.assert_array_equal(caught.value.history.eval_loss, history.eval_loss)
    for kept, expected in zip(
        jax.tree.leaves(caught.value.state), jax.tree.leaves(state), strict=True
    ):
        np.testing.assert_array_equal(kept, expected)


def test_second_fit_traces_nothing(dataset, monkeypatch):
    jm.fit(CONFIG, dataset)

    def traced_again(*_, **__):
        raise AssertionError("the program was traced again")

    monkeypatch.setattr("jaxmnist.training.in_memory.update_epoch", traced_again)
    jm.fit(dataclasses.replace(CONFIG, seed=4, learning_rate=0.01, epochs=1), dataset)
    with pytest.raises(AssertionError, match="traced again"):
        jm.fit(dataclasses.replace(CONFIG, batch_size=65), dataset)


@pytest.mark.slow_except("6-3", "3-3", "2-3")
@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (6, 3), (2, 3), (3, 3), (5, 1)])
def test_scan_batches_gives_every_batch_of_a_plain_loop(rows, batch_size):
    x, y = np.arange(rows), np.arange(2 * rows).reshape(rows, 2)
    batches = []

    def body(carry, batch):
        numbers, pairs = batch
        assert len(numbers) == len(pairs)
        return carry * 2 + numbers.sum(), {"batch": pairs.sum()[None], "row": numbers}

    carry, ys = training.scan_batches(body, jnp.array(1), (jnp.array(x), jnp.array(y)), batch_size)
    expected = 1
    for start in range(0, rows, batch_size):
        expected = expected * 2 + x[start : start + batch_size].sum()
        batches.append(y[start : start + batch_size].sum())
    assert carry == expected
    np.testing.assert_array_equal(ys["batch"], batches)
    np.testing.assert_array_equal(ys["row"], x)
