"""NumPy: the forward and the backward pass written out, the weights updated in place."""

import numpy as np

from benchmarks.problem import Peer, Problem, batches, normalized


def by_hand(problem: Problem) -> Peer:
    """Train with matrix products of NumPy's BLAS, on images that are normalised once."""
    params = [(weight.copy(), bias.copy()) for weight, bias in problem.weights]
    train_x, train_y = normalized(problem.train_images), problem.train_labels
    test_x, test_y = normalized(problem.test_images), problem.test_labels
    rate = np.float32(problem.learning_rate)
    draw = np.random.default_rng(0)

    def forward(x: np.ndarray) -> list[np.ndarray]:
        """Return every layer's input, and the logits."""
        layers = [x]
        for index, (weight, bias) in enumerate(params):
            h = layers[-1] @ weight.T
            h += bias
            if index < len(params) - 1:
                np.maximum(h, 0, out=h)
            layers.append(h)
        return layers

    def metrics(logits: np.ndarray, y: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Return the mean loss, the accuracy, and the logits' softmax, in their place."""
        right = float((logits.argmax(1) == y).mean())
        logits -= logits.max(1, keepdims=True)
        of_label = logits[np.arange(len(y)), y]
        np.exp(logits, out=logits)
        total = logits.sum(1, keepdims=True)
        logits /= total
        return float((np.log(total[:, 0]) - of_label).mean()), right, logits

    def step(x: np.ndarray, y: np.ndarray) -> float:
        *inputs, logits = forward(x)
        loss, _, delta = metrics(logits, y)
        delta[np.arange(len(y)), y] -= 1
        delta /= len(y)
        for index in reversed(range(len(params))):
            weight, bias = params[index]
            by_weight, by_bias = delta.T @ inputs[index], delta.sum(0)
            if index:
                delta = delta @ weight
                delta *= inputs[index] > 0
            by_weight *= rate
            weight -= by_weight
            bias -= rate * by_bias
        return loss

    def train(order: np.ndarray | None) -> np.ndarray:
        rows = draw.permutation(len(train_y)) if order is None else order
        return np.array([step(train_x[b], train_y[b]) for b in batches(rows, problem.batch_size)])

    def evaluate() -> tuple[float, float]:
        rows = batches(np.arange(len(test_y)), problem.eval_batch_size)
        measured = [metrics(forward(test_x[b])[-1], test_y[b])[:2] for b in rows]
        loss, accuracy = np.mean(measured, 0)
        return float(loss), float(accuracy)

    return Peer(train, evaluate)
