"""A person's pictures: whatever was done to a digit, it comes back as MNIST would have it."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.data import pictures
from jaxmnist.data.pictures import read_digit

COUNT = 60
"""How many of the test set's first digits are disguised."""


@pytest.fixture(scope="module")
def mnist() -> jm.Dataset:
    return jm.load_dataset("mnist")


@pytest.fixture(scope="module")
def digits(mnist) -> np.ndarray:
    return mnist.test_images[:COUNT]


@pytest.fixture(scope="module")
def classify(first_digits) -> Callable[[np.ndarray], np.ndarray]:
    """A network that knows digits: 0.895 ± 0.003 of the test set after eight epochs of 6,000.

    The mean and the standard deviation over five seeds; the bound is 15 deviations below.
    """
    config = jm.Config(hidden=(64,), optimizer="adam", epochs=8, eval_batch_size=500)
    state, history = jm.fit(config, first_digits(6000, 1000))
    assert history.eval_accuracy[-1] > 0.85
    apply_fn = jm.MLP((64,)).apply

    def predictions(images: np.ndarray) -> np.ndarray:
        shares = training.predict(state.params, jnp.asarray(images), apply_fn=apply_fn)
        return np.asarray(shares).argmax(axis=1)

    return predictions


def enlarged(digit: np.ndarray, times: int) -> np.ndarray:
    return np.kron(digit, np.ones((times, times), np.uint8))


def on_canvas(digit: np.ndarray, times: int = 7, paper: int = 0) -> np.ndarray:
    """The digit large, off the middle of a sheet that is no square."""
    large = enlarged(digit, times)
    sheet = np.full((large.shape[0] + 150, large.shape[1] + 40), paper, np.uint8)
    sheet[120 : 120 + large.shape[0], 5 : 5 + large.shape[1]] = large
    return sheet


def with_alpha(ink: int) -> Callable[[np.ndarray], Image.Image]:
    """Ink of one grey that is opaque where the digit is, and nothing elsewhere."""

    def draw(digit: np.ndarray) -> Image.Image:
        alpha = on_canvas(digit)
        return Image.fromarray(np.stack([np.full_like(alpha, ink)] * 3 + [alpha], axis=2))

    return draw


def rotated_by_exif(digit: np.ndarray) -> Image.Image:
    """Lying on its side, with the note that a camera makes of it."""
    picture = Image.fromarray(np.rot90(on_canvas(digit)).copy())
    picture.getexif()[0x0112] = 6  # To be turned a quarter clockwise.
    return picture


def in_colour(digit: np.ndarray) -> Image.Image:
    """Yellow chalk on a green board."""
    share = on_canvas(digit)[..., None] / 255
    colours = (1 - share) * np.array([20, 80, 40]) + share * np.array([250, 240, 120])
    return Image.fromarray(colours.round().astype(np.uint8))


def grainy(digit: np.ndarray) -> Image.Image:
    """A photograph: grey paper, dark ink, grain of two hundredths."""
    share = on_canvas(digit) / 255
    grain = np.random.default_rng(0).normal(0, 5, share.shape)
    return Image.fromarray((200 - 160 * share + grain).clip(0, 255).round().astype(np.uint8))


DISGUISES = {
    "x3": lambda digit: Image.fromarray(enlarged(digit, 3)),
    "x10": lambda digit: Image.fromarray(enlarged(digit, 10)),
    "x20": lambda digit: Image.fromarray(enlarged(digit, 20)),
    "smooth": lambda digit: Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC),
    "shifted": lambda digit: Image.fromarray(on_canvas(digit)),
    "small sheet": lambda digit: Image.fromarray(on_canvas(digit, times=1)),
    "dark on light": lambda digit: Image.fromarray(255 - on_canvas(digit)),
    "faint": lambda digit: Image.fromarray(100 + on_canvas(digit) // 3),
    "black on nothing": with_alpha(0),
    "white on nothing": with_alpha(255),
    "grey on nothing": with_alpha(128),
    "palette": lambda digit: Image.fromarray(on_canvas(digit)).convert("P"),
    "bilevel": lambda digit: Image.fromarray((on_canvas(digit) > 100).astype(np.uint8) * 255),
    "16 bits": lambda digit: Image.fromarray(on_canvas(digit).astype(np.uint16) * 257),
    "16 bits, dark": lambda digit: Image.fromarray(
        (255 - on_canvas(digit)).astype(np.uint16) * 257
    ),
    "grey and alpha": lambda digit: Image.fromarray(on_canvas(digit)).convert("LA"),
    "coloured": in_colour,
    "exif": rotated_by_exif,
    "grainy": grainy,
}
JPEGS = {
    "jpeg": lambda digit: Image.fromarray(on_canvas(digit)),
    "jpeg, dark on light": lambda digit: Image.fromarray(255 - on_canvas(digit)),
    "jpeg, exif": rotated_by_exif,
    "jpeg, CMYK": lambda digit: Image.fromarray(255 - on_canvas(digit)).convert("CMYK"),
    "jpeg, grainy": grainy,
}
DRAWINGS = [(name, draw, "png") for name, draw in DISGUISES.items()]
DRAWINGS += [(name, draw, "jpg") for name, draw in JPEGS.items()]


def save(picture: Image.Image, path: Path) -> Path:
    picture.save(path, exif=picture.getexif(), quality=60)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("name", "draw", "suffix"), DRAWINGS, ids=[name for name, *_ in DRAWINGS])
def test_disguised_digit_comes_back(name, draw, suffix, digits, classify, tmp_path):
    path = tmp_path / f"digit.{suffix}"
    back = np.stack([read_digit(save(draw(digit), path)) for digit in digits])
    assert back.shape == digits.shape
    assert back.dtype == np.uint8
    assert (back.max(axis=(1, 2)) == 255).all()

    # Moved by one pixel, a digit is 25 greys from itself on average. Only the few whose centre
    # of mass is on the edge of a pixel may be; and these two disguises lose what made a stroke
    # soft, or make it softer.
    median, most = (8.0, 18.0) if name in ("smooth", "bilevel") else (1.5, 5.0)
    distance = np.abs(back.astype(float) - digits).mean(axis=(1, 2))
    assert np.median(distance) < median
    assert np.mean(distance < most) >= 0.9
    assert np.mean(classify(back) == classify(digits)) >= 0.93


@pytest.mark.slow
def test_disguised_digits_are_centred_as_mnist_is(mnist, tmp_path):
    """MNIST's centres of mass lie around the middle of pixel (14, 14), not of the image."""

    def centres(images: np.ndarray) -> np.ndarray:
        mass = images.sum(axis=(1, 2), dtype=float)
        return np.stack(
            [(images.sum(axis=axis) * np.arange(28)).sum(axis=1) / mass for axis in (1, 2)]
        )

    some = mnist.test_images[:200]
    path = tmp_path / "digit.png"
    back = np.stack([read_digit(save(Image.fromarray(enlarged(x, 4)), path)) for x in some])
    np.testing.assert_allclose(centres(back).mean(axis=1), centres(some).mean(axis=1), atol=0.02)
    np.testing.assert_allclose(centres(back).mean(axis=1), 14, atol=0.1)


# ------------------------------------------------------------------------------- 28 by 28


def to_full_ink(digit: np.ndarray) -> np.ndarray:
    return (digit * (255 / digit.max())).round().astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 16])
def test_picture_of_28_by_28_is_only_scaled_to_full_ink(bits, digits, tmp_path):
    path = tmp_path / "digit.png"
    for digit in [*digits[:10], digits[0] // 5, np.roll(digits[0], 5, axis=1)]:
        stored = digit if bits == 8 else digit.astype(np.uint16) * 257
        expected = to_full_ink(digit)
        assert np.abs(expected.astype(int) - digit).max() <= 2 or digit.max() < 60
        np.testing.assert_array_equal(read_digit(save(Image.fromarray(stored), path)), expected)
        Image.fromarray(255 - digit).save(path)
        np.testing.assert_array_equal(read_digit(str(path)), expected)


def test_picture_of_28_by_28_on_nothing_is_only_scaled_to_full_ink(digits, tmp_path):
    path = tmp_path / "digit.png"
    for ink in (0, 255):
        grey = np.full_like(digits[0], ink)
        Image.fromarray(np.stack([grey, grey, grey, digits[0]], axis=2)).save(path)
        np.testing.assert_array_equal(read_digit(path), to_full_ink(digits[0]))


# ------------------------------------------------------------------------------- odd pictures


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (3, 2), (600, 30), (37, 500)])
def test_picture_of_any_shape_with_a_stroke_gives_a_digit(shape, tmp_path):
    path = tmp_path / "stroke.png"
    drawn = np.zeros((shape[0] + 60, shape[1] + 60), np.uint8)
    drawn[30:-30, 30:-30] = 255
    Image.fromarray(drawn).save(path)
    digit = read_digit(path)
    assert digit.max() == 255
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("size", [(28, 28), (50, 40), (1, 1)])
def test_blank_picture_is_refused(grey, size, tmp_path):
    path = tmp_path / "blank.png"
    for mode in ("L", "RGB", "RGBA"):
        Image.new("L", size, grey).convert(mode).save(path)
        with pytest.raises(jm.InputError, match=rf"\A{path} shows no digit[^\n]*\Z"):
            read_digit(path)
    Image.new("RGBA", size, (grey, grey, grey, 0)).save(path)
    with pytest.raises(jm.InputError, match="shows no digit"):
        read_digit(path)


def test_nearly_blank_picture_is_refused(digits, tmp_path):
    path = tmp_path / "faint.png"
    paper = np.full((280, 280), 100, np.uint8)
    Image.fromarray(paper + enlarged(digits[0], 10) // 11).save(path)
    with pytest.raises(jm.InputError, match="shows no digit"):
        read_digit(path)
    Image.fromarray(paper + enlarged(digits[0], 10) // 10).save(path)
    assert read_digit(path).max() == 255


def test_picture_that_cannot_be_read_is_refused(digits, tmp_path):
    whole = tmp_path / "whole.png"
    save(grainy(digits[0]), whole)
    for name, content, word in (
        ("missing.png", None, "No such file"),
        ("empty.png", b"", "is not a picture"),
        ("words.png", b"seven", "is not a picture"),
        ("cut.png", whole.read_bytes()[:3000], "truncated"),
        ("head.png", whole.read_bytes()[:20], ""),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(jm.InputError, match=rf"\A[^\n]*{path}[^\n]*{word}[^\n]*\Z"):
            read_digit(path)
    with pytest.raises(jm.InputError, match=f"{tmp_path}: Is a directory"):
        read_digit(tmp_path)


def test_picture_of_too_many_pixels_is_refused(monkeypatch, tmp_path):
    Image.new("L", (300, 300)).save(tmp_path / "huge.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it is decoded"))
    words = r"huge\.png is too large a picture: 300x300 pixels; at most 1,000 are read"
    with pytest.raises(jm.InputError, match=words):
        read_digit(tmp_path / "huge.png")


@pytest.fixture(scope="module")
def files(mnist) -> list[bytes]:
    """One digit in every format that is read, and in two that are refused."""
    contents = []
    for draw, kind in (
        (DISGUISES["shifted"], "PNG"),
        (DISGUISES["16 bits"], "PNG"),
        (DISGUISES["palette"], "PNG"),
        (rotated_by_exif, "JPEG"),
        (DISGUISES["shifted"], "GIF"),
        (DISGUISES["shifted"], "TIFF"),
        (DISGUISES["black on nothing"], "WEBP"),
        (DISGUISES["shifted"], "BMP"),
    ):
        picture, content = draw(mnist.test_images[0]), io.BytesIO()
        picture.save(content, format=kind, exif=picture.getexif())
        contents.append(content.getvalue())
    return contents


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data(), cut=st.booleans())
def test_damaged_picture_is_a_digit_or_an_input_error(files, tmp_path_factory, data, cut):
    path = tmp_path_factory.getbasetemp() / "damaged"
    content = bytearray(data.draw(st.sampled_from(files), label="file"))
    # Most of what can go wrong is said in the first bytes.
    position = data.draw(
        st.one_of(st.integers(0, 300), st.integers(0, 10**6)).map(lambda n: n % len(content))
    )
    if cut:
        del content[position:]
    else:
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own remarks about damage.
        try:
            digit = read_digit(path)
        except jm.InputError as error:
            digit, message = None, str(error)
        else:
            message = f"{path} is read"
    assert str(path) in message
    assert "\n" not in message
    assert digit is None or digit.shape == (28, 28)
