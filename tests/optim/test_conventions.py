"""What the optimizers are called, what their arguments may be, and how a mistake is refused."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxmnist import conventions, optim
from jaxmnist.errors import InputError


def test_names_and_conventions_are_the_tutorials() -> None:
    assert optim.NAMES == ("sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam")
    assert optim.CONVENTIONS == ("document", "pytorch", "optax")
    for name in optim.NAMES:
        rows = conventions.TABLE[name]
        assert tuple(rows) == optim.CONVENTIONS
        assert len({tuple(row) for row in rows.values()}) == 1  # the same arguments in each


def test_hyperparameters_are_the_float_arguments() -> None:
    assert optim.hyperparameters("momentum") == {"learning_rate": 0.01, "momentum": 0.9}
    assert optim.hyperparameters("adadelta")["learning_rate"] is None
    assert optim.hyperparameters("adam", "pytorch") == {
        "learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0,
    }  # fmt: skip


def test_changing_a_returned_dict_leaves_the_table_alone() -> None:
    optim.hyperparameters("sgd")["learning_rate"] = 7.0
    assert optim.hyperparameters("sgd") == {"learning_rate": 0.1}


def test_conventions_import_without_jax() -> None:
    code = "import sys, jaxmnist.conventions; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "half",
    [
        np.array(0.5),
        np.float16(0.5),
        lambda torch: torch.tensor(0.5),
        lambda torch: torch.tensor(0.5, requires_grad=True),
    ],
)
def test_factory_takes_numbers_of_any_library(
    half: Any, monkeypatch: pytest.MonkeyPatch, given_torch: Callable[[Any], Any]
) -> None:
    half = given_torch(half)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    tx: Any = optim.create("adam", half, b1=half)
    expected: Any = optim.create("adam", 0.5, b1=0.5)
    for actual, right in zip(
        tx.update(jnp.array(3.0), tx.init(jnp.array(0.0))),
        expected.update(jnp.array(3.0), expected.init(jnp.array(0.0))),
        strict=True,
    ):
        jax.tree.map(np.testing.assert_array_equal, actual, right)


def test_number_of_torch_has_a_range_too(
    monkeypatch: pytest.MonkeyPatch, refused: Any, torch: Any
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    one: Any = torch.tensor(1.0)
    with refused("adam: b1 is tensor(1.); it must be at least 0 and less than 1"):
        optim.adam(b1=one)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (
        lambda: optim.create("adamw"),
        "there is no optimizer 'adamw'; choose one of sgd, momentum, adagrad, rmsprop, adadelta, "
        "adam; did you mean 'adam'?",
    ),
    "convention": (
        lambda: optim.create("adam", convention="keras"),
        "there is no convention 'keras'; choose one of document, pytorch, optax",
    ),
    "override": (
        lambda: optim.create("adam", beta1=0.9),
        "adam has no argument 'beta1'; it has learning_rate, b1, b2, eps, eps_root; "
        "did you mean 'b1'?",
    ),
    "a bool": (
        lambda: optim.sgd(jnp.array(True)),
        "sgd: learning_rate is Array(True, dtype=bool); it must be a real number",
    ),
    "a string": (
        lambda: optim.create("sgd", np.array("0.1")),
        "sgd: learning_rate is array('0.1', dtype='<U3'); it must be a number",
    ),
    "negative rate": (
        lambda: optim.sgd(-0.1),
        "sgd: learning_rate is -0.1; it must be at least 0 and finite",
    ),
    "infinite rate": (
        lambda: optim.create("adam", float("inf")),
        "adam: learning_rate is inf; it must be at least 0 and finite",
    ),
    "no rate": (
        lambda: conventions.check_arguments("adam", learning_rate=None),
        "adam: learning_rate is None; it must be a number",
    ),
    "nan": (
        lambda: optim.adagrad(eps=float("nan")),
        "adagrad: eps is nan; it must be at least 0 and finite",
    ),
    "decay of one": (
        lambda: optim.adam(b2=1.0),
        "adam: b2 is 1.0; it must be at least 0 and less than 1",
    ),
    "numpy": (
        lambda: optim.rmsprop(decay=np.float32(1.5)),
        "rmsprop: decay is np.float32(1.5); it must be at least 0 and less than 1",
    ),
    "schedule for a decay": (
        lambda: conventions.check_arguments("adadelta", rho=abs),
        "adadelta: rho is <built-in function abs>; only learning_rate may be a schedule",
    ),
    "several rates": (
        lambda: conventions.check_arguments("sgd", learning_rate=np.array([0.1, 0.2])),
        "sgd: learning_rate is array([0.1, 0.2]); it must be one number; use jax.vmap for several",
    ),
    "placement": (
        lambda: optim.create("momentum", learning_rate_in_velocity=1),
        "momentum: learning_rate_in_velocity is 1; it must be True or False",
    ),
    "integer gradient": (
        lambda: optim.sgd().update(jnp.arange(3), optim.sgd().init(jnp.arange(3))),
        "a gradient has dtype int32; it must be floating or complex; mask leaves that are not "
        "trained",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_named_with_what_is_allowed(mistake: str) -> None:
    make, message = MISTAKES[mistake]
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message
