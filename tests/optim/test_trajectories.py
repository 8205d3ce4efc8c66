"""Every optimizer, number by number: by hand, and over 500 steps against NumPy, torch and Optax.

A trajectory compares the displacement from the start, not the weights, so that a large weight
cannot hide an error, and every accumulator at every step. All of it is in float64.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmnist import conventions, optim

STEPS = 500

# A step does some ten operations, each wrong by at most 2^-53 = 1.1e-16 of its result, and averages
# remember up to a thousand steps' worth of roundings. Their signs differ, so that after 500 steps
# the error is near 1e-14 of what was added up; 1e-12 leaves room for a library's `1 - b2**t`, which
# cancels to 1.1e-13 at t = 1, and none for a changed hyperparameter.
TOLERANCE = 1e-12


def _make_gradients() -> np.ndarray:
    """A stream of gradients, [STEPS, 22], in scales from 1e-6, where every eps counts, to 1e3."""
    rng = np.random.default_rng(0)
    scales = np.repeat(np.logspace(-6, 3, 10), 2)
    gradients = rng.normal(size=(STEPS, scales.size)) * scales
    gradients[:, ::2] += 0.5 * scales[::2]  # every other coordinate drifts
    gradients[rng.random(gradients.shape) < 0.1] = 0.0
    late = np.where(np.arange(STEPS) < 20, 0.0, rng.normal(size=STEPS))
    return np.column_stack([gradients, late, np.zeros(STEPS)])


GRADIENTS = _make_gradients()


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def trajectory(
    optimizer: optax.GradientTransformation, gradients: np.ndarray = GRADIENTS
) -> tuple[np.ndarray, Any]:
    """The displacement after every step, [steps, n], and the states, stacked the same way."""

    def step(carry, gradient):
        displacement, state = carry
        updates, state = optimizer.update(gradient, state, displacement)
        displacement = optax.apply_updates(displacement, updates)
        return (displacement, state), (displacement, state)

    @jax.jit
    def run(gradients):
        start = jnp.zeros_like(gradients[0])
        return jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1]

    displacement, states = run(jnp.asarray(gradients))
    return np.asarray(displacement), states


def assert_displacement_matches(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within TOLERANCE of the way gone so far, by coordinate: its ups and downs may cancel."""
    steps = np.diff(expected, axis=0, prepend=np.zeros_like(expected[:1]))
    error = np.abs(actual - expected)
    assert np.all(error <= TOLERANCE * np.cumsum(np.abs(steps), axis=0)), error.max()


def assert_accumulator_matches(actual: Any, expected: np.ndarray) -> None:
    """Within TOLERANCE of the largest value so far, by coordinate: a velocity crosses 0."""
    scale = np.maximum.accumulate(np.abs(expected), axis=0)
    error = np.abs(np.asarray(actual) - expected)
    assert np.all(error <= TOLERANCE * scale), error.max()


# --- By hand: gradients 3 then 4, and arguments that make every root a whole number. ---


BY_HAND = {
    # 2·3, 2·4
    "sgd": (optim.sgd(2.0), [-6.0, -8.0], {}),
    # v = 2·3; v = 6/2 + 2·4
    "momentum": (optim.momentum(2.0, 0.5), [-6.0, -11.0], {"velocity": 11.0}),
    # b = 3; b = 3/2 + 4, and the update is twice that
    "momentum, rate outside": (
        optim.momentum(2.0, 0.5, learning_rate_in_velocity=False),
        [-6.0, -11.0],
        {"velocity": 5.5},
    ),
    # s = 11 + 9 = 20, √(20 + 5) + 1 = 6; s = 36, √41 + 1
    "adagrad": (
        optim.adagrad(2.0, initial_accumulator_value=11.0, eps=1.0, eps_root=5.0),
        [-1.0, -8.0 / (np.sqrt(41.0) + 1.0)],
        {"sum_of_squares": 36.0},
    ),
    # s = 9/4 = 2.25, √(2.25 + 4) + 1.5 = 4; s = 3·2.25/4 + 16/4 = 5.6875
    "rmsprop": (
        optim.rmsprop(2.0, decay=0.75, eps=1.5, eps_root=4.0),
        [-1.5, -8.0 / (np.sqrt(9.6875) + 1.5)],
        {"mean_square": 5.6875},
    ),
    # s = 2.25, (√(0 + 4) + 1.5) / (√6.25 + 1.5) · 3 = 3.5/4·3 = 2.625; Δ = 2.625²/4 = 1.72265625
    "adadelta": (
        optim.adadelta(None, rho=0.75, eps=1.5, eps_root=4.0),
        [-2.625, -4.0 * (np.sqrt(5.72265625) + 1.5) / (np.sqrt(9.6875) + 1.5)],
        {"mean_square": 5.6875},
    ),
    # m = 1.5/0.5 = 3, n = 2.25/0.25 = 9, √(9 + 16) + 1 = 6;
    # m = (0.75 + 2)/0.75 = 11/3, n = 5.6875/0.4375 = 13, √(13 + 16) + 1
    "adam": (
        optim.adam(2.0, b1=0.5, b2=0.75, eps=1.0, eps_root=16.0),
        [-1.0, -22.0 / 3.0 / (np.sqrt(29.0) + 1.0)],
        {"mu": 2.75, "nu": 5.6875},
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_two_steps_match_hand_computation(case: str) -> None:
    optimizer, expected_updates, expected_state = BY_HAND[case]
    state = optimizer.init(jnp.array(7.0))
    for gradient, expected in zip([3.0, 4.0], expected_updates, strict=True):
        update, state = optimizer.update(jnp.array(gradient), state)
        assert float(update) == pytest.approx(expected, rel=4e-16, abs=0)
    assert int(state.count) == 2
    for name, expected in expected_state.items():
        assert float(getattr(state, name)) == pytest.approx(expected, rel=4e-16, abs=0)


# --- The recurrences in NumPy, with the tutorial's constants. ---

# Each yields (step down, accumulators) per gradient; `rates` is one learning rate per step.
Recurrence = Callable[..., Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]]


def numpy_sgd(gradients, rates):
    for g, rate in zip(gradients, rates, strict=True):
        yield rate * g, {}


def numpy_momentum(gradients, rates, momentum=0.9, learning_rate_in_velocity=True):
    v = np.zeros_like(gradients[0])
    for g, rate in zip(gradients, rates, strict=True):
        v = momentum * v + (rate * g if learning_rate_in_velocity else g)
        yield v if learning_rate_in_velocity else rate * v, {"velocity": v}


def numpy_adagrad(gradients, rates, initial_accumulator_value=0.0, eps=0.0, eps_root=1e-10):
    s = np.full_like(gradients[0], initial_accumulator_value)
    for g, rate in zip(gradients, rates, strict=True):
        s = s + g**2
        yield rate * g / (np.sqrt(s + eps_root) + eps), {"sum_of_squares": s}


def numpy_rmsprop(gradients, rates, decay=0.9, eps=0.0, eps_root=1e-10):
    s = np.zeros_like(gradients[0])
    for g, rate in zip(gradients, rates, strict=True):
        s = decay * s + (1 - decay) * g**2
        yield rate * g / (np.sqrt(s + eps_root) + eps), {"mean_square": s}


def numpy_adadelta(gradients, rates, rho=0.9, eps=0.0, eps_root=1e-6):
    s = np.zeros_like(gradients[0])
    d = np.zeros_like(gradients[0])
    for g, rate in zip(gradients, rates, strict=True):
        s = rho * s + (1 - rho) * g**2
        change = g * (np.sqrt(d + eps_root) + eps) / (np.sqrt(s + eps_root) + eps)
        d = rho * d + (1 - rho) * change**2
        yield rate * change, {"mean_square": s, "mean_square_update": d}


def numpy_adam(gradients, rates, b1=0.9, b2=0.999, eps=0.0, eps_root=1e-8):
    v = np.zeros_like(gradients[0])
    s = np.zeros_like(gradients[0])
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = b1 * v + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        v_hat, s_hat = v / (1 - b1**t), s / (1 - b2**t)
        yield rate * v_hat / (np.sqrt(s_hat + eps_root) + eps), {"mu": v, "nu": s}


# name: factory, recurrence, the tutorial's rate, and arguments far from every default
RECURRENCES: dict[str, tuple[Callable[..., Any], Recurrence, float, dict[str, Any]]] = {
    "sgd": (optim.sgd, numpy_sgd, 0.1, {}),
    "momentum": (
        optim.momentum,
        numpy_momentum,
        0.01,
        {"momentum": 0.37, "learning_rate_in_velocity": False},
    ),
    "adagrad": (
        optim.adagrad,
        numpy_adagrad,
        0.01,
        {"initial_accumulator_value": 3e-7, "eps": 2e-5, "eps_root": 7e-9},
    ),
    "rmsprop": (
        optim.rmsprop,
        numpy_rmsprop,
        0.001,
        {"decay": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    ),
    "adadelta": (
        optim.adadelta,
        numpy_adadelta,
        1.0,
        {"rho": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    ),
    "adam": (
        optim.adam,
        numpy_adam,
        0.001,
        {"b1": 0.43, "b2": 0.61, "eps": 2e-5, "eps_root": 7e-9},
    ),
}


def assert_matches_recurrence(
    optimizer: optax.GradientTransformation,
    recurrence: Iterator[tuple[np.ndarray, dict[str, np.ndarray]]],
) -> None:
    steps, accumulators = zip(*recurrence, strict=True)
    displacement, states = trajectory(optimizer)
    assert_displacement_matches(displacement, -np.cumsum(steps, axis=0))
    np.testing.assert_array_equal(states.count, np.arange(1, STEPS + 1))
    assert set(states._fields) == {"count", *accumulators[0]}
    for name in accumulators[0]:
        expected = np.stack([values[name] for values in accumulators])
        assert_accumulator_matches(getattr(states, name), expected)


@pytest.mark.parametrize("name", RECURRENCES)
def test_defaults_match_numpy_trajectory(name: str) -> None:
    factory, recurrence, rate, _ = RECURRENCES[name]
    assert_matches_recurrence(factory(), recurrence(GRADIENTS, np.full(STEPS, rate)))


@pytest.mark.parametrize("name", RECURRENCES)
def test_other_arguments_match_numpy_trajectory(name: str) -> None:
    factory, recurrence, _, arguments = RECURRENCES[name]
    expected = recurrence(GRADIENTS, np.full(STEPS, 0.3), **arguments)
    assert_matches_recurrence(factory(0.3, **arguments), expected)


def harmonic(count: jax.Array) -> jax.Array:
    return 0.5 / (1.0 + count.astype(float))


@pytest.mark.slow_except("sgd", "adagrad")
@pytest.mark.parametrize("name", RECURRENCES)
def test_schedule_matches_numpy_trajectory(name: str) -> None:
    """A rate that changes by the step; momentum's two forms part here."""
    factory, recurrence, _, _ = RECURRENCES[name]
    expected = recurrence(GRADIENTS, 0.5 / (1.0 + np.arange(STEPS)))
    assert_matches_recurrence(factory(harmonic), expected)


def test_momentum_outside_matches_numpy_under_a_schedule() -> None:
    rates = 0.5 / (1.0 + np.arange(STEPS))
    assert_matches_recurrence(
        optim.momentum(harmonic, learning_rate_in_velocity=False),
        numpy_momentum(GRADIENTS, rates, learning_rate_in_velocity=False),
    )


@pytest.mark.parametrize("name", conventions.NAMES)
def test_factory_defaults_are_the_tutorials(name: str) -> None:
    parameters = inspect.signature(RECURRENCES[name][0]).parameters
    signature = {argument: parameter.default for argument, parameter in parameters.items()}
    assert signature == conventions.defaults(name, "document")
    # In this order too: people pass the first few by position.
    assert list(signature) == list(conventions.defaults(name, "document"))


# --- PyTorch, with PyTorch's own defaults. ---

# name: the name and arguments of torch's optimizer, and its names for our accumulators
TORCH: dict[str, tuple[str, dict[str, float], dict[str, str]]] = {
    "sgd": ("SGD", {}, {}),
    "momentum": ("SGD", {"momentum": 0.9}, {"velocity": "momentum_buffer"}),
    "adagrad": ("Adagrad", {}, {"sum_of_squares": "sum"}),
    "rmsprop": ("RMSprop", {}, {"mean_square": "square_avg"}),
    "adadelta": (
        "Adadelta",
        {},
        {"mean_square": "square_avg", "mean_square_update": "acc_delta"},
    ),
    "adam": ("Adam", {}, {"mu": "exp_avg", "nu": "exp_avg_sq"}),
}


@pytest.mark.parametrize("name", TORCH)
def test_pytorch_convention_matches_torch_trajectory(name: str, torch: Any) -> None:
    their_name, arguments, their_names = TORCH[name]
    weights = torch.zeros(GRADIENTS.shape[1], dtype=torch.float64)
    reference = getattr(torch.optim, their_name)([weights], **arguments)
    walked, accumulators = [], {ours: [] for ours in their_names}
    for gradient in GRADIENTS:
        weights.grad = torch.from_numpy(gradient)
        reference.step()
        walked.append(weights.numpy().copy())
        for ours, theirs in their_names.items():
            accumulators[ours].append(reference.state[weights][theirs].numpy().copy())

    displacement, states = trajectory(optim.create(name, convention="pytorch"))
    assert_displacement_matches(displacement, np.stack(walked))
    for ours, expected in accumulators.items():
        assert_accumulator_matches(getattr(states, ours), np.stack(expected))


# --- Optax, with Optax's own defaults and the tutorial's rates. ---

# name: Optax's optimizer, and its names for our accumulators
OPTAX: dict[str, tuple[optax.GradientTransformation, dict[str, str]]] = {
    "sgd": (optax.sgd(0.1), {}),
    "momentum": (optax.sgd(0.01, momentum=0.9), {"velocity": "trace"}),
    "adagrad": (optax.adagrad(0.01), {"sum_of_squares": "sum_of_squares"}),
    "rmsprop": (optax.rmsprop(0.001), {"mean_square": "nu"}),
    "adadelta": (
        optax.adadelta(1.0),
        {"mean_square": "e_g", "mean_square_update": "e_x"},
    ),
    "adam": (optax.adam(0.001), {"mu": "mu", "nu": "nu"}),
}


@pytest.mark.slow_except("sgd", "adadelta")
@pytest.mark.parametrize("name", OPTAX)
def test_optax_convention_matches_optax_trajectory(name: str) -> None:
    reference, their_names = OPTAX[name]
    # Optax's bias correction raises a Python float to an int32, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        expected, their_states = trajectory(reference)
    displacement, states = trajectory(optim.create(name, convention="optax"))
    assert_displacement_matches(displacement, expected)
    for ours, theirs in their_names.items():
        accumulator = np.asarray(optax.tree.get(their_states, theirs))
        assert_accumulator_matches(getattr(states, ours), accumulator)


def test_optax_adadelta_without_a_rate_climbs_and_ours_descends() -> None:
    """The trap that `convention="optax"` avoids; if Optax mends it, this says so."""
    start, gradient = jnp.array(0.0), jnp.array(1.0)
    update = {}
    for source, optimizer in {"optax": optax.adadelta(), "ours": optim.adadelta()}.items():
        update[source], _ = optimizer.update(gradient, optimizer.init(start), start)
    assert float(update["optax"]) > 0 > float(update["ours"])
    assert float(update["optax"]) == pytest.approx(-float(update["ours"]), rel=1e-15)
