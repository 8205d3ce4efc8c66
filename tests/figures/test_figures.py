"""The tutorial's pictures: made in two steps, and the command that makes them."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from jaxmnist import cli, figures
from jaxmnist.errors import InputError
from jaxmnist.figures import Picture
from jaxmnist.plots import style


def line(data: figures.Data) -> Figure:
    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    axes.plot(np.array(data["y"], float), color=style.ink())
    axes.set_title(data["title"])
    return figure


def numbers(report) -> dict:
    report(0.5)
    return {
        "y": np.array([1 / 3, np.nan, np.inf, 4.0], np.float32),
        "title": "A line",
        "few": (np.int64(3), True, None, range(2)),
    }


@pytest.fixture
def picture() -> Picture:
    return Picture(
        "line",
        "D0",
        numbers,
        line,
        table=lambda data: f"| {data['title']} |\n",
        animate=lambda data: {"gif": bytes(data["few"][3])},
        themes=("light", "dark"),
    )


def test_make_writes_numbers_pictures_table_and_animation(picture, tmp_path):
    shares = []
    written = figures.make(picture, tmp_path, shares.append)
    assert shares == [0.5]
    names = [
        "line.json",
        "line.png",
        "line.svg",
        "line-dark.png",
        "line-dark.svg",
        "line.md",
        "line.gif",
    ]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    about = json.loads((tmp_path / "line.json").read_text())
    assert about["data"] == {
        "y": [0.333333343, None, None, 4.0],
        "title": "A line",
        "few": [3, True, None, [0, 1]],
    }
    assert about["command"] == "jaxmnist figures line"
    assert about["versions"].keys() >= {"jaxmnist", "jax", "numpy"}
    assert (tmp_path / "line.md").read_text() == "| A line |\n"
    assert (tmp_path / "line.gif").read_bytes() == b"\0\1"


def test_themes_are_what_is_behind_the_picture(picture, tmp_path):
    figures.make(picture, tmp_path)
    for stem, color in (("line", "#FFFFFF"), ("line-dark", "#0D1117")):
        with Image.open(tmp_path / f"{stem}.png") as image:
            corner = np.array(image.convert("RGB"))[0, 0]
        np.testing.assert_array_equal(corner, np.round(np.multiply(to_rgb(color), 255)))
        ET.parse(tmp_path / f"{stem}.svg")


def test_redraw_computes_nothing_and_gives_the_same_bytes(picture, tmp_path):
    figures.make(picture, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def compute(report):
        raise AssertionError("redrawing must not compute")

    figures.redraw(picture._replace(compute=compute), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read"), ("{", "damaged"), ("[]", "damaged"), ("{}", "damaged")],
)
def test_redraw_needs_the_numbers(content, words, picture, tmp_path):
    if content is not None:
        (tmp_path / "line.json").write_text(content)
    with pytest.raises(InputError, match=rf"{words}.*jaxmnist figures line --out"):
        figures.redraw(picture, tmp_path)


def test_theme_leaves_matplotlib_as_it_was():
    code = """
import matplotlib
before = dict(matplotlib.rcParams)
from jaxmnist import plots
with plots.theme("dark"):
    assert matplotlib.rcParams["axes.facecolor"] != before["axes.facecolor"]
print(dict(matplotlib.rcParams) == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_every_optimizer_has_a_look_of_its_own():
    from jaxmnist import optim

    assert tuple(style.OPTIMIZERS) == optim.NAMES
    for part in ("label", "color", "dash", "marker"):
        looks = {str(getattr(look, part)) for look in style.OPTIMIZERS.values()}
        assert len(looks) == len(optim.NAMES), part


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_is_seen_on_its_background(theme):
    """Against the background all lines have a contrast of at least 2 (WCAG's ratio)."""

    def luminance(color: str) -> float:
        channels = np.array(to_rgb(color))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    with style.theme(theme):
        behind = luminance(style.background())
        for color in (style.ink(), *(look.color for look in style.OPTIMIZERS.values())):
            bright, dim = sorted((luminance(color), behind), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 2, color


def test_names_and_rows():
    for name, picture in figures.PICTURES.items():
        assert picture.name == name
        assert all(1 <= row <= 28 for row in picture.rows_shown)
    first = [picture.rows_shown[0] for picture in figures.PICTURES.values()]
    assert first == sorted(first)


def test_pictures_are_made_by_the_module_of_their_name():
    makers = {"race_valley": "race", "race_saddle": "race"}
    for name, picture in figures.PICTURES.items():
        expected = f"jaxmnist.figures.{makers.get(name, name)}"
        assert vars(sys.modules[expected]).get("PICTURE", picture) is picture
        assert picture.draw.__module__ == expected


# ----------------------------------------------------------------------------------- page

PAGE = Path(__file__).parents[2] / "figures" / "README.md"


def test_page_shows_every_picture_and_links_to_files_that_exist():
    text = PAGE.read_text()
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text) + re.findall(
        r'(?:src|srcset)="([^"]+)"', text
    )
    linked = re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", text)
    for file in shown + linked:
        assert (PAGE.parent / file).is_file(), file
    for name, picture in figures.PICTURES.items():
        assert f"{name}.png" in shown
        assert ("dark" in picture.themes) == (f"{name}-dark.png" in shown)
        assert (picture.table is not None) == (f"{name}.md" in linked)
        assert (picture.animate is not None) == (f"{name}.gif" in shown)
        for file in ("json", "svg"):
            assert (PAGE.parent / f"{name}.{file}").is_file()


def test_page_has_every_row_that_has_a_picture():
    rows = {row for picture in figures.PICTURES.values() for row in picture.rows_shown}
    assert rows == {*range(1, 5), *range(8, 20), *range(21, 29)}


def test_pages_code_runs(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    assert "df/dx = df/dq · ∂q/∂x = -4 × 1 = -4" in capsys.readouterr().out


@pytest.mark.slow_except(
    "chain_rule", "terminal_velocity", "bias_correction", "training", "taylor", "step_sizes"
)
@pytest.mark.parametrize("name", figures.PICTURES)
def test_committed_picture_is_drawn_from_its_numbers(name):
    """Every committed JSON is what today's code draws from, and its own command made it."""
    about = json.loads((PAGE.parent / f"{name}.json").read_text())
    picture = figures.PICTURES[name]
    assert about["picture"] == name
    assert about["rows"] == picture.rows
    assert about["command"] == f"jaxmnist figures {name}"
    with style.theme():
        assert picture.draw(about["data"]).get_suptitle()
    if picture.table is not None:
        assert (PAGE.parent / f"{name}.md").read_text() == picture.table(about["data"])


# -------------------------------------------------------------------------------- command


@pytest.mark.slow
def test_command_makes_and_redraws(tmp_path, capsys):
    out = tmp_path / "new" / "pictures"
    cli.main(["figures", "digits", "--out", str(out)])
    said = capsys.readouterr().out
    assert said == f"wrote: {', '.join(str(out / f'digits.{s}') for s in ('json', 'png', 'svg'))}\n"
    before = (out / "digits.png").read_bytes()
    (out / "digits.png").unlink()
    cli.main(["figures", "digits", "--out", str(out), "--redraw"])
    assert "digits.json" not in capsys.readouterr().out
    assert (out / "digits.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digit"], ["'digit'", "digits", "training"]),
        (["digits", "--redraw"], ["cannot read", "digits.json", "jaxmnist figures digits"]),
        (["digits", "--out", "file"], ["cannot write to file"]),
    ],
)
def test_command_refuses(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["figures", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("jaxmnist: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
