"""A picture's stored numbers that are damaged are refused in one line, and nothing is replaced."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from jaxmnist import InputError, figures, plots
from jaxmnist.figures.picture import redraw
from jaxmnist.forms import check_form

KEPT = Path(__file__).parents[2] / "figures"


@pytest.mark.parametrize("name", figures.PICTURES)
def test_every_picture_has_the_form_of_its_stored_numbers(name):
    about = json.loads((KEPT / f"{name}.json").read_text())
    form = figures.PICTURES[name].form
    assert form
    check_form(about["data"], form)
    for part in form:  # Without any of what the form has, it is another.
        with pytest.raises(ValueError, match=f"it (has no {part}|is an object of 0)"):
            check_form({key: about["data"][key] for key in about["data"] if key != part}, form)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("terminal_velocity", {"factors": [0.5, 0.9]}, "it must have 2"),
        ("terminal_velocity", {"velocities": None}, "must be numbers"),
        ("terminal_velocity", {"factors": [0.5, "0.9", 1]}, "must be a number"),
        ("terminal_velocity", {"factors": {}}, "must be numbers"),
        ("digits", {"labels": [10] * 64}, "a whole number from 0 to 9"),
        ("digits", {"images": [[[0] * 28] * 28] * 65}, "it must have 64"),
        ("chain_rule", {"output": "nothing"}, "cannot be drawn"),
        ("chain_rule", {"edges": [{"source": "x", "target": "?"}]}, "cannot be drawn"),
        ("chain_rule", {"nodes": {}}, "must be an object"),
        ("step_sizes", {"constant": {"sgd": [1]}}, "has no momentum"),
        ("bias_correction", {"b1": 2}, "a number from 0 to 1"),
        ("race_valley", {"optimizers": ["sgd", "$x$"]}, "it must be sgd or momentum"),
        ("races", {"races": []}, "must be an object"),
    ],
)
def test_damaged_numbers_are_refused_before_any_file_is_replaced(tmp_path, name, change, words):
    data = json.loads((KEPT / f"{name}.json").read_text())["data"]
    (tmp_path / f"{name}.json").write_text(json.dumps({"data": {**data, **change}}))
    with pytest.raises(InputError, match=words) as refused:
        redraw(figures.PICTURES[name], tmp_path)
    assert str(refused.value).startswith(str(tmp_path / f"{name}.json"))
    assert f"`jaxmnist figures {name} --out" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"data": []}', "[" * 100_000, "9" * 400])
def test_what_is_no_description_is_refused(tmp_path, text):
    (tmp_path / "digits.json").write_text(text)
    with pytest.raises(InputError, match="is damaged"):
        redraw(figures.PICTURES["digits"], tmp_path)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", ["$x$", "$\\frac{", "a\nb", "\x1b[31m", "\udcff", "\\$", "$$$"])
def test_names_are_drawn_as_text(name):
    page, digit = np.zeros((9, 9, 3), np.uint8), np.zeros((28, 28), np.uint8)
    curves = {f"train_{name}": np.ones(2)}
    with plots.theme():
        for figure in (
            plots.inputs([page], [digit], [name], [7]),
            plots.metric_curves(curves, plots.style.literal(name)),
        ):
            figure.savefig(io.BytesIO(), format="png", dpi=20)
            assert "\n" not in figure.axes[0].get_title()
