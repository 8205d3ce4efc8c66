"""What a run is: the tutorial's defaults, and every value that no run can have."""

import dataclasses

import jax
import jaxtyping
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
