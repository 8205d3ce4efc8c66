"""The page of the race in a browser: its numbers next to JAX's, its controls, its link."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import conventions, landscapes, optim, report
from jaxmnist.landscapes import SURFACES

STEPS = 200


@pytest.fixture(scope="module")
def race_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "race.html"
    path.write_text(report.race_page("valley"))
    return path


@pytest.fixture(scope="module")
def races():
    """What `landscapes.race` finds on every surface in float64."""
    with jax.enable_x64(True):
        found = {name: landscapes.race(surface, steps=STEPS) for name, surface in SURFACES.items()}
        return jax.device_get(found)


def hyper_of(name: str, convention: str = "document", **changes) -> dict:
    return {**conventions.defaults(name, convention), **changes}


def formulas(hyper: dict) -> dict:
    """The optimizers as on paper, for arrays of points: each returns what to subtract."""
    state = {name: np.zeros((3, 2)) for name in optim.NAMES}

    def mean(name, index, value, decay):
        state[name][index] = decay * state[name][index] + (1 - decay) * value
        return state[name][index]

    def root(name, x):
        return np.sqrt(x + hyper[name]["eps_root"]) + hyper[name]["eps"]

    def momentum(g, rate, t):
        state["momentum"][0] = hyper["momentum"]["momentum"] * state["momentum"][0] + rate * g
        return state["momentum"][0]

    def adagrad(g, rate, t):
        state["adagrad"][0] += g**2
        return rate * g / root("adagrad", state["adagrad"][0])

    def rmsprop(g, rate, t):
        return rate * g / root("rmsprop", mean("rmsprop", 0, g**2, hyper["rmsprop"]["decay"]))

    def adadelta(g, rate, t):
        rho = hyper["adadelta"]["rho"]
        square = mean("adadelta", 0, g**2, rho)
        change = g * root("adadelta", state["adadelta"][1]) / root("adadelta", square)
        mean("adadelta", 1, change**2, rho)
        return rate * change

    def adam(g, rate, t):
        b1, b2 = hyper["adam"]["b1"], hyper["adam"]["b2"]
        m = mean("adam", 0, g, b1) / (1 - b1**t)
        n = mean("adam", 1, g**2, b2) / (1 - b2**t)
        return rate * m / root("adam", n)

    def sgd(g, rate, t):
        return rate * g

    made = (sgd, momentum, adagrad, rmsprop, adadelta, adam)
    return {update.__name__: update for update in made}


def on_paper(name: str, race) -> np.ndarray:
    """The same race by the formulas in NumPy, whose sums round differently."""
    updates = formulas({each: hyper_of(each) for each in optim.NAMES})
    slope = jax.jit(jax.vmap(jax.grad(SURFACES[name].function)))
    points = [np.tile(SURFACES[name].start, (len(optim.NAMES), 1))]
    for step in range(1, STEPS + 1):
        gradients = np.asarray(slope(jnp.asarray(points[-1])))
        moves = [
            updates[each](gradients[i], float(race.learning_rate[i]), step)
            for i, each in enumerate(optim.NAMES)
        ]
        points.append(points[-1] - np.array(moves))
    return np.stack(points, axis=1)


@pytest.mark.parametrize("name", SURFACES)
def test_race_is_jaxs_to_1e_12(name, race_page, races, open_page):
    """As far as rounding allows: RMSProp and Adadelta leap about a minimum, and forget it.

    Where the formulas in NumPy have left JAX's own race, no third rounding can be held to it; the
    steps from there on are compared one by one in the next test.
    """
    page = open_page(race_page)
    race, whole = races[name], 0
    with jax.enable_x64(True):
        apart = np.abs(on_paper(name, race) - race.path).max(axis=2)
    for index, optimizer in enumerate(optim.NAMES):
        hyper = hyper_of(optimizer, learning_rate=float(race.learning_rate[index]))
        found = page.evaluate("a => jaxmnist.race(...a)", [name, optimizer, hyper, STEPS])
        path, heights = np.array(found["path"]), np.array(found["heights"])
        left = np.flatnonzero(apart[index] > 1e-14 * np.maximum(1, np.abs(path).max(axis=1)))
        # An optimizer that converges is never far; one that leaps is so a few steps later.
        chaotic = apart[index].max() > 1e-12
        length = int(left[0]) if chaotic else STEPS + 1
        whole += length == STEPS + 1
        assert np.abs(path - race.path[index])[:length].max() <= 1e-12, optimizer
        error = np.abs(heights - race.loss[index])[:length]
        scale = np.maximum(1, np.abs(race.loss[index][:length]))
        assert (error / scale).max() <= 1e-12, optimizer
    assert whole >= 4


@pytest.mark.parametrize("name", SURFACES)
def test_every_step_of_every_race_is_jaxs(name, race_page, races, open_page):
    """Each step from JAX's own point: nothing can grow, so all 200 are held to 1e-12."""
    page = open_page(race_page)
    race = races[name]
    points = race.path[:, :-1]
    gradients = np.array(
        page.evaluate(
            "([name, points]) => points.map(row => row.map(p => jaxmnist.gradient(name, p)))",
            [name, points.tolist()],
        )
    )
    with jax.enable_x64(True):
        slope = jax.vmap(jax.vmap(jax.grad(SURFACES[name].function)))
        expected = np.asarray(slope(jnp.asarray(points)))
    scale = np.maximum(1, np.abs(expected))
    assert (np.abs(gradients - expected) / scale).max() <= 1e-12
    for index, optimizer in enumerate(optim.NAMES):
        hyper = hyper_of(optimizer, learning_rate=float(race.learning_rate[index]))
        updates = page.evaluate(
            "a => jaxmnist.updates(...a)", [optimizer, hyper, gradients[index].tolist()]
        )
        stepped = race.path[index, :-1] + np.array(updates)
        assert np.abs(stepped - race.path[index, 1:]).max() <= 1e-12, optimizer


@pytest.mark.parametrize("convention", ["pytorch", "optax"])
def test_other_conventions_are_jaxs(convention, race_page, open_page):
    page = open_page(race_page)
    surface = SURFACES["valley"]
    for optimizer in optim.NAMES:
        found = page.evaluate(
            "a => jaxmnist.race(...a)",
            ["valley", optimizer, hyper_of(optimizer, convention), STEPS],
        )
        with jax.enable_x64(True):
            tx = optim.create(optimizer, convention=convention)
            start = jnp.array(surface.start)
            path = np.asarray(landscapes.trajectory(surface.function, tx, start, STEPS))
        assert np.abs(np.array(found["path"]) - path).max() <= 1e-12, optimizer


@pytest.mark.parametrize("name", SURFACES)
def test_best_rates_are_those_of_the_race(name, race_page, races, open_page):
    page = open_page(race_page, fragment=f"#surface={name}&steps={STEPS}")
    rates = page.evaluate("jaxmnist.state.rates")
    assert list(rates.values()) == pytest.approx(races[name].learning_rate.tolist(), rel=1e-12)


# ------------------------------------------------------------------------------- the page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_race_page_is_accessible_and_fits(width, scheme, race_page, open_page, violations):
    page = open_page(race_page, width, scheme)
    page.locator("#step").click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def state(page) -> dict:
    return page.evaluate("jaxmnist.state")


def test_race_is_played_stepped_and_rewound(race_page, open_page):
    page = open_page(race_page)
    page.locator("#step").click()
    page.locator("#step").click()
    page.locator("#back").click()
    assert state(page)["step"] == 1
    assert page.locator("#table caption").inner_text() == "At step 1 of 100"
    page.wait_for_function("document.getElementById('said').textContent.startsWith('Step 1.')")
    page.locator("#play").click()
    page.wait_for_function("jaxmnist.state.step > 4")
    page.locator("#play").click()
    stopped = state(page)["step"]
    assert page.locator("#play").inner_text() == "Play"
    assert state(page)["step"] == stopped
    page.locator("#rewind").click()
    assert state(page)["step"] == 0


def test_start_is_dragged_and_moved_by_keys(race_page, open_page):
    page = open_page(race_page)
    plot, start = page.locator("#plot"), page.locator(".handle")
    box, handle = plot.bounding_box(), start.bounding_box()
    page.mouse.move(handle["x"] + 7, handle["y"] + 7)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert state(page)["start"] == pytest.approx([-3.5, 0.0], abs=0.1)
    page.locator("#start-x").focus()
    page.keyboard.press("Home")
    assert state(page)["start"][0] == -10
    page.locator("#reset").click()
    assert state(page)["start"] == [-9, 1]


def test_a_link_brings_the_race_back(race_page, open_page):
    page = open_page(race_page)
    page.select_option("#surface", "beale")
    page.select_option("#convention", "pytorch")
    page.locator("#racing-sgd").uncheck()
    page.locator("#rate-adam").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#steps").fill("150")
    page.locator("#steps").blur()
    page.locator("#step").click()
    page.wait_for_function("location.hash.includes('step=1&')")
    fragment = re.sub("^[^#]*", "", page.url)
    other = open_page(race_page, fragment=fragment)
    assert state(other) == state(page)
    assert state(other)["racing"] == [name for name in optim.NAMES if name != "sgd"]
    assert other.locator("#rate-adam").input_value() == page.locator("#rate-adam").input_value()


def test_a_link_that_means_nothing_is_left_out(race_page, open_page):
    fragment = "#surface=nowhere&convention=__proto__&start=1e9,x&steps=-3&step=4.5&sgd=NaN&adam="
    assert state(open_page(race_page, fragment=fragment)) == state(open_page(race_page))


def test_first_race_is_the_one_asked_for(tmp_path, open_page):
    path = tmp_path / "race.html"
    path.write_text(report.race_page("saddle", ("adam", "sgd"), 33, 0.25))
    found = state(open_page(path))
    assert (found["surface"], found["steps"]) == ("saddle", 33)
    assert set(found["racing"]) == {"adam", "sgd"}
    assert set(found["rates"].values()) == {0.25}
