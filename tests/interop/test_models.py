"""Models of other libraries train as in plain loops of those libraries, to the rounding of a step.

The package's own program and a plain loop round differently. Every step rounds the weights anew, by
about one unit in the last place; so the allowance is the number of steps times what one such unit
in every initial weight grows to by the end of the plain loop.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.interop.models import functions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3)).astype(np.float32)
Y = np.sin(X.sum(1))
DATA = (X[:14], Y[:14]), (X[14:], Y[14:])
EPOCHS, BATCH = 2, 4  # The last batch of an epoch has 2 samples.
KEY = jax.random.key(5)
TX = optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.05, momentum=0.9))


@pytest.fixture(autouse=True)
def _promotion():
    """These libraries promote ranks and dtypes themselves."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def squares(outputs, targets):
    return (outputs - targets) ** 2


def steps():
    """Every step's inputs, targets and key of the model, by the documented rule."""
    for epoch in range(EPOCHS):
        order = np.asarray(training.epoch_order(KEY, epoch, 14))
        for step, start in enumerate(range(0, 14, BATCH)):
            rows = order[start : start + BATCH]
            step_key = jax.random.fold_in(training.epoch_key(KEY, epoch), step)
            yield X[rows], Y[rows], jax.random.fold_in(step_key, 1)


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8)(nn.Dense(8)(x))
        x = nn.Dropout(0.3, deterministic=not train)(nn.relu(x))
        return nn.Dense(1)(nn.Dropout(0.2, deterministic=not train)(x))[:, 0]


def linen_loop(nudge):
    module = LinenNet()
    variables = module.init(KEY, X[:1], train=False)
    params, stats = nudge(variables["params"]), variables["batch_stats"]
    opt_state = TX.init(params)

    @jax.jit
    def step(params, stats, opt_state, x, y, key):
        def loss(params):
            outputs, changed = module.apply(
                {"params": params, "batch_stats": stats},
                x,
                train=True,
                rngs={"dropout": jax.random.fold_in(key, 1)},
                mutable=["batch_stats"],
            )
            return squares(outputs, y).mean(), changed["batch_stats"]

        grads, stats_after = jax.grad(loss, has_aux=True)(params)
        updates, opt_state_after = TX.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats_after, opt_state_after

    for x, y, key in steps():
        params, stats, opt_state = step(params, stats, opt_state, x, y, key)
    variables = {"params": params, "batch_stats": stats}
    return params, stats, module.apply(variables, DATA[1][0], train=False)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        # Not in alphabetical order: the numbers must keep their names.
        self.second = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.8, rngs=rngs)
        self.one = nnx.Dropout(0.3, rngs=rngs)
        self.two = nnx.Dropout(0.2, rngs=rngs)
        self.first = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x):
        x = self.one(nnx.relu(self.norm(self.second(x))))
        return self.first(self.two(x))[:, 0]


def nnx_loop(nudge):
    module = NNXNet(nnx.Rngs(KEY))
    nnx.update(module, nudge(nnx.state(module, nnx.Param)))
    optimizer = nnx.Optimizer(module, TX, wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer, x, y, key):
        module.train()
        # Every variable of a stream has a key by its place: count and key of each dropout.
        for place, dropout in ((1, module.one), (3, module.two)):
            dropout.rngs.key.set_value(jax.random.fold_in(key, place))
            dropout.rngs.count.set_value(jnp.zeros((), jnp.uint32))
        grads = nnx.grad(lambda module: squares(module(x), y).mean())(module)
        optimizer.update(module, grads)

    for x, y, key in steps():
        step(module, optimizer, x, y, key)
    module.eval()
    params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    return params, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)), module(DATA[1][0])


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    second: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(3, 8, key=one)
        self.norm = eqx.nn.BatchNorm(8, "batch", momentum=0.8, mode="batch")
        self.dropout = eqx.nn.Dropout(0.3)
        self.second = eqx.nn.Linear(8, "scalar", key=two)

    def __call__(self, x, state, key):
        x, state = self.norm(self.first(x), state)
        return self.second(self.dropout(jax.nn.relu(x), key=key)), state


class EquinoxPlain(eqx.Module):
    """Without state, and without a key."""

    layer: eqx.nn.Linear

    def __init__(self, key):
        self.layer = eqx.nn.Linear(3, "scalar", key=key)

    def __call__(self, x):
        return jnp.tanh(self.layer(x))


def equinox_loop(nudge):
    module, state = eqx.nn.make_with_state(EquinoxNet)(KEY)
    module = nudge(module)
    opt_state = TX.init(eqx.filter(module, eqx.is_inexact_array))

    def apply(module, state, x, keys):
        axes: Any = {"axis_name": "batch", "in_axes": (0, None, 0), "out_axes": (0, None)}
        return jax.vmap(module, **axes)(x, state, keys)

    @eqx.filter_jit
    def step(module, state, opt_state, x, y, key):
        def loss(module):
            outputs, changed = apply(module, state, x, jax.random.split(key, len(x)))
            return squares(outputs, y).mean(), changed

        grads, state_after = eqx.filter_grad(loss, has_aux=True)(module)
        arrays = eqx.filter(module, eqx.is_inexact_array)
        updates, opt_state_after = TX.update(grads, opt_state, arrays)
        return eqx.apply_updates(module, updates), state_after, opt_state_after

    for x, y, key in steps():
        module, state, opt_state = step(module, state, opt_state, x, y, key)
    numbers = eqx.filter(state, eqx.is_array)
    inference = eqx.nn.inference_mode(module)
    outputs, _ = apply(inference, state, DATA[1][0], jax.random.split(KEY, 8))
    return eqx.filter(module, eqx.is_inexact_array), numbers, outputs


def equinox_plain_loop(nudge):
    module = nudge(EquinoxPlain(KEY))
    opt_state = TX.init(eqx.filter(module, eqx.is_inexact_array))
    for x, y, _ in steps():
        grads = eqx.filter_grad(lambda module: squares(jax.vmap(module)(x), y).mean())(module)  # noqa: B023
        updates, opt_state = TX.update(grads, opt_state, module)
        module = eqx.apply_updates(module, updates)
    return module, {}, jax.vmap(module)(DATA[1][0])


def plain_init(key):
    return {"w": jax.random.normal(key, (3,)), "b": 0.0}


def plain_apply(params, x):
    return jnp.tanh(x @ params["w"] + params["b"])


def plain_loop(nudge):
    params = nudge(plain_init(KEY))
    opt_state = TX.init(params)
    for x, y, _ in steps():
        grads = jax.grad(lambda params: squares(plain_apply(params, x), y).mean())(params)  # noqa: B023
        updates, opt_state = TX.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params, {}, plain_apply(params, DATA[1][0])


# What returns the model, when a test runs: one that is built is drawn by programs to be compiled.
MODELS = {
    "linen": (LinenNet, linen_loop),
    "nnx": (lambda: lambda key: NNXNet(nnx.Rngs(key)), nnx_loop),
    "equinox": (lambda: lambda key: eqx.nn.make_with_state(EquinoxNet)(key), equinox_loop),
    "equinox_plain": (lambda: EquinoxPlain, equinox_plain_loop),
    "plain": (lambda: (plain_init, plain_apply), plain_loop),
    # Modules that are built already start every run from their own numbers.
    "nnx_built": (lambda: NNXNet(nnx.Rngs(KEY)), nnx_loop),
    "equinox_built": (lambda: eqx.nn.make_with_state(EquinoxNet)(KEY), equinox_loop),
}


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array_like(leaf)]


def largest_difference(one, other):
    pairs = zip(arrays(one), arrays(other), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def by_one_ulp(tree):
    is_float = eqx.is_inexact_array_like
    return jax.tree.map(lambda leaf: leaf * (1 + 2**-23) if is_float(leaf) else leaf, tree)


@pytest.mark.slow_except("plain")
@pytest.mark.parametrize("name", MODELS)
def test_run_matches_a_plain_loop_of_the_library(name):
    model, loop = MODELS[name]
    task = jm.task(model(), TX, squares)
    sizes: Any = {"epochs": EPOCHS, "batch_size": BATCH, "eval_batch_size": 8}
    state, history = jm.fit(task, DATA, seed=5, **sizes)
    exact, nudged = loop(lambda tree: tree), loop(by_one_ulp)
    params, stats, outputs = exact
    found = state.params, state.model_state, squares(outputs, DATA[1][1]).mean()
    wanted = params, stats, history["eval_loss"][-1]
    allowance = EPOCHS * 4 * max(largest_difference(exact, nudged), 2**-24)
    assert largest_difference(found[0], wanted[0]) <= allowance
    assert largest_difference(found[2], wanted[2]) <= 2 * allowance
    if stats:
        assert largest_difference(found[1], wanted[1]) <= allowance
    # What a wrong key or a forgotten statistic would change is far above the allowance.
    assert allowance < 1e-4

    train = jax.jit(jm.make_train(task, **sizes))
    for one, other in zip(arrays(train(KEY, {}, DATA)), arrays((state, history)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("library", ["linen", "nnx"])
def test_masks_of_two_dropouts_and_of_two_keys_differ(library):
    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            one, two = (nn.Dropout(0.5, deterministic=not train) for _ in range(2))
            return one(x), two(x)

    class NNX(nnx.Module):
        def __init__(self, rngs):
            self.one, self.two = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.one(x), self.two(x)

    init, apply = functions(Linen() if library == "linen" else lambda key: NNX(nnx.Rngs(key)))
    x = jnp.ones((4, 64))
    params, state = init(KEY, x)
    keys = jax.random.split(KEY)
    masks = [mask for key in keys for mask in apply(params, state, x, key, True)[0]]
    for one in range(4):
        assert set(np.unique(masks[one])) == {0, 2}
        # 256 draws agree by chance in half of them, give or take 8.
        assert all(60 < (masks[one] == masks[two]).sum() < 196 for two in range(one))
    for mask in apply(params, state, x, keys[0], False)[0]:
        np.testing.assert_array_equal(mask, x)


def test_equinox_examples_have_keys_of_their_own():
    init, apply = functions(eqx.nn.Dropout(0.5))
    x = jnp.ones((2, 256))
    (one, two), _ = apply(*init(KEY, x), x, KEY, True)
    assert 60 < (one == two).sum() < 196


@pytest.mark.slow
def test_equinox_keeps_arrays_that_are_no_floats_as_state():
    class Counting(eqx.Module):
        table: jax.Array
        rows: jax.Array

        def __call__(self, x):
            return self.table[self.rows] * x

    module = Counting(jnp.array([1.0, 2.0]), jnp.array([1, 0]))
    task = jm.task(module, optax.sgd(0.1), lambda out, y: ((out - y) ** 2).sum(-1))
    part = jnp.ones((4, 2)), jnp.zeros((4, 2))
    state, _ = jm.fit(task, (part, part), epochs=1, batch_size=4)
    # One step by the gradient 2 * table.
    np.testing.assert_allclose(state.params.table, [0.8, 1.6], rtol=2**-22)
    np.testing.assert_array_equal(state.model_state["arrays"].rows, [1, 0])


@pytest.mark.slow_except("nnx_built", "equinox_built", "plain", "nnx", "equinox_plain")
@pytest.mark.parametrize("name", MODELS)
def test_evaluation_needs_no_key_and_changes_nothing(name):
    task: Any = jm.task(MODELS[name][0](), TX, squares)
    model = task.init(KEY, {}, X[:1])
    metrics, _ = task.measure(model, DATA[1], None, False)
    again, _ = task.measure(model, DATA[1], jax.random.key(9), False)
    np.testing.assert_array_equal(metrics["loss"], again["loss"])
    np.testing.assert_array_equal(squares(task.predict(model, DATA[1]), Y[14:]), again["loss"])


def test_call_arguments_for_the_mode_are_set_in_every_library():
    class NNX(nnx.Module):
        def __call__(self, x, deterministic):
            return x if deterministic else 2 * x

    for model in (NNX(), (lambda key: {}, lambda params, x, training: 2 * x if training else x)):
        init, apply = functions(model)
        numbers = init(KEY, 1.0)
        assert [apply(*numbers, 1.0, KEY, mode)[0] for mode in (True, False)] == [2.0, 1.0]


def test_random_numbers_without_a_key_are_refused(refused):
    init, apply = functions(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    with refused("the key is None", "give a key"):
        apply(*init(KEY, X), X, None, True)


class NotAModel:
    """An instance that can be called, as those of PyTorch."""

    def __call__(self, x):
        raise TypeError("x must be a tensor\nand more")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (3, ["the model is a int", "Linen", "NNX", "Equinox", "(init, apply)"]),
        (None, ["NoneType"]),
        ((1, 2), ["tuple"]),
        (lambda key: 3, ["the model's function returned a int", "NNX"]),
        (lambda key: LinenNet(), ["the model's function returned a LinenNet"]),
        (lambda: 3, ["of type function", "TypeError"]),
        (NotAModel(), ["of type NotAModel", "was called with a key", "x must be a tensor"]),
    ],
)
def test_what_is_no_model_is_named(model, words):
    with pytest.raises(jm.InputError) as caught:
        jm.task(model, TX, squares)
    message = str(caught.value)  # Without JAX's note on the traceback.
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
