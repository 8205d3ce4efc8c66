"""Each worked task is the run that a plain loop of the same thing makes, and keeps its form."""

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxmnist as jm
from jaxmnist import training

FOLDER = Path(__file__).parents[2] / "scripts" / "tasks"
NAMES = ("linen_cnn", "nnx_mlp", "equinox_mlp", "pendulum", "autoencoder")
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _promotion():
    """The libraries of the models promote ranks and dtypes themselves."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def pixels(images):
    return (images / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


# For each task a function of (module, config, key) -> (params, loss, optimizer), where
# loss(params, rest, batch, key) -> (loss, rest) in training; `rest` is a model's state.


def linen_cnn(module, config, start):
    cnn = module.CNN(config.channels, config.dropout)
    variables = cnn.init(start, jnp.zeros((1, 28, 28, 1)), train=False)

    def loss(params, stats, batch, key):
        rngs = {"dropout": jax.random.fold_in(jax.random.fold_in(key, 1), 1)}
        variables = {"params": params, "batch_stats": stats}
        x = pixels(batch[0])[..., None]
        logits, changed = cnn.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return cross_entropy(logits, batch[1]), changed["batch_stats"]

    schedule = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, 0, 3)
    tx = optax.adamw(schedule, weight_decay=config.weight_decay, eps_root=1e-16)
    return variables["params"], variables["batch_stats"], loss, tx


def nnx_mlp(module, config, start):
    mlp = module.MLP(config.hidden, config.dropout, nnx.Rngs(start))
    params = nnx.to_pure_dict(nnx.state(mlp, nnx.Param))

    def loss(params, rest, batch, key):
        x = pixels(batch[0]).reshape(len(batch[0]), -1)
        # Every variable of a stream has a key by its place: count and key of each dropout.
        for place, layer in ((1, "first"), (3, "second")):
            x = jnp.maximum(x @ params[layer]["kernel"] + params[layer]["bias"], 0)
            stream = jax.random.fold_in(jax.random.fold_in(key, 1), place)
            dropout = nnx.Dropout(config.dropout)
            x = dropout(x, rngs=nnx.RngStream(stream, tag="dropout"))
        return cross_entropy(x @ params["last"]["kernel"] + params["last"]["bias"], batch[1]), rest

    decay = optax.add_decayed_weights(config.weight_decay)
    return params, {}, loss, optax.chain(decay, optax.sgd(config.learning_rate, config.momentum))


def equinox_mlp(module, config, start):
    mlp = eqx.nn.MLP(784, 10, config.hidden, config.depth, key=start)
    params, static = eqx.partition(mlp, eqx.is_inexact_array)

    def loss(params, rest, batch, key):
        images, labels = batch
        bounds = -config.shift, config.shift + 1
        shifts = jax.random.randint(jax.random.fold_in(key, 0), (len(images), 2), *bounds)
        moved = [jnp.roll(image, by, (0, 1)) for image, by in zip(images, shifts, strict=True)]
        x = pixels(jnp.stack(moved)).reshape(len(images), -1)
        return cross_entropy(jax.vmap(eqx.combine(params, static))(x), labels), rest

    clip = optax.clip_by_global_norm(config.clip)
    tx = optax.chain(
        clip, optax.adamw(config.learning_rate, weight_decay=config.weight_decay, eps_root=1e-16)
    )
    return params, {}, loss, tx


def pendulum(module, config, start):
    one, two = jax.random.split(start)
    params = {
        "w1": jax.random.normal(one, (2, 8), float),
        "b1": jnp.zeros(8),
        "w2": jax.random.normal(two, (8,), float) / np.sqrt(8),
        "b2": jnp.zeros(()),
    }

    def loss(params, rest, batch, key):
        hidden = jnp.tanh(jnp.dot(batch[0], params["w1"]) + params["b1"])
        return jnp.mean((hidden @ params["w2"] + params["b2"] - batch[1]) ** 2), rest

    return params, {}, loss, optax.adam(optax.cosine_decay_schedule(config.learning_rate, 3))


def autoencoder(module, config, start):
    # The same draws: Linen derives a layer's key from its name.
    params = module.task(config).init(start, {}, jnp.zeros((1, 784))).params

    def loss(params, rest, images, key):
        target = images.reshape(len(images), -1) / np.float32(255)
        x = target + config.noise * jax.random.normal(jax.random.fold_in(key, 0), target.shape)
        for name, is_hidden in (("0", True), ("2", False), ("3", True), ("5", False)):
            layer = params[f"layers_{name}"]
            x = x @ layer["kernel"] + layer["bias"]
            x = jnp.maximum(x, 0) if is_hidden else x
        return jnp.mean(jnp.sum(jnp.logaddexp(0, x) - x * target, axis=1)), rest

    return (
        params,
        {},
        loss,
        optax.adamw(config.learning_rate, weight_decay=config.weight_decay, eps_root=1e-16),
    )


PLAIN = (linen_cnn, nnx_mlp, equinox_mlp, pendulum, autoencoder)


def by_one_ulp(tree):
    return jax.tree.map(lambda x: x * (1 + jnp.finfo(x.dtype).eps), tree)


def plain_run(plain, train, nudge):
    """Three steps, of 8, 8 and 4 samples."""
    params, rest, loss, tx = plain
    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True))  # Op by op it takes minutes.
    params = nudge(params)
    opt_state, losses = tx.init(params), []
    order = np.asarray(training.epoch_order(KEY, 0, 20))
    for step, rows in enumerate((order[:8], order[8:16], order[16:])):
        key = jax.random.fold_in(training.epoch_key(KEY, 0), step)
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], train)
        (value, rest), grads = differentiate(params, rest, batch, key)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        losses.append(value)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)], np.mean(losses)


@pytest.mark.slow_except("pendulum")
@pytest.mark.parametrize("plain", PLAIN, ids=NAMES)
def test_task_matches_a_plain_loop(plain, example, fitted):
    """To three times what one unit in the last place of every initial weight grows to.

    Every step rounds anew, by about such a unit, and so does the sum of a loss.
    """
    one = example(plain.__name__)
    state, history = fitted(plain.__name__)
    with jax.enable_x64(plain is pendulum):
        parts, train = plain(one.module, one.config, KEY), jax.tree.map(jnp.array, one.data[0])
        exact, nudged = (
            plain_run(parts, train, nudge) for nudge in (lambda tree: tree, by_one_ulp)
        )
        eps = jnp.finfo(exact[0][0].dtype).eps
        moved = max(np.abs(a - b).max() for a, b in zip(exact[0], nudged[0], strict=True))
        for found, wanted in zip(jax.tree.leaves(state.params), exact[0], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=3 * max(moved, eps))
        grown = abs(exact[1] - nudged[1])
        allowed = float(3 * max(grown, eps * np.abs(exact[1])))
        np.testing.assert_allclose(history["train_loss"][0], exact[1], rtol=0, atol=allowed)


@pytest.mark.parametrize("name", NAMES)
def test_file_keeps_the_form_of_a_task(name):
    module: Any = import_module(name)
    names = {field.name for field in dataclasses.fields(module.Config)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        module.Config().learning_rate = 0.0
    assert "Attributes:" in module.Config.__doc__
    assert all(f"    {field}: " in module.Config.__doc__ for field in names)
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 80
    task = module.task(module.Config())
    assert isinstance(task, jm.Task)
    # What the optimizer reads is in hyper, under the name and with the value of the config's field.
    optimized = {"learning_rate", "weight_decay", "momentum", "clip"} & names
    assert task.hyper == {name: getattr(module.Config(), name) for name in optimized}
