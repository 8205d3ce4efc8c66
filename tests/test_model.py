import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import MLP, interop, losses
from jaxmnist.model import uniform_in_fan_in

LAYERS = (784, 256, 128, 64, 20, 10)


@pytest.mark.slow_except("hidden2")
@pytest.mark.parametrize("hidden", [(256, 128, 64, 20), (7,), ()])
def test_mlp_matches_torch_in_value_and_every_gradient(hidden, sequential, torch):
    rng = np.random.default_rng(1)
    x, labels = rng.uniform(-1, 1, size=(16, 784)), rng.integers(0, 10, 16)
    with jax.enable_x64(True):
        model = MLP(hidden)
        params = model.init(jax.random.key(3), jnp.zeros((1, 784)))

        def loss(params):
            logits = jnp.asarray(model.apply(params, jnp.asarray(x)))
            return losses.cross_entropy_with_integer_labels(logits, jnp.asarray(labels)), logits

        (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
    module = sequential(params)
    expected_logits = module(torch.from_numpy(x))
    expected = torch.nn.CrossEntropyLoss()(expected_logits, torch.from_numpy(labels))
    expected.backward()
    # Sums of up to 784 products, in float64.
    np.testing.assert_allclose(logits, expected_logits.detach(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-13)
    for name, gradient in interop.flatten(grads).items():
        torch_gradient = module.get_parameter(name).grad
        assert torch_gradient is not None
        np.testing.assert_allclose(gradient, torch_gradient, rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.slow
def test_mlp_has_the_tutorials_parameters_in_pytorchs_layout():
    params = MLP().init(jax.random.key(0), jnp.zeros((1, 784)))
    shapes = {name: leaf.shape for name, leaf in interop.flatten(params).items()}
    expected = {}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(LAYERS)):
        expected[f"{2 * index}.weight"] = (outputs, inputs)
        expected[f"{2 * index}.bias"] = (outputs,)
    assert shapes == expected
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 243_622


@pytest.mark.slow
def test_mlp_takes_flat_and_square_images_alike():
    model = MLP((5,))
    params = model.init(jax.random.key(0), jnp.zeros((1, 784)))
    x = jax.random.normal(jax.random.key(1), (3, 28, 28))
    np.testing.assert_array_equal(model.apply(params, x), model.apply(params, x.reshape(3, 784)))


def test_mlp_starts_uniform_in_fan_in():
    params = MLP().init(jax.random.key(0), jnp.zeros((1, 784)))
    leaves = interop.flatten(params)
    for index, fan_in in enumerate(LAYERS[:-1]):
        weight, bias = leaves[f"{2 * index}.weight"], leaves[f"{2 * index}.bias"]
        bound = fan_in**-0.5
        for leaf in (weight, bias):
            assert np.abs(leaf).max() <= bound
        unit = np.asarray(weight, np.float64).ravel() / bound
        n = unit.size
        # Five standard errors of the moments of a uniform on [-1, 1]: of its mean 0 (variance
        # 1/3), square 1/3 (variance 4/45) and fourth power 1/5 (variance 16/225).
        assert abs(unit.mean()) < 5 * (1 / 3 / n) ** 0.5
        assert abs((unit**2).mean() - 1 / 3) < 5 * (4 / 45 / n) ** 0.5
        assert abs((unit**4).mean() - 1 / 5) < 5 * (16 / 225 / n) ** 0.5
        # The largest of n is below 1 - t with probability (1 - t/1)**n, here below e**-10.
        assert np.abs(unit).max() > 1 - 10 / n
    biases = np.concatenate([leaves[f"{2 * i}.bias"] * f**0.5 for i, f in enumerate(LAYERS[:-1])])
    assert abs((biases**2).mean() - 1 / 3) < 5 * (4 / 45 / biases.size) ** 0.5


@pytest.mark.slow
def test_mlp_starts_from_one_draw_cut_into_its_leaves_in_order():
    program = jax.make_jaxpr(lambda key: MLP().init(key, jnp.zeros((1, 784))))(jax.random.key(0))
    assert str(program).count("random_bits") == 1
    leaves = interop.flatten(MLP((3,), 2).init(jax.random.key(5), jnp.zeros((1, 4))))
    units = np.concatenate(
        [np.ravel(leaves[name]) for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    ) * np.repeat(np.sqrt(np.array([4, 3], np.float32)), (15, 8))
    # Of all 23 numbers at once, whatever key Flax derives: no two alike, all in the range.
    assert len(set(units.round(5))) == 23
    assert np.abs(units).max() <= 1
    start = uniform_in_fan_in(jax.random.key(6), (4, 3, 2))
    draw = np.asarray(jax.random.uniform(jax.random.key(6), (23,), minval=-1.0, maxval=1.0))
    expected = np.split(draw, (12, 15, 21))
    for leaf, numbers, fan_in in zip(
        [leaf for layer in start for leaf in layer], expected, (4, 4, 3, 3), strict=True
    ):
        np.testing.assert_array_equal(np.ravel(leaf), numbers * np.float32(fan_in**-0.5))


@pytest.mark.slow
def test_mlp_layers_are_drawn_independently():
    leaves = interop.flatten(MLP((64, 64, 64)).init(jax.random.key(0), jnp.zeros((1, 784))))
    first, second = np.ravel(leaves["2.weight"]), np.ravel(leaves["4.weight"])
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / first.size**0.5
    assert abs(np.corrcoef(leaves["2.bias"], leaves["4.bias"])[0, 1]) < 0.5
