"""PyTorch: the tutorial's program, its loop on tensors in memory, and that under torch.compile."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.problem import Peer, Problem, normalized

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def tutorial(problem: Problem) -> Peer:
    """The tutorial's program: a DataLoader transforms every image on its own."""
    train = Pictures(problem.train_images, problem.train_labels)
    test = DataLoader(
        Pictures(problem.test_images, problem.test_labels), problem.eval_batch_size, shuffle=False
    )
    shuffled = DataLoader(train, problem.batch_size, shuffle=True)

    def training(order: np.ndarray | None) -> Batches:
        if order is None:
            return shuffled
        return DataLoader(train, problem.batch_size, sampler=order.tolist())

    return loop(network(problem), problem, training, lambda: test)


def in_memory(problem: Problem, compile_network: Callable[[Any], Any] = lambda net: net) -> Peer:
    """The same loop on tensors that are normalised once, without gradients in the evaluation."""
    train_x, train_y = tensors(problem.train_images, problem.train_labels)
    test_x, test_y = tensors(problem.test_images, problem.test_labels)

    def training(order: np.ndarray | None) -> Batches:
        rows = torch.randperm(len(train_y)) if order is None else torch.tensor(order)
        return ((train_x[batch], train_y[batch]) for batch in rows.split(problem.batch_size))

    def testing() -> Batches:
        size = problem.eval_batch_size
        return zip(test_x.split(size), test_y.split(size), strict=True)

    peer = loop(compile_network(network(problem)), problem, training, testing)
    return Peer(peer.train, torch.no_grad()(peer.evaluate))


def compiled(problem: Problem) -> Peer:
    """The loop in memory with the network compiled for each size of its batches."""
    return in_memory(problem, lambda net: torch.compile(net, dynamic=False))


def network(problem: Problem) -> torch.nn.Sequential:
    """The tutorial's network, with the problem's first weights."""
    layers: list[torch.nn.Module] = []
    for weight, bias in problem.weights:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def loop(
    net: Any,
    problem: Problem,
    training: Callable[[np.ndarray | None], Batches],
    testing: Callable[[], Batches],
) -> Peer:
    """The tutorial's loop over an epoch's batches and over the test set's."""
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), problem.learning_rate)

    def accuracy(logits: torch.Tensor, y: torch.Tensor) -> float:
        return (logits.max(1)[1] == y).sum().item() / len(y)

    def train(order: np.ndarray | None) -> np.ndarray:
        losses, accuracies = [], []
        net.train()
        for x, y in training(order):
            logits = net(x)
            loss = loss_function(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            accuracies.append(accuracy(logits, y))
        return np.array(losses)

    def evaluate() -> tuple[float, float]:
        measured = []
        net.eval()
        for x, y in testing():
            logits = net(x)
            measured.append((loss_function(logits, y).item(), accuracy(logits, y)))
        loss, right = np.mean(measured, 0)
        return float(loss), float(right)

    return Peer(train, evaluate)


class Pictures(Dataset):
    """Images and labels, transformed one by one as torchvision and the tutorial do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[index].numpy())
        x = np.array(picture, dtype="float32") / 255
        x = (x - 0.5) / 0.5
        return torch.from_numpy(x.reshape((-1,))), int(self.labels[index])


def tensors(
    images: np.ndarray, labels: np.ndarray, device: Any = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised rows and their labels on a device."""
    x = torch.from_numpy(normalized(images))
    return x.to(device), torch.from_numpy(labels.astype(np.int64)).to(device)
