"""Parameters under PyTorch's names: there and back bit for bit, and every way they may not fit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmnist as jm
from jaxmnist import interop

HIDDEN = (7, 5)


def network(hidden, num_classes: int = 10, inputs: int = 784, seed: int = 0):
    model = jm.MLP(tuple(hidden), num_classes)
    return model, model.init(jax.random.key(seed), jnp.zeros((1, inputs)))


def torch_network(hidden, num_classes: int = 10, inputs: int = 784, dtype=torch.float32):
    sizes = (inputs, *hidden, num_classes)
    modules = []
    for before, after in itertools.pairwise(sizes):
        modules += [torch.nn.Linear(before, after, dtype=dtype), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def assert_same_bits(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@settings(max_examples=25, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 9), max_size=4),
    num_classes=st.integers(1, 12),
    inputs=st.integers(1, 9),
)
def test_round_trip_is_exact_for_any_sizes(tmp_path_factory, hidden, num_classes, inputs):
    sizes = (inputs, *hidden, num_classes)
    rng = np.random.default_rng(0)
    # Drawn by NumPy: MLP.init would be compiled anew for every size.
    layers = {
        f"dense_{index}": {
            "weight": jnp.asarray(rng.normal(size=(after, before)).astype(np.float32)),
            "bias": jnp.asarray(rng.normal(size=after).astype(np.float32)),
        }
        for index, (before, after) in enumerate(itertools.pairwise(sizes))
    }
    params = {"params": layers}
    state_dict = interop.params_to_state_dict(params)
    assert list(state_dict) == list(torch_network(hidden, num_classes, inputs).state_dict())
    assert_same_bits(interop.params_from_state_dict(state_dict), params)

    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    interop.save_safetensors(params, path)
    assert_same_bits(interop.load_safetensors(path), params)
    assert_same_bits(safetensors.numpy.load_file(path), state_dict)


@pytest.mark.parametrize("special", [np.nan, -np.inf, -0.0, 1e-45, 3.4e38])
def test_round_trip_keeps_special_values(special, tmp_path):
    _, params = network(())
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, special), params)
    interop.save_safetensors(params, tmp_path / "model.safetensors")
    assert_same_bits(interop.load_safetensors(tmp_path / "model.safetensors"), params)


@pytest.mark.slow_except("hidden0")
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5, 3)])
def test_safetensors_file_is_loaded_by_torch_with_the_same_logits(hidden, tmp_path):
    model, params = network(hidden)
    interop.save_safetensors(params, tmp_path / "model.safetensors")
    module = torch_network(hidden)
    state_dict = safetensors.torch.load_file(tmp_path / "model.safetensors")
    module.load_state_dict(state_dict, strict=True)
    x = np.random.default_rng(0).normal(size=(6, 784)).astype(np.float32)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x)).numpy()
    ours = np.asarray(model.apply(params, jnp.asarray(x)), np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_torchs_own_file_is_loaded_with_the_same_logits(tmp_path):
    torch.manual_seed(0)
    module = torch_network(HIDDEN)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "model.safetensors")
    params = interop.load_safetensors(tmp_path / "model.safetensors")
    x = np.random.default_rng(0).normal(size=(6, 784)).astype(np.float32)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x)).numpy()
    ours = np.asarray(jm.MLP(HIDDEN).apply(params, jnp.asarray(x)), np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert_same_bits(interop.params_from_state_dict(module.state_dict()), params)


def test_float64_is_kept_both_ways(tmp_path):
    with jax.enable_x64(True):
        torch.manual_seed(0)
        module = torch_network(HIDDEN, dtype=torch.float64)
        params = interop.params_from_state_dict(module.state_dict())
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float64)}
        interop.save_safetensors(params, tmp_path / "model.safetensors")
        assert_same_bits(interop.load_safetensors(tmp_path / "model.safetensors"), params)
        for name, tensor in safetensors.torch.load_file(tmp_path / "model.safetensors").items():
            assert torch.equal(tensor, module.state_dict()[name])


def test_state_dict_is_a_copy():
    _, params = network(())
    state_dict = interop.params_to_state_dict(params)
    state_dict["0.weight"][:] = 7
    assert not (np.asarray(params["params"]["dense_0"]["weight"]) == 7).any()


def shapes(**changes) -> dict[str, np.ndarray]:
    """The arrays of 784-7-5-10 with some replaced, or left out where None."""
    sizes = {
        "0.weight": (7, 784),
        "0.bias": (7,),
        "2.weight": (5, 7),
        "2.bias": (5,),
        "4.weight": (10, 5),
        "4.bias": (10,),
    }
    sizes |= {name.replace("_", "."): shape for name, shape in changes.items()}
    return {name: np.zeros(shape, np.float32) for name, shape in sizes.items() if shape is not None}


WRONG = [
    ({"0_weight": None}, ["has no '0.weight'"]),
    ({"4_bias": None}, ["has no '4.bias'"]),
    ({"2_weight": None, "2_bias": None}, ["has no '2.weight'"]),
    ({"6_weight": (3, 10)}, ["has no '6.bias'"]),
    ({"extra": (3,)}, ["has no '6.weight'", "'extra'"]),
    ({"extra": (3,), "more": (3,)}, ["has no '6.weight'", "'extra'", "'more'"]),
    ({"0_weight": (784, 7)}, ["0.weight has shape (784, 7)", "0.bias (7,)", "(out, in)"]),
    ({"0_bias": (8,)}, ["0.weight has shape (7, 784)", "0.bias (8,)"]),
    ({"2_weight": (5, 8)}, ["2.weight has shape (5, 8)", "(out, 7)"]),
    ({"4_weight": (5, 10)}, ["4.weight has shape (5, 10)", "4.bias (10,)", "(out, 5)"]),
    ({"4_bias": (10, 1)}, ["4.bias (10, 1)"]),
    ({"0_weight": (7, 28, 28)}, ["0.weight has shape (7, 28, 28)"]),
    ({"0_weight": (7,)}, ["0.weight has shape (7,)", "(out, in)"]),
    ({"0_weight": ()}, ["0.weight has shape ()", "(out, in)"]),
    ({"2_weight": ()}, ["2.weight has shape ()", "(out, 7)"]),
    ({"0_bias": ()}, ["0.bias ()"]),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=lambda part: " ".join(part))
def test_state_dict_of_another_model_is_refused(changes, words, tmp_path):
    state_dict = shapes(**changes)
    with pytest.raises(jm.InputError) as refused:
        interop.params_from_state_dict(state_dict)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)

    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(state_dict, path)
    with pytest.raises(jm.InputError) as refused_file:
        interop.load_safetensors(path)
    assert str(refused_file.value) == f"{path}: {refused.value}"


def test_empty_state_dict_is_refused():
    with pytest.raises(jm.InputError, match=r"has no '0\.weight'"):
        interop.params_from_state_dict({})


@pytest.mark.parametrize("name", ["0.weight", "4.bias"])
def test_whole_numbers_are_refused(name):
    state_dict = shapes()
    state_dict[name] = state_dict[name].astype(np.int32)
    with pytest.raises(jm.InputError, match=f"{name} has dtype int32; .*floating-point"):
        interop.params_from_state_dict(state_dict)


def test_file_that_is_not_whole_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(jm.InputError, match=f"{path}: No such file"):
        interop.load_safetensors(path)
    interop.save_safetensors(network((3,))[1], path)
    content = path.read_bytes()
    for damaged in (b"", content[:5], content[:-1], content + b"\0", b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(jm.InputError, match=f"{path} is not a whole safetensors file"):
            interop.load_safetensors(path)
    with pytest.raises(jm.InputError, match="Is a directory"):
        interop.load_safetensors(tmp_path)


HALVES = [(jnp.bfloat16, torch.bfloat16), (jnp.float16, torch.float16)]


def test_module_of_layers_that_do_not_follow_one_another_is_refused():
    _, params = network(HIDDEN)
    turned = jax.tree.map(lambda leaf: leaf.T, params)
    with pytest.raises(
        jm.InputError, match=r"^0\.weight has shape \(784, \d+\) and 0\.bias \(\d+,\)"
    ):
        interop.params_to_module(turned)


@pytest.mark.slow_except("float16-torch_dtype1")
@pytest.mark.parametrize(("dtype", "torch_dtype"), HALVES)
def test_half_precision_is_kept_both_ways(dtype, torch_dtype, tmp_path):
    _, params = network(HIDDEN)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    path = tmp_path / "model.safetensors"
    interop.save_safetensors(params, path)
    assert_same_bits(interop.load_safetensors(path), params)
    assert_same_bits(interop.params_from_state_dict(interop.params_to_state_dict(params)), params)

    state_dict = interop.params_to_module(params).state_dict()
    assert {tensor.dtype for tensor in state_dict.values()} == {torch_dtype}
    for name, tensor in safetensors.torch.load_file(path).items():
        assert torch.equal(tensor, state_dict[name])
    assert_same_bits(interop.params_from_state_dict(state_dict), params)
    safetensors.torch.save_file(state_dict, path)
    assert_same_bits(interop.load_safetensors(path), params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_any_strides_that_require_gradients_are_read(dtype):
    torch.manual_seed(0)
    module = torch_network(HIDDEN, dtype=dtype)
    expected = interop.params_from_state_dict(module.state_dict())
    laid_out = {
        name: parameter.detach().t().contiguous().t().requires_grad_()
        for name, parameter in module.named_parameters()
    }
    assert not laid_out["0.weight"].is_contiguous()
    assert_same_bits(interop.params_from_state_dict(laid_out), expected)
    assert_same_bits(interop.params_from_state_dict(dict(module.named_parameters())), expected)
    # As the leaves of a tree, too.
    tree = {
        "params": {
            f"dense_{index}": {key: laid_out[f"{2 * index}.{key}"] for key in ("weight", "bias")}
            for index in range(3)
        }
    }
    assert_same_bits(interop.params_from_state_dict(interop.params_to_state_dict(tree)), expected)


def test_arrays_of_any_strides_are_written(tmp_path):
    _, params = network(HIDDEN)
    strided = jax.tree.map(lambda leaf: np.asfortranarray(np.asarray(leaf))[::-1], params)
    path = tmp_path / "model.safetensors"
    interop.save_safetensors(strided, path)
    expected = jax.tree.map(jnp.asarray, strided)
    assert_same_bits(interop.load_safetensors(path), expected)
    state_dict = interop.params_to_module(strided).state_dict()
    assert_same_bits(interop.params_from_state_dict(state_dict), expected)


@pytest.mark.parametrize("value", [torch.zeros(10, device="meta"), torch.zeros(10).to_sparse()])
def test_tensor_without_numbers_is_refused(value, refused):
    state_dict = {"0.weight": np.zeros((10, 3), np.float32), "0.bias": value}
    with refused("0.bias cannot be read as an array"):
        interop.params_from_state_dict(state_dict)


def test_tensors_without_axes_are_refused_by_shape(refused):
    half = torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True)
    with refused("0.weight has shape () and 0.bias ()"):
        interop.params_from_state_dict({"0.weight": half, "0.bias": half})


def test_file_of_other_numbers_is_refused_by_their_type(tmp_path, refused):
    path = tmp_path / "model.safetensors"
    state_dict = {"0.bias": torch.zeros(10, dtype=torch.float8_e5m2)}
    safetensors.torch.save_file(state_dict, path)
    with refused(f"{path}: 0.bias has numbers of type F8_E5M2; it must be one of F16"):
        interop.load_safetensors(path)


def test_save_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    _, params = network((3,))
    interop.save_safetensors(params, path)
    before = path.read_bytes()
    _, other = network((3,), seed=1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            interop.save_safetensors(other, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    interop.save_safetensors(other, path)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


def test_save_where_nothing_can_be_written_is_refused(tmp_path):
    _, params = network(())
    (tmp_path / "folder").mkdir()
    for path, word in (
        (tmp_path / "nowhere" / "model", "No such file"),
        (tmp_path / "folder", "Is a directory"),
    ):
        with pytest.raises(jm.InputError, match=f"cannot write {path}: {word}"):
            interop.save_safetensors(params, path)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_safetensors_file_that_is_something_else_is_called_that(content, word, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(jm.InputError, match=f"{path} is not a whole safetensors file: .*{word}"):
        interop.load_safetensors(path)
