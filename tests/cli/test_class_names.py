"""Names of classes, whatever characters they have, in tables, pictures and on a terminal."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxmnist import plots, runs, training
from jaxmnist.plots.save import write_picture
from jaxmnist.runs import pictures

HOSTILE = (
    *("<script>alert(1)</script>", "\"'`;", "$x^$", "$\\frac{", "a" * 300),
    *("new\nline", "\x1b[31mred", "[bold]b[/bold]", "\u202eright", "plain"),
)
SHOWN = (
    *("<script>alert(1)</script>", "\"'`;", "$x^$", "$\\frac{", f"{'a' * 30}…{'a' * 29}"),
    *(r"new\x0aline", r"\x1b[31mred", "[bold]b[/bold]", r"\u202eright", "plain"),
)


@pytest.fixture(scope="module")
def named(run, tmp_path_factory):
    """The run, as if its classes had these names."""
    folder = tmp_path_factory.mktemp("named") / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    about = json.loads((run / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "class_names": HOSTILE}))
    return folder


@pytest.mark.slow
def test_predictions_are_shown_by_their_names(
    named, dataset, fitted, logits_of, digit, run_command, rows_of, run_on_terminal
):
    indices = list(range(6))
    printed = run_command("predict", named, "--indices", *indices, "--images", digit)
    rows = rows_of(printed)
    logits = logits_of(fitted[0].params, dataset.test_images)
    for index, row in zip([*indices, 0], rows, strict=True):
        first, second = np.argsort(-logits[index])[:2]
        assert (row[2], row[4]) == (SHOWN[first], SHOWN[second])
    assert [row[1] for row in rows] == [*(SHOWN[dataset.test_labels[i]] for i in indices), ""]
    status, shown = run_on_terminal("predict", named, "--indices", *range(40))
    assert status == 0
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown


@pytest.mark.slow
def test_pictures_and_the_table_have_the_names(named, dataset, tmp_path):
    run, params = runs.load(named)
    assert run.class_names == HOSTILE
    values = np.array([0.5, 0.25])
    history = training.History(*[jnp.asarray(values)] * 8)
    pictures.save_pictures(run, params, history, dataset)
    with Image.open(named / "predictions.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 10
    with (named / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    printable = list(SHOWN)
    printable[4] = HOSTILE[4]  # In full.
    assert [row["label_name"] for row in rows] == [printable[int(row["label"])] for row in rows]
    assert {row["prediction_name"] for row in rows} <= set(printable)


@pytest.mark.parametrize("name", HOSTILE)
def test_digits_and_inputs_are_drawn_under_any_name(name, tmp_path):
    images, labels = np.zeros((3, 28, 28), np.uint8), np.array([0, 0, 1])
    figure = plots.digits(images, labels, [0, 1, 1], "", [name, "other"])
    write_picture(figure, tmp_path / "digits.png")
    assert figure.axes[0].texts[1].get_text().endswith("\n→other")
    with Image.open(tmp_path / "digits.png") as picture:
        assert max(picture.size) < 1600
    page = np.zeros((30, 30, 3), np.uint8)
    write_picture(plots.inputs([page], [images[0]], [name], [name]), tmp_path / "inputs.png")


def test_names_need_room_and_numbers_are_drawn_as_before():
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
    plain = plots.digits(images, labels)
    assert (plain.get_size_inches() == [0.62 * 16 + 0.2, 0.82 * 2 + 0.5]).all()
    named = plots.digits(images, labels, names=["T-shirt/top"] * 10)
    assert len({shown.get_extent()[0] for shown in named.axes[0].images}) < 16
    assert named.get_size_inches()[0] <= 10.2
