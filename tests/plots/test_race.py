"""Pictures of races: what is in them, that nothing covers anything, and that animations play."""

import io
import itertools
import json
import shutil
import stat

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

import jaxmnist as jm
from jaxmnist import landscapes, optim, plots
from jaxmnist.figures import animation, race, valley_momentum
from jaxmnist.figures.picture import make, plain
from jaxmnist.plots import style, terrain


def through_json(data):
    """Through JSON and back, as pictures get their data."""
    return json.loads(json.dumps(plain(data), allow_nan=False))


@pytest.fixture(scope="module")
def data():
    rates = 10.0 ** np.arange(-4, 3, 0.5)
    return through_json(race.race_data("valley", steps=30, learning_rates=rates, points=31))


@pytest.fixture(scope="module")
def frames(data):
    with style.theme("light"):
        return list(race.race_frames(data))


def colors_of(figure: Figure) -> set[str]:
    return {str(line.get_color()) for axes in figure.axes for line in axes.lines}


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_race_shows_all_six_in_every_panel(theme, data):
    with style.theme(theme):
        figure = race.draw_race(data)
        above, side, losses, rates = figure.axes
        wanted = {look.color for look in style.OPTIMIZERS.values()}
        for axes in (above, side, losses, rates):
            assert wanted <= {line.get_color() for line in axes.lines}
        figure.savefig(io.BytesIO(), format="png")
    assert "Learning rates by one rule" in figure.get_suptitle()
    labels = [text.get_text().split()[0] for text in losses.texts]
    assert sorted(labels) == sorted(look.label for look in style.OPTIMIZERS.values())


@pytest.mark.slow
def test_race_draws_its_numbers(data):
    figure = race.draw_race(data)
    above, _, losses, rates = figure.axes
    for index, look in enumerate(style.OPTIMIZERS.values()):
        path = np.array(data["race"]["path"][index])
        line = next(line for line in above.lines if line.get_label() == look.label)
        np.testing.assert_allclose(np.asarray(line.get_xydata()), path, rtol=1e-6)
        curve = next(line for line in losses.lines if line.get_label() == look.label)
        assert len(np.asarray(curve.get_ydata())) == 31
        scores = np.array(data["race"]["scores"][index], float)
        line = next(line for line in rates.lines if line.get_label() == look.label)
        np.testing.assert_allclose(np.asarray(line.get_ydata()), scores, rtol=1e-6)
        mark = next(
            line
            for line in rates.lines
            if line.get_marker() == look.marker and line.get_color() == look.color
        )
        best = int(np.nanargmin(scores))
        assert float(np.asarray(mark.get_ydata())[0]) == pytest.approx(scores[best], rel=1e-6)
        assert data["race"]["learning_rate"][index] == pytest.approx(
            data["race"]["learning_rates"][best]
        )


@pytest.mark.slow
def test_labels_and_marks_do_not_cover_each_other(data):
    with style.theme("light"):
        figure = race.draw_race(data)
        canvas = io.BytesIO()
        figure.savefig(canvas, format="png", dpi=figure.dpi)
    above, _, losses, _ = figure.axes
    boxes = sorted((text.get_window_extent() for text in losses.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    marks = [line for line in above.lines if line.get_markersize() == terrain.MARK]
    points = above.transData.transform([np.asarray(line.get_xydata())[0] for line in marks])
    assert len(points) == 6
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(6)
    assert gaps.min() >= 0.97 * terrain.MARK * figure.dpi / 72


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_spread_leaves_room_between_points_on_one_spot(count):
    moved = terrain.spread(np.full((count, 2), 3.0), 10.0)
    gaps = np.linalg.norm(moved[:, None] - moved[None], axis=2) + 1e9 * np.eye(count)
    assert gaps.min() >= 9.89
    np.testing.assert_allclose(moved.mean(axis=0), 3, atol=0.1)
    assert np.linalg.norm(moved - 3, axis=1).max() < 4 * count**0.5 + 6


def test_spread_untangles_a_crowd_without_scattering_it():
    crowd = np.random.default_rng(1).normal(0, 4, (8, 2))
    moved = terrain.spread(crowd, 10.0)
    gaps = np.linalg.norm(moved[:, None] - moved[None], axis=2) + 1e9 * np.eye(8)
    assert gaps.min() >= 9.89
    assert np.linalg.norm(moved - crowd, axis=1).max() < 15


def test_spread_leaves_alone_what_has_room_and_what_is_not_there():
    points = np.array([[0.0, 0.0], [30.0, 0.0], [np.nan, 1.0], [np.inf, 2.0]])
    np.testing.assert_array_equal(terrain.spread(points, 10.0), points)


def test_raised_heights_keep_their_order():
    x = np.linspace(0, 1, 5)
    heights = np.outer(x, x**2) - 3
    ground = terrain.Terrain(x, x, heights, np.zeros((1, 2)), relief=0.3)
    raised = ground.raised(heights)
    assert (raised.min(), raised.max()) == (0, 1)
    np.testing.assert_array_equal(np.argsort(raised.ravel()), np.argsort(heights.ravel()))


def test_height_goes_from_blue_to_red_on_both_themes():
    for theme in ("light", "dark"):
        with style.theme(theme):
            colors = np.array(terrain.height_colors().colors)
            assert colors[0, 2] > colors[0, 0]
            assert colors[-1, 0] > colors[-1, 2]
            # Paler than any optimizer: half way to the background, at least.
            distance = np.abs(colors - to_rgb(style.background())).max(axis=1)
            assert distance.max() < 0.55


@pytest.mark.slow
def test_diverged_race_is_drawn():
    data = through_json(race.race_data("valley", ("sgd", "adam"), 200, [50.0], points=21))
    assert (
        None in np.ravel(data["race"]["scores"])
        or not np.isfinite(np.array(data["race"]["loss"], float)).all()
    )
    figure = race.draw_race(data)
    figure.savefig(io.BytesIO(), format="png")
    assert "One learning rate for all: 50" in figure.get_suptitle()
    assert len(list(race.race_frames(data))) == 68


# ------------------------------------------------------------------------------- animations


def test_frames_are_even_and_move(frames):
    assert len(frames) == 31
    assert {frame.shape for frame in frames} == {(460, 830, 3)}
    assert all((one != other).any() for one, other in itertools.pairwise(frames))


@pytest.mark.slow
def test_gif_plays_and_shows_all_six_colours(frames):
    content = animation.gif(frames)
    assert len(content) < 3_000_000
    film = Image.open(io.BytesIO(content))
    assert film.n_frames == len(frames)  # type: ignore[attr-defined]
    assert film.info["loop"] == 0
    durations, shown = [], frames[0]
    for index, frame in enumerate(frames):
        film.seek(index)
        durations.append(film.info["duration"])
        shown = np.asarray(film.convert("RGB"))
        # The palette has the frequent colours exactly; edges are blends, and take the nearest.
        assert (shown == frame).all(axis=2).mean() > 0.9
        assert (np.abs(shown.astype(int) - frame).max(axis=2) > 48).mean() < 0.01
    assert durations == [70] * (len(frames) - 1) + [2500]
    for look in style.OPTIMIZERS.values():
        exactly = np.round(255 * np.array(to_rgb(look.color)))
        assert (shown == exactly).all(axis=2).sum() > 60, look.label


def test_gif_of_few_colours_is_exact():
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (40, 3), dtype=np.uint8)
    frames = [colors[rng.integers(0, 40, (30, 44))] for _ in range(5)]
    frames = [frames[0], *frames]  # One that does not change at all.
    film = Image.open(io.BytesIO(animation.gif(frames)))
    shown = []
    for index in range(film.n_frames):  # type: ignore[attr-defined]
        film.seek(index)
        shown.append(np.asarray(film.convert("RGB")))
    np.testing.assert_array_equal(shown[0], frames[0])
    np.testing.assert_array_equal(shown[-4:], frames[-4:])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_mp4_is_one(frames):
    content = animation.mp4(frames)
    assert content[4:8] == b"ftyp"


def fake_ffmpeg(folder, monkeypatch, script: str) -> None:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_mp4_hands_ffmpeg_every_pixel_and_a_pause(tmp_path, monkeypatch):
    script = 'for last in "$@"; do :; done; cat > pixels; echo "$@" > words; echo film > "$last"'
    fake_ffmpeg(tmp_path, monkeypatch, f"cd {tmp_path}; {script}")
    frames = [np.full((4, 6, 3), shade, np.uint8) for shade in (10, 20)]
    assert animation.has_ffmpeg()
    assert animation.mp4(frames) == b"film\n"
    pause = round(animation.PAUSE / animation.FRAME)
    pixels = b"\x0a" * 72 + b"\x14" * 72 * (1 + pause)
    assert (tmp_path / "pixels").read_bytes() == pixels
    assert "-s 6x4" in (tmp_path / "words").read_text()


def test_mp4_that_fails_or_cannot_be_made_is_refused(tmp_path, monkeypatch):
    frames = [np.zeros((4, 6, 3), np.uint8)]
    fake_ffmpeg(tmp_path, monkeypatch, 'cat > /dev/null; echo "no such codec" >&2; exit 1')
    with pytest.raises(jm.InputError, match="ffmpeg failed: no such codec"):
        animation.mp4(frames)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert not animation.has_ffmpeg()
    with pytest.raises(jm.InputError, match="needs ffmpeg"):
        animation.mp4(frames)


# ------------------------------------------------------------------------------- the pictures


@pytest.mark.slow
def test_valley_picture_goes_through_json(tmp_path):
    picture = valley_momentum.PICTURE._replace(themes=("light", "dark"))
    files = make(picture, tmp_path)
    assert [path.suffix for path in files] == [".json", ".png", ".svg", ".png", ".svg"]
    speeds = json.loads(files[0].read_text())["data"]["speeds"]
    np.testing.assert_allclose([run[-1] for run in speeds], [1, 2, 10 * (1 - 0.9**50)], rtol=1e-5)


@pytest.mark.slow
def test_local_minimum_colours_tell_who_escapes():
    x = np.linspace(-3, 3, 50)
    walks = {"stays": np.array([[-2.0, -1.0], [0.4, 0.1]]), "goes": np.array([[-2.0, 1], [0.4, 0]])}
    shares = {"one": np.eye(3), "two": np.ones((3, 3))}
    figure = plots.local_minimum(
        np.stack([x, x**2 / 9]), 0.0, walks, np.arange(3.0), np.array([0.1, 0.3, 1.0]), shares, "t"
    )
    figure.savefig(io.BytesIO(), format="png")
    stays, goes = figure.axes[:2]
    assert stays.lines[-1].get_color() == style.BAD
    assert goes.lines[-1].get_color() == style.GOOD
    assert [axes.get_title() for axes in figure.axes[:4]] == ["stays", "goes", "one", "two"]


@pytest.mark.slow
def test_saddle_shows_both_eigenvalues_and_gaps_where_none_leaves():
    surface = landscapes.SURFACES["saddle"]
    x, y, height = (np.asarray(part) for part in landscapes.heights(surface, 21, 21))
    ground = terrain.Terrain(x, y, height, np.array(surface.minima))
    steps = {name: np.array([np.nan, 9.0, 4.0]) for name in optim.NAMES}
    path = {name: np.array([[-1.0, 0.1], [0.0, 0.2]]) for name in optim.NAMES}
    loss = {name: np.array([1.0, 0.0]) for name in optim.NAMES}
    figure = plots.saddle(
        ground, path, loss, np.array([2.0, -2.0]), np.array([1e-3, 1e-2, 0.1]), {"r": steps}, "t"
    )
    figure.savefig(io.BytesIO(), format="png")
    side, counts = figure.axes
    assert [text.get_text() for text in side.texts] == ["λ = +2", "λ = -2"]
    assert colors_of(figure) >= {look.color for look in style.OPTIMIZERS.values()}
    assert len(counts.texts) == 6
