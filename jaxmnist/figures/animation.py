"""Frames into files that play: a GIF by Pillow, and an MP4 by ffmpeg where it is installed."""

import io
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxmnist.errors import InputError

Frames = Sequence[UInt8[np.ndarray, "rows columns 3"]]

FRAME: Final = 0.07
"""Seconds that a frame is shown."""
PAUSE: Final = 2.5
"""Seconds that the last one is."""

_UNCHANGED: Final = 255
"""The palette's index of pixels that show through to the frame before."""


def gif(frames: Frames) -> bytes:
    """Encode an animation that repeats, with a pause at its end.

    Args:
        frames: Pictures of one size.

    Returns:
        A GIF whose frames share one palette, the most frequent colours of the first and the last,
        each exactly; a frame holds only what differs from the one before.
    """
    palette = _frequent_colors((frames[0], frames[-1]), _UNCHANGED)
    indices = _nearest(frames, palette)
    changes = [
        np.where(now == before, np.uint8(_UNCHANGED), now)
        for before, now in itertools.pairwise(indices)
    ]
    images = []
    for pixels in (indices[0], *changes):
        image = Image.fromarray(pixels, "P")
        image.putpalette(palette.tobytes())
        images.append(image)
    content = io.BytesIO()
    images[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[round(1000 * FRAME)] * (len(images) - 1) + [round(1000 * PAUSE)],
        loop=0,
        transparency=_UNCHANGED,
        disposal=1,
        optimize=False,
    )
    return content.getvalue()


def has_ffmpeg() -> bool:
    """Whether this machine can encode an MP4."""
    return shutil.which("ffmpeg") is not None


def mp4(frames: Frames) -> bytes:
    """Encode an animation as H.264, with a pause at its end.

    Args:
        frames: Pictures of one size, even in both directions.

    Returns:
        An MP4 that browsers play.

    Raises:
        InputError: ffmpeg is not installed, or fails; the message says how.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise InputError("an .mp4 needs ffmpeg, which is not installed; a .gif does not")
    rows, columns, _ = frames[0].shape
    pause = [frames[-1]] * round(PAUSE / FRAME)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "animation.mp4")
        command = [
            *(program, "-loglevel", "error"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{columns}x{rows}"),
            *("-r", f"{1 / FRAME:.6g}", "-i", "-"),
            *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)),
        ]
        content = b"".join(frame.tobytes() for frame in [*frames, *pause])
        done = subprocess.run(command, input=content, capture_output=True, check=False)
        if done.returncode:
            complaint = done.stderr.decode(errors="replace").strip().splitlines()
            raise InputError(f"ffmpeg failed: {complaint[-1] if complaint else done.returncode}")
        return path.read_bytes()


def _frequent_colors(frames: Frames, count: int) -> UInt8[np.ndarray, "colors 3"]:
    """The most frequent colours, at most so many."""
    codes = np.concatenate([_codes(frame).ravel() for frame in frames])
    distinct, counts = np.unique(codes, return_counts=True)
    return _colors(distinct[np.argsort(-counts, kind="stable")[:count]])


def _nearest(frames: Frames, palette: UInt8[np.ndarray, "colors 3"]) -> list[np.ndarray]:
    """The index of the nearest colour for every pixel; Pillow's own search rounds colours first."""
    known = np.full(1 << 24, -1, np.int16)
    result = []
    for frame in frames:
        codes = _codes(frame)
        new = np.unique(codes[known[codes] < 0])
        for some in np.array_split(new, 1 + len(new) // 4096):
            distance = _colors(some)[:, None].astype(np.int32) - palette[None]
            known[some] = (distance**2).sum(axis=2).argmin(axis=1)
        result.append(known[codes].astype(np.uint8))
    return result


def _codes(frame: UInt8[np.ndarray, "rows columns 3"]) -> np.ndarray:
    """Colours as single numbers."""
    red, green, blue = np.moveaxis(frame.astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _colors(codes: np.ndarray) -> UInt8[np.ndarray, "colors 3"]:
    """The colours of such numbers."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)
