"""`verify.model`: the same network passes, and another one is located."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import verify

HIDDEN = (16, 8)


@pytest.fixture(scope="module")
def images():
    pictures = jm.load_dataset("mnist").test_images[:48]
    return np.asarray(jm.normalize(jnp.asarray(pictures))).reshape(48, 784)


@pytest.fixture(scope="module")
def labels():
    return jm.load_dataset("mnist").test_labels[:48]


@pytest.fixture(scope="module")
def mlp():
    return jm.MLP(HIDDEN)


@pytest.fixture(scope="module")
def params(mlp):
    return mlp.init(jax.random.key(3), jnp.zeros((1, 784)))


class Named(torch.nn.Module):
    """The tutorial's network with the parameters' names, and a forward pass of one's own."""

    def __init__(self, forward):
        super().__init__()
        sizes = (784, 16, 8, 10)
        for index in range(3):
            self.add_module(str(2 * index), torch.nn.Linear(sizes[index], sizes[index + 1]))
        self.own_forward = forward

    def forward(self, x):
        return self.own_forward(*(self.get_submodule(str(2 * index)) for index in range(3)), x)


relu = torch.relu
RIGHT = Named(lambda a, b, c, x: c(relu(b(relu(a(x))))))


@pytest.mark.slow_except("float32")
@pytest.mark.parametrize(
    ("dtype", "rounding"), [("float64", 1e-15), ("float32", 1e-6)], ids=["float64", "float32"]
)
def test_the_same_network_passes_and_is_as_close_as_the_dtype_allows(
    mlp, params, images, labels, dtype, rounding
):
    result = verify.model(mlp.apply, params, RIGHT, images, labels, dtype=dtype)
    assert result.passed
    assert [part.name for part in result] == ["logits", "loss", "gradients"]
    assert 0 < result.max_error < 10 * rounding
    # Wide enough for any order of the sums, and too narrow for another formula.
    assert rounding < result["logits"].tolerance < 1e-3


@pytest.mark.slow
def test_the_tutorials_network_passes(images, labels):
    mlp = jm.MLP()
    params = mlp.init(jax.random.key(0), jnp.zeros((1, 784)))
    sizes = (784, 256, 128, 64, 20, 10)
    layers = []
    for index in range(5):
        layers += [torch.nn.Linear(sizes[index], sizes[index + 1]), torch.nn.ReLU()]
    result = verify.model(mlp.apply, params, torch.nn.Sequential(*layers[:-1]), images, labels)
    assert result.passed
    assert result.max_error < 1e-14


WRONG = {
    "ReLU after the last layer": (lambda a, b, c, x: relu(c(relu(b(relu(a(x)))))), "logits"),
    "no ReLU after the first": (lambda a, b, c, x: c(relu(b(a(x)))), "logits"),
    "tanh for ReLU": (lambda a, b, c, x: c(torch.tanh(b(torch.tanh(a(x))))), "logits"),
    "GELU at the second": (
        lambda a, b, c, x: c(torch.nn.functional.gelu(b(relu(a(x))))),
        "logits",
    ),
    "leaky by 1e-9": (
        lambda a, b, c, x: c(torch.nn.functional.leaky_relu(b(relu(a(x))), 1e-9)),
        "logits",
    ),
    "float32 in between": (lambda a, b, c, x: c(relu(b(relu(a(x)).float().double()))), "logits"),
    "a bias used twice": (lambda a, b, c, x: c(relu(b(relu(a(x)) + a.bias))), "logits"),
    "logits divided by 1 + 1e-12": (
        lambda a, b, c, x: c(relu(b(relu(a(x))))) / (1 + 1e-12),
        "logits",
    ),
    "the middle layer's gradient stopped": (
        lambda a, b, c, x: c(relu(b(relu(a(x))).detach())),
        "0.weight",
    ),
    "ReLU's gradient straight through": (
        lambda a, b, c, x: c((h := b(relu(a(x)))) + (relu(h) - h).detach()),
        "2.weight",
    ),
}


@pytest.mark.slow_except("tanh for ReLU", "GELU at the second")
@pytest.mark.parametrize("wrong", WRONG)
def test_another_network_fails_and_the_array_is_named(mlp, params, images, labels, wrong):
    forward, leaf = WRONG[wrong]
    result = verify.model(mlp.apply, params, Named(forward), images, labels)
    assert not result.passed
    divergence = result.first_divergence
    assert divergence is not None
    if leaf == "logits":
        assert divergence.leaf == "logits"
        assert not result["gradients"].passed
    else:
        # The logits agree; only what flows back does not.
        assert result["logits"].passed
        assert result["loss"].passed
        assert divergence.leaf in ("0.weight", "0.bias", "2.weight", "2.bias")
    assert divergence.leaf in str(result)
    assert "FAILED" in str(result)


def test_arithmetic_in_float32_on_our_side_fails_in_float64(mlp, params, images):
    def apply_fn(params, x):
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
        return mlp.apply(*single).astype(x.dtype)

    result = verify.model(apply_fn, params, RIGHT, images)
    assert not result.passed
    assert 1e-9 < result["logits"].max_error < 1e-5


@pytest.mark.slow
def test_any_tree_with_the_modules_names_and_any_inputs():
    """A convolution, in PyTorch's layout, on inputs that are not flat."""

    def apply_fn(params, x):
        kernel, last = params["conv"], params["last"]
        h = jax.lax.conv(x, kernel["weight"], (2, 2), "VALID") + kernel["bias"][None, :, None, None]
        h = jnp.maximum(h, 0).reshape(len(x), -1)
        return h @ last["weight"].T + last["bias"][None, :]

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 4, 5, stride=2)
            self.last = torch.nn.Linear(4 * 12 * 12, 7)

        def forward(self, x):
            return self.last(relu(self.conv(x)).flatten(1))

    module = Module()
    params = {
        name: {leaf: p.detach().numpy() for leaf, p in layer.named_parameters()}
        for name, layer in module.named_children()
    }
    x = np.random.default_rng(0).standard_normal((6, 1, 28, 28))
    result = verify.model(apply_fn, params, module, x)
    assert result.passed
    assert result["gradients"].max_error < 1e-13


def test_without_labels_every_class_is_asked_for_in_turn(mlp, params, images):
    implied = verify.model(mlp.apply, params, RIGHT, images)
    given = verify.model(mlp.apply, params, RIGHT, images, np.arange(48) % 10)
    assert implied == given


def test_nothing_given_is_changed(mlp, params, images, labels):
    module = Named(RIGHT.own_forward).train()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    copied = jax.tree.map(np.array, params)
    verify.model(mlp.apply, params, module, images, labels)
    assert module.training
    for name, parameter in module.named_parameters():
        assert parameter.grad is None
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name])
    jax.tree.map(np.testing.assert_array_equal, params, copied)
    assert jnp.zeros(1).dtype == jnp.float32


@pytest.mark.slow
def test_a_tolerance_of_ones_own_decides(mlp, params, images):
    assert not verify.model(mlp.apply, params, RIGHT, images, tolerance=1e-18).passed
    wrong = Named(WRONG["leaky by 1e-9"][0])
    assert verify.model(mlp.apply, params, wrong, images, tolerance=1e-6).passed


def named_without(name):
    module = Named(RIGHT.own_forward)
    delattr(module, name)
    return module


def with_nan(params):
    return {"params": params["params"] | {"dense_1": broken(params["params"]["dense_1"])}}


def broken(layer):
    return layer | {"bias": layer["bias"].at[3].set(jnp.nan)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"torch_module": torch.nn.Sequential(torch.nn.Linear(784, 12))},
            r"^the params have no '0\.weight', which is \(12, 784\) in the torch module; .*the "
            r"torch module has no 'params/dense_0/weight', which is \(16, 784\) in the params; ",
        ),
        (
            {"torch_module": named_without("4")},
            r"module has no 'params/dense_2/weight', which is \(10, 8\) in the params; give",
        ),
        (
            {"torch_module": torch.nn.Sequential(*[torch.nn.Linear(784, 16)] * 0)},
            r"module has no 'params/dense_0/weight', which is \(16, 784\) in the params; and",
        ),
        (
            {"params": lambda _: jm.MLP(()).init(jax.random.key(0), jnp.zeros((1, 784)))},
            r"'0\.weight', which is \(16, 784\) .*'params/dense_0/weight', which is \(10, 784\)",
        ),
        ({"params": with_nan}, r"params/dense_1/bias\[3\] is nan; every number must be finite"),
        ({"inputs": np.full((2, 784), np.inf)}, r"inputs\[0, 0\] is inf"),
        ({"labels": np.arange(48)}, r"labels\[10\] is 10; with 10 logits it must be 0 to 9"),
        (
            {"labels": np.zeros(47, int)},
            r"labels are int64 of shape \(47,\); they must be 48 whole numbers",
        ),
        ({"labels": np.zeros(48)}, "labels are float64"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16'; it must be one of float64, float32"),
        (
            {"torch_module": Named(lambda a, b, c, x: c(x))},
            r"the torch module raised on float64 inputs of shape \(48, 784\): mat1 and mat2",
        ),
        (
            {"torch_module": Named(lambda a, b, c, x: RIGHT.own_forward(a, b, c, x)[:, :9])},
            r"the logits have shape \(48, 10\) here and \(48, 9\) in the torch module",
        ),
        ({"apply_fn": lambda params, x: x[:, 0]}, r"apply_fn returns shape \(48,\)"),
    ],
)
def test_unusable_input_is_named_with_both_shapes(mlp, params, images, labels, change, message):
    arguments = {
        "apply_fn": mlp.apply,
        "params": params,
        "torch_module": Named(RIGHT.own_forward),
        "inputs": images,
        "labels": labels,
    } | change
    if callable(arguments["params"]):
        arguments["params"] = arguments["params"](params)
    with pytest.raises(jm.InputError, match=message):
        verify.model(**arguments)


def test_a_parameter_that_only_the_module_has_is_named(mlp, params, images):
    module = Named(RIGHT.own_forward)
    module.scale = torch.nn.Parameter(torch.ones(3))
    result = verify.model(mlp.apply, params, module, images)
    assert not result.passed
    assert (result.location, result.cause) == ("", "missing layer: PyTorch has scale (3,)")


def test_without_torch_the_command_that_installs_it_is_named(mlp, params, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(jm.InputError, match=r"pip install 'jaxmnist\[torch\]'"):
        verify.model(mlp.apply, params, RIGHT, images)
