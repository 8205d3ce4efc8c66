"""What a run is: the tutorial's defaults, and every value that no run can have."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import conventions


def test_config_defaults_are_the_tutorials():
    assert dataclasses.asdict(jm.Config()) == {
        "hidden": (256, 128, 64, 20),
        "optimizer": "sgd",
        "learning_rate": None,
        "epochs": 20,
        "batch_size": 64,
        "eval_batch_size": 128,
        "seed": 0,
        "convention": "document",
        "dtype": "float32",
    }


def test_config_is_frozen_and_hashable():
    config = jm.Config(hidden=(3, 4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert hash(config) == hash(jm.Config(hidden=(3, 4)))
    assert config != jm.Config(hidden=(4, 3))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("optimizer", "Adam", "'Adam'.*sgd, momentum, adagrad, rmsprop, adadelta, adam"),
        ("convention", "torch", "'torch'.*document, pytorch, optax"),
        ("dtype", "float16", "'float16'.*float32, float64, bfloat16"),
        *(
            (field, value, rf"{field} is {value!r}; it must be a whole number of at least 1")
            for field in ("epochs", "batch_size", "eval_batch_size")
            for value in (0, -1, 1.5, float("nan"), float("inf"), "3", True, None)
        ),
        *(
            ("hidden", (8, size), rf"hidden .* size {size!r}; .* whole number of at least 1")
            for size in (0, -3, 8.0, float("nan"), float("inf"), "8", None)
        ),
        ("hidden", 8, "hidden is 8; it must be a tuple"),
        ("hidden", "88", "hidden is '88'; it must be a tuple"),
        *(
            ("learning_rate", value, f"learning_rate is {value!r}; .* finite .* at least 0")
            for value in (-1.0, -1e-300, float("nan"), float("inf"), -float("inf"), "0.1")
        ),
        *(
            ("seed", value, rf"seed is {value!r}; .* 0 to 2\*\*32 - 1")
            for value in (-1, 2**32, 1.0, "1", None, True)
        ),
    ],
)
def test_config_refuses_and_names_the_value(field, value, words, monkeypatch):
    # Without the tests' own type checker, which would find half of it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(jm.InputError, match=rf"\A(?=.*{words})[^\n]*\Z"):
        jm.Config(**{field: value})


def test_config_takes_the_edges():
    jm.Config(hidden=(), epochs=1, batch_size=1, eval_batch_size=1, learning_rate=0.0, seed=0)
    jm.Config(hidden=(1,), learning_rate=1.0, seed=2**32 - 1)
    jm.Config(learning_rate=1e-300)


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("learning_rate", jnp.float32(0.1), 0.10000000149011612),
        ("learning_rate", np.float32(0.1), 0.10000000149011612),
        ("learning_rate", np.array(0.1), 0.1),
        ("learning_rate", jnp.array(0.5, jnp.bfloat16), 0.5),
        ("learning_rate", lambda torch: torch.tensor(0.5, requires_grad=True), 0.5),
        ("learning_rate", lambda torch: torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        ("learning_rate", 1, 1.0),
        *(
            (field, value, 3)
            for field in ("epochs", "batch_size", "eval_batch_size", "seed")
            for value in (
                np.int64(3),
                np.array(3, np.uint8),
                jnp.array(3),
                lambda torch: torch.tensor(3),
            )
        ),
        ("hidden", lambda torch: (np.int32(8), jnp.array(4), torch.tensor(2)), (8, 4, 2)),
        *(
            ("hidden", value, (8, 4))
            for value in (
                [8, 4],
                np.array([8, 4]),
                jnp.array([8, 4]),
                lambda torch: torch.tensor([8, 4]),
            )
        ),
        ("hidden", range(1, 3), (1, 2)),
    ],
)
def test_config_stores_numbers_of_any_library_as_pythons(
    field, value, stored, monkeypatch, given_torch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    config = jm.Config(**{field: given_torch(value)})
    kept = getattr(config, field)
    assert kept == stored
    assert {type(each) for each in (kept if field == "hidden" else [kept])} == {
        float if field == "learning_rate" else int
    }
    assert hash(config) == hash(jm.Config(**{field: stored}))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "learning_rate",
            np.ones((2, 2)),
            r"array\(\[\[1., 1.\], \[1., 1.\]\]\); it must be a finite",
        ),
        ("learning_rate", jnp.array(True), r"Array\(True, dtype=bool\); it must be a finite"),
        ("learning_rate", lambda torch: torch.tensor(-1.0), r"tensor\(-1.\); it must be a finite"),
        ("epochs", lambda torch: torch.tensor(True), r"tensor\(True\); it must be a whole number"),
        ("epochs", jnp.array(3.0), r"Array\(3., .*; it must be a whole number"),
        ("seed", np.array([3]), r"array\(\[3\]\); it must be a whole number"),
        ("hidden", np.array(3), r"array\(3\); it must be a tuple"),
        ("hidden", lambda torch: torch.tensor([8.0]), r"a layer of size tensor\(8.\); every size"),
    ],
)
def test_config_refuses_arrays_that_are_no_such_number(
    field, value, words, monkeypatch, given_torch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    value = given_torch(value)
    with pytest.raises(jm.InputError, match=rf"\A{field} [^\n]*{words}[^\n]*\Z"):
        jm.Config(**{field: value})


def test_config_refuses_a_traced_number(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(jm.InputError, match=r"learning_rate is .*it must be a finite number"):
        jax.jit(lambda rate: jm.Config(learning_rate=rate) and rate)(0.1)


def test_config_seeds_are_all_different_runs():
    edges = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
    assert len({tuple(jax.random.key_data(jax.random.key(s)).tolist()) for s in edges}) == 5


@pytest.mark.parametrize("name", conventions.NAMES)
@pytest.mark.parametrize("convention", conventions.CONVENTIONS)
def test_hyper_is_the_conventions_numbers_and_the_configs_rate(name, convention):
    table = conventions.TABLE[name][convention]
    numbers = {key: value for key, value in table.items() if not isinstance(value, bool)}
    config = jm.Config(optimizer=name, convention=convention)
    assert jm.default_hyper(config) == numbers
    assert list(jm.default_hyper(config)) == list(numbers)
    config = dataclasses.replace(config, learning_rate=0.25)
    assert jm.default_hyper(config) == {**numbers, "learning_rate": 0.25}


def test_hyper_keeps_a_learning_rate_of_zero():
    assert jm.default_hyper(jm.Config(learning_rate=0.0)) == {"learning_rate": 0.0}


def test_hyper_is_a_new_dict_each_time():
    jm.default_hyper(jm.Config())["learning_rate"] = 7.0
    assert jm.default_hyper(jm.Config()) == {"learning_rate": 0.1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 10**400}, "epochs is 1000"),
        ({"epochs": 10**5000}, "epochs is a number of thousands of digits"),
        ({"batch_size": 2**31}, "at most 2147483647"),
        ({"hidden": (99_999_999_999,)}, "at most 1073741824 are allowed"),
        ({"hidden": (10**5, 10**5)}, "10078500000 weights"),
        ({"hidden": (1,) * 1001}, "at most 1000"),
    ],
)
def test_sizes_beyond_any_machine_are_refused(values, words):
    with pytest.raises(jm.InputError, match=words) as refused:
        jm.Config(**values)
    assert len(str(refused.value)) < 500
