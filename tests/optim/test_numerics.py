"""Dtypes, complex numbers, zeros, derivatives and long runs: where floating point bites."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import conventions, optim
from jaxmnist.optim import arithmetic

# eps inside the root and outside it, and the momentum's two forms.
BOTH = [(name, convention) for name in optim.NAMES for convention in ("document", "pytorch")]


def create(name: str, *arguments: Any, **overrides: Any) -> Any:
    """`optim.create`, typed so that its trees may be taken apart without a cast."""
    return optim.create(name, *arguments, **overrides)


def scan_updates(optimizer: Any, gradients: Any) -> Any:
    """Every update, and the last state, for a stream of gradients."""

    def step(state, gradient):
        updates, state = optimizer.update(gradient, state)
        return state, updates

    state, updates = jax.lax.scan(step, optimizer.init(gradients[0]), gradients)
    return updates, state


# --- Dtypes ---


# gradient's dtype: the accumulators' dtype, complex where they may be, and its real part
DTYPES = {
    "float16": ("float32", "float32"),
    "bfloat16": ("float32", "float32"),
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "complex64": ("complex64", "float32"),
    "complex128": ("complex128", "float64"),
}
ACCUMULATES_GRADIENTS = {"velocity", "mu"}


@pytest.mark.slow_except(
    "sgd-pytorch-complex64",
    "sgd-pytorch-bfloat16",
    "sgd-pytorch-float64",
    "sgd-pytorch-complex128",
    "momentum-pytorch-float16",
    "momentum-pytorch-float64",
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "convention"), BOTH)
def test_dtypes_with_strong_float32_hyperparameters(name: str, convention: str, dtype: str) -> None:
    with jax.enable_x64(True):
        values = conventions.hyperparameters(name, convention)
        strong = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), values)
        gradient = jnp.asarray([1.0, -2.0, 0.0], dtype)

        @jax.jit
        def two_updates(values, gradient):
            optimizer = create(name, **values)
            _, state = optimizer.update(gradient, optimizer.init(gradient))
            return optimizer.update(gradient, state)

        for some_values in (values, strong):
            update, state = two_updates(some_values, gradient)
            assert update.dtype == dtype
            assert np.all(np.sign(np.real(update)) == [-1, 1, 0])
            for field, accumulator in state._asdict().items():
                wide, real = DTYPES[dtype]
                expected = wide if field in ACCUMULATES_GRADIENTS else real
                assert accumulator.dtype == ("int32" if field == "count" else expected)


@pytest.mark.slow_except(
    "momentum-float16", "adagrad-float16", "rmsprop-float16", "adadelta-float16", "sgd-float16"
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", optim.NAMES)
def test_half_precision_follows_the_float64_recurrence(name: str, dtype: str) -> None:
    """A bfloat16 accumulator could not decay at all under 0.999, which is 1 in bfloat16."""
    rng = np.random.default_rng(0)
    gradients = jnp.asarray(rng.normal(size=(300, 16)), dtype)
    halves, _ = scan_updates(create(name), gradients)
    with jax.enable_x64(True):
        exact = np.asarray(scan_updates(create(name), jnp.asarray(np.float64(gradients)))[0])
    # An update is rounded once, by half a unit in its last place; the float32 behind it is wrong
    # by 1e-5 of the largest at most. Below float16's smallest normal number the unit is fixed.
    half_unit = float(jnp.finfo(dtype).eps) / 2
    tolerance = half_unit * np.abs(exact) + float(jnp.finfo(dtype).smallest_subnormal)
    assert np.all(np.abs(np.float64(halves) - exact) <= tolerance + 1e-5 * np.abs(exact).max())


def test_state_keeps_the_parameters_dtype_whatever_the_gradients() -> None:
    for name in optim.NAMES:
        optimizer = create(name)
        state = optimizer.init(jnp.ones(2, jnp.float32))
        update, after = optimizer.update(jnp.ones(2, jnp.bfloat16), state)
        assert update.dtype == jnp.bfloat16
        assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, after)


# --- Complex numbers ---


@pytest.mark.slow_except(
    "adadelta-pytorch", "sgd-pytorch", "momentum-pytorch", "rmsprop-document", "adagrad-document"
)
@pytest.mark.parametrize(("name", "convention"), BOTH)
def test_complex_gradients_on_a_line_move_as_real_ones_do(name: str, convention: str) -> None:
    """Turned by one angle, gradients turn their updates by it, and the squares stay."""
    with jax.enable_x64(True):
        real = jnp.asarray(np.random.default_rng(0).normal(size=(50, 8)))
        turn = np.exp(0.7j)
        optimizer = create(name, convention=convention)
        updates, state = scan_updates(optimizer, real)
        turned_updates, turned_state = scan_updates(optimizer, jnp.asarray(np.asarray(real) * turn))
        # |turn|² is 1 to a unit in the last place; 50 steps add up some.
        np.testing.assert_allclose(turned_updates, np.asarray(updates) * turn, rtol=1e-13)
        for field in set(state._fields) - {"count"}:
            factor = turn if field in ACCUMULATES_GRADIENTS else 1.0
            expected = np.asarray(getattr(state, field)) * factor
            np.testing.assert_allclose(getattr(turned_state, field), expected, rtol=1e-13)


@pytest.mark.slow
def test_complex_step_keeps_its_direction_where_torch_treats_two_numbers(torch: Any) -> None:
    """3 + 4i of magnitude 5: Adagrad's first step is its direction here, 1 + i in torch."""
    ours: Any = optim.create("adagrad", 1.0, convention="pytorch")
    gradient = jnp.array(3.0 + 4.0j)
    update, _ = ours.update(gradient, ours.init(gradient))
    assert complex(update) == pytest.approx(-(0.6 + 0.8j), rel=1e-6)
    weight = torch.zeros((), dtype=torch.complex64)
    weight.grad = torch.tensor(3.0 + 4.0j)
    torch.optim.Adagrad([weight], lr=1.0).step()
    assert complex(weight) == pytest.approx(-(1.0 + 1.0j), rel=1e-6)


# --- Zeros, and numbers that are not ---


@pytest.mark.slow_except("adam-pytorch", "sgd-pytorch")
@pytest.mark.parametrize(("name", "convention"), BOTH)
def test_zero_gradients_leave_everything_finite_and_differentiable(
    name: str, convention: str
) -> None:
    values = jax.tree.map(jnp.float32, conventions.hyperparameters(name, convention))

    def displacement(values, gradients):
        return scan_updates(create(name, convention=convention, **values), gradients)[0].sum()

    zeros = jnp.zeros((5, 3))
    assert float(displacement(values, zeros)) == 0.0
    by_values, by_gradients = jax.grad(displacement, argnums=(0, 1))(values, zeros)
    # Not moving, whatever the hyperparameters; and a gradient would have moved it down.
    assert all(float(leaf) == 0.0 for leaf in jax.tree.leaves(by_values))
    assert np.all(np.isfinite(by_gradients))
    assert np.all(by_gradients < 0)
    _, forward = jax.jvp(displacement, (values, zeros), (values, jnp.ones_like(zeros)))
    assert float(forward) == pytest.approx(float(by_gradients.sum()), rel=1e-5)


@pytest.mark.parametrize(("name", "convention"), BOTH)
def test_nan_gradient_shows_and_stays_in_its_coordinate(name: str, convention: str) -> None:
    optimizer = create(name, convention=convention)
    gradients = jnp.ones((3, 2)).at[1, 0].set(jnp.nan)
    updates, _ = scan_updates(optimizer, gradients)
    remembered = name != "sgd"
    np.testing.assert_array_equal(np.isnan(updates[:, 0]), [False, True, remembered])
    assert np.all(np.isfinite(updates[:, 1]))


# --- Averages and their correction ---

DECAYS = [0.0, 1e-8, 1e-3, 0.1, 0.3, 0.49, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.999999]
COUNTS = np.unique(np.logspace(0, 6.5, 400).astype(np.int64))


def one_minus_power_exactly(decay: float, count: int) -> float:
    with localcontext(prec=60):
        return float(1 - Decimal(decay) ** count)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # A few units in the last place: the logarithm, the product and expm1 are each wrong by one
    # or two, and none of them is magnified.
    [("float32", 8 * 2.0**-24), ("float64", 16 * 2.0**-53)],
)
def test_bias_correction_is_accurate_at_every_count(
    decay: float, dtype: str, tolerance: float
) -> None:
    with jax.enable_x64(True):
        counts = jnp.asarray(COUNTS, dtype)
        rounded = jnp.asarray(decay, dtype)
        correction = jax.vmap(arithmetic.one_minus_power, in_axes=(None, 0))
        static = jax.vmap(lambda count: arithmetic.one_minus_power(decay, count))(counts)
        for actual, exact_decay in ((static, decay), (correction(rounded, counts), float(rounded))):
            assert actual.dtype == dtype
            exact = [one_minus_power_exactly(exact_decay, int(count)) for count in COUNTS]
            np.testing.assert_allclose(np.float64(actual), exact, rtol=tolerance, atol=0)


@pytest.mark.slow_except("0.001", "0.1", "0.3", "0.9", "0.999", "0.49")
@pytest.mark.parametrize("decay", DECAYS)
def test_bias_correction_has_the_right_derivative(decay: float) -> None:
    """d(1 - b^t)/db = -t b^(t-1), at 0 as well; both modes."""
    # JAX takes exp(x) for expm1's derivative as expm1(x) + 1, wrong by a unit of 1, times t/b.

    with jax.enable_x64(True):
        for count in (1.0, 2.0, 3.0, 100.0):
            exact = -count * decay ** (count - 1)
            for mode in (jax.jacfwd, jax.jacrev):
                slope = mode(arithmetic.one_minus_power)(jnp.array(decay), jnp.array(count))
                assert float(slope) == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("traced", [False, True], ids=["static", "traced"])
def test_float32_averages_are_not_biased_by_a_rounded_decay(traced: bool) -> None:
    """Kept as 0.999·old + 0.001·new in float32, an average of squares settles 1.3e-5 too high."""
    gradients = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)

    def run(b2):
        return scan_updates(optim.adam(b2=b2), jnp.asarray(gradients))[1].nu

    nu = np.float64(jax.jit(run)(0.999) if traced else run(0.999))
    decay = float(np.float32(0.999)) if traced else 0.999
    exact = np.zeros(64)
    for g in np.asarray(gradients, np.float64):
        exact = decay * exact + (1 - decay) * g**2
    # Each step rounds twice, by 3e-8 of the average at most and 1.7e-8 in the root mean square; the
    # average holds 1/(1 - b²) = 500 independent such steps: 5e-7. The mean over 64 is 7e-8.
    error = nu / exact - 1
    assert abs(np.mean(error)) < 5e-7
    assert np.sqrt(np.mean(error**2)) < 2e-6


@pytest.mark.slow_except("adadelta-decays2-static", "rmsprop-decays1-static", "adam-decays0-static")
@pytest.mark.parametrize("traced", [False, True], ids=["static", "traced"])
@pytest.mark.parametrize(
    ("name", "decays"), [("adam", ["b1", "b2"]), ("rmsprop", ["decay"]), ("adadelta", ["rho"])]
)
def test_decay_of_zero_forgets_everything(name: str, decays: list[str], traced: bool) -> None:
    """Then only the newest gradient counts, even beside one 1e12 times its size."""
    gradients = jnp.array([[1e6], [1e-6]])

    def run(zero):
        optimizer = create(name, **dict.fromkeys(decays, zero), eps_root=1e-20)
        return scan_updates(optimizer, gradients)

    _, state = jax.jit(run)(0.0) if traced else run(0.0)
    squares = state.nu if name == "adam" else state.mean_square
    np.testing.assert_allclose(squares, [1e-12], rtol=1e-6)
    if traced:
        slope = jax.grad(lambda zero: jnp.sum(run(zero)[0]))(0.0)
        assert np.isfinite(slope)


# --- Derivatives by the hyperparameters ---


@pytest.mark.slow_except("momentum-document", "momentum-pytorch", "sgd-document")
@pytest.mark.parametrize(
    ("name", "convention"), [*((name, "document") for name in optim.NAMES), ("momentum", "pytorch")]
)
def test_hypergradients_match_finite_differences(name: str, convention: str) -> None:
    """Through 30 steps on a loss whose gradient depends on where the steps have led."""
    with jax.enable_x64(True):
        values: dict[str, Any] = {
            argument: jnp.asarray(value)
            for argument, value in conventions.hyperparameters(name, convention).items()
            if value is not None
        }
        # Where a value is tiny, a difference quotient would drown in rounding.
        values |= {k: jnp.asarray(1e-2) for k in ("eps", "eps_root") if k in values}
        values |= {k: jnp.asarray(0.1) for k in ("initial_accumulator_value",) if k in values}
        curvatures = jnp.array([0.1, 1.0, 3.0])

        def final_loss(values):
            optimizer = create(name, convention=convention, **values)

            def step(carry, _):
                w, state = carry
                updates, state = optimizer.update(curvatures * w, state)
                return (w + updates, state), None

            start = jnp.array([1.0, -2.0, 0.5])
            (w, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=30)
            return jnp.sum(curvatures * w**2) / 2

        final_loss = jax.jit(final_loss)
        by_reverse = jax.jit(jax.grad(final_loss))(values)
        by_forward = jax.jit(jax.jacfwd(final_loss))(values)
        for argument, value in values.items():
            # A central difference errs by (30 h)²/6, as a momentum's 30th power bends, 1e-7 of the
            # derivative, and by the loss's rounding over h: 1e-16 / 3e-7 where the value is least.
            h = 3e-5 * value
            up, down = (final_loss(values | {argument: value + s * h}) for s in (1, -1))
            quotient = float((up - down) / (2 * h))
            assert quotient != 0.0
            assert float(by_reverse[argument]) == pytest.approx(quotient, rel=1e-6)
            assert float(by_forward[argument]) == pytest.approx(
                float(by_reverse[argument]), rel=1e-10
            )


# --- The pieces ---


@pytest.mark.slow
def test_root_is_exact_and_flat_at_zero() -> None:
    x = jnp.array([0.0, 4.0, jnp.inf])
    np.testing.assert_array_equal(arithmetic.root(x), [0.0, 2.0, np.inf])
    assert np.isnan(arithmetic.root(jnp.array(jnp.nan)))
    slope: Callable[..., Any] = jax.vmap(jax.grad(arithmetic.root))
    np.testing.assert_array_equal(slope(x[:2]), [0.0, 0.25])
