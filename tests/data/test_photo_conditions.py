"""Pictures as people take them: a few of `scripts/photo_conditions.py`, and what is no digit."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.data.pictures import digit_in, read_digit, read_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
photo = import_module("photo_conditions")

# Each was read as another digit by a paper taken for one grey, or tries a part of the method.
CONDITIONS = (
    "yellow pen",
    "blackboard, light to 0.5",
    "light to 0.7",
    "shadow, hard edge",
    "shadow, hard edge, 0.5",
    "ruled",
    "one speck",
    "salt, blackboard",
    "faint, 28x28",
    "faint, 56x56",
    "margin line, blue pen",
    "frame",
    "dark edge",
    "everything at once",
)


@pytest.fixture(scope="module")
def mnist() -> jm.Dataset:
    return jm.load_dataset("mnist")


@pytest.fixture(scope="module")
def classify(first_digits) -> Callable[[np.ndarray], np.ndarray]:
    """A network that knows digits, after three epochs of 10,000."""
    config = jm.Config(hidden=(64,), optimizer="adam", epochs=3, eval_batch_size=500)
    state, _ = jm.fit(config, first_digits(10_000, 1000))
    apply_fn = jm.MLP((64,)).apply

    def predictions(images: np.ndarray) -> np.ndarray:
        shares = training.predict(state.params, jnp.asarray(images), apply_fn=apply_fn)
        return np.asarray(shares).argmax(axis=1)

    return predictions


def drawn(name: str, digit: np.ndarray, path: Path) -> Path:
    return photo.write(photo.CONDITIONS[name](digit, np.random.default_rng(0)), path)


@pytest.fixture(scope="module")
def picked(mnist, classify) -> tuple[np.ndarray, np.ndarray]:
    """A digit of each class that the network knows as it is, with its label."""
    right = classify(mnist.test_images[:300]) == mnist.test_labels[:300]
    chosen = [np.flatnonzero(right & (mnist.test_labels[:300] == c))[:1] for c in range(10)]
    indices = np.concatenate(chosen)
    return mnist.test_images[indices], mnist.test_labels[indices]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDITIONS)
def test_picture_is_read_right(name, picked, classify, tmp_path):
    digits, labels = picked
    read = np.stack([read_digit(drawn(name, digit, tmp_path / "photo")) for digit in digits])
    assert (read.max(axis=(1, 2)) == 255).all()
    assert np.sum(classify(read) == labels) >= 9


def test_strokes_that_do_not_touch_stay_one_digit(mnist, tmp_path):
    """The bar of this 5 lies apart from its body."""
    digit = mnist.test_images[8]
    read = read_digit(drawn("even light", digit, tmp_path / "photo"))
    assert np.corrcoef(read.ravel(), digit.ravel())[0, 1] > 0.8


@pytest.mark.parametrize(("name", "words"), [("frame", "a frame"), ("dark edge", "a band along")])
def test_what_is_left_out_is_said(name, words, mnist, tmp_path):
    picture = read_picture(drawn(name, mnist.test_images[0], tmp_path / "photo"))
    assert words in " ".join(digit_in(picture, "photo").left_out)


def test_several_digits_are_refused(mnist, tmp_path, refused):
    for count in (2, 3):
        ink = np.hstack([photo.share(mnist.test_images[i], 120) for i in range(count)])
        path = photo.write(photo.colour(ink), tmp_path / "photo")
        with refused(path, f"shows {count} separate drawings", "crop it to one digit"):
            read_digit(path)


@pytest.mark.parametrize("kind", ["grey", "grey, gaussian", "colours"])
def test_noise_is_no_digit(kind, tmp_path, refused):
    rng = np.random.default_rng(0)
    picture = {
        "grey": lambda: rng.uniform(0, 256, (64, 64)),
        "grey, gaussian": lambda: rng.normal(128, 30, (200, 200)),
        "colours": lambda: rng.uniform(0, 256, (300, 200, 3)),
    }[kind]()
    path = photo.write(picture, tmp_path / "photo")
    with refused(path, "shows no digit"):
        read_digit(path)
