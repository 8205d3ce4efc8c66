"""Measure how many of 100 pictures of digits are read right under each condition of the camera.

The first test images of each digit are drawn as pen on paper, and pictures made of them: pens,
boards, uneven light, shadows, ruled paper, dust, file formats. Each is read by
`jaxmnist.data.pictures.read_digit` and classified by one trained network.

    python scripts/photo_conditions.py RUN

Writes `photo_conditions.json`. RUN is any run on MNIST. `--each 5` takes ten minutes.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tyro
from PIL import Image, ImageFilter

import jaxmnist as jm
from jaxmnist import provenance

WHITE, BLACK = (245, 243, 238), (25, 25, 35)
Picture = np.ndarray | Image.Image | bytes
"""Greys 0 to 255 (colours in a third dimension), a picture, or the content of a file."""
Condition = Callable[[np.ndarray, np.random.Generator], Picture]


def share(digit: np.ndarray, size: int = 280, stroke: int = 0) -> np.ndarray:
    """Draw a digit with a pen: 0 on paper, 1 in ink, with sharp but smooth edges.

    Args:
        digit: An MNIST image.
        size: Side of the drawing in pixels.
        stroke: Pixels of a 280-pixel drawing by which strokes are made thicker (or thinner).
    """
    large = Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC)
    large = large.filter(ImageFilter.GaussianBlur(3))
    ink = np.clip((np.asarray(large, np.float64) - 110) / 60, 0, 1)
    if stroke:
        kind = ImageFilter.MaxFilter if stroke > 0 else ImageFilter.MinFilter
        drawn = Image.fromarray((ink * 255).astype(np.uint8)).filter(kind(abs(stroke) | 1))
        ink = np.asarray(drawn.filter(ImageFilter.GaussianBlur(1)), np.float64) / 255
    return np.asarray(
        Image.fromarray(ink.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    )


def place(
    ink: np.ndarray, height: int, width: int, top: float = 0.5, left: float = 0.5
) -> np.ndarray:
    """Put a drawing on an empty page, at shares of the room that is left."""
    page = np.zeros((height, width))
    row, column = round(top * (height - len(ink))), round(left * (width - len(ink[0])))
    page[row : row + len(ink), column : column + len(ink[0])] = ink
    return page


def colour(ink: np.ndarray, pen: Any = BLACK, paper: Any = WHITE) -> np.ndarray:
    """Mix paper and pen."""
    return (1 - ink[..., None]) * np.asarray(paper, float) + ink[..., None] * np.asarray(pen, float)


def page_of(digit: np.ndarray, **pens: Any) -> np.ndarray:
    """The usual picture: a digit of 280 pixels in the middle of 400 by 360."""
    return colour(place(share(digit), 400, 360), **pens)


def grid(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of every pixel, from 0 to 1."""
    height, width = picture.shape[:2]
    return np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")


def lit(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Multiply a picture by the light that falls on each pixel."""
    return picture * light[..., None]


def falling(picture: np.ndarray, rng: np.random.Generator, least: float) -> np.ndarray:
    """Let the light fall linearly from 1 to `least`, in any direction."""
    y, x = grid(picture)
    angle = rng.uniform(0, 2 * np.pi)
    way = np.cos(angle) * x + np.sin(angle) * y
    way = (way - way.min()) / np.ptp(way)
    return lit(picture, 1 - (1 - least) * way)


def shadowed(
    picture: np.ndarray, rng: np.random.Generator, edge: float, dark: float = 0.7
) -> np.ndarray:
    """Lay a shadow over a corner; its edge is straight and `edge` wide (a share of the side)."""
    y, x = grid(picture)
    y, x = (each if rng.random() < 0.5 else 1 - each for each in (y, x))
    slope = rng.uniform(0.5, 2)
    way = (y + slope * x) / (1 + slope) - rng.uniform(0.35, 0.55)
    return lit(picture, 1 - (1 - dark) * np.clip(0.5 - way / max(edge, 1e-3), 0, 1))


def ruled(picture: np.ndarray, line: Any, every: int, squared: bool = False) -> np.ndarray:
    """Print lines two pixels thick on the paper, under the ink."""
    out = picture.copy()
    under = np.zeros(picture.shape[:2], bool)
    for offset in (0, 1):
        under[every // 2 + offset :: every] = True
        if squared:
            under[:, every // 2 + offset :: every] = True
    out[under] *= np.asarray(line, float) / 255
    return out


def dusty(picture: np.ndarray, rng: np.random.Generator, count: int, size: int = 6) -> np.ndarray:
    """Drop specks of dust anywhere on a picture."""
    out = picture.copy()
    for _ in range(count):
        row, column = (rng.integers(0, side - size) for side in picture.shape[:2])
        out[row : row + size, column : column + size] = 40
    return out


def salted(
    picture: np.ndarray, rng: np.random.Generator, density: float, pepper: bool
) -> np.ndarray:
    """Turn single pixels white (or black)."""
    out, chance = picture.copy(), rng.random(picture.shape[:2])
    out[chance < density] = 255
    if pepper:
        out[chance > 1 - density] = 0
    return out


def stored(picture: np.ndarray, kind: str, **options: Any) -> bytes:
    """Write a picture to bytes."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(file, kind, **options)
    return file.getvalue()


def turned(picture: np.ndarray) -> bytes:
    """Lie on the side, with the camera's note of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return stored(np.rot90(picture).copy(), "JPEG", exif=exif)


def transparent(digit: np.ndarray) -> Image.Image:
    """Ink of one colour on nothing."""
    alpha = to_bytes(255 * place(share(digit), 400, 360))
    return Image.fromarray(
        np.dstack([np.full_like(alpha, 20)] * 2 + [np.full_like(alpha, 90), alpha])
    )


def grain(picture: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Add a sensor's noise."""
    return picture + rng.normal(0, sigma, picture.shape)


def vignette(picture: np.ndarray, least: float = 0.5) -> np.ndarray:
    """Darken the corners as a lens does."""
    y, x = grid(picture)
    return lit(picture, 1 - (1 - least) * ((2 * y - 1) ** 2 + (2 * x - 1) ** 2) / 2)


def margin_line(picture: np.ndarray) -> np.ndarray:
    """Print a notebook's red line down the page, left of the digit."""
    out = picture.copy()
    out[:, 25:28] = (210, 90, 90)
    return out


def framed(picture: np.ndarray, inset: int, pen: Any = (60, 60, 70)) -> np.ndarray:
    """Draw a box around the digit."""
    out = picture.copy()
    bottom, right = (side - inset for side in picture.shape[:2])
    for line in (
        np.s_[inset : inset + 4, inset:right],
        np.s_[bottom - 4 : bottom, inset:right],
        np.s_[inset:bottom, inset : inset + 4],
        np.s_[inset:bottom, right - 4 : right],
    ):
        out[line] = pen
    return out


def cropped(digit: np.ndarray, margin: int) -> np.ndarray:
    """Cut the page at the digit, with a few pixels around it."""
    ink = share(digit)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return colour(np.pad(cut, margin))


def faint(digit: np.ndarray, side: int) -> np.ndarray:
    """Ink of 50 of 255, light on black, of a given size."""
    if side == 28:
        return digit / 255 * 50
    if side == 29:
        return np.pad(digit, ((0, 1), (0, 1))) / 255 * 50
    return np.kron(digit, np.ones((side // 28, side // 28))) / 255 * 50


PENCIL = (165, 165, 170)
CONDITIONS: dict[str, Condition] = {
    "even light": lambda d, r: page_of(d),
    "red pen": lambda d, r: page_of(d, pen=(200, 30, 40)),
    "blue pen": lambda d, r: page_of(d, pen=(40, 60, 170)),
    "green pen": lambda d, r: page_of(d, pen=(40, 140, 60)),
    "yellow pen": lambda d, r: page_of(d, pen=(250, 235, 60)),
    "pencil": lambda d, r: page_of(d, pen=PENCIL),
    "faint pencil, grain": lambda d, r: grain(page_of(d, pen=(190, 190, 195)), r, 4),
    "blackboard": lambda d, r: page_of(d, pen=(225, 225, 215), paper=(45, 55, 50)),
    "blackboard, light to 0.5": lambda d, r: falling(
        page_of(d, pen=(225, 225, 215), paper=(45, 55, 50)), r, 0.5
    ),
    "tight crop": lambda d, r: cropped(d, 3),
    "tight crop, no margin": lambda d, r: cropped(d, 0),
    "light to 0.7": lambda d, r: falling(page_of(d), r, 0.7),
    "light to 0.5": lambda d, r: falling(page_of(d), r, 0.5),
    "light to 0.5, pencil": lambda d, r: falling(page_of(d, pen=PENCIL), r, 0.5),
    "shadow, soft edge": lambda d, r: shadowed(page_of(d), r, 0.15),
    "shadow, hard edge": lambda d, r: shadowed(page_of(d), r, 0.01),
    "shadow, hard edge, 0.5": lambda d, r: shadowed(page_of(d), r, 0.01, 0.5),
    "shadow, hard edge, blue pen": lambda d, r: shadowed(page_of(d, pen=(40, 60, 170)), r, 0.01),
    "shadow, soft edge, pencil": lambda d, r: shadowed(page_of(d, pen=(110,) * 3), r, 0.1),
    "ruled": lambda d, r: ruled(page_of(d), (200, 215, 240), 40),
    "ruled, blue pen, light to 0.7": lambda d, r: falling(
        ruled(page_of(d, pen=(40, 60, 170)), (190, 210, 240), 36), r, 0.7
    ),
    "ruled, pencil": lambda d, r: ruled(page_of(d, pen=(130,) * 3), (200, 215, 240), 40),
    "squared": lambda d, r: ruled(page_of(d), (195, 215, 235), 28, squared=True),
    "one speck": lambda d, r: dusty(page_of(d), r, 1),
    "five specks": lambda d, r: dusty(page_of(d), r, 5),
    "speck, pencil": lambda d, r: dusty(page_of(d, pen=PENCIL), r, 2),
    "speck, 200 pixels": lambda d, r: dusty(colour(place(share(d, 140), 200, 200)), r, 1),
    "salt": lambda d, r: salted(page_of(d), r, 0.02, False),
    "salt and pepper": lambda d, r: salted(page_of(d), r, 0.02, True),
    "salt, blackboard": lambda d, r: salted(
        page_of(d, pen=(225, 225, 215), paper=(45, 55, 50)), r, 0.02, False
    ),
    "grain": lambda d, r: grain(page_of(d), r, 12),
    "JPEG, quality 20": lambda d, r: stored(page_of(d), "JPEG", quality=20),
    "JPEG, quality 10, yellow": lambda d, r: stored(
        page_of(d, pen=(250, 235, 60)), "JPEG", quality=10
    ),
    "yellow paper": lambda d, r: page_of(d, pen=(40, 60, 170), paper=(245, 225, 110)),
    "blue paper": lambda d, r: page_of(d, paper=(120, 160, 220)),
    "brown paper, red pen": lambda d, r: page_of(d, pen=(170, 30, 40), paper=(190, 160, 120)),
    "faint, 28x28": lambda d, r: faint(d, 28),
    "faint, 29x29": lambda d, r: faint(d, 29),
    "faint, 56x56": lambda d, r: faint(d, 56),
    "56x56, one speck of 3 pixels": lambda d, r: dusty(255 - np.kron(d, np.ones((2, 2))), r, 1, 3),
    "turned, EXIF": lambda d, r: turned(page_of(d)),
    "transparent": lambda d, r: transparent(d),
    "16 bits": lambda d, r: Image.fromarray((page_of(d).mean(axis=2) * 257).astype(np.uint16)),
    "palette": lambda d, r: Image.fromarray(to_bytes(page_of(d))).convert("P"),
    "wide margin": lambda d, r: colour(place(share(d, 110), 600, 500)),
    "corner": lambda d, r: colour(place(share(d, 200), 600, 500, *r.uniform(0, 1, 2))),
    "thin strokes": lambda d, r: colour(place(share(d, 280, -7), 400, 360)),
    "thick strokes": lambda d, r: colour(place(share(d, 280, 11), 400, 360)),
    "margin line": lambda d, r: margin_line(page_of(d)),
    "margin line, blue pen": lambda d, r: margin_line(page_of(d, pen=(40, 60, 170))),
    "dark corners": lambda d, r: vignette(page_of(d)),
    "dark corners, pencil": lambda d, r: vignette(page_of(d, pen=PENCIL)),
    "frame": lambda d, r: framed(page_of(d), 20),
    "dark edge": lambda d, r: np.pad(page_of(d), ((8, 8), (8, 8), (0, 0)), constant_values=30.0),
    "everything at once": lambda d, r: stored(
        grain(
            shadowed(falling(dusty(ruled(page_of(d), (200, 215, 240), 40), r, 2), r, 0.7), r, 0.1),
            r,
            4,
        ),
        "JPEG",
        quality=60,
    ),
}


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Round to bytes."""
    return picture.clip(0, 255).round().astype(np.uint8)


def write(picture: Picture, path: Path) -> Path:
    """Write a picture; arrays and pictures as PNG."""
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(to_bytes(picture))
        image.save(path, "PNG")
    return path


def chosen(dataset: jm.Dataset, each: int) -> np.ndarray:
    """Return the indices of the first test images of every class."""
    return np.concatenate([np.flatnonzero(dataset.test_labels == c)[:each] for c in range(10)])


def main(run: tyro.conf.Positional[Path], out: Path = Path("figures"), each: int = 10) -> None:
    """Draw, read, classify, print, and write the JSON.

    Args:
        run: The folder of a run on MNIST.
        out: The folder for the JSON.
        each: How many digits of each class.
    """
    import jax.numpy as jnp

    from jaxmnist import runs, training
    from jaxmnist.data.pictures import read_digit

    trained, params = runs.load(run)
    out.mkdir(parents=True, exist_ok=True)
    dataset = jm.load_dataset("mnist")
    picked = chosen(dataset, each)

    def right(images: np.ndarray) -> int:
        shares = training.predict(params, jnp.asarray(images), apply_fn=trained.model.apply)
        return int(np.sum(np.asarray(shares).argmax(axis=1) == dataset.test_labels[picked]))

    results: dict[str, int] = {"plain": right(dataset.test_images[picked])}
    refused: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        for name, condition in CONDITIONS.items():
            images = np.zeros((len(picked), 28, 28), np.uint8)
            for position, index in enumerate(picked):
                rng = np.random.default_rng([int(index), len(name)])
                path = write(condition(dataset.test_images[index], rng), Path(folder) / "picture")
                try:
                    images[position] = read_digit(path)
                except jm.InputError as error:
                    refused[f"{name}, test image {index}"] = str(error).removeprefix(str(path))
            results[name] = right(images)
            print(f"{name}: {results[name]} of {len(picked)}", flush=True)
    command = f"python scripts/photo_conditions.py RUN --each {each}"
    about = {
        **provenance.record(command, "pillow", "scipy"),
        "run": runs.about(trained),
        "pictures of each condition": len(picked),
        "right": results,
        "refused": refused,
    }
    (out / "photo_conditions.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
