"""Breaks the training one line at a time and asks verify.model and verify.training to notice.

Each mutation is one replacement in the source text of a temporary copy of the package: the last
short batch dropped, the order shifted, an average taken over samples, the loss summed, a ReLU too
many, an `eps` moved, a decay changed in its third digit. Against each run `verify.model`, every
pixel's value against NumPy, and, with the optimizer concerned, two epochs of `verify.training` on
650 images in float64 against PyTorch; the table names the parts that failed, with the first place
where they did. A mutation that none of them notices has survived, and the exit status is 1.

    python scripts/mutate_training.py --out figures/verify_training_mutations.json

Two mutations of an optimizer cannot be seen here, and are `scripts/mutate_optimizers.py`'s: the
learning rate inside or outside momentum's velocity, since without a schedule both are the same
steps; and other initial weights, since both frameworks are given the same.

Needs the extra `torch`. About four minutes on two idle cores.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import tyro

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
OPTIMIZERS = ("sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam")


class Mutation(NamedTuple):
    """One replacement in one file of the package."""

    what: str
    file: str
    old: str  # must be there exactly once
    new: str
    optimizer: str = "sgd"


LOSS_AGAIN = """
    logits = apply_fn(params, inputs(images, params))
    loss = cross_entropy_with_integer_labels(logits, labels)
    return TrainState(params, opt_state), B"""

MUTATIONS = [
    # The network.
    Mutation(
        "ReLU after the last layer",
        "model.py",
        'logits = Dense(self.num_classes, self.dtype, name=f"dense_{len(self.hidden)}")(h)',
        "logits = nn.relu("
        'Dense(self.num_classes, self.dtype, name=f"dense_{len(self.hidden)}")(h))',
    ),
    Mutation("no ReLU between", "model.py", "h = nn.relu(", "h = ("),
    Mutation("tanh for ReLU", "model.py", "h = nn.relu(", "h = nn.tanh("),
    Mutation("bias added twice", "model.py", " + bias[None, :]", " + 2 * bias[None, :]"),
    Mutation(
        "weights stored transposed",
        "model.py",
        """(self.features, fan_in), fan_in)
        bias = self.param("bias", uniform_in_fan_in, (self.features,), fan_in)
        # Contracting the last axis of both reads W as it lies: nothing is transposed in memory.
        # Without a dtype the parameters' decides, so float64 parameters give a float64 network.
        x, weight, bias = (a.astype(self.dtype or weight.dtype) for a in (x, weight, bias))
        return jnp.einsum("bi,oi->bo\"""",
        """(fan_in, self.features), fan_in)
        bias = self.param("bias", uniform_in_fan_in, (self.features,), fan_in)
        x, weight, bias = (a.astype(self.dtype or weight.dtype) for a in (x, weight, bias))
        return jnp.einsum("bi,io->bo\"""",
    ),
    # Loss and accuracy.
    Mutation(
        "loss summed, not averaged",
        "losses.py",
        "jnp.mean(jax.nn.logsumexp",
        "jnp.sum(jax.nn.logsumexp",
    ),
    Mutation(
        "accuracy of the smallest logit", "losses.py", "jnp.argmax(logits", "jnp.argmin(logits"
    ),
    # Data.
    Mutation("pixels scaled to [-1/2, 1/2]", "data/batches.py", "(unit - 0.5) / 0.5", "unit - 0.5"),
    Mutation(
        "pixels by a rounded 1/255",
        "data/batches.py",
        "pixels * (1 / 256) + pixels * (1 / (256 * 255))",
        "pixels * (1 / 255)",
    ),
    # Batches and their order.
    Mutation(
        "last short train batch dropped", "training.py", "if split < order.size:", "if split < 0:"
    ),
    Mutation(
        "last short test batch dropped", "training.py", "if split < labels.size:", "if split < 0:"
    ),
    Mutation(
        "order shifted by one sample",
        "training.py",
        "full_batches = order.size // batch_size\n",
        "full_batches = order.size // batch_size\n    order = jnp.roll(order, 1)\n",
    ),
    Mutation(
        "order shifted by one batch",
        "training.py",
        "full_batches = order.size // batch_size\n",
        "full_batches = order.size // batch_size\n    order = jnp.roll(order, batch_size)\n",
    ),
    Mutation(
        "labels shifted by one",
        "training.py",
        "_take(labels, batch)",
        "_take(labels, jnp.roll(batch, 1))",
    ),
    Mutation(
        "one order for all epochs",
        "training.py",
        "fold_in(data_key, index)",
        "fold_in(data_key, 0)",
    ),
    Mutation(
        "the next epoch's order",
        "training.py",
        "fold_in(data_key, index)",
        "fold_in(data_key, index + 1)",
    ),
    Mutation(
        "tests in batches of the training's size",
        "training.py",
        "        batch_size=config.eval_batch_size,\n",
        "        batch_size=config.batch_size,\n",
    ),
    # Figures.
    Mutation(
        "test figures averaged over samples",
        "training.py",
        "*train_figures[0], *eval_figures[0],",
        "*train_figures[0], *eval_figures[1],",
    ),
    Mutation(
        "test accuracy alone averaged over samples",
        "training.py",
        "*train_figures[0], *eval_figures[0],",
        "*train_figures[0], eval_figures[0].loss, eval_figures[1].accuracy,",
    ),
    Mutation(
        "train figures averaged over samples",
        "training.py",
        "*train_figures[0], *eval_figures[0],",
        "*train_figures[1], *eval_figures[0],",
    ),
    Mutation(
        "per-sample figures over batches",
        "training.py",
        "*train_figures[1], *eval_figures[1])",
        "*train_figures[1], *eval_figures[0])",
    ),
    Mutation(
        "train figures after the step",
        "training.py",
        "\n    return TrainState(params, opt_state), B",
        LOSS_AGAIN,
    ),
    # The step.
    Mutation(
        "optimizer forgets at every step",
        "training.py",
        "tx.update(grads, state.opt_state, state.params)",
        "tx.update(grads, tx.init(state.params), state.params)",
        "momentum",
    ),
    Mutation(
        "optimizer not carried on",
        "training.py",
        "return TrainState(params, opt_state), B",
        "return TrainState(params, state.opt_state), B",
        "adam",
    ),
    Mutation("sign", "optim/sgd.py", "-rate * g", "rate * g"),
    Mutation("rate by 1e-9", "optim/sgd.py", "-rate * g", "-(1 + 1e-9) * rate * g"),
    # eps, decay and corrections, with PyTorch's arithmetic.
    Mutation(
        "eps moved in",
        "optim/adagrad.py",
        "root(sum_of_squares + eps_root) + eps",
        "root(sum_of_squares + eps_root + eps)",
        "adagrad",
    ),
    Mutation(
        "eps moved in",
        "optim/rmsprop.py",
        "root(mean_square + eps_root) + eps",
        "root(mean_square + eps_root + eps)",
        "rmsprop",
    ),
    Mutation(
        "eps moved in",
        "optim/adam.py",
        "root(n + eps_root) + eps",
        "root(n + eps_root + eps)",
        "adam",
    ),
    Mutation(
        "eps moved out, below",
        "optim/adadelta.py",
        "root(mean_square + eps_root)",
        "root(mean_square) + eps_root",
        "adadelta",
    ),
    Mutation(
        "eps ten times",
        "optim/adagrad.py",
        "eps_root) + eps) *",
        "eps_root) + 10 * eps) *",
        "adagrad",
    ),
    Mutation(
        "eps ten times",
        "optim/rmsprop.py",
        "eps_root) + eps) *",
        "eps_root) + 10 * eps) *",
        "rmsprop",
    ),
    Mutation(
        "eps ten times", "optim/adam.py", "eps_root) + eps) *", "eps_root) + 10 * eps) *", "adam"
    ),
    Mutation(
        "eps ten times, above",
        "optim/adadelta.py",
        "root(mean_square_update + eps_root)",
        "root(mean_square_update + 10 * eps_root)",
        "adadelta",
    ),
    Mutation(
        "first correction dropped",
        "optim/adam.py",
        "mu / arithmetic.one_minus_power(b1, count)",
        "mu",
        "adam",
    ),
    Mutation(
        "second correction dropped",
        "optim/adam.py",
        "nu / arithmetic.one_minus_power(b2, count)",
        "nu",
        "adam",
    ),
    Mutation(
        "corrected one step late",
        "optim/adam.py",
        "count=count, **hyper",
        "count=count + 1, **hyper",
        "adam",
    ),
    Mutation(
        "momentum 0.9 -> 0.901",
        "conventions.py",
        '"pytorch": {"learning_rate": 1e-3, "momentum": 0.9,',
        '"pytorch": {"learning_rate": 1e-3, "momentum": 0.901,',
        "momentum",
    ),
    Mutation(
        "decay 0.99 -> 0.989", "conventions.py", '"decay": 0.99,', '"decay": 0.989,', "rmsprop"
    ),
    Mutation(
        "rho 0.9 -> 0.901",
        "conventions.py",
        '"pytorch": {"learning_rate": 1.0, "rho": 0.9,',
        '"pytorch": {"learning_rate": 1.0, "rho": 0.901,',
        "adadelta",
    ),
    Mutation("b1 0.9 -> 0.901", "optim/adam.py", "(mu, g, b1)", "(mu, g, b1 + 0.001)", "adam"),
    Mutation("b2 0.999 -> 0.998", "optim/adam.py", "(g), b2)", "(g), b2 - 0.001)", "adam"),
]


def main(out: Path | None = None, check: str | None = None) -> int:
    """Try every mutation, print the table, and say whether all were caught.

    Args:
        out: Where to write the table as JSON.
        check: For the runs in the copies: make the checks with this optimizer and print them.
    """
    if check is not None:
        print(json.dumps(failing_parts(check)))
        return 0
    for mutation in MUTATIONS:
        mutated(ROOT, mutation)  # What no longer fits the source is said before the first run.
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copy = Path(folder, str(worker))
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "jaxmnist", copy / "jaxmnist", ignore=without)
            copies.put(copy)

        def attempt(mutation: Mutation | str) -> list[str]:
            copy = copies.get()
            try:
                if isinstance(mutation, str):
                    return run_checks(copy, mutation)
                return run_mutated(copy, mutation)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(WORKERS) as pool:
            for optimizer, failing in zip(OPTIMIZERS, pool.map(attempt, OPTIMIZERS), strict=True):
                if failing:
                    raise SystemExit(f"{optimizer}: fails before anything is broken: {failing}")
            outcomes = []
            for mutation, failing in zip(MUTATIONS, pool.map(attempt, MUTATIONS), strict=True):
                verdict = "; ".join(failing) or "SURVIVED"
                print(f"{mutation.optimizer:9} {mutation.what:42} {verdict}", flush=True)
                outcomes.append((mutation, failing))
    survivors = sum(not failing for _, failing in outcomes)
    print(f"{len(outcomes)} mutations, {survivors} survived")
    if out is not None:
        out.write_text(json.dumps(table(outcomes), indent=1) + "\n")
    return 1 if survivors else 0


def table(outcomes: list[tuple[Mutation, list[str]]]) -> dict:
    """What was broken and what noticed, with where it was run."""
    import jax
    import torch

    import jaxmnist as jm

    return {
        "command": "python scripts/mutate_training.py --out figures/verify_training_mutations.json",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "jaxmnist": jm.__version__,
            "jax": jax.__version__,
            "torch": torch.__version__,
        },
        "mutations": [
            {
                "what": mutation.what,
                "file": mutation.file,
                "optimizer": mutation.optimizer,
                "caught by": failing,
            }
            for mutation, failing in outcomes
        ],
    }


def run_mutated(copy: Path, mutation: Mutation) -> list[str]:
    """The parts that fail with one replacement in the copy of the package."""
    source = copy / "jaxmnist" / mutation.file
    text = source.read_text(encoding="utf-8")
    source.write_text(mutated(copy, mutation), encoding="utf-8")
    try:
        return run_checks(copy, mutation.optimizer)
    finally:
        source.write_text(text, encoding="utf-8")


def mutated(root: Path, mutation: Mutation) -> str:
    """The mutated file's text."""
    text = (root / "jaxmnist" / mutation.file).read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.what}: {text.count(mutation.old)} places in {mutation.file}")
    return text.replace(mutation.old, mutation.new)


def run_checks(copy: Path, optimizer: str) -> list[str]:
    """The parts that fail in the copy; a program that does not run shows nothing."""
    done = subprocess.run(
        # -B: a source rewritten within a second must not meet its old bytecode.
        [sys.executable, "-B", __file__, "--check", optimizer],
        env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def failing_parts(optimizer: str) -> list[str]:
    """The parts of all checks that fail, and where each does first."""
    import jax
    import jax.numpy as jnp
    import torch

    import jaxmnist as jm
    from jaxmnist import verify

    mnist = jm.load_dataset("mnist")
    # Numbers that leave short last batches: 10 of 64 and 5 of 48.
    some = jm.Dataset(
        mnist.train_images[:650],
        mnist.train_labels[:650],
        mnist.test_images[:245],
        mnist.test_labels[:245],
        num_classes=10,
        name="mnist, some",
    )
    config = jm.Config(
        hidden=(16, 8),
        optimizer=optimizer,
        # PyTorch's own 0.01 for RMSProp throws the weights so far in the first step that the
        # gradients' own rounding, which moved weights do not show, grows past what those allow.
        learning_rate=jm.optim.hyperparameters(optimizer)["learning_rate"],
        convention="pytorch",
        epochs=2,
        eval_batch_size=48,
    )
    mlp = jm.MLP(config.hidden)
    module = torch.nn.Sequential(
        torch.nn.Linear(784, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 10),
    )
    # The document's transform, which verify.model leaves to its caller.
    images = (mnist.test_images[:64].reshape(64, 784).astype("float32") / 255 - 0.5) / 0.5
    try:
        params = mlp.init(jax.random.key(0), jnp.zeros((1, 784)))
        results = {
            "model": verify.model(mlp.apply, params, module, images, mnist.test_labels[:64]),
            "training": verify.training(config, some),
        }
    except jm.InputError as error:
        return [f"model: InputError: {error}"]
    return wrong_pixels(jm.normalize) + [
        f"{name}: {part.name} ({part.first_divergence})"
        for name, result in results.items()
        for part in result
        if not part.passed
    ]


def wrong_pixels(normalize: Callable[..., Any]) -> list[str]:
    """The first byte that is not what NumPy makes of it in float32, to the last bit.

    In float64, where the runs are compared, one bit of a pixel is within rounding.
    """
    import jax
    import numpy as np

    pixels = np.arange(256, dtype=np.uint8)
    expected = (pixels.astype(np.float32) / 255 - 0.5) / 0.5
    actual = np.asarray(jax.jit(normalize)(pixels))
    return [
        f"data: normalize (byte {byte}: {actual[byte]} here, {expected[byte]} in NumPy)"
        for byte in np.flatnonzero(actual != expected)[:1]
    ]


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
