"""An autoencoder of MNIST's images, without labels, as a Flax Linen module.

Run it with `python scripts/tasks/autoencoder.py`. A batch is one array of images; the transform
makes a pair of it: images with noise are the inputs, the images themselves the targets.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jaxmnist as jm


@dataclass(frozen=True)
class Config:
    """What the network and its optimizer are.

    Attributes:
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        hidden: Units of the hidden layers.
        code: Numbers that an image is reduced to.
        noise: Standard deviation of the noise that a training image is given, of a range of 1.
        samples: Images to train on; a sixth as many are for the test.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    hidden: int = 128
    code: int = 16
    noise: float = 0.2
    samples: int = 60_000


def data(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the test images, without their labels."""
    mnist = jm.load_dataset("mnist")
    return mnist.train_images[: config.samples], mnist.test_images[: config.samples // 6]


def task(config: Config) -> jm.Task:
    """Return the task; the learning rate and the weight decay are hyperparameters."""
    model = nn.Sequential(
        [
            *(nn.Dense(config.hidden), nn.relu, nn.Dense(config.code)),
            *(nn.Dense(config.hidden), nn.relu, nn.Dense(784)),
        ]
    )

    def transform(images, key, training):
        pixels = images.reshape(images.shape[0], -1).astype(jnp.float32) / 255
        if not training:
            return pixels, pixels
        return pixels + config.noise * jax.random.normal(key, pixels.shape), pixels

    def optimizer(hyper):
        rate, decay = hyper["learning_rate"], hyper["weight_decay"]
        # With eps_root the derivatives by these exist where a weight's gradient stays 0 as well.
        return optax.adamw(rate, weight_decay=decay, eps_root=1e-16)

    return jm.task(
        model,
        optimizer,
        lambda logits, pixels: optax.sigmoid_binary_cross_entropy(logits, pixels).sum(-1),
        metrics={"squared_error": lambda z, pixels: ((nn.sigmoid(z) - pixels) ** 2).mean(-1)},
        hyper={"learning_rate": config.learning_rate, "weight_decay": config.weight_decay},
        transform=transform,
    )


if __name__ == "__main__":
    state, history = jm.fit(task(Config()), data(Config()), epochs=3, batch_size=128)
    print(f"test error per pixel and epoch: {history['eval_squared_error'].round(4)}")
