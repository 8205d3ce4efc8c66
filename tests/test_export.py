import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxmnist as jm
from jaxmnist import cli, export, interop, runs, training

CONFIG = jm.Config(hidden=(9, 5), epochs=1)
CLASSES = 4
MODEL = jm.MLP(CONFIG.hidden, CLASSES)
IMAGES = np.random.default_rng(7).integers(0, 256, (6, 28, 28), np.uint8)


def params() -> Any:
    return MODEL.init(jax.random.key(0), jnp.zeros((1, 28, 28)))


def logits(images: np.ndarray) -> np.ndarray:
    return np.asarray(MODEL.apply(params(), jm.normalize(jnp.asarray(images))))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a network in it."""
    folder = tmp_path / "run"
    runs.create(runs.Run(folder, CONFIG, CLASSES))
    interop.save_safetensors(params(), folder / "model.safetensors")
    return folder


def command(*arguments: object) -> Any:
    """The exit status of a command."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.mark.slow
def test_stablehlo_is_the_network_at_any_batch(run, capsys):
    assert command("export", run, "--format", "stablehlo") == 0
    path = run / "model.stablehlo"
    assert f"wrote: {path}" in capsys.readouterr().out
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
    for batch in (1, 6):
        np.testing.assert_allclose(
            exported.call(IMAGES[:batch]), logits(IMAGES[:batch]), rtol=1e-5, atol=1e-7
        )


def write_run_in(dtype: str, folder: Path) -> tuple[jm.MLP, Any]:
    """Write a run's folder in another precision, and return its model and parameters."""
    config = jm.Config(hidden=(9,), epochs=1, dtype=dtype)
    with jax.enable_x64(dtype == "float64"):
        model, _ = training.model_and_optimizer(config, CLASSES, jm.default_hyper(config))
        weights = training.init(jax.random.key(0), jm.default_hyper(config), config, CLASSES).params
        runs.create(runs.Run(folder, config, CLASSES))
        interop.save_safetensors(weights, folder / "model.safetensors")
    return model, weights


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_run_in_another_precision_is_exported_as_it_computes(dtype, tmp_path):
    folder = tmp_path / "run"
    model, weights = write_run_in(dtype, folder)
    with jax.enable_x64(dtype == "float64"):
        # Compiled, as what is exported: then some sums stay wider than bfloat16 in between.
        expected = jax.jit(lambda x: model.apply(weights, training.inputs(x, weights)))(IMAGES)
    assert command("export", folder, "--format", "stablehlo") == 0
    exported = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    np.testing.assert_allclose(exported.call(IMAGES), expected, rtol=1e-5, atol=1e-7)


def test_onnx_computes_a_float64_run_in_float64(tmp_path):
    pytest.importorskip("jax2onnx", reason="needs pip install 'jaxmnist[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = tmp_path / "run"
    write_run_in("float64", folder)
    assert command("export", folder, "--format", "onnx") == 0
    path = folder / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": IMAGES})
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    assert weights["0.weight"].dtype == np.float64
    x = (IMAGES.reshape(6, 784) / 255 - 0.5) / 0.5
    h = np.maximum(x @ weights["0.weight"].T + weights["0.bias"], 0)
    expected = h @ weights["2.weight"].T + weights["2.bias"]
    # In float32 the logits are off by 1e-7; rounded to float32 in the end, by half a unit.
    np.testing.assert_allclose(found, expected.astype(np.float32), rtol=2**-23, atol=0)


@pytest.mark.slow
def test_onnx_refuses_a_bfloat16_run(tmp_path, capsys):
    folder = tmp_path / "run"
    write_run_in("bfloat16", folder)
    assert command("export", folder, "--format", "onnx") == 2
    assert "is in bfloat16" in capsys.readouterr().err
    assert not (folder / "model.onnx").exists()


@pytest.mark.slow
def test_safetensors_load_into_torch_unchanged(run, tmp_path, torch):
    from safetensors.torch import load_file

    path = tmp_path / "weights.safetensors"
    assert command("export", run, "--format", "safetensors", "--out", path) == 0
    module = torch.nn.Sequential(
        torch.nn.Linear(784, 9),
        torch.nn.ReLU(),
        torch.nn.Linear(9, 5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 4),
    )
    module.load_state_dict(load_file(path))
    x = (torch.from_numpy(IMAGES).flatten(1).float() / 255 - 0.5) / 0.5
    np.testing.assert_allclose(module(x).detach(), logits(IMAGES), rtol=1e-5, atol=1e-7)


def test_onnx_is_the_network_at_any_batch(run):
    pytest.importorskip("jax2onnx", reason="needs pip install 'jaxmnist[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    assert command("export", run, "--format", "onnx") == 0
    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 6):
        (actual,) = session.run(["logits"], {"images": IMAGES[:batch]})
        np.testing.assert_allclose(actual, logits(IMAGES[:batch]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("package", ["jax2onnx", "onnxruntime"])
def test_onnx_without_its_packages_names_the_command(run, monkeypatch, capsys, package):
    for name in ("jax2onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module("types"))
    monkeypatch.setattr(importlib.import_module("types"), "to_onnx", None, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert command("export", run, "--format", "onnx") == 2
    said = capsys.readouterr().err
    assert (
        said == f"jaxmnist: ONNX needs {package}; this installs it: pip install 'jaxmnist[onnx]'\n"
    )
    assert not list(run.glob("*onnx*"))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda images: logits(images) * (1 + 1e-4), "off by 1.0e-04 of the largest one"),
        (lambda images: logits(images)[:, ::-1], "of the largest one"),
        (lambda images: logits(images) * np.nan, "off by nan of the largest one"),
        (lambda images: logits(images)[:1], r"are float32 \(1, 4\); they must be float32 \(7, 4\)"),
        (lambda images: logits(images).astype(float), r"are float64 \(1, 4\)"),
    ],
)
def test_check_refuses_another_network(wrong, complaint):
    export._check(logits, MODEL.apply, params())
    with pytest.raises(export.ExportError, match=complaint):
        export._check(wrong, MODEL.apply, params())


def test_a_wrong_export_is_not_written(run, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise export.ExportError("the exported network's logits are off")

    monkeypatch.setattr(export, "_check", refuse)
    before = sorted(run.iterdir())
    assert command("export", run, "--format", "stablehlo") == 1
    assert capsys.readouterr().err == "jaxmnist: the exported network's logits are off\n"
    assert sorted(run.iterdir()) == before


def test_export_refuses_wrong_input_in_one_line(run, tmp_path, capsys):
    for arguments, complaint in (
        ((tmp_path / "none", "--format", "onnx"), "holds no run"),
        ((run, "--format", "keras"), "--format cannot be 'keras'; choose one of"),
        ((run,), "--format"),
        ((run, "--format", "safetensors", "--out", tmp_path), "cannot write"),
        ((run, "--format", "safetensors", "--out", tmp_path / "no" / "x"), "No such file"),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert command("export", *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert complaint in line
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(jm.InputError, match="no format 'keras'; choose one of safetensors, stab"):
        jm.export.write(run, "keras")
