"""Digits drawn by three hands, recognised by the default network in its page."""

import pytest

from jaxmnist import cli, report
from jaxmnist.atomic import write_whole
from jaxmnist.runs import pictures


@pytest.fixture(scope="module")
def default_page(tmp_path_factory):
    """The page of the tutorial's network after four of its twenty epochs."""
    folder = tmp_path_factory.mktemp("runs") / "default"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "write_picture", lambda _, path: write_whole(path, b"a picture"))
        cli.main(["train", "--epochs", "4", "--checkpoint-every", "0", "--out", str(folder)])
    path = folder / "report.html"
    path.write_text(report.run_page([folder]))
    return path


@pytest.mark.slow
def test_twenty_seven_of_thirty_drawn_digits_are_recognised(
    default_page, open_page, hands, settled
):
    page = open_page(default_page)
    page.locator("#easel").scroll_into_view_if_needed()
    box = page.locator("#easel").bounding_box()
    right = 0
    for digit, strokes in hands:
        page.locator("#clear").click()
        for stroke in strokes:
            for index, (x, y) in enumerate(stroke):
                page.mouse.move(
                    box["x"] + x / 100 * box["width"], box["y"] + y / 100 * box["height"]
                )
                if index == 0:
                    page.mouse.down()
            page.mouse.up()
        settled(page)
        best = page.locator("#probabilities button.best .name").inner_text()
        right += best == str(digit)
    assert right >= 27


@pytest.mark.slow
def test_page_of_the_default_run_is_under_three_megabytes(default_page):
    assert default_page.stat().st_size < 3_000_000
