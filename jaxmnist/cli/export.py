"""`jaxmnist export`: write a trained network in a format that others read."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmnist.cli.console import fail, make_console, say
from jaxmnist.cli.precision import in_its_precision


@in_its_precision
def export(
    run: Positional[Path],
    format: Literal["safetensors", "stablehlo", "onnx"],
    out: Path | None = None,
) -> None:
    """Write a trained network in a format that others read, checked before it is written.

    Args:
        run: The folder of a run.
        format: The weights alone under PyTorch's names (safetensors), or the network from uint8
            images to logits, for JAX and XLA (stablehlo) or for ONNX runtimes (onnx).
        out: The file; by default model.FORMAT in the run's folder.
    """
    from jaxmnist import export as exporting

    try:
        path = exporting.write(run, format, out)
    except exporting.ExportError as error:
        fail(str(error), status=1)
    say(make_console(), f"wrote: {path}")
