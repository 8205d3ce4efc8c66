"""What a run's dtype reaches: its weights, its arithmetic, its files and its commands."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxmnist as jm
from jaxmnist import cli, losses, runs, training
from jaxmnist.config import DTYPES
from jaxmnist.data.batches import normalize, permutation

CONFIG = jm.Config(hidden=(16, 8), epochs=1, eval_batch_size=48)
PARAMETERS = {
    "float32": np.dtype("float32"),
    "float64": np.dtype("float64"),
    "bfloat16": np.dtype("float32"),
}


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    """Real digits: 10 batches of 64 and 5 of 48."""
    return first_digits(640, 240)


def in_dtype(dtype: str, **changes) -> jm.Config:
    return dataclasses.replace(CONFIG, dtype=dtype, **changes)


def fit(config, dataset):
    with jax.enable_x64(config.dtype == "float64"):
        return jm.fit(config, dataset)


@pytest.fixture(scope="module")
def fitted(dataset):
    return {dtype: fit(in_dtype(dtype, optimizer="adam"), dataset) for dtype in DTYPES}


def by_hand(params, x):
    """The network's equation in the dtype of what is given, with nothing cast."""
    layers = [params["params"][f"dense_{index}"] for index in range(3)]
    h = x.reshape(len(x), -1)
    for index, layer in enumerate(layers):
        h = jnp.einsum("bi,oi->bo", h, layer["weight"]) + layer["bias"][None, :]
        h = h if index == 2 else jax.nn.relu(h)
    return h


@pytest.mark.slow
def test_float32_is_the_plain_program_to_the_last_bit(dataset):
    state, history = jm.fit(CONFIG, dataset)
    key, data = jax.random.key(0), dataset.arrays()
    start = training.init(key, jm.default_hyper(CONFIG), CONFIG)

    @jax.jit
    def epoch(state, order, images, labels):
        def step(state, batch):
            def loss(params):
                x = normalize(images.at[batch].get(mode="promise_in_bounds"))
                y = labels.at[batch].get(mode="promise_in_bounds")
                return losses.cross_entropy_with_integer_labels(by_hand(params, x), y)

            grads = jax.grad(loss)(state)
            return jax.tree.map(lambda w, g: w + -0.1 * g, state, grads), None

        return jax.lax.scan(step, state, order.reshape(10, 64))[0]

    order = permutation(jax.random.fold_in(jax.random.split(key)[1], 0), 640)
    expected = epoch(start.params, order, data.train_images, data.train_labels)
    for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {leaf.dtype for leaf in history} == {np.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_optimizer_and_metrics_have_their_dtype(fitted, dtype):
    state, history = fitted[dtype]
    leaves = jax.tree.leaves((state, history))
    floating = {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floating == {PARAMETERS[dtype]}
    # Not a narrower dtype's values in a wider one's clothes. (A weight that never moved is where
    # float32 put it.)
    narrow = jnp.float32 if dtype == "float64" else jnp.bfloat16
    values = (state.params if dtype != "float64" else (), state.opt_state.mu, state.opt_state.nu)
    for leaf in jax.tree.leaves(values):
        values = np.asarray(leaf)[np.asarray(leaf) != 0]
        assert np.mean(values == values.astype(narrow).astype(values.dtype)) < 0.1
    for loss in map(np.asarray, (history.train_loss, history.eval_loss)):
        assert loss != loss.astype(narrow).astype(loss.dtype)


@pytest.mark.slow
def test_a_seed_starts_from_the_same_weights_in_every_precision(fitted, dataset):
    starts = []
    for dtype in DTYPES:
        for x64 in (False, True):
            if dtype == "float64" and not x64:
                continue
            with jax.enable_x64(x64):
                config = in_dtype(dtype)
                params = training.init(jax.random.key(3), jm.default_hyper(config), config).params
            assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {PARAMETERS[dtype]}
            starts.append(jm.interop.params_to_state_dict(params))
    for other in starts[1:]:
        for name, array in starts[0].items():
            np.testing.assert_array_equal(array, other[name])
    # And so the precisions stay near one another: ten steps of 2^-8 and of 2^-24.
    loss = {dtype: np.asarray(history.train_loss) for dtype, (_, history) in fitted.items()}
    assert 0 < np.abs(loss["float32"] - loss["float64"]).max() < 1e-5
    assert 1e-5 < np.abs(loss["bfloat16"] - loss["float64"]).max() < 0.03


@pytest.mark.slow
def test_float64_sees_the_images_in_float64(dataset):
    images = dataset.test_images[:48]
    exact = (images.astype(np.float64) / 255 - 0.5) / 0.5
    labels = dataset.test_labels[:48]
    with jax.enable_x64(True):
        config = in_dtype("float64")
        params = training.init(jax.random.key(0), jm.default_hyper(config), config).params
        model = jm.MLP(config.hidden, dtype="float64")
        batch = jnp.asarray(images)
        np.testing.assert_array_equal(training.inputs(batch, params), exact)
        logits = by_hand(params, jnp.asarray(exact))
        expected = losses.cross_entropy_with_integer_labels(logits, jnp.asarray(labels))
        metrics = training.eval_step(params, batch, jnp.asarray(labels), apply_fn=model.apply)
        probabilities = training.predict(params, batch, apply_fn=model.apply)
        # float32 images would be off by 1e-8.
        np.testing.assert_allclose(metrics.loss, expected, rtol=1e-14)
        np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), rtol=1e-12)
    assert training.inputs(jnp.asarray(images), {"w": jnp.zeros(2)}).dtype == jnp.float32


def test_every_byte_is_normalised_as_numpy_does_it_in_float64():
    pixels = np.arange(256, dtype=np.uint8)
    with jax.enable_x64(True):
        ours = jax.jit(normalize, static_argnums=1)(jnp.asarray(pixels), jnp.float64)
    np.testing.assert_array_equal(ours, (pixels.astype(np.float64) / 255 - 0.5) / 0.5)


@pytest.mark.slow
def test_bfloat16_computes_products_in_bfloat16_and_the_loss_in_float32(dataset):
    config = in_dtype("bfloat16")
    model = jm.MLP(config.hidden, dtype="bfloat16")
    params = training.init(jax.random.key(0), jm.default_hyper(config), config).params
    images, labels = map(jnp.asarray, (dataset.test_images[:48], dataset.test_labels[:48]))
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    logits = jnp.asarray(model.apply(params, normalize(images)))
    expected = by_hand(rounded, normalize(images).astype(jnp.bfloat16))
    assert logits.dtype == jnp.float32
    np.testing.assert_array_equal(logits, expected.astype(jnp.float32))
    loss = training.eval_step(params, images, labels, apply_fn=model.apply).loss
    z = np.asarray(logits, np.float64)
    exact = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(48), labels])
    np.testing.assert_allclose(loss, exact, rtol=1e-6)

    def step(params):
        state = training.TrainState(params, jm.optim.sgd(0.1).init(params))
        tx = jm.optim.sgd(0.1)
        return training.train_step(state, images, labels, apply_fn=model.apply, tx=tx)

    program = str(jax.make_jaxpr(step)(params))
    products = re.findall(r":(\w+)\[[\d,]*\] = dot_general", program)
    assert len(products) >= 8  # Three forwards, three for the weights, two for the inputs.
    assert set(products) == {"bf16"}


def test_float64_without_64_bit_numbers_is_refused(dataset, tmp_path):
    config, message = in_dtype("float64"), r"dtype is float64.* off; .*jax.enable_x64\(True\)"
    with pytest.raises(jm.InputError, match=message):
        jm.fit(config, dataset)
    with pytest.raises(jm.InputError, match=message):
        jm.make_train(config)(jax.random.key(0), jm.default_hyper(config), dataset.arrays())
    runs.create(runs.Run(tmp_path, config, 10))
    with pytest.raises(jm.InputError, match=message):
        runs.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_commands_work_in_every_precision(dtype, fitted, dataset, tmp_path, capsys):
    np.savez(
        tmp_path / "some.npz",
        x_train=dataset.train_images,
        y_train=dataset.train_labels,
        x_test=dataset.test_images,
        y_test=dataset.test_labels,
    )
    folder = tmp_path / "run"
    options = ["--hidden", "16", "8", "--optimizer", "adam", "--epochs", "1"]
    data = ["--dataset", str(tmp_path / "some.npz")]
    options += ["--eval-batch-size", "48", "--dtype", dtype]
    cli.main(["train", *options, *data, "--out", str(folder)])
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    line = json.loads((folder / "metrics.jsonl").read_text())
    state, history = fitted[dtype]
    assert line["eval_loss"] == float(history.eval_loss[0])
    kept = load_file(folder / "model.safetensors")
    for name, array in jm.interop.params_to_state_dict(state.params).items():
        assert kept[name].dtype == PARAMETERS[dtype]
        np.testing.assert_array_equal(kept[name], array)

    with jax.enable_x64(dtype == "float64"):
        run, params = runs.load(folder)
        assert run.config == in_dtype(dtype, optimizer="adam")
        for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True):
            assert one.dtype == PARAMETERS[dtype]
            np.testing.assert_array_equal(one, other)
        images = jnp.asarray(dataset.test_images[:2])
        probabilities = training.predict(params, images, apply_fn=run.model.apply)
        logits = np.asarray(run.model.apply(params, training.inputs(images, params)))
    capsys.readouterr()
    cli.main(["evaluate", str(folder)])
    shown = re.search(r"mean over batches: Eval Loss: (\S+),", capsys.readouterr().out)
    assert shown is not None
    # XLA keeps more than bfloat16's digits where it fuses operations, as only the run did.
    limit = 1e-4 if dtype == "bfloat16" else 2e-6
    np.testing.assert_allclose(float(shown[1]), history.eval_loss[0], rtol=0, atol=limit)
    cli.main(["predict", str(folder), "--indices", "0"])
    assert f"{np.asarray(probabilities)[0].max():.4f}" in capsys.readouterr().out
    cli.main(["export", str(folder), "--format", "stablehlo"])
    with jax.enable_x64(dtype == "float64"):
        content = bytearray((folder / "model.stablehlo").read_bytes())
        exported = jax.export.deserialize(content).call(images)
        assert exported.dtype == PARAMETERS[dtype]
        # As above: what is compiled rounds elsewhere, by 2^-9 of numbers up to 1, a few times.
        limit = {"float64": 1e-13, "float32": 1e-5, "bfloat16": 1e-2}[dtype]
        np.testing.assert_allclose(exported, logits, rtol=limit, atol=limit)


@pytest.mark.slow
def test_a_run_from_before_dtypes_is_float32(tmp_path):
    runs.create(runs.Run(tmp_path, CONFIG, 10))
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["config"].pop("dtype") == "float32"
    (tmp_path / "config.json").write_text(json.dumps(about))
    params = training.init(jax.random.key(0), jm.default_hyper(CONFIG), CONFIG).params
    jm.interop.save_safetensors(params, tmp_path / "model.safetensors")
    assert runs.load(tmp_path)[0].config == CONFIG
    cli.main(["export", str(tmp_path), "--format", "safetensors"])
