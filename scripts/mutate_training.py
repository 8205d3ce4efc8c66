"""Break the training one line at a time and ask verify.model and verify.training to notice.

The mutations: the last short batch dropped, the order shifted, an average taken over samples, the
loss summed, a ReLU too many, an `eps` moved, a decay changed in its third digit. Against each run
`verify.model`, every pixel's value against NumPy, and, with the optimizer concerned, two epochs of
`verify.training` on 650 images in float64 against PyTorch; the table lists the parts that failed,
with the first place where they did. `mutation.py` has what all mutation scripts share.

    python scripts/mutate_training.py --out figures/verify_training_mutations.json

Two mutations of an optimizer cannot be noticed here, and are `scripts/mutate_optimizers.py`'s: the
learning rate inside or outside momentum's velocity, since without a schedule both are the same
steps; and other initial weights, since both frameworks are given the same.

Needs the extra `torch`. About four minutes on two idle cores.
"""

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mutate_optimizers
from mutation import Mutation, run, run_script

EPOCH = "training/epoch.py"
STEP = "training/step.py"
MEANS = "training/means.py"
RUN = "training/run.py"
STEPS = "scan_batches(step, carry, order, batch_size, scan)"
MUTATIONS = [
    # The network.
    Mutation(
        "ReLU after the last layer",
        "model.py",
        "        return h.astype(jnp.float32)",
        "        h = nn.relu(h)\n        return h.astype(jnp.float32)",
    ),
    Mutation("no ReLU between", "model.py", "h if index == 0 else nn.relu(h)", "h"),
    Mutation("tanh for ReLU", "model.py", "else nn.relu(h)", "else nn.tanh(h)"),
    Mutation("bias added twice", "model.py", " + bias[None, :]", " + 2 * bias[None, :]"),
    Mutation(
        "weights stored transposed",
        "model.py",
        re.compile(
            r"reshape\(outputs, inputs\)(.*?)\(self\.features, x\.shape\[-1\]\)(.*?)bi,oi->bo",
            re.DOTALL,
        ),
        r"reshape(inputs, outputs)\1(x.shape[-1], self.features)\2bi,io->bo",
    ),
    # Loss and accuracy.
    Mutation(
        "loss summed, not averaged",
        MEANS,
        "= jnp.mean(values)\n",
        "= jnp.sum(values) if name == 'loss' else jnp.mean(values)\n",
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
    Mutation("last short batches dropped", EPOCH, "if split < rows:", "if split < 0:"),
    Mutation(
        "last short train batch dropped",
        EPOCH,
        STEPS,
        "scan_batches(step, carry, order[: order.size // batch_size * batch_size], batch_size,"
        " scan)",
    ),
    Mutation(
        "last short test batch dropped",
        EPOCH,
        "        test,\n        batch_size,\n",
        "        jax.tree.map(lambda x: x[: x.shape[0] // batch_size * batch_size], test),\n"
        "        batch_size,\n",
    ),
    Mutation(
        "order shifted by one sample",
        EPOCH,
        STEPS,
        "scan_batches(step, carry, jnp.roll(order, 1), batch_size, scan)",
    ),
    Mutation(
        "order shifted by one batch",
        EPOCH,
        STEPS,
        "scan_batches(step, carry, jnp.roll(order, batch_size), batch_size, scan)",
    ),
    Mutation(
        "labels shifted by one",
        EPOCH,
        "_take(leaf, rows)",
        "_take(leaf, rows if leaf.ndim > 1 else jnp.roll(rows, 1))",
    ),
    Mutation("one order for all epochs", EPOCH, "fold_in(data_key, index)", "fold_in(data_key, 0)"),
    Mutation(
        "the next epoch's order", EPOCH, "fold_in(data_key, index)", "fold_in(data_key, index + 1)"
    ),
    Mutation(
        "tests in batches of the training's size",
        RUN,
        "batch_size=batches.eval_batch_size",
        "batch_size=batches.batch_size",
    ),
    # Metrics.
    Mutation(
        "test metrics averaged over samples",
        MEANS,
        "*train_means[0], *test_means[0],",
        "*train_means[0], *test_means[1],",
    ),
    Mutation(
        "test accuracy alone averaged over samples",
        MEANS,
        "*train_means[0], *test_means[0],",
        "*train_means[0], test_means[0].loss, test_means[1].accuracy,",
    ),
    Mutation(
        "train metrics averaged over samples",
        MEANS,
        "*train_means[0], *test_means[0],",
        "*train_means[1], *test_means[0],",
    ),
    Mutation(
        "per-sample metrics over batches",
        MEANS,
        "*train_means[1], *test_means[1])",
        "*train_means[1], *test_means[0])",
    ),
    Mutation(
        "train metrics after the step",
        STEP,
        "    return TrainState(params, opt_state, model_state), means",
        "    _, (means, _) = loss_and_rest(params)\n"
        "    return TrainState(params, opt_state, model_state), means",
    ),
    # The step.
    Mutation(
        "optimizer forgets at every step",
        STEP,
        "        state.opt_state,\n        state.params,\n        value=loss",
        "        tx.init(state.params),\n        state.params,\n        value=loss",
        "momentum",
    ),
    Mutation(
        "optimizer not carried on",
        STEP,
        "return TrainState(params, opt_state, model_state), means",
        "return TrainState(params, state.opt_state, model_state), means",
        "adam",
    ),
    Mutation("rate by 1e-9", "optim/sgd.py", "-rate * g", "-(1 + 1e-9) * rate * g"),
    # eps and decays, with PyTorch's arithmetic.
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

# Those of `mutate_optimizers` that a run without a schedule shows.
EQUATIONS = {
    ("sgd", "sign"),
    ("adagrad", "eps moved in"),
    ("rmsprop", "eps moved in"),
    ("adam", "eps moved in"),
    ("adadelta", "eps_root moved out, below"),
    ("adam", "first correction dropped"),
    ("adam", "second correction dropped"),
    ("adam", "corrected one step late"),
}


def mutations() -> list[Mutation]:
    """Return those of this script, and the optimizers' that it shares."""
    shared = [m for m in mutate_optimizers.mutations() if (m.optimizer, m.what) in EQUATIONS]
    assert len(shared) == len(EQUATIONS)
    return MUTATIONS + shared


def failures(optimizers: Sequence[str]) -> dict[str, list[str]]:
    """Return the parts that fail with each optimizer."""
    return {name: failing_parts(name) for name in optimizers}


def failing_parts(optimizer: str) -> list[str]:
    """Return the parts of all checks that fail, and where each does first."""
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
        # PyTorch's own 0.01 for RMSProp changes the weights so much in the first step that the
        # gradients' own rounding, which perturbed weights do not show, grows past the allowance.
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
    # The tutorial's transform, which verify.model leaves to its caller.
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
    """Return the first byte that is not what NumPy makes of it in float32, to the last bit.

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
    sys.exit(run(__file__, mutations(), partial(run_script, __file__), failures=failures))
