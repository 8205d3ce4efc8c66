"""One network in PyTorch on a device: eager, captured in CUDA graphs, and under torch.compile.

The data are on the device, and the metrics are fetched once an epoch, as jaxmnist's are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.peers.pytorch import network, tensors
from benchmarks.problem import Peer, Problem

Step = Callable[[torch.Tensor], torch.Tensor]
"""Trains on the images in some rows, and returns the loss and the accuracy before."""


def eager(problem: Problem, device: torch.device) -> Peer:
    """A Python loop over batches."""
    return loop(problem, device, network(problem).to(device), lambda step, _: step)


def compiled(problem: Problem, device: torch.device) -> Peer:
    """The same with a network that torch.compile made, which captures CUDA graphs on a GPU."""
    net: Any = torch.compile(network(problem).to(device), dynamic=False, mode="reduce-overhead")
    return loop(problem, device, net, lambda step, _: step)


def graphs(problem: Problem, device: torch.device) -> Peer:
    """A whole step, the optimizer's update included, in a CUDA graph for each size of batch."""
    net = network(problem).to(device)
    peer = loop(problem, device, net, captured)
    # To capture a step it has to be run.
    with torch.no_grad():
        for leaf, start in zip(net.parameters(), network(problem).parameters(), strict=True):
            leaf.copy_(start)
    return peer


def loop(
    problem: Problem,
    device: torch.device,
    net: Any,
    prepare: Callable[[Step, torch.Tensor], Step],
) -> Peer:
    """Train and evaluate on the device.

    Args:
        problem: What is trained.
        device: Where.
        net: The network, there.
        prepare: Given a step and rows of the size that it will be called with: the step to call.
    """
    train_x, train_y = tensors(problem.train_images, problem.train_labels, device)
    test = tensors(problem.test_images, problem.test_labels, device)
    test_batches = [part.split(problem.eval_batch_size) for part in test]
    optimizer = torch.optim.SGD(net.parameters(), problem.learning_rate)

    def metrics(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = net(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
        return loss, (logits.argmax(1) == y).float().mean()

    def step(rows: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss, accuracy = metrics(train_x[rows], train_y[rows])
        loss.backward()
        optimizer.step()
        return torch.stack((loss.detach(), accuracy))

    samples, size = len(train_y), problem.batch_size
    # An epoch's batches and its last one; the check of the losses ends with half a batch.
    lengths = {size, size // 2, samples % size} - {0}
    steps: dict[int, Step] = {
        length: prepare(step, torch.arange(length, device=device)) for length in lengths
    }

    def train(order: np.ndarray | None) -> np.ndarray:
        if order is None:
            rows = torch.randperm(samples, device=device)
        else:
            rows = torch.tensor(order, dtype=torch.int64, device=device)
        # A copy, since the next step may write its metrics to the same place.
        measured = [steps[len(batch)](batch).clone() for batch in rows.split(size)]
        return torch.stack(measured)[:, 0].cpu().numpy().astype(float)

    @torch.no_grad()
    def evaluate() -> tuple[float, float]:
        measured = [torch.stack(metrics(x, y)).clone() for x, y in zip(*test_batches, strict=True)]
        loss, accuracy = torch.stack(measured).mean(0).tolist()
        return loss, accuracy

    return Peer(train, evaluate)


def captured(step: Step, rows: torch.Tensor) -> Step:
    """Record a step's kernels once, and replay them on other rows.

    Args:
        step: It is run three times first, as PyTorch asks for, and so changes the weights.
        rows: Where the graph reads the rows.

    Returns:
        The replay.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(rows)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        measured = step(rows)

    def replay(others: torch.Tensor) -> torch.Tensor:
        rows.copy_(others)
        graph.replay()
        return measured

    return replay
