"""What names settle, what nothing settles, and what is refused in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn as tnn

from jaxmnist import interop


def dense(inputs, outputs):
    return {"kernel": np.ones((inputs, outputs)), "bias": np.ones(outputs)}


def layers(found):
    return {(entry.jax_module, entry.torch_module, entry.why) for entry in found.entries}


@pytest.fixture
def two():
    """Two layers of one shape, whose names have nothing in common with the parameters'."""
    return tnn.ModuleDict({"up": tnn.Linear(3, 3), "across": tnn.Linear(3, 3)}).double()


PARAMS = {"first": dense(3, 3), "second": dense(3, 3)}


def test_layers_that_nothing_tells_apart_are_refused(two, refused):
    found = interop.match(PARAMS, two)
    assert found.entries == ()
    assert {each.name for each in found.unmatched} == {
        "first/kernel", "first/bias", "second/kernel", "second/bias",
        "up.weight", "up.bias", "across.weight", "across.bias",
    }  # fmt: skip
    assert {each.candidates for each in found.unmatched if each.side == "torch"} == {
        ("first", "second")
    }
    for convert in (lambda: found.to_jax(two.state_dict()), lambda: found.to_torch(PARAMS)):
        with refused("8 of the arrays", "first/kernel (3, 3): ambiguous among up, across", "names"):
            convert()
    assert "not matched, in torch: up.weight (3, 3): ambiguous among first, second" in str(found)


@pytest.mark.parametrize(
    "names",
    [
        {"first": "across"},
        {"first/kernel": "across.weight"},
        {"first.bias": "across.bias", "second": "up"},
    ],
    ids=str,
)
def test_names_settle(names, two, there_and_back):
    params, found = there_and_back(PARAMS, two, names)
    assert {each[:2] for each in layers(found)} == {("first", "across"), ("second", "up")}
    assert "given" in {entry.why for entry in found.entries}
    np.testing.assert_array_equal(
        params["first"]["kernel"], two["across"].weight.detach().numpy().T
    )


def test_names_of_whole_parts_settle_what_is_inside(there_and_back):
    def tower():
        return tnn.Sequential(tnn.Linear(2, 3), tnn.ReLU(), tnn.Linear(3, 3), tnn.Linear(3, 3))

    module = tnn.ModuleDict({"left": tower(), "right": tower()}).double()
    half = {f"Dense_{i}": dense(n, 3) for i, n in enumerate((2, 3, 3))}
    params = {"params": {"image": half, "text": half}}
    assert interop.match(params, module).unmatched
    names = {"params/image": "right", "text": "left"}
    _, found = there_and_back(params, module, names)
    assert {each[:2] for each in layers(found)} == {
        *((f"image/Dense_{i}", f"right.{n}") for i, n in enumerate((0, 2, 3))),
        *((f"text/Dense_{i}", f"left.{n}") for i, n in enumerate((0, 2, 3))),
    }
    assert {entry.why for entry in found.entries} == {"given, order", "given, only shape"}


def test_what_a_named_part_has_left_is_not_paired_outside_of_it():
    module = tnn.ModuleDict({"a": tnn.Linear(3, 3), "b": tnn.Linear(3, 3), "c": tnn.PReLU(3)})
    params = {"x": {"fc": dense(3, 3), "slope": np.ones(3)}, "y": dense(3, 3)}
    assert not interop.match(params, module).entries[0].why.startswith("given")
    found = interop.match(params, module, {"x": "a"})
    assert ("x/fc", "a", "given, only shape") in layers(found)
    assert {each.name for each in found.unmatched} == {"x/slope", "c.weight"}


def test_a_single_parameter_can_be_given_to_another_role(there_and_back):
    class Shifted(tnn.Module):
        def __init__(self):
            super().__init__()
            self.linear = tnn.Linear(3, 3, bias=False)
            self.shift = tnn.Parameter(torch.ones(3))
            self.scale = tnn.Parameter(torch.ones(3))

    params = {"fc": dense(3, 3), "factor": np.ones(3)}
    assert interop.match(params, Shifted()).unmatched
    _, found = there_and_back(params, Shifted().double(), {"fc/bias": "shift"})
    assert {(entry.jax, entry.torch) for entry in found.entries} == {
        ("fc/bias", ("shift",)),
        ("fc/kernel", ("linear.weight",)),
        ("factor", ("scale",)),
    }


def test_names_that_are_not_there_are_refused(two, refused):
    shapes = "params has first/bias (3,), first/kernel (3, 3)", "the module has up.weight (3, 3)"
    with refused("params has no 'frist'", "did you mean", *shapes):
        interop.match(PARAMS, two, {"frist": "up"})
    with refused("the module has no 'uq.weight'", "did you mean 'up.weight'", *shapes):
        interop.match(PARAMS, two, {"first/kernel": "uq.weight"})
    with refused("'other'", "shapes do not fit", "other/kernel (2, 3)", "up.weight (3, 3)"):
        interop.match({**PARAMS, "other": dense(2, 3)}, two, {"other": "up"})


def test_numbers_count_by_rank(there_and_back):
    module = tnn.Sequential(*(tnn.Linear(3, 3) for _ in range(12))).double()
    _, found = there_and_back({f"w{i}": dense(3, 3) for i in range(1, 13)}, module)
    assert layers(found) == {(f"w{i}", str(i - 1), "order") for i in range(1, 13)}
    odd = tnn.ModuleDict({f"fc{i}": tnn.Linear(3, 3) for i in (2, 1, 10)}).double()
    _, found = there_and_back({f"Dense_{i}": dense(3, 3) for i in range(3)}, odd)
    assert layers(found) == {
        ("Dense_0", "fc1", "name"), ("Dense_1", "fc2", "name"), ("Dense_2", "fc10", "name"),
    }  # fmt: skip


def test_where_a_layer_is_missing_no_number_is_a_rank(refused):
    module = tnn.Sequential(*(tnn.Linear(3, 3) for _ in range(3)))
    found = interop.match({f"Dense_{i}": dense(3, 3) for i in range(2)}, module)
    assert found.entries == ()
    named = tnn.ModuleDict({f"fc{i}": tnn.Linear(3, 3) for i in (1, 2, 3)})
    found = interop.match({f"fc{i}": dense(3, 3) for i in (1, 3)}, named)
    assert layers(found) == {("fc1", "fc1", "name"), ("fc3", "fc3", "name")}
    assert {each.name for each in found.unmatched} == {"fc2.weight", "fc2.bias"}
    with refused("2 of the arrays", "fc2.weight (3, 3): nothing of its shape is left"):
        found.to_jax(named.state_dict())


def test_a_bias_on_one_side_only_is_listed():
    found = interop.match({"a": dense(2, 3)}, tnn.Linear(2, 3, bias=False))
    assert [str(each) for each in found.unmatched] == [
        "a/bias (3,): the module has no counterpart of it"
    ]
    found = interop.match({"a": {"kernel": np.ones((2, 3))}}, tnn.Linear(2, 3))
    assert [str(each) for each in found.unmatched] == ["bias (3,): a has no counterpart of it"]


def test_plain_functions_parameters(random_weights, inputs, there_and_back, close):
    module = random_weights(tnn.Sequential(tnn.Linear(3, 3), tnn.Tanh(), tnn.Linear(3, 2)))
    x = inputs(4, 3)
    pairs = [(np.ones((3, 3)), np.ones(3)), (np.ones((3, 2)), np.ones(2))]
    ((w1, b1), (w2, b2)), _ = there_and_back(pairs, module, {"0/0": "0.weight"})
    close(jnp.tanh(x @ w1 + b1) @ w2 + b2, module(torch.from_numpy(x)))
    flat = {"w1": np.ones((3, 3)), "b1": np.ones(3), "w2": np.ones((3, 2)), "b2": np.ones(2)}
    p, _ = there_and_back(flat, module)
    close(jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"], module(torch.from_numpy(x)))


def test_square_matrix_is_as_others_of_its_name():
    def layout(*shapes, names=None, key="weight"):
        params = {f"l{i}": {key: np.ones(s)} for i, s in enumerate(shapes)}
        sizes = [(3, 3), (3, 2)][: len(shapes)]
        module = tnn.Sequential(*(tnn.Linear(*s, bias=False) for s in sizes))
        found = interop.match(params, module, names)
        return [entry.layout.partition(" (")[0] for entry in found.entries]

    assert layout((3, 3), (2, 3)) == ["same", "same"]
    assert layout((3, 3), (3, 2)) == ["transpose", "transpose"]
    assert layout((3, 3)) == ["same"]
    assert layout((3, 3), key="kernel") == ["transpose"]
    assert layout((3, 3), key="w") == ["transpose"]
    assert layout((3, 3), names={"l0/weight": "0.weight.T"}) == ["transpose"]


def test_square_matrix_of_a_name_without_convention_is_refused(refused):
    params = {"dense": {"table": np.ones((3, 3))}}
    module = tnn.Linear(3, 3, bias=False)
    found = interop.match(params, module)
    with refused("dense/table (3, 3)", "as it is and transposed", "'weight.T'"):
        found.to_jax(module.state_dict())


def test_a_square_array_of_no_layer_is_not_read_as_a_layers_weight(refused):
    """A parameter of the model's own may be multiplied from either side."""
    params, module = {"proj": np.ones((3, 3))}, tnn.Linear(3, 3, bias=False)
    with refused("proj (3, 3)", "as it is and transposed"):
        interop.match(params, module).to_jax(module.state_dict())
    (entry,) = interop.match({"proj": np.ones((2, 3))}, tnn.Linear(2, 3, bias=False)).entries
    assert entry.layout == "transpose"


def test_kinds_of_normalization_are_told_by_name():
    norm = {"scale": np.ones(3), "bias": np.ones(3)}
    module = tnn.ModuleDict({"ln": tnn.LayerNorm(3), "bn": tnn.BatchNorm1d(3)})
    found = interop.match({"BatchNorm_0": norm, "LayerNorm_0": norm}, module)
    assert layers(found) == {("BatchNorm_0", "bn", "name"), ("LayerNorm_0", "ln", "name")}


def test_before_and_after_are_not_taken_for_each_other():
    """PyTorch's norm after the attention is the one that the other name says is before the MLP."""
    norms = ("input_layernorm", "post_attention_layernorm")
    module = tnn.ModuleDict({name: tnn.RMSNorm(3) for name in norms})
    scale = {"scale": np.ones(3)}
    found = interop.match({"attention_norm": scale, "ffn_norm": scale}, module)
    assert found.entries == ()
    found = interop.match({"RMSNorm_0": scale, "RMSNorm_1": scale}, module)
    assert layers(found) == {(f"RMSNorm_{i}", name, "order") for i, name in enumerate(norms)}


def test_a_module_without_shapes_is_refused(refused):
    with refused("weight has no shape yet", "call the module once"):
        interop.match(PARAMS, tnn.LazyLinear(3))


def test_dtypes_are_kept_and_not_narrowed(refused):
    module = tnn.Linear(2, 3)
    found = interop.match(dense(2, 3), module)
    assert found.to_jax(module.state_dict())["kernel"].dtype == jnp.float32
    half = module.to(torch.bfloat16)
    params = found.to_jax(half.state_dict())
    assert params["kernel"].dtype == jnp.bfloat16
    assert found.to_torch(params)["weight"].equal(half.weight)
    with (
        jax.enable_x64(False),
        refused("weight is float64", "JAX would make float32", "jax_enable_x64"),
    ):
        found.to_jax({**module.state_dict(), "weight": module.double().weight})


def test_parameters_that_do_not_fit_are_refused(two, refused):
    found = interop.match(PARAMS, two, {"first": "up"})
    state = two.state_dict()
    with refused("the state_dict has no 'up.bias'", "up.weight"):
        found.to_jax({name: state[name] for name in state if name != "up.bias"})
    with refused("up.bias has shape (4,)", "(3,)"):
        found.to_jax({**state, "up.bias": torch.ones(4)})
    with refused("params has no second/bias", "it has first/bias"):
        found.to_torch({"first": PARAMS["first"]})
    with refused("first/bias has shape (2,)", "(3,)"):
        found.to_torch({**PARAMS, "first": {**PARAMS["first"], "bias": np.ones(2)}})
    with refused("module is a dict", "torch.nn.Module"):
        interop.match(PARAMS, {})
    with refused("params is a dict without arrays"):
        interop.match({}, two)


def test_one_parameter_under_two_names(refused):
    module = tnn.Sequential(tnn.Linear(3, 3), tnn.Linear(3, 3)).double()
    module[1].weight = module[0].weight
    found = interop.match({"Dense_0": dense(3, 3), "Dense_1": dense(3, 3)}, module)
    params = found.to_jax(module.state_dict())
    np.testing.assert_array_equal(params["Dense_0"]["kernel"], params["Dense_1"]["kernel"])
    back = found.to_torch(params)
    assert back["1.weight"].equal(module[0].weight)
    other = {**params, "Dense_1": {**params["Dense_1"], "kernel": jnp.zeros((3, 3))}}
    with refused("Dense_0/kernel and Dense_1/kernel differ", "one parameter for both, 0.weight"):
        found.to_torch(other)


def test_table_lists_everything(two):
    shown = str(interop.match({**PARAMS, "count": np.ones(2, int)}, two, {"first": "across"}))
    assert shown.splitlines() == [
        "params         shape   module         shape   layout     why",
        "first/bias     (3,)    across.bias    (3,)    same       given",
        "first/kernel   (3, 3)  across.weight  (3, 3)  transpose  given",
        "second/bias    (3,)    up.bias        (3,)    same       only shape",
        "second/kernel  (3, 3)  up.weight      (3, 3)  transpose  only shape",
        "left as they are: count",
    ]
