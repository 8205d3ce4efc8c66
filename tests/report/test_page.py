"""The page of a run in a browser: looked at, drawn in, walked through by keyboard."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import report, runs

SIZES = (1280, 390)
SCHEMES = ("light", "dark")


def said(page, element: str, text: str) -> None:
    """Wait for a live region to say something that begins so."""
    page.wait_for_function(
        "([id, text]) => document.getElementById(id).textContent.startsWith(text)",
        arg=[element, text],
    )


def shown_input(page) -> np.ndarray:
    """The 28x28 picture of what the network receives."""
    pixels = page.evaluate(
        "() => { const c = document.getElementById('seen');"
        " return Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data); }"
    )
    return np.array(pixels).reshape(28, 28, 4)[..., 3]


@pytest.mark.slow_except("dark-390")
@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_page_is_accessible_and_fits(width, scheme, run_page, open_page, violations):
    page = open_page(run_page, width, scheme)
    page.locator(".matrix button.wrong").first.click()
    for fold in page.locator("summary").all():
        fold.click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_page_of_several_runs_compares_them(run, untrained, npz, tmp_path, open_page, violations):
    other = untrained(tmp_path / "other", npz)
    path = tmp_path / "page.html"
    path.write_text(report.run_page([run, other]))
    page = open_page(path, 390)
    rows = page.locator("#comparison tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["small", "other"]
    assert page.locator("#curves .legend li").count() == 8
    page.select_option("#run", "1")
    assert page.locator("h1").inner_text() == "other"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []


def test_a_hostile_name_does_no_harm(untrained, npz, tmp_path, open_page, data_of):
    name = "</script><script>alert(1)</script>".replace("/", "|") + "\"'`${1}$x$ <b>&amp;\n\u2028"
    folder = untrained(tmp_path / (name + "é" * 60), npz)
    about = json.loads((folder / "config.json").read_text())
    about["dataset"] = str(npz)
    about["class_names"] = ["</script><script>alert(1)</script>", "$y$ `${2}`", "\n"]
    about["class_names"] += ["x" * 300, *(f"<img src=x onerror=alert({i})>" for i in range(6))]
    (folder / "config.json").write_text(json.dumps(about))
    text = report.run_page([folder])
    assert text.count("<script") == 2
    assert data_of(text)["runs"][0]["test"]["classes"][0] == about["class_names"][0]
    path = tmp_path / "page.html"
    path.write_text(text)
    page = open_page(path, 390)
    assert page.locator("#matrix thead th").nth(1).inner_text() == about["class_names"][0]
    assert page.locator("img, b").count() == 0
    assert page.locator("h1").inner_text().endswith("é" * 60)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# ------------------------------------------------------------------------------- looking


def test_epoch_is_chosen_by_slider_and_by_keys(run, npz, run_page, open_page):
    page = open_page(run_page)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained, params = runs.load(run)
    data = jm.load_dataset(npz)
    x = jm.normalize(jnp.asarray(data.test_images))
    guesses = np.asarray(trained.model.apply(params, x)).argmax(axis=1)
    chart = page.locator(".cursor-area").first
    chart.focus()
    page.keyboard.press("Home")
    assert f"Test {rows[0]['eval_loss']:.4g}" in chart.get_attribute("aria-valuetext")
    assert (
        page.locator("#matrix-note")
        .inner_text()
        .startswith("Of epoch 0 no checkpoint was kept; shown is the nearest. Epoch 1: ")
    )
    page.locator("#epoch").focus()
    page.keyboard.press("End")
    wrong = int((guesses != data.test_labels).sum())
    note = page.locator("#matrix-note").inner_text()
    assert note.startswith(f"Epoch 2: {wrong} mistakes in 245 test images")
    assert note.endswith("Weights were kept of epochs 1, 2.")
    chart.hover()
    assert page.locator("#epoch").input_value() == "2"


def test_a_cell_shows_its_images_and_one_of_them_is_shown_to_the_network(run_page, open_page):
    page = open_page(run_page)
    cell = page.locator(".matrix button.wrong").first
    row, column, count = (int(word) for word in cell.get_attribute("aria-label").replace(
        ", predicted", "").replace(":", "").split()[:3])  # fmt: skip
    cell.click()
    images = page.locator("#cell .shown")
    assert images.count() == count
    label = images.first.get_attribute("aria-label")
    assert f"class {row}, predicted {column} with" in label
    images.first.click()
    said(page, "prediction", f"{column}, with probability")
    assert page.locator("#seen-note").inner_text().endswith(f"of class {row}. Draw to replace it.")


def test_matrix_is_walked_by_arrow_keys(run_page, open_page):
    page = open_page(run_page)
    page.locator(".matrix button[tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "End", "ArrowRight"):
        page.keyboard.press(key)
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("2, predicted 9:")
    assert page.locator(".matrix button[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("#cell h3").inner_text() == "2, predicted 9"


@pytest.mark.slow
def test_a_unit_shows_what_its_inputs_add(run, run_page, open_page):
    _, params = runs.load(run)
    page = open_page(run_page)
    strip = page.locator(".strip").nth(1)
    strip.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#unit h3").inner_text() == "Unit 1 of layer 2"
    page.locator("#unit summary").click()
    source, value, weight, product = page.locator("#unit tbody tr").first.inner_text().split("\t")
    numbers = [float(text.replace("\N{MINUS SIGN}", "-")) for text in (value, weight, product)]
    index = int(source.split()[1])
    expected = float(params["params"]["dense_1"]["weight"][1, index])
    assert numbers[1] == pytest.approx(expected, rel=5e-3)
    assert numbers[2] == pytest.approx(numbers[0] * numbers[1], rel=2e-2)
    page.locator("#probabilities button").nth(5).click()
    assert page.locator("#saliency h3").inner_text() == "Gradient of the logit of class 5"


# ------------------------------------------------------------------------------- drawing


@pytest.mark.slow
def test_strokes_are_drawn_by_mouse_undone_and_cleared(run_page, open_page, settled):
    page = open_page(run_page)
    easel = page.locator("#easel")
    easel.scroll_into_view_if_needed()
    box = easel.bounding_box()
    for start, end in (((0.3, 0.2), (0.3, 0.8)), ((0.3, 0.8), (0.6, 0.8))):
        page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
        page.mouse.down()
        page.mouse.move(
            box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=4
        )
        page.mouse.up()
    settled(page)
    two = shown_input(page)
    page.locator("#undo").click()
    settled(page)
    one = shown_input(page)
    assert (one > 0).sum() < (two > 0).sum()
    expected = page.evaluate("s => jaxmnist.image(s)", [[[42, 28], [42, 112]]])
    assert np.corrcoef(one.ravel(), expected)[0, 1] > 0.99
    page.locator("#clear").click()
    settled(page)
    assert page.locator("#seen-note").inner_text() == "Nothing is drawn yet."
    said(page, "prediction", "No prediction yet")


def test_a_finger_draws_and_the_page_does_not_scroll(run_page, open_page, settled):
    page = open_page(run_page, 390)
    easel = page.locator("#easel")
    easel.scroll_into_view_if_needed()
    assert easel.evaluate("each => getComputedStyle(each).touchAction") == "none"
    box, before = easel.bounding_box(), page.evaluate("scrollY")
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        spots = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    touch("touchStart", (0.5, 0.15))
    for y in np.linspace(0.2, 0.85, 8):
        touch("touchMove", (0.5, float(y)))
    touch("touchEnd")
    settled(page)
    image = shown_input(page)
    assert page.evaluate("scrollY") == before
    assert (image.any(axis=1).sum(), image.any(axis=0).sum()) == (20, 2)


@pytest.mark.slow
def test_keys_draw(run_page, open_page, settled):
    page = open_page(run_page)
    page.locator("#easel").focus()
    for key in [*["ArrowUp"] * 8, " ", *["ArrowDown"] * 16, " ", "ArrowRight"]:
        page.keyboard.press(key)
    said(page, "easel-now", "column 15, row 22, pen up")
    expected = page.evaluate("s => jaxmnist.image(s)", [[[67.5, 27.5], [67.5, 107.5]]])
    np.testing.assert_array_equal(shown_input(page).ravel(), expected)
    page.keyboard.press("Backspace")
    settled(page)
    assert page.locator("#seen-note").inner_text() == "Nothing is drawn yet."


def test_everything_is_reached_by_the_tab_key_and_its_focus_is_seen(run_page, open_page):
    page = open_page(run_page)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "() => { const e = document.activeElement; const s = getComputedStyle(e);"
                " return [e.id || e.className || e.tagName, s.outlineStyle, s.outlineWidth]; }"
            )
        )
    names = [name for name, *_ in seen]
    assert {"epoch", "cursor-area", "snapshot"} <= set(names)
    assert all(style != "none" and width != "0px" for _, style, width in seen)
