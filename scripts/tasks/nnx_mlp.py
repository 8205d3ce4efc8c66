"""A multilayer perceptron of Flax NNX on MNIST, with dropout and momentum.

Run it with `python scripts/tasks/nnx_mlp.py`.
"""

from dataclasses import dataclass

import jax
import optax
from flax import nnx

import jaxmnist as jm


@dataclass(frozen=True)
class Config:
    """What the network and its optimizer are.

    Attributes:
        learning_rate: Step length of SGD.
        momentum: Share of the last step that the next one keeps.
        weight_decay: Added to the gradient, times the weights.
        hidden: Units of each of the two hidden layers.
        dropout: Share of them that a training step sets to 0.
    """

    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    hidden: int = 128
    dropout: float = 0.2


class MLP(nnx.Module):
    """Three dense layers, with dropout after each hidden one."""

    def __init__(self, hidden: int, dropout: float, rngs: nnx.Rngs):
        self.first = nnx.Linear(784, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, 10, rngs=rngs)
        self.first_dropout = nnx.Dropout(dropout, rngs=rngs)
        self.second_dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        """Return the logits."""
        x = self.first_dropout(nnx.relu(self.first(x.reshape(x.shape[0], -1))))
        x = self.second_dropout(nnx.relu(self.second(x)))
        return self.last(x)


def task(config: Config) -> jm.Task:
    """Return the task; all three of the optimizer's numbers are hyperparameters."""

    def build(key: jax.Array) -> MLP:
        return MLP(config.hidden, config.dropout, nnx.Rngs(key))

    def optimizer(hyper):
        return optax.chain(
            optax.add_decayed_weights(hyper["weight_decay"]),
            optax.sgd(hyper["learning_rate"], hyper["momentum"]),
        )

    return jm.task(
        build,
        optimizer,
        optax.softmax_cross_entropy_with_integer_labels,
        metrics={"accuracy": lambda logits, labels: logits.argmax(-1) == labels},
        hyper={
            name: getattr(config, name) for name in ("learning_rate", "momentum", "weight_decay")
        },
        transform=lambda batch, key, training: (jm.normalize(batch[0]), batch[1]),
    )


if __name__ == "__main__":
    state, history = jm.fit(task(Config()), jm.load_dataset("mnist"), epochs=3, batch_size=64)
    print(f"test accuracy per epoch: {history['eval_accuracy_per_sample'].round(4)}")
