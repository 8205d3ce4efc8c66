"""A trained network as one function in one file, usable without jaxmnist or Python.

The function takes images as they are stored, uint8 of shape (batch, 28, 28), with any batch of at
least one, normalises them, and returns float32 logits of shape (batch, classes). It stops at logits
because they lose nothing: the largest is the prediction, and their softmax the probabilities.

What was exported is run and compared with the network before it is written.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as save_safetensors

from jaxmnist import interop, runs
from jaxmnist.atomic import write_whole
from jaxmnist.data import load_arrays
from jaxmnist.errors import InputError, nearest
from jaxmnist.tasks import Model, first_of_pair
from jaxmnist.tasks.value import Batch
from jaxmnist.training import ApplyFn, Params, inputs, split_pair

FORMATS: Final = ("safetensors", "stablehlo", "onnx")

# A sum of 784 products in another order is off by some sqrt(784) = 28 roundings of 2^-24, a layer;
# after five layers, by 1e-5 of the largest logit.
_TOLERANCE = 1e-5

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class ExportError(ArithmeticError):
    """An exported network computes other logits than the one it was exported from."""


def write(run: Path, format: str, out: Path | None = None) -> Path:
    """Write a run's network in a format that others read.

    Args:
        run: The run's folder.
        format: One of safetensors, the weights alone under PyTorch's names; stablehlo, see
            `stablehlo`; or onnx, see `onnx`.
        out: The file; None for ``model.<format>`` in the run's folder.

    Returns:
        The file.

    Raises:
        InputError: The folder has no run, the format is unknown, needs a package that is not
            installed or does not take the run's dtype, or the file cannot be written.
        ExportError: The exported network computes other logits. Nothing is written.
    """
    if format not in FORMATS:
        raise InputError(
            f"there is no format {format!r}; choose one of {', '.join(FORMATS)}"
            f"{nearest(format, FORMATS)}"
        )
    trained = runs.read(run)
    path = out or run / f"model.{format}"
    if trained.task_file is not None:
        write_whole(path, _task_content(trained, format))
        return path
    trained, params = runs.load(run)
    if format == "onnx" and trained.config.dtype == "bfloat16":
        raise InputError(
            f"the run in {run} is in bfloat16, in which onnxruntime has no products on a CPU; "
            "choose the format stablehlo or safetensors"
        )
    if format == "safetensors":
        content = save_safetensors(interop.params_to_state_dict(params))
    else:
        content = {"stablehlo": stablehlo, "onnx": onnx}[format](trained.model.apply, params)
    write_whole(path, content)
    return path


def stablehlo(apply_fn: ApplyFn, params: Params) -> bytes:
    """Serialise a network as StableHLO with `jax.export`.

    One file serves CPUs, CUDA and ROCm GPUs and TPUs. JAX reads it without this package:

        from jax import export
        classify = export.deserialize(bytearray(Path("model.stablehlo").read_bytes())).call
        logits = classify(images)

    Args:
        apply_fn: ``apply_fn(params, x) -> logits``.
        params: Its parameters, which become constants of the program.

    Returns:
        The content of the file.

    Raises:
        ExportError: The program read back computes other logits.

    >>> import jaxmnist as jm
    >>> params = jm.MLP(hidden=(5,)).init(jax.random.key(0), jnp.zeros((1, 28, 28)))
    >>> content = stablehlo(jm.MLP(hidden=(5,)).apply, params)
    >>> classify = jax.export.deserialize(bytearray(content)).call
    >>> classify(jnp.zeros((3, 28, 28), jnp.uint8)).shape
    (3, 10)
    """
    from jax import export as jax_export

    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, 28, 28), jnp.uint8)
    exported = jax_export.export(jax.jit(_logits(apply_fn, params)), platforms=_PLATFORMS)(images)
    content = bytes(exported.serialize())
    _check(jax_export.deserialize(bytearray(content)).call, apply_fn, params)
    return content


def onnx(apply_fn: ApplyFn, params: Params) -> bytes:
    """Convert a network to ONNX, and run it in onnxruntime.

    The model's input is called ``images`` and its output ``logits``; the first axis of both is
    free.

    Args:
        apply_fn: ``apply_fn(params, x) -> logits``.
        params: Its parameters, which become constants of the model.

    Returns:
        The content of the file.

    Raises:
        InputError: The converter or the runtime is not installed.
        ExportError: The runtime, onnxruntime, computes other logits.
    """
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
        from onnxruntime import InferenceSession  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"ONNX needs {error.name}; this installs it: pip install 'jaxmnist[onnx]'"
        ) from error

    with _quiet("onnx_ir"):
        model = to_onnx(
            _logits(apply_fn, params),
            [jax.ShapeDtypeStruct(("batch", 28, 28), jnp.uint8)],
            model_name="jaxmnist",
            input_names=["images"],
            output_names=["logits"],
            enable_double_precision=inputs(jnp.zeros((), jnp.uint8), params).dtype == jnp.float64,
        )
    content = model.SerializeToString()
    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    _check(lambda images: session.run(["logits"], {"images": images})[0], apply_fn, params)
    return content


def _task_content(run: runs.Run, format: str) -> bytes:
    """Return the file of a task of one's own: its arrays by name, or its predictions."""
    if format == "onnx":
        raise InputError(
            f"the run in {run.path} is of a task of its own, and onnx is for the tutorial's "
            "network; choose the format stablehlo or safetensors"
        )
    data = run.data(load_arrays)
    model = runs.load_model(run, data)
    if format == "safetensors":
        return save_safetensors(runs.named_model(model))
    if run.task.predict is None:
        raise InputError(
            f"the task of {run.path} has no predict, which stablehlo exports; jaxmnist.task gives "
            "it one; the format safetensors is possible"
        )
    return _task_stablehlo(run.task.predict, model, split_pair(data)[1], str(run.path))


def _task_stablehlo(predict: Callable[..., Any], model: Model, test: Batch, source: str) -> bytes:
    """Serialise a task's predictions, and compare them with the task's on batches of 1 and 7.

    The exported function takes the first of a pair as it is stored, or the whole batch if it is
    no pair, with any number of samples.
    """
    from jax import export as jax_export

    is_pair = isinstance(test, tuple | list) and len(test) == 2

    def outputs(given: Any) -> Any:
        if not is_pair:
            return predict(model, given)
        samples = jax.tree.leaves(given)[0].shape[0]
        blank = jax.tree.map(
            lambda leaf: jnp.zeros((samples, *leaf.shape[1:]), leaf.dtype), test[1]
        )
        return predict(model, (given, blank))

    given = jax.tree.map(jnp.asarray, first_of_pair(test))
    (batch,) = jax_export.symbolic_shape("batch")
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), given
    )
    try:
        exported = jax_export.export(jax.jit(outputs), platforms=_PLATFORMS)(shapes)
    except Exception as error:  # Whatever a model does that needs the number of samples.
        reason = " ".join(str(error).split("\n")[0].split())
        raise InputError(
            f"the task of {source} cannot be exported for any number of samples: {reason}"
        ) from error
    content = bytes(exported.serialize())
    call = jax_export.deserialize(bytearray(content)).call
    for rows in (slice(0, 1), slice(0, 7)):
        batch_of = jax.tree.map(lambda leaf, rows=rows: leaf[rows], given)
        pairs = zip(
            jax.tree.leaves(call(batch_of)),
            jax.tree.leaves(jax.jit(outputs)(batch_of)),
            strict=True,
        )
        for actual, expected in pairs:
            _check_close(np.asarray(actual), np.asarray(expected), "outputs")
    return content


def _logits(apply_fn: ApplyFn, params: Params) -> Callable[[Any], Any]:
    return lambda images: apply_fn(params, inputs(images, params))


def _check(exported: Callable[[np.ndarray], Any], apply_fn: ApplyFn, params: Params) -> None:
    """Compare the exported network with its original, on batches of one and of several."""
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    for batch in (images[:1], images[1:]):
        # Compiled, as what was exported is: bfloat16 rounds less where operations are fused.
        expected = np.asarray(jax.jit(_logits(apply_fn, params))(jnp.asarray(batch)))
        actual = np.asarray(exported(batch))
        _check_close(actual, expected, "logits")


def _check_close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ExportError(
            f"the exported network's {what} are {actual.dtype} {actual.shape}; they must be "
            f"{expected.dtype} {expected.shape}"
        )
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    largest = np.abs(expected).max(initial=0)
    error = np.abs(actual - expected).max(initial=0) / (largest or 1)
    if not error <= _TOLERANCE:
        raise ExportError(
            f"the exported network's {what} are off by {error:.1e} of the largest one; "
            f"rounding allows {_TOLERANCE:.0e}"
        )


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Let a package log its errors only."""
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)
