"""Pictures of curves and digits: what is in them, and that drawing leaves no trace."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.plots import save
from jaxmnist.plots.curves import CURVES

TITLES = {
    "train_accuracy": "Train accuracy",
    "train_loss": "Train loss",
    "eval_accuracy": "Test accuracy",
    "eval_loss": "Test loss",
}


def history(epochs: int = 4, runs: int | None = None) -> dict[str, np.ndarray]:
    shape = (epochs,) if runs is None else (runs, epochs)
    rng = np.random.default_rng(0)
    return {field: rng.uniform(0.1, 0.9, shape).astype(np.float32) for field in TITLES}


def png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def test_curves_are_the_documents_four():
    assert dict(CURVES) == TITLES
    assert list(CURVES) == list(TITLES)


@pytest.mark.parametrize("field", TITLES)
def test_curve_shows_one_line_with_its_values(field):
    figures = history()
    (axes,) = plots.training_curve(figures, field).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(4))
    np.testing.assert_array_equal(line.get_ydata(), figures[field])
    assert (axes.get_title(), axes.get_xlabel()) == (TITLES[field], "Epoch")
    assert axes.get_ylabel() == ("Cross-entropy (nats)" if "loss" in field else "")


@pytest.mark.parametrize("epochs", [1, 2, 20, 500])
def test_curve_marks_whole_epochs_only(epochs):
    figure = plots.training_curve(history(epochs), "train_loss")
    png(figure)
    ticks = figure.axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_name_in_any_script_is_written_without_a_warning(tmp_path):
    """As boxes, where the font lacks it."""
    with warnings.catch_warnings(), plots.theme():
        warnings.simplefilter("error")
        figure = plots.training_curves(history(), "\N{CJK UNIFIED IDEOGRAPH-65E5}.npz")
        save.write_picture(figure, tmp_path / "curves.png")


def test_accuracy_is_read_in_percent():
    figure = plots.training_curve({"eval_accuracy": np.array([0.5, 1.0])}, "eval_accuracy")
    png(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "50%" in labels
    assert "100%" in labels


def test_curves_show_train_and_test_side_by_side():
    figures = history()
    figure = plots.training_curves(figures, "a run")
    assert figure.get_suptitle() == "a run"
    accuracy, loss = figure.axes
    assert (accuracy.get_title(), loss.get_title()) == ("Accuracy", "Loss")
    for axes, quantity in ((accuracy, "accuracy"), (loss, "loss")):
        fields = [f"train_{quantity}", f"eval_{quantity}"]
        assert [line.get_label() for line in axes.lines] == [TITLES[field] for field in fields]
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.texts] == [TITLES[field] for field in fields]
        for line, field in zip(axes.lines, fields, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), figures[field])
        assert len({to_hex(line.get_color()) for line in axes.lines}) == 2
        assert len({str(line.get_marker()) for line in axes.lines}) == 2


def test_curves_of_many_runs_are_drawn_behind_their_mean():
    figures = history(runs=3)
    figure = plots.training_curves(figures, "three runs")
    for axes, quantity in zip(figure.axes, ("accuracy", "loss"), strict=True):
        assert len(axes.lines) == 2 * (3 + 1)
        for first, field in ((0, f"train_{quantity}"), (4, f"eval_{quantity}")):
            *singles, mean = axes.lines[first : first + 4]
            for line, values in zip(singles, figures[field], strict=True):
                np.testing.assert_array_equal(line.get_ydata(), values)
            np.testing.assert_allclose(
                np.asarray(mean.get_ydata(), float), figures[field].mean(axis=0)
            )
        legend = axes.get_legend()
        assert legend is not None
        assert len(legend.texts) == 2


def test_curves_of_a_diverging_run_can_be_drawn():
    values = np.array([2.3, 1e20, 3e38], np.float32)
    png(plots.training_curves(dict.fromkeys(TITLES, values), "diverging"))


# ------------------------------------------------------------------------------- digits


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (16, 1, 16), (17, 2, 16)])
def test_digits_show_each_image_under_its_label(count, rows, columns):
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = np.arange(count) % 10
    figure = plots.digits(images, labels, title="some digits")
    assert figure.get_suptitle() == "some digits"
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [str(label) for label in labels]
    boxes = np.array([shown.get_extent() for shown in axes.images])
    for shown, image in zip(axes.images, images, strict=True):
        np.testing.assert_array_equal(shown.get_array(), image)
        assert shown.get_clim() == (0, 255)
    # In reading order, side by side, square, each under its label, all within the picture.
    left, right, bottom, top = boxes.round(6).T
    assert (len(np.unique(top)), len(np.unique(left))) == (rows, columns)
    assert (np.lexsort((left, top)) == np.arange(count)).all()
    np.testing.assert_allclose(right - left, bottom - top)
    assert (right[:-1] < left[1:])[top[:-1] == top[1:]].all()
    for text, middle, upper in zip(axes.texts, (left + right) / 2, top, strict=True):
        x, y = text.get_position()
        np.testing.assert_allclose(x, middle)
        assert 0 < upper - y < 0.1
    width, height = figure.get_size_inches()
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, width), (height, 0))
    assert left.min() > 0
    assert top.min() > 0
    assert right.max() < width
    assert bottom.max() < height


def test_digits_mark_the_wrong_ones_and_no_others():
    labels, predictions = np.array([3, 1, 4, 1]), np.array([3, 7, 4, 0])
    figure = plots.digits(np.zeros((4, 28, 28), np.uint8), labels, predictions)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["3", "1→7", "4", "1→0"]
    marks = []
    for frame, text, shown in zip(axes.patches, axes.texts, axes.images, strict=True):
        left, right, bottom, top = shown.get_extent()
        corners = frame.get_path().transformed(frame.get_patch_transform()).get_extents()
        np.testing.assert_allclose(corners.get_points(), [[left, top], [right, bottom]])
        assert not frame.get_fill()
        colors = to_hex(frame.get_edgecolor()), to_hex(text.get_color())
        marks.append((*colors, frame.get_linewidth(), text.get_fontweight()))
    right, wrong, right_again, wrong_again = marks
    assert right == right_again
    assert wrong == wrong_again
    assert all(a != b for a, b in zip(right, wrong, strict=True))


# ------------------------------------------------------------------------------- no trace


DRAWINGS = {
    "curve": lambda: plots.training_curve(history(), "eval_loss"),
    "curves": lambda: plots.training_curves(history(), "a run"),
    "digits": lambda: plots.digits(np.eye(28, dtype=np.uint8)[None] * 255, [3], [4], "three"),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_drawing_twice_gives_the_same_bytes(draw):
    assert png(draw()) == png(draw())


def test_drawing_leaves_no_global_state():
    code = """
import io, sys
import matplotlib
# The backend is chosen when it is first asked for, by whoever asks.
names = set(matplotlib.rcParams) - {"backend"}
settings = {name: matplotlib.rcParams[name] for name in names}
import numpy as np
from jaxmnist import plots
values = dict.fromkeys(("train_loss", "eval_loss", "train_accuracy", "eval_accuracy"), np.ones(3))
figures = [
    plots.training_curve(values, "train_loss"),
    plots.training_curves(values, "a run"),
    plots.digits(np.zeros((3, 28, 28), np.uint8), [1, 2, 3], [1, 2, 4]),
]
for figure in figures:
    figure.savefig(io.BytesIO(), format="png")
unchanged = all(matplotlib.rcParams[name] == settings[name] for name in names)
print("matplotlib.pyplot" in sys.modules, "jax" in sys.modules, unchanged)
"""
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown == "False False True\n"


def test_drawing_does_not_change_its_input():
    figures = history(runs=2)
    images, labels = np.full((2, 28, 28), 9, np.uint8), np.array([1, 2])
    before = {field: values.copy() for field, values in figures.items()}
    plots.training_curves(figures, "two runs")
    plots.digits(images, labels, labels + 1)
    for field, values in figures.items():
        np.testing.assert_array_equal(values, before[field])
    assert (images == 9).all()
    assert labels.tolist() == [1, 2]
