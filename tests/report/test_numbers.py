"""What the page computes in JavaScript, compared with what it stands for in Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import report, runs, training
from jaxmnist.data.pictures import read_digit


def moved(strokes, degrees=0.0, size=1.0, squeeze=1.0, shift=(0.0, 0.0)):
    """Turn, scale and shift strokes of a square of 100 into the page's of 140."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        [
            [
                70 + 1.4 * size * (squeeze * c * (x - 50) - s * (y - 50)) + shift[0],
                70 + 1.4 * size * (squeeze * s * (x - 50) + c * (y - 50)) + shift[1],
            ]
            for x, y in stroke
        ]
        for stroke in strokes
    ]


@pytest.mark.slow
def test_a_drawing_becomes_what_predict_makes_of_it(
    run_page, open_page, hands, picture_of, tmp_path
):
    plain = [moved(strokes) for _, strokes in hands]
    rng = np.random.default_rng(0)
    others = [
        moved(
            strokes,
            degrees=rng.uniform(-25, 25),
            size=rng.uniform(0.15, 0.9),
            squeeze=rng.uniform(0.5, 1.1),
            shift=rng.uniform(-20, 20, 2),
        )
        for _, strokes in hands[::3] + hands[1::3]
    ]
    drawings = plain + others
    assert len(drawings) == 50
    page = open_page(run_page)
    images = page.evaluate("all => all.map(strokes => jaxmnist.image(strokes))", drawings)
    for index, (strokes, image) in enumerate(zip(drawings, images, strict=True)):
        path = tmp_path / f"{index}.png"
        picture_of(strokes).save(path)
        expected = read_digit(path).astype(int).ravel()
        assert np.abs(np.array(image) - expected).max() <= 1, index
        assert max(image) == 255


def test_of_two_strokes_far_apart_the_larger_is_shown(run_page, open_page, picture_of, tmp_path):
    bar, dot = [[20, 20], [20, 120]], [[110, 60], [110, 68]]
    picture_of([bar, dot]).save(tmp_path / "two.png")
    image = open_page(run_page).evaluate("s => jaxmnist.image(s)", [bar, dot])
    expected = read_digit(tmp_path / "two.png").astype(int).ravel()
    assert np.abs(np.array(image) - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "hidden"),
    [("float32", ()), ("float32", (16, 8)), ("float64", (16, 8)), ("bfloat16", (16, 8))],
    ids=str,
)
def test_logits_and_saliency_are_jaxs(dtype, hidden, untrained, npz, open_page, tmp_path):
    folder = untrained(tmp_path / "run", npz, dtype=dtype, hidden=hidden)
    path = tmp_path / "page.html"
    path.write_text(report.run_page([folder]))
    page = open_page(path)
    images = jm.load_dataset(npz).test_images[:40]
    pixels = images.reshape(40, 784).tolist()
    found = page.evaluate("all => all.map(pixels => jaxmnist.logits(pixels))", pixels)
    gradient = page.evaluate("pixels => jaxmnist.saliency(pixels, 3)", pixels[0])
    with jax.enable_x64(dtype == "float64"):
        trained, params = runs.load(folder)
        x = training.inputs(jnp.asarray(images), params)
        logits = np.asarray(trained.model.apply(params, x), np.float64)

        def logit(x):
            return jnp.asarray(trained.model.apply(params, x[None]))[0, 3]

        expected = np.asarray(jax.grad(logit)(x[0]), np.float64).ravel()
    # A logit near 0 is the difference of larger numbers: relative to the image's largest.
    error = np.abs(np.array(found) - logits).max(axis=1) / np.abs(logits).max(axis=1)
    assert error.max() < 1e-4
    # The backward pass of bfloat16 rounds each of its products.
    tolerance = 0.02 if dtype == "bfloat16" else 1e-4
    assert np.abs(np.array(gradient) - expected).max() < tolerance * np.abs(expected).max()
