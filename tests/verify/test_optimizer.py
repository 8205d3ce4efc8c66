"""`verify.optimizer`: what agrees passes, what differs is found where it begins, and bad input."""

import inspect
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import load_dataset, optim, verify
from jaxmnist.errors import InputError
from jaxmnist.verify import Recurrence
from jaxmnist.verify.gradients import source
from jaxmnist.verify.references import RECURRENCES
from jaxmnist.verify.sides import make_side
from jaxmnist.verify.trees import map_named

REFERENCES = {
    "document": verify.numpy_reference,
    "pytorch": verify.torch_reference,
    "optax": verify.optax_reference,
}
STATES = {
    "sgd": [],
    "momentum": ["velocity"],
    "adagrad": ["sum of squares"],
    "rmsprop": ["average square"],
    "adadelta": ["average square", "average squared change"],
    "adam": ["average gradient", "average square"],
}


# --- What agrees ---


@pytest.mark.parametrize("convention", REFERENCES)
@pytest.mark.parametrize("name", optim.NAMES)
def test_every_convention_agrees_with_where_it_comes_from(name: str, convention: str) -> None:
    tx = optim.create(name, convention=convention)
    result = verify.optimizer(tx, REFERENCES[convention](name), steps=100)
    assert result.passed, result
    assert [part.name for part in result] == ["displacement", *STATES[name]]
    assert all(part.steps == 100 and part.growth is None for part in result)
    assert result.max_error < 2e-14  # the tolerance is fifty times what is needed


@pytest.mark.parametrize(
    ("gradients", "steps"),
    [("sparse", 60), ("stream", 10), ("quadratic", 60), ("rosenbrock", 60), ("network", 3)],
)
def test_every_source_of_gradients_agrees(gradients: str, steps: int) -> None:
    tx = optim.create("rmsprop", convention="pytorch")
    reference = verify.torch_reference("rmsprop")
    result = verify.optimizer(tx, reference, gradients=gradients, steps=steps)
    assert result.passed, result
    for part in result:
        assert part.steps == steps
        if gradients in ("sparse", "stream"):
            assert (part.growth, part.tolerance) == (None, 1e-12)
        else:
            assert part.growth is not None
            assert part.growth > 0
            assert part.tolerance == max(1e-12, 10 * part.growth)


@pytest.mark.parametrize("convention", REFERENCES)
@pytest.mark.parametrize("name", optim.NAMES)
def test_float32_agrees_to_its_own_tolerance(name: str, convention: str) -> None:
    tx = optim.create(name, convention=convention)
    result = verify.optimizer(tx, REFERENCES[convention](name), steps=30, dtype="float32")
    assert result.passed, result
    assert result["displacement"].tolerance == 5e-4
    assert np.isfinite(result["displacement"].errors.ulp)


def test_optaxs_adam_is_wrong_in_float32_by_its_bias_correction() -> None:
    """Its `1 - b2**t` is a float32 subtraction, 1.3e-5 off at t = 1; if mended, this says so."""
    exact = verify.numpy_reference("adam", convention="optax")
    errors = {
        source: verify.optimizer(tx, exact, steps=5, dtype="float32").max_error
        for source, tx in (
            ("ours", optim.create("adam", convention="optax")),
            ("optax", optax.adam(1e-3)),
        )
    }
    assert errors["ours"] < 1e-6 < 5e-6 < errors["optax"] < 2e-5


def test_the_two_sides_may_be_of_any_kind() -> None:
    """A chain with wrappers around the optimizer, against a subclass made by a factory."""
    tx = optax.chain(
        optax.clip(1e9),
        optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float64)(learning_rate=0.01),
    )
    with jax.enable_x64(True):
        wrapped = optax.with_extra_args_support(tx)
    result = verify.optimizer(wrapped, lambda params: torch.optim.Adam(params, lr=0.01), steps=20)
    assert result.passed, result
    assert len(result.parts) == 3


def test_weight_decay_sees_the_weights_that_were_given() -> None:
    params = {"w": np.linspace(-2, 2, 7), "b": np.array(0.5)}
    tx = optax.adamw(0.01, weight_decay=0.1)
    agreeing = verify.optimizer(
        tx, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), params=params, steps=50
    )
    coupled = verify.optimizer(
        tx, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1), params=params, steps=50
    )
    assert agreeing.passed, agreeing
    assert coupled.first_divergence is not None
    assert coupled.first_divergence.step == 0


def harmonic(count: Any) -> Any:
    return 0.1 / (1.0 + count)


def with_scheduler(params: Any) -> Any:
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0 / (1.0 + t))


def test_a_torch_scheduler_steps_with_its_optimizer() -> None:
    """Only a changing rate shows whether it is inside the velocity: from the second step on."""
    outside = optim.momentum(harmonic, learning_rate_in_velocity=False)
    assert verify.optimizer(outside, with_scheduler, steps=50).passed
    inside = verify.optimizer(optim.momentum(harmonic), with_scheduler, steps=50)
    first = inside["displacement"].first_divergence
    assert first is not None
    assert first.step == 1


def test_the_result_prints_as_a_table() -> None:
    result = verify.optimizer(optim.sgd(), verify.numpy_reference("sgd"), steps=3)
    assert str(result).startswith("random gradients: passed\n")
    assert "displacement" in str(result)


# --- What differs ---


def other_from(step: int, leaf: str, position: int) -> Recurrence:
    """The document's Adagrad but for one element of one size, from one step on."""
    base = verify.numpy_reference("adagrad")

    def update(g: Any, state: Any) -> Any:
        change, new = base.update(g, state)
        if new["count"] > step and abs(g).max() > 0 and f"{g.size}" == leaf:
            change = change.copy()
            change[position] *= 1 + 1e-6
        return change, new

    return Recurrence(base.init, update)


@pytest.mark.parametrize("step", [0, 1, 17, 39])
def test_first_divergence_is_where_the_two_part(step: int) -> None:
    params = {"layers": [np.zeros(3), np.zeros(5)]}
    result = verify.optimizer(
        optim.adagrad(), other_from(step, leaf="5", position=2), params=params, steps=40
    )
    first = result.first_divergence
    assert first is not None
    assert (first.step, first.leaf, first.position) == (step, "layers/1", (2,))
    assert not result["displacement"].passed
    assert result["sum of squares"].passed


@pytest.mark.parametrize(
    ("what", "tx"),
    [
        ("epsilon moved", optim.adam(eps=1e-4, eps_root=0.0)),
        ("epsilon times 10", optim.adam(eps_root=1e-7)),
        ("b1's third digit", optim.adam(b1=0.901)),
        ("b2's third digit", optim.adam(b2=0.998)),
        ("no bias correction", optax.chain(optax.ema(0.9, debias=False), optax.scale(-1e-3))),
    ],
)
def test_a_changed_convention_is_found_at_once(what: str, tx: Any) -> None:
    first = verify.optimizer(tx, verify.numpy_reference("adam"), steps=50).first_divergence
    assert first is not None, what
    assert first.step <= 1


def test_a_difference_in_state_alone_is_found() -> None:
    """The velocity with the rate in it is a tenth of PyTorch's, and the steps are the same."""
    result = verify.optimizer(optim.momentum(0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9), steps=20)
    assert result["displacement"].passed
    assert not result["velocity"].passed
    assert not result.passed


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_large_weight_neither_hides_an_error_nor_makes_one(size: float) -> None:
    """Steps of 1e-3 from 1e6, where a weight keeps 1e-10: a thousandth of a step still shows."""
    params = {"w": np.full(4, size)}
    same = verify.optimizer(
        optim.create("adam", convention="pytorch"), torch.optim.Adam, params=params, steps=50
    )
    assert same.passed, same
    slower = optim.create("adam", 0.999e-3, convention="pytorch")
    first = verify.optimizer(slower, torch.optim.Adam, params=params, steps=50).first_divergence
    assert first is not None
    assert first.step == 0


def test_what_follows_the_trajectory_is_judged_by_its_growth() -> None:
    """On a cliff one unit grows by e a step: rounding may part the two, a changed rate may not."""

    def cliff(step: int, params: Any) -> Any:
        return {"w": -params["w"] * np.where(np.arange(3) == 0, np.e - 1, 0.1)}

    params = {"w": np.array([0.3, 0.1, 0.7])}
    tx = optim.sgd(1.0)
    settings: dict[str, Any] = {"params": params, "gradients": cliff, "steps": 60}
    same = verify.optimizer(tx, verify.numpy_reference("sgd", 1.0), **settings)
    assert same.passed, same
    other = verify.optimizer(tx, verify.numpy_reference("sgd", 1.0 + 1e-10), **settings)
    assert not other.passed


def test_a_tolerance_of_ones_own_is_used() -> None:
    moved = optim.sgd(0.1 * (1 + 1e-7))
    reference = verify.numpy_reference("sgd")
    assert verify.optimizer(moved, reference, steps=5, tolerance=2e-7).passed
    assert not verify.optimizer(moved, reference, steps=5, tolerance=5e-8).passed


# --- Gradients of one's own ---


def test_given_gradients_may_end_before_the_steps() -> None:
    trees = [{"w": np.full(2, x)} for x in (1.0, -2.0, 3.0)]
    params = {"w": np.zeros(2)}
    for gradients in (trees, iter(trees), tuple(trees)):
        result = verify.optimizer(
            optim.sgd(), verify.numpy_reference("sgd"), params=params, gradients=gradients
        )
        assert result.passed
        assert result["displacement"].steps == 3


def test_a_single_array_is_a_tree() -> None:
    params, gradients = np.array(0.0), [np.array(1.0), np.array(2.0)]
    for reference in (torch.optim.Adam, verify.numpy_reference("adam", convention="pytorch")):
        tx = optim.create("adam", convention="pytorch")
        result = verify.optimizer(tx, reference, params=params, gradients=gradients)
        assert result.passed, result
        assert len(result.parts) == 3


def test_random_gradients_have_every_scale_both_signs_and_a_seed() -> None:
    first, again, other = (source("random", seed=seed) for seed in (0, 0, 1))
    for leaf, gradient in first(3, {}).items():
        scale = float(leaf.split()[1])
        assert gradient.dtype == np.float64
        assert 0.3 * scale < np.abs(gradient).mean() < 3 * scale
        assert (gradient > 0).any()
        assert (gradient < 0).any()
        np.testing.assert_array_equal(gradient, again(3, {})[leaf])
        assert not np.array_equal(gradient, other(3, {})[leaf])
        assert not np.array_equal(gradient, first(4, {})[leaf])


def test_sparse_gradients_are_mostly_exactly_zero() -> None:
    sparse = source("sparse")
    steps = np.stack([np.concatenate(list(sparse(step, {}).values())) for step in range(200)])
    steps = steps.reshape(200, 10, 8)
    assert 0.05 < (steps != 0).mean() < 0.1
    assert not steps[:, :, -1].any()
    assert not steps[:20, :, -2].any()
    assert steps[20:, :, -2].any()


@pytest.mark.parametrize(("name", "h"), [("quadratic", 1e-6), ("rosenbrock", 1e-6)])
def test_gradients_are_those_of_a_function(name: str, h: float) -> None:
    """A gradient's Jacobian is symmetric; central differences give it."""
    gradients = source(name)
    origin = gradients.origin
    assert origin is not None
    for leaf, start in origin.items():

        def at(w: np.ndarray, leaf: str = leaf, start: np.ndarray = start) -> np.ndarray:
            moved = {**origin, leaf: w.reshape(start.shape)}
            return gradients.at(0, moved)[leaf].ravel()

        flat, basis = start.ravel(), np.eye(start.size)
        jacobian = np.stack([(at(flat + h * e) - at(flat - h * e)) / (2 * h) for e in basis])
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-9)
        eigenvalues = np.linalg.eigvalsh(jacobian)
        if name == "quadratic":
            np.testing.assert_allclose(eigenvalues, np.logspace(-4, 0, start.size), rtol=1e-5)
        np.testing.assert_allclose(at(np.ones_like(flat)) if name == "rosenbrock" else 0, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_shaken_start_is_one_unit_in_the_last_place_off(dtype: Any) -> None:
    """A zero by a unit of its leaf's largest element, or of 1."""
    params = {"w": np.array([1.5, -3e-5, 0.0], dtype), "zeros": np.zeros(2, dtype)}
    given = source(lambda step, params: params, params, dtype=np.dtype(dtype).name)
    for seed in range(3):
        moved = given.shaken(seed).params
        assert moved["w"].dtype == dtype
        unit = np.spacing(np.array([1.5, 3e-5, 1.5], dtype))
        np.testing.assert_array_equal(np.abs(moved["w"] - params["w"]), unit)
        np.testing.assert_array_equal(np.abs(moved["zeros"]), np.spacing(np.ones(2, dtype)))
    own = source("quadratic", dtype=np.dtype(dtype).name)
    assert own.origin is not None
    other = own.shaken(0)
    assert other.origin is not None
    for leaf, start in own.origin.items():
        np.testing.assert_array_equal(np.abs(other.origin[leaf] - start), np.spacing(np.abs(start)))


def test_network_gradients_are_the_networks() -> None:
    """The mean cross-entropy of the first batch, by PyTorch."""
    with jax.enable_x64(True):
        gradients = source("network")
        assert gradients.origin is not None
        actual = gradients(0, map_named(np.zeros_like, gradients.origin))
    mnist = load_dataset("mnist")
    chosen = np.random.default_rng((0, 0)).permutation(60_000)[:64]
    pixels = torch.from_numpy(mnist.train_images[chosen].reshape(64, -1)).float()
    h = ((pixels / 255 - 0.5) / 0.5).double()
    weights = {name: torch.tensor(w, requires_grad=True) for name, w in gradients.origin.items()}
    for layer in range(5):
        h = h.relu() if layer else h
        affine = f"params/dense_{layer}"
        h = h @ weights[f"{affine}/weight"].T + weights[f"{affine}/bias"]
    labels = torch.from_numpy(mnist.train_labels[chosen].astype(np.int64))
    torch.nn.functional.cross_entropy(h, labels).backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        expected = weight.grad.numpy()
        np.testing.assert_allclose(actual[name], expected, rtol=0, atol=1e-12 * expected.std())


# --- Bad input ---

SGD = verify.numpy_reference("sgd")
PARAMS = {"w": np.zeros(2), "b": np.zeros(())}
GRADIENTS = {"w": np.ones(2), "b": np.ones(())}


def raises(error: Exception) -> Any:
    def anything(*args: Any, **kwargs: Any) -> Any:
        raise error

    return anything


def without_state(update: Any, init: Any = lambda _: ()) -> optax.GradientTransformation:
    return optax.GradientTransformation(init, update)


class BrokenStep(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("no step today")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradients": "randon"}, "no gradients 'randon'; choose one of random, sparse"),
        ({"gradients": 3.0, "params": PARAMS}, "gradients is a float"),
        ({"gradients": [GRADIENTS]}, "need params"),
        ({"gradients": [], "params": PARAMS}, "gradients is empty"),
        ({"dtype": "float16"}, "no dtype 'float16' here; choose one of float64, float32"),
        ({"steps": 0}, "steps is 0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"params": {}}, "params has no leaves"),
        ({"params": {"w": np.array([1.0, np.nan])}}, "w has an element that is not finite"),
        ({"params": {"w": np.array([1j])}}, "w has dtype complex128"),
        ({"params": PARAMS, "gradients": "rosenbrock"}, r"b has shape \(\); at least two"),
        ({"params": PARAMS, "gradients": "stream"}, "parameters of their own"),
        ({"params": PARAMS, "gradients": "network"}, "the parameters of the default MLP"),
        (
            {"params": PARAMS, "gradients": [GRADIENTS, GRADIENTS | {"w": np.array([1, np.nan])}]},
            "the gradient of w is nan at step 1",
        ),
        (
            {"params": PARAMS, "gradients": [GRADIENTS | {"w": np.ones(3)}]},
            r"step 0: w has shape \(3,\), and the parameter \(2,\)",
        ),
        (
            {"params": PARAMS, "gradients": [{"w": np.ones(2)}]},
            r"step 0: the leaves are \['w'\], and those of the parameters \['b', 'w'\]",
        ),
        (
            {"params": PARAMS, "gradients": raises(KeyError("u"))},
            "the gradients' function raised KeyError at step 0: 'u'",
        ),
        ({"tx": optim.sgd(1e200), "gradients": "quadratic"}, "must not diverge"),
        (
            {"reference": raises(ValueError("bad rate"))},
            "the reference raised ValueError .* bad rate",
        ),
        ({"reference": lambda params: params}, "the reference returned a list"),
        ({"reference": BrokenStep}, "the reference raised RuntimeError on step: no step today"),
        (
            {"reference": without_state(SGD.update, init=raises(KeyError("k")))},
            "the reference raised KeyError on init",
        ),
        (
            {"tx": without_state(raises(KeyError("k")))},
            "the optimizer raised KeyError on update",
        ),
        (
            {
                "tx": without_state(lambda g, s, p: ({"w": g["w"]}, s)),
                "params": PARAMS,
            },
            r"the optimizer: the updates: the leaves are \['w'\]",
        ),
        (
            {
                "tx": without_state(lambda g, s, p: ({"w": g["w"][:1], "b": g["b"]}, s)),
                "params": PARAMS,
            },
            r"the updates: w has shape \(1,\), and the parameter \(2,\)",
        ),
        (
            {"reference": Recurrence(SGD.init, lambda g, state: (g[:1], state)), "params": PARAMS},
            "the reference raised .* on the update of b",
        ),
        (
            {
                "reference": Recurrence(SGD.init, lambda g, state: (np.ones(3), state)),
                "params": PARAMS,
            },
            r"the update of b has shape \(3,\), and the parameter \(\)",
        ),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    settings = {"tx": optim.sgd(), "reference": SGD, "steps": 5} | arguments
    with pytest.raises(InputError, match=message):
        verify.optimizer(**settings)


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(InputError, match=r"the reference is a float; an optax\.Gradient"):
        make_side(3.0, PARAMS, "the reference")


def test_unknown_names_of_references_are_refused() -> None:
    for reference in REFERENCES.values():
        with pytest.raises(InputError, match="no optimizer 'adamax'"):
            reference("adamax")


def test_without_torch_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'jaxmnist\[torch\]'"):
        verify.optimizer(optim.sgd(), verify.torch_reference("sgd"), steps=1)
    assert verify.optimizer(optim.sgd(), SGD, steps=1).passed


def test_importing_verify_does_not_import_torch() -> None:
    program = "import sys, jaxmnist.verify; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


# --- The references on paper ---


@pytest.mark.parametrize("name", optim.NAMES)
def test_a_recurrence_takes_the_arguments_of_its_optimizer(name: str) -> None:
    ours = inspect.signature(getattr(optim, name)).parameters
    theirs = inspect.signature(RECURRENCES[name]).parameters
    assert {k: p.default for k, p in ours.items()} == {k: p.default for k, p in theirs.items()}


def test_a_recurrences_schedule_is_first_called_with_0() -> None:
    calls: list[int] = []
    sgd = verify.numpy_reference("sgd", lambda count: calls.append(count) or 0.5)
    state = sgd.init(np.zeros(2))
    for _ in range(3):
        change, state = sgd.update(np.ones(2), state)
        np.testing.assert_array_equal(change, [-0.5, -0.5])
    assert calls == [0, 1, 2]
