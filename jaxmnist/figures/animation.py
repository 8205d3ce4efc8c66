"""Frames into files that play: a GIF by Pillow, and an MP4 by ffmpeg where it is installed."""

import io
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


def gif(frames: Frames) -> bytes:
    """Encode an animation that repeats, with a pause at its end.

    Args:
        frames: Pictures of one size.

    Returns:
        A GIF whose frames share one palette: the most frequent colours, each exactly.
    """
    colors = np.concatenate([frame.reshape(-1, 3) for frame in (frames[0], frames[-1])])
    distinct, counts = np.unique(colors, axis=0, return_counts=True)
    frequent = distinct[np.argsort(-counts, kind="stable")[:255]]
    palette = Image.new("P", (1, 1))
    palette.putpalette(frequent.astype(np.uint8).tobytes())
    images = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    durations = [round(1000 * FRAME)] * (len(images) - 1) + [round(1000 * PAUSE)]
    content = io.BytesIO()
    images[0].save(
        content, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0,
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
