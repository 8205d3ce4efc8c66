"""What is no task, or changes from batch to batch, is refused in one line that names it."""

import inspect
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist import training

SIZES: Any = {"epochs": 1, "batch_size": 4}
UNEVEN: Any = optax.GradientTransformation(
    lambda params: {"count": jnp.zeros((), jnp.int32)},
    cast(Any, lambda grads, state, params=None: (grads, {"count": state["count"] + 0.5})),
)


def assert_refused(call, *words):
    """As the fixture `refused`, without JAX's note on the traceback of what is raised in a jit."""
    with pytest.raises(jm.InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"loss": lambda out, y: (out - y)[:, None]}, ["metric loss", "(4, 1)", "batch of 4"]),
        ({"metrics": {"m": lambda out, y: out[:3]}}, ["metric m", "(3,)"]),
        ({"loss": lambda out, y: None}, ["metric loss is a NoneType", "per example, (4,)"]),
        ({"metrics": {"m": lambda out, y: "x"}}, ["metric m is a str"]),
        ({"optimizer": lambda hyper: optax.sgd(hyper["lr"])}, ["reads 'lr'", "has learning_rate"]),
        (
            {"metrics": {"m": lambda out, y: out if len(out) == 4 else out.sum()}},
            ["batch of 4", "['m']", "last batch", "of 2", "per_batch['m']"],
        ),
        ({"metrics": {"loss": lambda out, y: out}}, ["metric is named loss", "rename"]),
        ({"metrics": {"m": 3}}, ["m is a int", "(outputs, targets)"]),
        ({"loss": "mse"}, ["loss is a str"]),
        ({"optimizer": 3}, ["optimizer is a int", "GradientTransformation"]),
        ({"optimizer": lambda hyper: 3}, ["optimizer returned a int"]),
        ({"optimizer": optax.adam}, ["adam takes a learning_rate", "lambda hyper"]),
        ({"optimizer": UNEVEN}, ["optimizer's state['count']", "int32[]", "float32[]"]),
        (lambda torch: {"model": torch.nn.Linear(3, 1)}, ["of type Linear", "called with a key"]),
        ({"transform": lambda batch, key, training: {"x": batch[0]}}, ["batch is a dict", "pair"]),
    ],
)
def test_parts_of_a_task_are_refused(line, others, words, given_torch):
    others = given_torch(others)
    assert_refused(lambda: jm.fit(line.task(**others), line.data, **SIZES), *words)


def measure(metrics, state=lambda state: state):
    def measured(model, batch, key, training):
        errors = (batch[0] @ model.params["w"] - batch[1]) ** 2
        return metrics(errors, training), state(model.state)

    return measured


COUNTED = {"n": jnp.zeros((), jnp.int32)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"measure": measure(lambda errors, training: {"error": errors})}, ["error", "named loss"]),
        ({"measure": measure(lambda errors, training: [errors])}, ["metrics of type list"]),
        ({"measure": lambda *_: jnp.zeros(())}, ["measure returned", "pair"]),
        (
            {"measure": measure(lambda e, training: {"loss": e} | ({"a": e} if training else {}))},
            ["metric a", "one number per example in training", "nothing in an evaluation"],
        ),
        (
            {"measure": measure(lambda e, training: {"loss": e, "a": e if training else e.sum()})},
            ["metric a", "per example in training", "for the batch in an evaluation"],
        ),
        ({"init": lambda *_: jnp.zeros(3)}, ["init returned", "jaxmnist.Model"]),
        (
            {
                "init": lambda *_: jm.Model({"w": jnp.zeros(3)}, COUNTED),
                "measure": measure(lambda e, _: {"loss": e}, lambda state: {"n": state["n"] + 1.0}),
            },
            ["model's state['n']", "int32[]", "float32[]"],
        ),
        (
            {"measure": measure(lambda e, _: {"loss": e}, lambda state: {"new": 1.0})},
            ["model's state['new']", "nothing"],
        ),
    ],
)
def test_functions_of_a_task_are_refused(line, fields, words):
    task = line.task()._replace(**fields)
    assert_refused(lambda: jm.fit(task, line.data, **SIZES), *words)


def test_data_and_sizes_are_refused(line):
    task, (x, y) = line.task(), line.data[0]
    for data, words in {
        "lengths": (((x, y[:4]), (x, y)), ["train", "[0]: 10", "[1]: 4"]),
        "scalar": (((x, 3.0), (x, y)), ["leading sample axis"]),
        "no pair": ({"x": x}, ["data is a dict", "(train, test)"]),
        "batch": (({"x": x}, {"x": x}), ["batch is a dict", "pair"]),
    }.values():
        assert_refused(lambda data=data: jm.fit(task, data, **SIZES), *words)
    assert_refused(
        lambda: jm.fit(task, line.data, epochs=1, batch_size=11), "batch_size is 11", "10"
    )
    assert_refused(lambda: jm.fit(task, line.data, epochs=1), "batch_size is missing")
    as_task = inspect.unwrap(training.as_task)
    assert_refused(lambda: as_task(3, 10, 1, 4, None), "the task is a int", "jaxmnist.Task")


def test_hyperparameters_without_a_name_are_refused(line):
    task, hyper = line.task(), {"learning_rate": 0.1}
    words = ("hyper has no 'weight_decay'", "learning_rate, weight_decay")
    assert_refused(lambda: jm.fit(task, line.data, **SIZES, hyper=hyper), *words)
    train = jax.jit(jm.make_train(task, **SIZES))
    assert_refused(lambda: train(jax.random.key(0), hyper, line.data), *words)


def test_data_on_disk_are_refused(line):
    x, y = line.data[0]
    stored = jm.data.stored_arrays
    for parts, words in (
        (((x, y[:4]), (x, y)), ["(10, 3), (4,)"]),
        (((), (x, y)), ["have the shapes"]),
        (((x, 3.0), (x, y)), ["(10, 3), ()", "leading axis"]),
    ):
        assert_refused(lambda parts=parts: stored(*parts), *words)
    devices = jm.parallel.data_mesh(jax.devices()[:1])
    both = stored(*line.data)
    assert_refused(lambda: jm.parallel.fit(line.task(), both, devices, **SIZES), "one device")
    larger: Any = {"epochs": 1, "batch_size": 11}
    assert_refused(lambda: jm.fit(line.task(), both, **larger), "batch_size is 11", "10")


def test_labels_out_of_range_are_refused_by_fit():
    images = np.zeros((4, 28, 28), np.uint8)
    config = jm.Config(hidden=(4,), epochs=1, batch_size=2, eval_batch_size=2)
    for label in (-1, 10):
        data = (images, np.array([0, 1, 2, label])), (images, np.arange(4))
        assert_refused(lambda data=data: jm.fit(config, data), "train", "number 3", str(label), "9")


@pytest.mark.slow
def test_train_epoch_takes_numpy_bytes_and_floats_and_refuses_others():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 28, 28), np.uint8)
    labels = np.arange(6)
    tx = optax.sgd(0.1)
    state = training.TrainState({"w": jnp.zeros((784, 10))}, tx.init({}))

    def apply_fn(params, x):
        return 0.1 * x.reshape(x.shape[0], -1) @ params["w"]

    def epoch(images, labels):
        return training.train_epoch(
            state, np.arange(6), images, labels, apply_fn=apply_fn, tx=tx, batch_size=4
        )

    floats = (images.astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.5)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7),
        epoch(images, labels),
        epoch(floats, labels),
    )
    shifted = epoch(floats + 1, labels)[0].params["w"]
    assert jnp.abs(shifted - epoch(floats, labels)[0].params["w"]).max() > 1e-3
    assert_refused(lambda: epoch(images.astype(np.int32), labels), "int32", "uint8", "floating")
    assert_refused(lambda: epoch(images, labels.astype(np.float32)), "float32", "integers")
