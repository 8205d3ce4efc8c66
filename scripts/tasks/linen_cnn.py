"""A convolutional network of Flax Linen with batch normalisation and dropout on MNIST.

Run it with `python scripts/tasks/linen_cnn.py`: 5 epochs, with the learning rate falling to 0 on a
cosine. `epochs` of the config is the length of that schedule; train for as many.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import optax
from flax import linen as nn

import jaxmnist as jm


@dataclass(frozen=True)
class Config:
    """What the network and its optimizer are.

    Attributes:
        learning_rate: The peak of the schedule, reached after a tenth of the steps.
        weight_decay: AdamW's.
        dropout: Share of the hidden units that a training step sets to 0.
        channels: Channels of the first convolution; the second has twice as many.
        epochs: Passes over the data, for the schedule.
        steps_per_epoch: Batches in one of them, for the schedule; MNIST has 469 of 128.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.4
    channels: int = 32
    epochs: int = 5
    steps_per_epoch: int = 469


class CNN(nn.Module):
    """Two convolutions with batch normalisation, and two dense layers with dropout between."""

    channels: int
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        """Return the logits."""
        for factor in (1, 2):
            x = nn.Conv(factor * self.channels, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(4 * self.channels)(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(10)(x)


def task(config: Config) -> jm.Task:
    """Return the task; the learning rate's peak and the weight decay are hyperparameters."""
    steps = config.epochs * config.steps_per_epoch
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, steps // 10, steps)

    def optimizer(hyper):  # Optax's schedule itself cannot ask whether a traced peak is 0.
        schedule = lambda step: hyper["learning_rate"] * shape(step)  # noqa: E731
        # With eps_root the derivatives by these exist where a weight's gradient stays 0 as well.
        return optax.adamw(schedule, weight_decay=hyper["weight_decay"], eps_root=1e-16)

    return jm.task(
        CNN(config.channels, config.dropout),
        optimizer,
        optax.softmax_cross_entropy_with_integer_labels,
        metrics={"accuracy": lambda logits, labels: logits.argmax(-1) == labels},
        hyper={"learning_rate": config.learning_rate, "weight_decay": config.weight_decay},
        transform=lambda batch, key, training: (jm.normalize(batch[0])[..., None], batch[1]),
    )


if __name__ == "__main__":
    config, mnist = Config(), jm.load_dataset("mnist")
    state, history = jm.fit(task(config), mnist, epochs=config.epochs, batch_size=128)
    print(f"test accuracy per epoch: {jnp.round(100 * history['eval_accuracy_per_sample'], 2)} %")
