"""Axes: how they are read, and what is refused."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import sweep
from jaxmnist.sweep import axes

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)


@pytest.mark.parametrize(
    ("name", "words", "values"),
    [
        ("learning_rate", ["0.1"], (0.1,)),
        ("learning_rate", ["1e-4..31.6228:log12", "2"], None),
        ("learning_rate", ["0..1:5"], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("learning_rate", ["1..3"], (1.0, 2.0, 3.0)),
        ("init_scale", ["-1..1:3"], (-1.0, 0.0, 1.0)),
        ("seed", ["7", "0..2"], (7, 0, 1, 2)),
        ("batch_size", ["16..256:log5"], (16, 32, 64, 128, 256)),
        ("hidden", ["256-128", "none", "8"], ((256, 128), (), (8,))),
        ("optimizer", ["sgd", "adam"], ("sgd", "adam")),
    ],
)
def test_axis_is_read_as_it_is_written(name, words, values):
    found = sweep.parse(name, words)
    if values is None:
        steps = [f"{10 ** (k / 2 - 4):.6g}" for k in range(12)]
        values = (*map(float, steps), 2.0)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert sweep.parse(name, [axes.text(value) for value in found]) == found


@pytest.mark.parametrize(
    ("name", "word", "complaint"),
    [
        (
            "learning_rate",
            "x",
            "learning_rate cannot be 'x'; --learning-rate takes a number, or a range",
        ),
        ("learning_rate", "0.1..1", "cannot be '0.1..1'; --learning-rate takes a number"),
        ("learning_rate", "0.1..1:lin5", "cannot be"),
        ("learning_rate", "0.1..", "cannot be"),
        ("learning_rate", "..", "cannot be"),
        ("learning_rate", "0..1:log5", "from A to B with 0 < A < B"),
        ("learning_rate", "1..0.1:5", "from A to B with A < B"),
        ("learning_rate", "0..inf:5", "from A to B with A < B"),
        ("learning_rate", "0..1:1", "has 1 values; 2 to 10000"),
        ("seed", "0..1000000000", "has 1000000001 values"),
        ("seed", "0.5", "seed cannot be '0.5'; --seed takes a whole number"),
        ("batch_size", "16..64:4x", "cannot be '16..64:4x'; --batch-size takes a whole number"),
        ("batch_size", "16..65:log3", "is not of whole numbers"),
        ("hidden", "256,128", "hidden cannot be '256,128'"),
        ("hidden", "", "hidden cannot be ''"),
    ],
)
def test_malformed_axis_is_refused_with_what_is_allowed(name, word, complaint):
    with pytest.raises(jm.InputError, match=complaint.replace("(", r"\(")):
        sweep.parse(name, ["1", word])


@pytest.mark.parametrize(
    ("name", "values", "plain"),
    [
        ("learning_rate", jnp.array([0.5, 0.1]), (0.5, 0.10000000149011612)),
        ("learning_rate", lambda torch: torch.tensor([0.5, 0.25], requires_grad=True), (0.5, 0.25)),
        (
            "learning_rate",
            lambda torch: [np.array(0.5), jnp.array(1), torch.tensor(2)],
            (0.5, 1.0, 2.0),
        ),
        ("learning_rate", (rate / 2 for rate in range(3)), (0.0, 0.5, 1.0)),
        ("seed", jnp.arange(2), (0, 1)),
        ("seed", lambda torch: torch.arange(2), (0, 1)),
        ("seed", np.array([0.0, 1.0]), (0, 1)),
        ("batch_size", map(int, "48"), (4, 8)),
        ("hidden", lambda torch: torch.tensor([[8, 4]]), ((8, 4),)),
        ("hidden", [jnp.array([8, 4]), range(0)], ((8, 4), ())),
        ("optimizer", np.array(["sgd", "adam"]), ("sgd", "adam")),
    ],
)
def test_axis_takes_numbers_of_any_library(name, values, plain, given_torch):
    (found,) = axes.check_axes({name: given_torch(values)}).values()
    assert found == plain
    assert [type(value) for value in found] == [type(value) for value in plain]
    if name == "hidden":
        assert {type(size) for sizes in found for size in sizes} == {int}


@pytest.mark.parametrize(
    ("swept_axes", "complaint"),
    [
        ({"seed": jnp.array(3)}, "the axis seed is Array(3, "),
        (lambda torch: {"seed": torch.tensor(3)}, "the axis seed is tensor(3); it must be a list"),
        (
            lambda torch: {"seed": torch.tensor([True])},
            "the axis seed has tensor(True); it must be a number",
        ),
        ({"learning_rate": np.ones((1, 2))}, "has array([1., 1.]); it must be a number"),
        ({"learning_rate": jnp.ones((1, 2, 2))}, "has Array([[1., 1.], [1., 1.]], dtype"),
        ({"hidden": [np.array(3)]}, "the axis hidden has array(3); it must be a tuple"),
        ({}, "nothing to sweep: give at least one axis of optimizer, hidden"),
        ({"epochs": [1]}, "no axis 'epochs'; choose one of optimizer, hidden"),
        ({"seed": []}, "the axis seed has no values"),
        ({"seed": 3}, "the axis seed is 3; it must be a list"),
        ({"optimizer": "sgd"}, "the axis optimizer is 'sgd'; it must be a list"),
        ({"optimizer": [1]}, "the axis optimizer has 1; it must be the name"),
        ({"optimizer": ["sgdd"]}, "no optimizer 'sgdd'"),
        ({"seed": [1, 0, 1]}, "the axis seed has 1 twice"),
        ({"seed": [0.5]}, "the axis seed has 0.5; it must be a whole number"),
        ({"seed": [float("inf")]}, "the axis seed has inf; it must be a whole number"),
        ({"seed": [-1]}, "seed is -1; it must be a whole number from 0"),
        ({"seed": [True]}, "the axis seed has True; it must be a number"),
        ({"hidden": [3]}, "the axis hidden has 3; it must be a tuple"),
        ({"hidden": [(0,)]}, "hidden has a layer of size 0"),
        ({"batch_size": [301]}, "batch_size is 301; the data has only 300"),
        ({"learning_rate": ["0.1"]}, "the axis learning_rate has '0.1'; it must be a number"),
        ({"learning_rate": [-1.0]}, "learning_rate is -1.0; it must be a finite number"),
        ({"init_scale": [float("nan")]}, "the axis init_scale has nan; it must be a finite"),
        ({"b1": [0.9]}, "sgd has no argument 'b1'; it has learning_rate"),
        ({"optimizer": ["adam", "sgd"], "b1": [0.9]}, "sgd has no argument 'b1'"),
        ({"optimizer": ["adam"], "b1": [1.0]}, "adam: b1 is 1.0; it must be at least 0"),
    ],
)
def test_impossible_sweep_is_refused_before_anything_is_written(
    swept_axes, complaint, dataset, tmp_path, given_torch
):
    with pytest.raises(jm.InputError) as caught:
        sweep.run(CONFIG, given_torch(swept_axes), dataset, out=tmp_path / "out")
    assert complaint in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow_except("values0-100,000,000")
@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"seed": range(10**4), "learning_rate": np.linspace(0, 1, 10**4)}, "100,000,000"),
        ({"seed": range(10**30)}, "at least 100,001"),
        ({"seed": itertools.count()}, "at least 100,001"),
    ],
)
def test_more_cells_than_allowed_are_refused_at_once(values, count):
    with pytest.raises(jm.InputError, match=rf"{count} combinations.* 100,000 are.* --max-cells"):
        axes.check_axes(values)


def test_more_cells_are_allowed_where_asked_for():
    assert len(axes.check_axes({"seed": range(11)}, max_cells=11)["seed"]) == 11
    with pytest.raises(jm.InputError, match="12 combinations"):
        axes.check_axes({"seed": range(6), "b1": (0.1, 0.2)}, max_cells=11)
    with pytest.raises(jm.InputError, match="max_cells is 0"):
        axes.check_axes({"seed": range(2)}, max_cells=0)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("learning_rate", "9" * 400 + "..1:3"),
        ("seed", "9" * 5000),
        ("seed", "0.." + "9" * 4000),
        ("learning_rate", "0..1:" + "9" * 4000),
        ("hidden", "9" * 5000),
    ],
)
def test_numbers_of_many_digits_are_refused_in_short(name, word):
    with pytest.raises(jm.InputError) as refused:
        sweep.parse(name, [word])
    assert len(str(refused.value)) < 500


def test_number_beyond_a_float_is_refused():
    with pytest.raises(jm.InputError, match="learning_rate"):
        axes.check_axes({"learning_rate": [10**400]})
