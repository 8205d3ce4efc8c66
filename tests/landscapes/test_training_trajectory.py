"""A run with snapshots against `make_train` and against a plain loop of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.data.batches import permutation
from jaxmnist.landscapes import make_course

CONFIG = jm.Config(hidden=(8,), optimizer="momentum", epochs=2, batch_size=64, eval_batch_size=48)
KEY = 3


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    """Real digits, in a number that leaves a short last batch: 10 of 64, and 10."""
    return first_digits(650, 245)


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


@pytest.fixture(scope="module")
def run(dataset):
    """A run of two epochs of eleven steps, with a snapshot after every fourth."""
    train = jax.jit(make_course(CONFIG, every=4))
    return train(jax.random.key(KEY), jm.hyper(CONFIG), dataset.arrays())


@pytest.mark.slow
def test_trajectory_ends_where_make_train_does_to_the_last_bit(dataset, run):
    state, trajectory = run
    train = jax.jit(jm.make_train(CONFIG))
    expected, history = train(jax.random.key(KEY), jm.hyper(CONFIG), dataset.arrays())
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    last = jax.tree.map(lambda leaf: leaf[-1], trajectory.snapshots)
    jax.tree.map(np.testing.assert_array_equal, last, expected.params)
    np.testing.assert_array_equal(trajectory.steps, [0, 4, 8, 11, 15, 19, 22])
    # A mean of eleven, perhaps summed in another order.
    means = trajectory.batches.loss.reshape(2, 11).mean(axis=1)
    np.testing.assert_allclose(means, history.train_loss, rtol=5e-7)


@pytest.mark.slow
def test_trajectory_takes_every_hyperparameter_that_make_train_takes(dataset):
    rates = {"learning_rate": {"dense_0": 0.2, "dense_1": 0.02}, "init_scale": 0.5}
    hyper = {**jm.hyper(CONFIG), **rates}
    arguments = (jax.random.key(KEY), hyper, dataset.arrays())
    state, trajectory = jax.jit(make_course(CONFIG, every=11))(*arguments)
    expected, _ = jax.jit(jm.make_train(CONFIG))(*arguments)
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    drawn = training.init(arguments[0], jm.hyper(CONFIG), CONFIG).params
    np.testing.assert_array_equal(
        trajectory.snapshots["params"]["dense_0"]["weight"][0],
        0.5 * drawn["params"]["dense_0"]["weight"],
    )


@pytest.mark.slow
def test_every_point_is_where_a_loop_of_steps_comes(dataset, run):
    _, trajectory = run
    key, data = jax.random.key(KEY), dataset.arrays()
    model, tx = jm.MLP(CONFIG.hidden), jm.optim.create("momentum")
    step = jax.jit(lambda *a: training.train_step(*a, apply_fn=model.apply, tx=tx))
    state = training.init(key, jm.hyper(CONFIG), CONFIG)
    states, losses = [state], []
    for epoch in range(CONFIG.epochs):
        order = permutation(jax.random.fold_in(jax.random.split(key)[1], epoch), 650)
        for start in range(0, 650, 64):
            batch = order[start : start + 64]
            state, metrics = step(state, data.train_images[batch], data.train_labels[batch])
            states.append(state)
            losses.append(metrics.loss)
    for point, steps in enumerate(trajectory.steps):
        snapshot = jax.tree.map(lambda leaf, point=point: leaf[point], trajectory.snapshots)
        # The weights are about 0.1, and each of 22 steps may round otherwise: some 22 eps.
        np.testing.assert_allclose(flat(snapshot), flat(states[steps].params), rtol=0, atol=2e-6)
    np.testing.assert_allclose(trajectory.batches.loss, losses, rtol=2e-5)
    moved = np.abs(flat(states[4].params) - flat(states[8].params)).max()
    assert moved > 1e-3


@pytest.mark.slow
def test_optimizers_start_alike_and_take_the_same_batches(dataset):
    @jax.jit
    def trajectories(key, data):
        def trajectory(name):
            config = jm.Config(**{**vars(CONFIG), "hidden": (), "optimizer": name})
            # At a rate of 0 the weights stay, and the losses tell only which batches came.
            hyper = {**jm.hyper(config), "learning_rate": 0.0}
            return make_course(config, every=5)(key, hyper, data)[1]

        return {name: trajectory(name) for name in jm.optim.NAMES}

    every = trajectories(jax.random.key(4), dataset.arrays())
    for trajectory in every.values():
        starts = [
            jax.tree.map(lambda leaf: leaf[0], of.snapshots) for of in (trajectory, every["sgd"])
        ]
        jax.tree.map(np.testing.assert_array_equal, *starts)
        np.testing.assert_array_equal(trajectory.batches.loss, every["sgd"].batches.loss)
    assert len(np.unique(every["sgd"].batches.loss)) == 22


@pytest.mark.slow
@pytest.mark.parametrize(
    ("samples", "every", "steps"),
    [
        (650, 20, [0, 11, 22]),
        (640, 5, [0, 5, 10, 15, 20]),
        (130, 1, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_points_come_every_so_many_steps_and_at_an_epochs_end(dataset, samples, every, steps):
    config = jm.Config(**{**vars(CONFIG), "hidden": ()})
    data = dataset.arrays()._replace(
        train_images=jnp.asarray(dataset.train_images[:samples]),
        train_labels=jnp.asarray(dataset.train_labels[:samples]),
    )

    def norm(params):
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)))

    train = make_course(config, every=every, observe=norm)
    state, trajectory = jax.jit(train)(jax.random.key(0), jm.hyper(config), data)
    np.testing.assert_array_equal(trajectory.steps, steps)
    assert trajectory.snapshots.shape == (len(steps),)
    assert trajectory.batches.loss.shape == (steps[-1],)
    np.testing.assert_allclose(
        trajectory.snapshots[-1], np.linalg.norm(flat(state.params)), rtol=1e-6
    )


def test_trajectory_refuses_what_cannot_be_run(dataset):
    with pytest.raises(jm.InputError, match="every is 0; it must be a whole number of at least 1"):
        make_course(CONFIG, every=0)
    train = make_course(jm.Config(batch_size=651), every=1)
    with pytest.raises(jm.InputError, match="batch_size is 651"):
        train(jax.random.key(0), jm.hyper(CONFIG), dataset.arrays())
