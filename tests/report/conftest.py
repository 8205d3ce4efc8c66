"""A small run with its page, drawings as strokes, and a browser to open pages in.

The browser is Debian's Chromium, driven by Playwright; where one of the two is missing, the tests
that need it are skipped. `JAXMNIST_AXE` is the path of axe-core's `axe.min.js`; without it, the
tests of accessibility are. With `JAXMNIST_BROWSER=required` such a skip is a failure.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import report, runs
from jaxmnist.training import History, TrainState


def missing(what: str) -> None:
    """Skip a test that needs something, or fail where it must be there."""
    if os.environ.get("JAXMNIST_BROWSER") == "required":
        pytest.fail(f"{what}, and JAXMNIST_BROWSER is required")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
        return
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed")
        return
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Any]]:
    """A function that opens a file in a window of its own.

    No page may log an error or a warning, or ask a network for anything.
    """
    complaints: list[str] = []
    contexts = []

    def watch(page: Any) -> None:
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url),
        )

    def go(path: Path, width: int = 1280, scheme: str = "light", fragment: str = "") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 1000
        )
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def settled() -> Callable[[Any], None]:
    """A function that waits until a page has drawn what it was asked to."""
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    return lambda page: page.evaluate(f"() => {frames}")


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core."""
    path = os.environ.get("JAXMNIST_AXE")
    if not path:
        missing("JAXMNIST_AXE names no axe.min.js")
    return Path(str(path)).read_text()


@pytest.fixture
def violations(axe) -> Callable[[Any], list[str]]:
    """A function from an open page to what axe finds wrong in it."""

    def find(page: Any) -> list[str]:
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]

    return find


# ------------------------------------------------------------------------------- runs


@pytest.fixture(scope="session")
def data_of() -> Callable[[str], Any]:
    """A function from a page's HTML to the data in it."""

    def read(text: str) -> Any:
        (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
        return json.loads(found)

    return read


@pytest.fixture(scope="session")
def npz(first_digits_npz) -> Path:
    return first_digits_npz(650, 245)


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Path]:
    """A function that writes a run whose weights are, after each epoch, as they were drawn."""

    def write(path: Path, dataset: Path, classes: int = 10, **options: Any) -> Path:
        config = jm.Config(**{"hidden": (16, 8), "epochs": 1, **options})
        with jax.enable_x64(config.dtype == "float64"):
            made = runs.Run(path, config, classes, str(dataset), None, int(config.epochs > 1), 2)
            runs.create(made)
            task = made.task
            for epoch in range(config.epochs):
                model = task.init(jax.random.key(epoch), task.hyper, np.zeros((1, 28, 28)))
                state = TrainState(model.params, task.optimizer(task.hyper).init(model.params), {})
                metrics = History(*np.linspace(0.5, 1 / (1 + epoch), len(History._fields)))
                runs.append_epoch(made, epoch, model.params, metrics)
                runs.save_checkpoint(made, epoch, state)
        return path

    return write


@pytest.fixture(scope="session")
def run(untrained, npz, tmp_path_factory) -> Path:
    """A run of three epochs with checkpoints after the second and the third."""
    return untrained(tmp_path_factory.mktemp("runs") / "small", npz, epochs=3)


@pytest.fixture(scope="session")
def run_page(run, tmp_path_factory) -> Path:
    """The run's page."""
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(report.run_page([run]))
    return path


# ------------------------------------------------------------------------------- drawings


@pytest.fixture(scope="session")
def hands() -> list[tuple[int, list[list[list[float]]]]]:
    """Three hands' strokes for each digit: the digit, and its strokes in a square of 100."""
    rows = json.loads(Path(__file__).with_name("strokes.json").read_text())
    assert [digit for digit, _ in rows] == [digit for digit in range(10) for _ in range(3)]
    return [(digit, strokes) for digit, strokes in rows]


@pytest.fixture(scope="session")
def picture_of() -> Callable[..., Image.Image]:
    """A function that draws strokes as the page does, black on white: a pen six pixels thick."""

    def draw(strokes: list[list[list[float]]]) -> Image.Image:
        y, x = np.mgrid[:140, :140] + 0.5
        ink = np.zeros((140, 140), bool)
        for stroke in strokes:
            for index, end in enumerate(stroke):
                start, end = np.array(stroke[max(0, index - 1)]), np.array(end)
                way = end - start
                along = ((x - start[0]) * way[0] + (y - start[1]) * way[1]) / max(way @ way, 1e-9)
                along = np.clip(along, 0, 1)
                ink |= np.hypot(x - start[0] - along * way[0], y - start[1] - along * way[1]) <= 6
        return Image.fromarray(np.where(ink, 0, 255).astype(np.uint8))

    return draw
