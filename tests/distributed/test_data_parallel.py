"""A run on several devices, here parts of this machine's CPU, compared with one on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist.distributed import data_parallel

# 352 images are 5 batches of 64 and one of 32, as in the tutorial's epoch; 100 are 2 of 48 and 4.
COMPARED = """
import dataclasses, json, re, sys
import jax, jax.numpy as jnp, numpy as np
import jaxmnist as jm
from jaxmnist import cli, training
from jaxmnist.distributed import data_parallel

mnist = jm.load_dataset("mnist")
dataset = jm.Dataset(
    mnist.train_images[:352], mnist.train_labels[:352],
    mnist.test_images[:100], mnist.test_labels[:100], num_classes=10, name="some",
)
config = jm.Config(
    hidden=(8,), optimizer="momentum", epochs=2, eval_batch_size=48, dtype="float64"
)


def difference(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)


def displacement(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return min(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)


found = {"devices": jax.device_count()}
with jax.enable_x64(True):
    start = training.init(jax.random.key(0), jm.default_hyper(config), config)
    for name, devices, batch_size in (("whole", 8, 64), ("uneven", 8, 70)):
        one = dataclasses.replace(config, batch_size=batch_size)
        single, mesh = jm.fit(one, dataset), data_parallel.data_mesh(jax.devices()[:devices])
        several = data_parallel.fit(one, dataset, mesh)
        found[name] = difference(several, single)
        if name == "whole":
            found["displacement"] = displacement(single[0].params, start.params)
            found["dtypes"] = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(several)})
            found["places"] = len({d for leaf in jax.tree.leaves(several) for d in leaf.devices()})
            states = []
            jm.fit(one, dataset, on_epoch=lambda *it: states.append(it[1]))
            rest = data_parallel.fit(one, dataset, mesh, state=states[0], epoch=1)
            found["rest"] = difference(rest[0], single[0])

# A step of one's own, and how it is laid out.
mesh = data_parallel.data_mesh()
apply_fn = jm.MLP((16,)).apply
params = jm.MLP((16,)).init(jax.random.key(1), jnp.zeros((1, 784)))
tx = jm.optim.sgd(0.1)
state = training.TrainState(params, tx.init(params))
batch = dataset.train_images[:64], dataset.train_labels[:64]
replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def step(state, images, labels, apply_fn):
    return training.train_step(state, images, labels, apply_fn=apply_fn, tx=tx)


single = jax.jit(step, static_argnums=3)(state, *batch, apply_fn)
sharded = jax.jit(step, static_argnums=3, in_shardings=replicated, out_shardings=replicated)
placed = jax.device_put((state, *batch), replicated)
found["step"] = difference(sharded(*placed, data_parallel.shard_batches(apply_fn, mesh)), single)
text = sharded.lower(*placed, data_parallel.shard_batches(apply_fn, mesh)).compile().as_text()
found["products"] = sorted(re.findall(r"= f32\\[(\\d+,\\d+)\\]\\S* dot\\(", text))
found["sums"] = len(re.findall(r" all-reduce\\(", text))

cli.main(["train", "--devices", "8", *sys.argv[1:]])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, first_digits_npz) -> tuple[Path, Path]:
    """Where a run through the command goes, and its few images."""
    return tmp_path_factory.mktemp("parallel") / "run", first_digits_npz(352, 100)


@pytest.fixture(scope="module")
def found(run) -> dict:
    """What eight virtual devices computed."""
    out, npz = run
    options = ["--hidden", "8", "--epochs", "2", "--eval-batch-size", "48"]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPARED, "--dataset", npz, "--out", out, *options],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
def test_eight_devices_compute_the_run_of_one(found):
    """The weights, the optimizer's state and all metrics, with the short last batch, in float64."""
    assert (found["devices"], found["dtypes"]) == (8, ["float64", "int32"])
    # Sums of 64 terms in another order, 12 steps long, of numbers up to 10: some 50 roundings.
    assert found["whole"] < 1e-13
    assert found["displacement"] > 1e-4
    assert found["rest"] < 1e-13


@pytest.mark.slow
def test_batches_that_the_devices_do_not_divide_are_taken(found):
    """Batches of 70, nine images for each of seven devices and seven for one, and a last of 2."""
    assert found["uneven"] < 1e-13


@pytest.mark.slow
def test_results_are_on_one_device(found):
    assert found["places"] == 1


@pytest.mark.slow
def test_step_of_ones_own_is_shared_out(found):
    # float32 rounding of one step.
    assert found["step"] < 1e-6
    # Forward and back, every product over the batch has 8 of its 64 rows; the two gradients of
    # weights are whole, and one sum over the devices completes them.
    assert found["products"] == ["10,16", "16,784", "8,10", "8,16", "8,16"]
    assert found["sums"] >= 1


@pytest.mark.slow
def test_command_on_several_devices_writes_the_run_of_one(found, run):
    out, npz = run
    config = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
    state, history = jm.fit(config, jm.load_dataset(npz))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for name, values in history._asdict().items():
        # float32 rounding over 12 steps.
        np.testing.assert_allclose([line[name] for line in lines], values, rtol=1e-5, atol=1e-6)
    written = jm.interop.load_safetensors(out / "model.safetensors")
    for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_one_device_gives_the_same_bits(run):
    config = jm.Config(hidden=(8,), epochs=1, eval_batch_size=48)
    dataset = jm.load_dataset(run[1])
    single = jm.fit(config, dataset)
    meshed = data_parallel.fit(config, dataset, data_parallel.data_mesh(jax.devices()[:1]))
    for one, other in zip(jax.tree.leaves(meshed), jax.tree.leaves(single), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_larger_than_the_data_is_refused(run):
    config = jm.Config(hidden=(8,), batch_size=353, eval_batch_size=48)
    with pytest.raises(jm.InputError, match="batch_size is 353"):
        data_parallel.fit(config, jm.load_dataset(run[1]), data_parallel.data_mesh())
