"""Many of the tutorial's networks at once in PyTorch: stacked by hand, and by torch.func.vmap."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from benchmarks.peers.pytorch import network, tensors
from benchmarks.problem import Problem


def stacked(problem: Problem, count: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """Return an epoch of so many networks, each layer's weights in one tensor (`torch.baddbmm`)."""
    train, orders, test = data(problem, count, device)
    layers = [
        (
            torch.from_numpy(weight.T.copy()).to(device).expand(count, -1, -1).clone(),
            torch.from_numpy(bias).to(device).expand(count, 1, -1).clone(),
        )
        for weight, bias in problem.weights
    ]
    leaves = [leaf.requires_grad_() for layer in layers for leaf in layer]

    def losses_of(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = x
        for weight, bias in layers[:-1]:
            h = torch.relu(torch.baddbmm(bias, h, weight))
        logits = torch.baddbmm(layers[-1][1], h, layers[-1][0])
        flat = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none"
        )
        accuracy = (logits.argmax(2) == labels).float().mean(1)
        return flat.view(count, -1).mean(1), accuracy

    def epoch() -> torch.Tensor:
        measured = []
        for batch in orders.split(problem.batch_size, dim=1):
            loss, accuracy = losses_of(train[0][batch], train[1][batch])
            gradients = torch.autograd.grad(loss.sum(), leaves)
            with torch.no_grad():
                for leaf, gradient in zip(leaves, gradients, strict=True):
                    leaf.sub_(gradient, alpha=problem.learning_rate)
            measured.append(torch.stack((loss.detach(), accuracy)))
        with torch.no_grad():
            for x, y in test:
                measured.append(
                    torch.stack(losses_of(x.expand(count, *x.shape), y.expand(count, -1)))
                )
        return torch.stack(measured).cpu()

    return epoch


def mapped(problem: Problem, count: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """Return an epoch of so many networks under ``vmap(grad_and_value(loss))``."""
    train, orders, test = data(problem, count, device)
    net = network(problem).to(device)
    params, _ = stack_module_state([copy.deepcopy(net) for _ in range(count)])
    params = {name: leaf.detach().clone() for name, leaf in params.items()}

    def loss_of(params: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[Any, Any]:
        logits = functional_call(net, params, (x,))
        loss = torch.nn.functional.cross_entropy(logits, y)
        return loss, (logits.argmax(1) == y).float().mean()

    step = vmap(grad_and_value(loss_of, has_aux=True))
    measure = vmap(loss_of, in_dims=(0, None, None))

    def epoch() -> torch.Tensor:
        measured = []
        for batch in orders.split(problem.batch_size, dim=1):
            gradients, (loss, accuracy) = step(params, train[0][batch], train[1][batch])
            for name, leaf in params.items():
                leaf.sub_(gradients[name], alpha=problem.learning_rate)
            measured.append(torch.stack((loss, accuracy)))
        with torch.no_grad():
            measured += [torch.stack(measure(params, x, y)) for x, y in test]
        return torch.stack(measured).cpu()

    return epoch


def data(problem: Problem, count: int, device: torch.device) -> tuple[Any, torch.Tensor, Any]:
    """Put the data on the device, with an order for each of so many networks.

    The first one's is that of the data, so that it can be compared with a single run.
    """
    train = tensors(problem.train_images, problem.train_labels, device)
    test = tensors(problem.test_images, problem.test_labels, device)
    generator = torch.Generator(device).manual_seed(0)
    orders = torch.rand(count, len(train[1]), device=device, generator=generator).argsort(1)
    orders[0] = torch.arange(len(train[1]), device=device)
    split = [part.split(problem.eval_batch_size) for part in test]
    return train, orders, list(zip(*split, strict=True))


def check_first(name: str, measured: torch.Tensor, problem: Problem) -> None:
    """Compare the first network's first epoch with a loop over it alone.

    The products of many networks are summed in another order than those of one: the first steps
    agree to float32's rounding, which training then amplifies.

    Args:
        name: The program's, for the message.
        measured: What its first epoch returned.
        problem: What it trained.

    Raises:
        ValueError: The losses differ.
    """
    from benchmarks.peers.pytorch import in_memory

    steps = min(20, len(problem.train_labels) // problem.batch_size)
    expected = in_memory(problem).train(np.arange(steps * problem.batch_size))
    found = measured[:steps, 0, 0].numpy()
    if not np.allclose(found, expected, rtol=1e-4, atol=0):
        raise ValueError(f"{name}: the losses are {found}; one network's are {expected}")
