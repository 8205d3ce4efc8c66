"""A multilayer perceptron of Equinox on MNIST, shown slightly shifted images in training.

Run it with `python scripts/tasks/equinox_mlp.py`; it needs the extra `jaxmnist[equinox]`.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jaxmnist as jm


@dataclass(frozen=True)
class Config:
    """What the network and its optimizer are.

    Attributes:
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        hidden: Units of each hidden layer.
        depth: How many hidden layers there are.
        shift: Most pixels by which a training image is moved each way.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    hidden: int = 128
    depth: int = 2
    shift: int = 2


def task(config: Config) -> jm.Task:
    """Return the task; all three of the optimizer's numbers are hyperparameters."""

    def build(key: jax.Array) -> eqx.Module:
        return eqx.nn.MLP(784, 10, config.hidden, config.depth, key=key)

    def transform(batch, key, training):
        images, labels = batch
        if training:
            shape = (images.shape[0], 2)
            shifts = jax.random.randint(key, shape, -config.shift, config.shift + 1)
            images = jax.vmap(lambda image, by: jnp.roll(image, by, (0, 1)))(images, shifts)
        return jm.normalize(images).reshape(images.shape[0], -1), labels

    def optimizer(hyper):
        return optax.chain(
            optax.clip_by_global_norm(hyper["clip"]),
            # With eps_root the derivatives by these exist where a weight's gradient stays 0, too.
            optax.adamw(hyper["learning_rate"], weight_decay=hyper["weight_decay"], eps_root=1e-16),
        )

    return jm.task(
        build,
        optimizer,
        optax.softmax_cross_entropy_with_integer_labels,
        metrics={"accuracy": lambda logits, labels: logits.argmax(-1) == labels},
        hyper={name: getattr(config, name) for name in ("learning_rate", "weight_decay", "clip")},
        transform=transform,
    )


if __name__ == "__main__":
    state, history = jm.fit(task(Config()), jm.load_dataset("mnist"), epochs=3, batch_size=64)
    print(f"test accuracy per epoch: {history['eval_accuracy_per_sample'].round(4)}")
