"""`verify.training`: the tutorial's run in both frameworks, compared from start to end."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from jaxmnist.config import Config, Hyper
from jaxmnist.data import load_dataset
from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.tasks import Task
from jaxmnist.training import as_task, check_batches_fit
from jaxmnist.verify.precision import check_dtype
from jaxmnist.verify.references import Recurrence
from jaxmnist.verify.whole_run.jax_run import run_in_jax
from jaxmnist.verify.whole_run.task_run import TorchProgram, compare_task
from jaxmnist.verify.whole_run.torch_run import (
    OnTensors,
    TorchOptimizer,
    run_in_torch,
    torch_optimizer,
)
from jaxmnist.verify.whole_run.verdict import TrainingResult, check_finite, judge


def training(
    config: Config | Task,
    dataset: Any = None,
    *,
    dtype: str = "float64",
    epochs: int | None = None,
    perturb: bool = True,
    reference: Callable[[Iterable[Any]], TorchOptimizer] | Recurrence | None = None,
    torch: TorchProgram | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    seed: int = 0,
    hyper: Hyper | None = None,
) -> TrainingResult:
    """Train in JAX and in PyTorch from the same weights on the same batches, and compare both.

    Ours is `jaxmnist.make_train`'s program, and for every batch's metrics `train_epoch`'s. The
    other is the tutorial's loop in PyTorch, which shares with ours the initial weights and each
    epoch's order and nothing else: it normalises, batches, differentiates and averages by itself.

    A loss may be off by ten times its error growth so far, which is the effect of a one-ULP
    perturbation of the initial weights: the running maximum over five perturbed starts, and no
    less than one ULP (`jaxmnist.verify.rounding`). So may an epoch's mean losses, and the weights'
    displacements by ten times theirs. An accuracy may differ by the samples whose two largest
    logits were closer than that, and by nothing else.

    With the convention "pytorch", and for SGD with any, the other optimizer is the one in
    `torch.optim`. PyTorch does not have the arithmetic of the other conventions; there it is the
    formula, `numpy_reference`, applied to torch's gradients.

    Any task is compared with a `TorchProgram`, which says how its module, loss and optimizer are
    written in PyTorch; compared are every batch's loss, the epochs' evaluation and, if the program
    can tell them, the weights.

    Args:
        config: The run, whose convention decides which optimizer PyTorch uses; or a task.
        dataset: The images, None for MNIST; of a task the pair of training and test data.
        dtype: float64 or float32, of the weights and all arithmetic.
        epochs: In place of the config's.
        perturb: Whether to measure the error growth. If not, half of the dtype's digits must agree
            throughout, ``sqrt(eps)``, and there is no verdict on what does not.
        reference: PyTorch's optimizer, in place of the config's: a factory such as
            ``torch.optim.Adam``, called with the parameters, or a `Recurrence`.
        torch: For a task, its counterpart.
        batch_size: For a task, as in `jaxmnist.make_train`; so are the next three.
        eval_batch_size: For a task; by default ``batch_size``.
        seed: For a task.
        hyper: For a task; None for its own.

    Returns:
        The result; it prints as a table.

    Raises:
        InputError: PyTorch is not installed, a batch is larger than the data, the dtype is
            another, or the loss becomes NaN or infinite in both frameworks at the same step.

    Source: tutorial rows D5 to D9 and D20 to D25.

    >>> import jaxmnist as jm
    >>> mnist = jm.load_dataset("mnist")
    >>> some = jm.Dataset(
    ...     mnist.train_images[:650], mnist.train_labels[:650],
    ...     mnist.test_images[:245], mnist.test_labels[:245], num_classes=10, name="some",
    ... )
    >>> config = jm.Config(hidden=(16,), optimizer="adam", convention="pytorch", epochs=1)
    >>> result = training(config, some)
    >>> result.passed, result.verdict, result.steps_per_epoch
    (True, 'rounding', 11)
    """
    require_torch()
    check_dtype(dtype)
    if not isinstance(config, Config):
        if torch is None:
            raise InputError(
                "a task is compared with its counterpart in PyTorch; give it as "
                "torch=verify.TorchProgram(module, loss, optimizer)"
            )
        task, epochs, batches = as_task(config, 0, epochs, batch_size, eval_batch_size)
        return compare_task(
            task,
            dataset,
            torch,
            hyper=hyper,
            epochs=epochs,
            batches=batches,
            seed=seed,
            dtype=dtype,
            perturb=perturb,
        )
    config = replace(config, dtype=dtype, epochs=config.epochs if epochs is None else epochs)
    dataset = load_dataset("mnist") if dataset is None else dataset
    check_batches_fit(config, dataset)

    ours = run_in_jax(config, dataset, dtype, perturb)
    if reference is None:
        make_optimizer = torch_optimizer(config)
    elif isinstance(reference, Recurrence):
        make_optimizer = partial(OnTensors, reference)
    else:
        make_optimizer = reference
    theirs = run_in_torch(config, dataset, dtype, ours.start, ours.orders, make_optimizer)
    check_finite(ours.batches.loss, theirs.train.loss)
    return judge(ours, theirs, config, dtype)
