"""The page of the race in a browser: its numbers next to JAX's, its controls, its link."""

import re
from typing import Any

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


class OnPaper:
    """The optimizers' formulas in NumPy, for any number of points at once."""

    def __init__(self):
        self.averages: dict[tuple[str, int], Any] = {}

    def mean(self, name: str, index: int, value, decay: float):
        old = self.averages.get((name, index), 0.0)
        self.averages[name, index] = decay * old + (1 - decay) * value
        return self.averages[name, index]

    def change(self, name: str, hyper: dict, g, step: int):
        """What to subtract at a step, from 1, but for the learning rate."""

        def root(x):
            return np.sqrt(x + hyper["eps_root"]) + hyper["eps"]

        if name == "sgd":
            return g
        if name == "momentum":  # With a constant rate it is the same inside and outside.
            return self.mean(name, 0, g / (1 - hyper["momentum"]), hyper["momentum"])
        if name == "adagrad":
            self.averages[name, 0] = self.averages.get((name, 0), 0.0) + g**2
            return g / root(self.averages[name, 0])
        if name == "rmsprop":
            return g / root(self.mean(name, 0, g**2, hyper["decay"]))
        if name == "adadelta":
            change = g * root(self.averages.get((name, 1), 0.0))
            change = change / root(self.mean(name, 0, g**2, hyper["rho"]))
            self.mean(name, 1, change**2, hyper["rho"])
            return change
        m = self.mean(name, 0, g, hyper["b1"]) / (1 - hyper["b1"] ** step)
        n = self.mean(name, 1, g**2, hyper["b2"]) / (1 - hyper["b2"] ** step)
        return m / root(n)


def spread_by_rounding(name: str, race, variants: int = 24) -> np.ndarray:
    """How far apart the formulas' own races are at each step if each point is rounded differently.

    Every gradient is taken at the point times 1 ± 2⁻⁵², at random: what a rounding may do.
    """
    slope = jax.jit(jax.vmap(jax.vmap(jax.grad(SURFACES[name].function))))
    rng, paper = np.random.default_rng(0), OnPaper()
    points = np.tile(SURFACES[name].start, (variants, len(optim.NAMES), 1))
    spread = [np.zeros(len(optim.NAMES))]
    for step in range(1, STEPS + 1):
        rounded = points * (1 + rng.choice([-1, 1], points.shape) * 2.0**-52)
        gradients = np.asarray(slope(jnp.asarray(rounded)))
        changes = [
            float(race.learning_rate[i]) * paper.change(each, hyper_of(each), gradients[:, i], step)
            for i, each in enumerate(optim.NAMES)
        ]
        points = points - np.stack(changes, axis=1)
        spread.append(np.ptp(points, axis=0).max(axis=1))
    return np.array(spread).T


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_race_is_jaxs_to_1e_12(name, race_page, races, open_page):
    """As far as rounding allows: RMSProp and Adadelta leap about a minimum, and forget it.

    Where two roundings of the formulas are farther apart, a third cannot be held to one of them;
    the steps from there on are compared one by one in the next test.
    """
    page = open_page(race_page)
    race, whole = races[name], 0
    with jax.enable_x64(True):
        spread = spread_by_rounding(name, race)
    for index, optimizer in enumerate(optim.NAMES):
        hyper = hyper_of(optimizer, learning_rate=float(race.learning_rate[index]))
        found = page.evaluate("a => jaxmnist.race(...a)", [name, optimizer, hyper, STEPS])
        lost = np.flatnonzero(spread[index] > 1e-12)
        length = int(lost[0]) if len(lost) else STEPS + 1
        whole += length == STEPS + 1
        path = race.path[index, :length]
        assert np.abs(np.array(found["path"])[:length] - path).max() <= 1e-12, optimizer
        heights = race.loss[index, :length]
        error = np.abs(np.array(found["heights"])[:length] - heights)
        assert (error / np.maximum(1, np.abs(heights))).max() <= 1e-12, optimizer
    assert whole >= 4


@pytest.mark.slow
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


@pytest.mark.slow_except("optax")
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


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_best_rates_are_those_of_the_race(name, race_page, races, open_page):
    page = open_page(race_page, fragment=f"#surface={name}&steps={STEPS}")
    rates = page.evaluate("jaxmnist.state.rates")
    assert list(rates.values()) == pytest.approx(races[name].learning_rate.tolist(), rel=1e-12)


# ------------------------------------------------------------------------------- the page


@pytest.mark.slow_except("light-390")
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


@pytest.mark.slow
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


@pytest.mark.slow
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
