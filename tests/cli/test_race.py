"""The command that races optimizers: its table, its pictures, and how it refuses."""

import contextlib
import io

import pytest
from PIL import Image

from jaxmnist import cli, landscapes
from jaxmnist.figures import animation


def run_command(*words: object) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(["race", *(str(word) for word in words)])
    return printed.getvalue()


def rows(printed: str) -> dict[str, list[str]]:
    """The table's cells by the optimizer's name."""
    lines = [line.strip("│ \n").split("│") for line in printed.splitlines() if "│" in line]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.mark.slow
def test_race_prints_each_optimizers_rate_loss_steps_and_end():
    printed = rows(run_command("valley", "--optimizers", "sgd", "adagrad", "--steps", 100))
    assert list(printed) == ["SGD", "Adagrad"]
    race = landscapes.race(landscapes.SURFACES["valley"], ("sgd", "adagrad"), 100)
    for index, cells in enumerate(printed.values()):
        assert float(cells[0]) == pytest.approx(float(race.learning_rate[index]), rel=1e-3)
        assert float(cells[1]) == pytest.approx(float(race.loss[index, -1]), rel=1e-3)
        end = [float(number) for number in cells[3].strip("()").split(",")]
        assert end == pytest.approx([float(x) for x in race.path[index, -1]], rel=1e-3)
    assert printed["SGD"][2] == "not there"
    assert printed["Adagrad"][2] == "36"


@pytest.mark.slow
def test_one_learning_rate_holds_for_all_and_a_diverged_run_says_so():
    options = ("--optimizers", "sgd", "adam", "sgd", "--learning-rate", 0.5, "--steps", 200)
    printed = rows(run_command("valley", *options))
    assert {name: cells[0] for name, cells in printed.items()} == {"SGD": "0.5", "Adam": "0.5"}
    assert printed["SGD"][1] in ("nan", "inf")
    assert float(printed["Adam"][1]) < 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_race_writes_what_was_asked_for(suffix, tmp_path):
    path = tmp_path / f"race.{suffix}"
    printed = run_command("saddle", "--optimizers", "adam", "--steps", 8, "--out", path)
    assert printed.endswith(f"wrote: {path}\n")
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as picture:
        assert picture.format == suffix.upper()
        assert getattr(picture, "n_frames", 1) == (9 if suffix == "gif" else 1)


@pytest.mark.slow
def test_race_writes_an_mp4_where_ffmpeg_is(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "has_ffmpeg", lambda: True)
    monkeypatch.setattr(animation, "mp4", lambda frames: b"%d frames" % len(frames))
    run_command("saddle", "--optimizers", "adam", "--steps", 3, "--out", tmp_path / "race.mp4")
    assert (tmp_path / "race.mp4").read_bytes() == b"4 frames"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere"], "no surface 'nowhere'; choose one of valley,"),
        (["--optimizers", "sgdd"], "no optimizer 'sgdd'"),
        (["--optimizers"], "needs optimizers"),
        (["--steps", "0"], "a race of 0 steps"),
        (["--learning-rate", "-1"], "learning_rate is -1.0; it must be at least 0"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--out", "race.svg"], "cannot write race.svg: a race is written as .png, .gif or .mp4"),
        (["--out", "{folder}/none/race.gif"], "a file in a folder that exists"),
        (["--out", "{folder}/x.png"], "a file in a folder that exists"),
        (["--out", "{folder}/race.mp4"], "needs ffmpeg"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistake_is_refused_in_one_line(words, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(animation, "has_ffmpeg", lambda: False)
    (tmp_path / "x.png").mkdir()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["race", *(word.format(folder=tmp_path) for word in words)])
    out, error = capsys.readouterr()
    assert stopped.value.code == 2
    assert out == ""
    assert error.startswith("jaxmnist: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
