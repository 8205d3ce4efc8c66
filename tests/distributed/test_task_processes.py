"""A task's file that several real processes train, or cannot."""

import json

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs

# A task of one's own whose steps are random and which has a state: both are of the whole batch.
TASK = """
import numpy as np
import optax
from flax import linen as nn
import jaxmnist as jm


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.tanh(nn.Dense(4)(x)))
        return nn.Dense(1)(x)[:, 0]


def task(config):
    return jm.task(Network(), optax.sgd(0.1), lambda out, y: (out - y) ** 2)


def data(config):
    x = np.random.default_rng(0).normal(size=(53, 3)).astype(np.float32)
    return (x, x.sum(1)), (x[:20], x[:20].sum(1))
"""


@pytest.mark.slow
def test_task_is_trained_by_two_processes_as_by_one(tmp_path, running, by_options, ended):
    """Started by two for 2 epochs of 4 steps, and resumed by two for 2 more."""
    file, folder = tmp_path / "network.py", tmp_path / "run"
    file.write_text(TASK)
    sizes = "--batch-size", "16", "--eval-batch-size", "10", "--seed", "1"
    first = [file, *sizes, "--epochs", "2", "--checkpoint-every", "1", "--out", folder]
    for words in (first, ["--resume", folder, "--epochs", "4"]):
        with running(words, by_options(2)) as started:
            one, other = map(ended, started)
        assert (one[0], one[2]) == (0, "")
        assert other == (0, [], "")
    file = runs.TaskFile(str(file), TASK)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        task, data = file.task(jm.Config()), file.data(jm.Config())
        state, history = jm.fit(task, data, epochs=4, batch_size=16, eval_batch_size=10, seed=1)
        written = runs.load_model(runs.read(folder), data)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # As `assert_is_the_run`: other sums of 16 numbers, in 16 steps.
    for name, values in history.items():
        np.testing.assert_allclose([line[name] for line in lines], values, rtol=1e-5, atol=1e-6)
    for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(state.model), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_task_that_uses_jax_before_the_processes_meet_is_refused(
    tmp_path, running, by_options, ended
):
    (tmp_path / "early.py").write_text(TASK + "\nimport jax\nKEY = jax.random.key(0)\n")
    words = [tmp_path / "early.py", "--out", tmp_path / "run"]
    with running(words, by_options(2)[:1]) as started:
        status, out, err = ended(started[0])
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "JAX was used before the run's processes were connected" in err
    assert "move such lines into task or data" in err


@pytest.mark.slow
def test_task_on_named_data_refuses_them_before_it_joins(tmp_path, running, by_options, ended):
    """One of two, whose partner never comes."""
    (tmp_path / "named.py").write_text(TASK.partition("\n\ndef data")[0])
    x = np.zeros((8, 3), np.float32)
    np.savez(tmp_path / "few.npz", x_train=x, y_train=x[:, 0], x_test=x, y_test=x[:, 0])
    words = [tmp_path / "named.py", "--dataset", tmp_path / "few.npz", "--batch-size", "9"]
    with running(words, by_options(2, start_timeout=600)[:1]) as started:
        status, out, err = ended(started[0])
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "batch_size is 9; the data has only 8 samples" in err
