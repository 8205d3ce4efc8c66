"""What every optimizer owes to Optax's machinery, to JAX's transformations, and to its user."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmnist import conventions, optim

EVERY = [(name, convention) for name in optim.NAMES for convention in optim.CONVENTIONS]

# Where the arithmetic is the point: eps inside the root, outside it, and the momentum's two forms.
ONE_EACH = [(name, convention) for name, convention in EVERY if convention != "optax"]

# Two programs for the same float32 arithmetic may fuse a product with a sum in different places,
# which moves a result by a unit or so in the last place, 1.2e-7; a dozen steps add a few of those.
FEW_ULPS = 1e-6

PARAMS = {"layer": [jnp.ones((3, 2)), jnp.zeros(2)], "scale": jnp.array(2.0)}


def gradients_like(params: Any, steps: int, seed: int = 0) -> Any:
    """A stream of gradients: the tree of `params`, each leaf with a leading axis of `steps`."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=(steps, *leaf.shape)), leaf.dtype), params
    )


def scan_updates(optimizer: optax.GradientTransformation, params: Any, stream: Any) -> Any:
    """Every update and every state for a stream of gradients."""

    def step(state, gradients):
        updates, state = optimizer.update(gradients, state)
        return state, (updates, state)

    return jax.lax.scan(step, optimizer.init(params), stream)[1]


def assert_trees_close(actual: Any, expected: Any, rtol: float = FEW_ULPS) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        largest = np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * largest)


def create(name: str, *arguments: Any, **overrides: Any) -> Any:
    """`optim.create`, typed so that its trees may be taken apart without a cast."""
    return optim.create(name, *arguments, **overrides)


# --- JAX's transformations ---


@pytest.mark.slow_except("momentum")
@pytest.mark.parametrize("name", optim.NAMES)
def test_scan_equals_loop_and_jit_equals_eager(name: str) -> None:
    optimizer = create(name)
    stream = gradients_like(PARAMS, steps=12)
    scanned = jax.jit(lambda s: scan_updates(optimizer, PARAMS, s))(stream)
    for update in (optimizer.update, jax.jit(optimizer.update)):
        state = optimizer.init(PARAMS)
        for i in range(12):
            at_i = [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree in (stream, scanned)]
            updates, state = update(at_i[0], state)
            assert_trees_close((updates, state), at_i[1])


@pytest.mark.slow_except("sgd-pytorch", "adagrad-pytorch", "rmsprop-pytorch", "momentum-document")
@pytest.mark.parametrize(("name", "convention"), ONE_EACH)
def test_vmap_row_equals_single_run(name: str, convention: str) -> None:
    stream = gradients_like(PARAMS, steps=12)
    centre = conventions.hyperparameters(name, convention)
    factors = jnp.array([0.5, 0.75, 1.0])
    rows = jax.tree.map(lambda value: factors * value, centre)

    def run(values):
        optimizer = create(name, convention=convention, **values)
        return scan_updates(optimizer, PARAMS, stream)

    together = jax.jit(jax.vmap(run))(rows)
    alone = jax.jit(run)
    for i in range(len(factors)):
        single = alone(jax.tree.map(lambda leaf, i=i: leaf[i], rows))
        assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), single)
    # Each row is its own run: no two agree.
    first = jax.tree.leaves(together)[0]
    assert not np.allclose(first[0], first[1], rtol=1e-3, atol=0) or name == "adadelta"


@pytest.mark.slow_except(
    "momentum-optax", "sgd-pytorch", "sgd-optax", "adagrad-optax", "rmsprop-optax", "adadelta-optax"
)
@pytest.mark.parametrize(("name", "convention"), EVERY)
def test_one_trace_serves_all_hyperparameters(name: str, convention: str) -> None:
    traces = []

    @jax.jit
    def update(values, gradients, state):
        traces.append(values)
        return create(name, convention=convention, **values).update(gradients, state)

    values = conventions.hyperparameters(name, convention)
    state = create(name, convention=convention).init(PARAMS)
    for factor in (1.0, 0.5, 0.25, 0.0):
        _, state = update(jax.tree.map(lambda value, f=factor: f * value, values), PARAMS, state)
    assert len(traces) == 1


@pytest.mark.slow_except(
    "sgd-optax", "adadelta-optax", "adam-optax", "sgd-pytorch", "momentum-optax", "adagrad-pytorch"
)
@pytest.mark.parametrize(("name", "convention"), EVERY)
def test_traced_hyperparameters_equal_static_ones(name: str, convention: str) -> None:
    """In float32, where a traced decay is a rounded one: 0.999 moves 1 - 0.999 by 1.3e-5."""
    stream = gradients_like(PARAMS, steps=12)
    values = conventions.hyperparameters(name, convention)
    static = create(name, convention=convention)
    traced = jax.jit(
        lambda values: scan_updates(create(name, convention=convention, **values), PARAMS, stream)
    )(values)
    assert_trees_close(traced, scan_updates(static, PARAMS, stream), rtol=2e-5)


@pytest.mark.slow_except("adadelta", "momentum", "rmsprop")
@pytest.mark.parametrize("name", optim.NAMES)
def test_state_keeps_its_types_across_updates(name: str) -> None:
    """A state that became weakly typed or wider would retrace, or break a scan's carry."""
    optimizer = create(name)
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": 1.0, "c": np.ones(3), "d": jnp.ones((0, 4))}
    state = optimizer.init(params)
    _, after = optimizer.update(params, state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    abstract = jax.eval_shape(optimizer.init, params)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)


# --- Optax's machinery ---


@pytest.mark.parametrize(("name", "convention"), EVERY)
def test_create_gives_a_plain_gradient_transformation(name: str, convention: str) -> None:
    optimizer = create(name, convention=convention)
    assert type(optimizer) is optax.GradientTransformationExtraArgs
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS))
    assert jax.tree.structure(updates) == jax.tree.structure(PARAMS)
    # Down the gradient, and not at all where it is zero.
    for u, g in zip(jax.tree.leaves(updates), jax.tree.leaves(PARAMS), strict=True):
        np.testing.assert_array_equal(np.sign(u), -np.sign(g))


@pytest.mark.slow_except(
    "dict-rmsprop",
    "tuple-adagrad",
    "tuple-rmsprop",
    "none-momentum",
    "none-adadelta",
    "dict-adagrad",
)
@pytest.mark.parametrize("name", optim.NAMES)
@pytest.mark.parametrize(
    "params",
    [{}, (), None, {"a": None, "b": jnp.ones(2)}, jnp.array(1.0), [jnp.ones((2, 0)), (PARAMS,)]],
    ids=["dict", "tuple", "none", "none-leaf", "scalar", "nested"],
)
def test_any_tree_will_do(name: str, params: Any) -> None:
    optimizer = create(name)
    updates, state = jax.jit(optimizer.update)(params, optimizer.init(params))
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert int(state.count) == 1


@pytest.mark.parametrize("name", optim.NAMES)
def test_chain_with_clipping_sees_the_clipped_gradient(name: str) -> None:
    gradient = jnp.array([3.0, -4.0])  # of norm 5, clipped to 1
    optimizer = create(name)
    chained: Any = optax.chain(optax.clip_by_global_norm(1.0), optimizer, optax.scale(0.5))
    updates, _ = chained.update(gradient, chained.init(gradient))
    expected, _ = optimizer.update(gradient / 5.0, optimizer.init(gradient))
    np.testing.assert_allclose(updates, 0.5 * expected, rtol=FEW_ULPS)


@pytest.mark.parametrize("name", optim.NAMES)
def test_masked_leaves_pass_through_and_have_no_state(name: str) -> None:
    params = {"trained": jnp.ones(3), "frozen": jnp.ones(4)}
    optimizer: Any = optax.masked(create(name), {"trained": True, "frozen": False})
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params)
    np.testing.assert_array_equal(updates["frozen"], params["frozen"])
    assert np.all(updates["trained"] < 0)
    assert all(leaf.shape in {(), (3,)} for leaf in jax.tree.leaves(state))


@pytest.mark.slow_except("momentum")
@pytest.mark.parametrize("name", optim.NAMES)
def test_multi_steps_updates_with_the_mean_gradient(name: str) -> None:
    optimizer = create(name)
    every_second: Any = optax.MultiSteps(optimizer, every_k_schedule=2)
    state = every_second.init(PARAMS)
    first, second = (jax.tree.map(lambda p, k=k: k * p, PARAMS) for k in (1.0, 3.0))
    # MultiSteps itself divides a float32 by an int32.
    with jax.numpy_dtype_promotion("standard"):
        waiting, state = every_second.update(first, state, PARAMS)
        updates, _ = every_second.update(second, state, PARAMS)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(waiting))
    mean = jax.tree.map(lambda p: 2.0 * p, PARAMS)
    assert_trees_close(updates, optimizer.update(mean, optimizer.init(PARAMS))[0])


@pytest.mark.parametrize("name", optim.NAMES)
def test_inject_hyperparams_can_change_the_rate(name: str) -> None:
    factory = getattr(optim, name)
    injected: Any = optax.inject_hyperparams(factory)(learning_rate=0.25)
    state = injected.init(PARAMS)
    numbers = {k for k, v in conventions.defaults(name).items() if not isinstance(v, bool)}
    assert set(state.hyperparams) == numbers
    before, _ = injected.update(PARAMS, state, PARAMS)
    state.hyperparams["learning_rate"] = jnp.array(0.5)
    after, _ = injected.update(PARAMS, state, PARAMS)
    assert_trees_close(after, jax.tree.map(lambda u: 2.0 * u, before))
    plain = factory(0.25)
    assert_trees_close(before, plain.update(PARAMS, plain.init(PARAMS))[0])


def test_inject_hyperparams_needs_a_dtype_for_bfloat16_parameters() -> None:
    """Left alone it stores 0.999 as the parameters' bfloat16 1.0, and the correction is 0."""
    weights = jnp.ones(2, jnp.bfloat16)
    for dtype, b2, works in ((None, 1.0, False), (jnp.float32, np.float32(0.999), True)):
        injected: Any = optax.inject_hyperparams(optim.adam, hyperparam_dtype=dtype)()
        state = injected.init(weights)
        assert float(state.hyperparams["b2"]) == b2
        updates, _ = injected.update(weights, state, weights)
        assert bool(np.all(np.isfinite(np.float32(updates)))) is works


@pytest.mark.parametrize("name", optim.NAMES)
def test_tree_map_params_finds_the_accumulators(name: str) -> None:
    optimizer = create(name)
    state = optimizer.init(PARAMS)
    marked: Any = optax.tree.map_params(optimizer, lambda leaf: leaf + 1, state)
    assert int(marked.count) == 0
    for before, after in zip(state[1:], marked[1:], strict=True):
        assert_trees_close(after, jax.tree.map(lambda leaf: leaf + 1, before))


# --- Learning rates ---


@pytest.mark.parametrize("name", optim.NAMES)
def test_schedule_is_first_called_with_zero(name: str) -> None:
    seen: list[int] = []

    def schedule(count):
        seen.append(int(count))
        return 0.5

    optimizer = create(name, schedule)
    state = optimizer.init(jnp.ones(2))
    updates: Any = None
    for _ in range(3):
        updates, state = optimizer.update(jnp.ones(2), state)
    assert seen == [0, 1, 2]
    constant = create(name, 0.5)
    expected, _ = scan_updates(constant, jnp.ones(2), jnp.ones((3, 2)))
    np.testing.assert_allclose(updates, expected[-1], rtol=FEW_ULPS)


@pytest.mark.parametrize("name", optim.NAMES)
def test_optax_schedules_work_under_strict_promotion(name: str) -> None:
    optimizer = create(name, optax.warmup_cosine_decay_schedule(0.0, 0.1, 3, 10))
    updates, _ = jax.jit(lambda s: scan_updates(optimizer, PARAMS, s))(gradients_like(PARAMS, 11))
    sizes = np.abs(updates["scale"])
    assert sizes[0] == 0.0
    assert np.all(sizes[1:10] > 0)


def test_momentum_placement_matters_once_the_rate_falls() -> None:
    """g = 1 twice, the rate 1 then 0: inside, the velocity rolls on; outside, all stops."""

    def schedule(count):
        return jnp.where(count == 0, 1.0, 0.0)

    second = {}
    for inside in (True, False):
        optimizer = optim.momentum(schedule, 0.5, learning_rate_in_velocity=inside)
        second[inside] = float(scan_updates(optimizer, jnp.array(0.0), jnp.ones(2))[0][1])
    assert second == {True: -0.5, False: 0.0}


def test_counts_stay_at_the_largest_int32() -> None:
    largest = jnp.iinfo(jnp.int32).max
    for name in optim.NAMES:
        optimizer = create(name)
        state = optimizer.init(jnp.ones(2))._replace(count=jnp.array(largest, jnp.int32))
        updates, state = optimizer.update(jnp.ones(2), state)
        assert int(state.count) == largest
        assert state.count.dtype == jnp.int32
        assert np.all(np.isfinite(updates))


# --- What the tutorial says of each ---


def test_momentum_reaches_ten_times_the_step_of_sgd() -> None:
    """D21: the steps under a constant gradient go to 1/(1 - momentum) learning rates."""
    for gamma, limit in ((0.5, 2.0), (0.9, 10.0)):
        steps, _ = scan_updates(optim.momentum(1.0, gamma), jnp.array(0.0), jnp.ones(200))
        geometric = -limit * (1 - gamma ** np.arange(1, 201))
        np.testing.assert_allclose(steps, geometric, rtol=1e-5)  # float32 sums of up to 200 terms


def test_adagrad_step_falls_with_the_root_of_time() -> None:
    """D22."""
    steps, _ = scan_updates(optim.adagrad(1.0), jnp.array(0.0), jnp.full(100, 3.0))
    np.testing.assert_allclose(steps, -1 / np.sqrt(np.arange(1, 101)), rtol=FEW_ULPS)


def test_rmsprop_first_step_is_uncorrected() -> None:
    """D23: 1/√(1 - decay) of the later ones."""
    steps, _ = scan_updates(optim.rmsprop(1.0), jnp.array(0.0), jnp.full(200, 3.0))
    assert float(steps[0]) == pytest.approx(-(0.1**-0.5), rel=FEW_ULPS)
    assert float(steps[-1]) == pytest.approx(-1.0, rel=FEW_ULPS)


def test_adadelta_step_starts_near_the_root_of_eps() -> None:
    """D24: √(1e-6/0.1), whatever the gradient's size, and then it grows."""
    steps, _ = scan_updates(
        optim.adadelta(), jnp.zeros(2), jnp.tile(jnp.array([1.0, 1e3]), (50, 1))
    )
    np.testing.assert_allclose(steps[0], -np.sqrt(1e-6 / 0.1), rtol=1e-5)  # ε beside 0.1·g²
    assert np.all(np.diff(np.abs(steps), axis=0)[1:] > 0)


def test_adam_first_step_is_the_learning_rate() -> None:
    """D25 and D26: the correction makes v̂ = g and ŝ = g², whatever the gradient's size."""
    gradient = jnp.array([1e-1, -1e0, 1e3, -1e6])
    optimizer: Any = optim.adam(eps_root=0.0)
    updates, _ = optimizer.update(gradient, optimizer.init(gradient))
    np.testing.assert_allclose(updates, [-1e-3, 1e-3, -1e-3, 1e-3], rtol=FEW_ULPS)


def test_traced_values_are_never_inspected() -> None:
    """Out of range but traced: the equations are followed."""
    update = jax.jit(lambda rate: optim.sgd(rate).update(jnp.ones(2), optim.SgdState(jnp.array(0))))
    np.testing.assert_array_equal(update(-2.0)[0], [2.0, 2.0])
