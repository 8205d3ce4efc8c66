"""A run epoch by epoch from Python: it reports every epoch and stops where the loss diverges."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.training import streaming
from jaxmnist.training.epoch import train_and_evaluate
from jaxmnist.training.setup import init
from jaxmnist.training.state import History, RunEpoch, TrainState, check_batches_fit


def fit(
    config: Config,
    dataset: Dataset | PreparedSet,
    *,
    state: TrainState | None = None,
    epoch: int = 0,
    on_compiled: Callable[[], None] = lambda: None,
    on_progress: Callable[[float], None] = lambda _: None,
    on_epoch: Callable[[int, TrainState, History], None] = lambda *_: None,
) -> tuple[TrainState, History]:
    """Run the epochs one by one from Python, with the numbers of ``jit(make_train(config))``.

    A set in memory is trained on an epoch at a time. Of a `PreparedSet` some twenty thousand
    images are in memory at once (16 MB), read and copied to the device while those before them
    are trained on, and four bytes for each image's place in the epoch's order. Its batches are the
    same for the same seed, and so are the weights and every batch's metrics, to the last bit; an
    epoch's means may differ in the last bits, as another program sums them.

    Args:
        config: The run, its seed and learning rate included.
        dataset: The images, in memory or as `jaxmnist.data.open_stream` returns them.
        state: The state to start from, such as an earlier run's last; None for a new one.
        epoch: The first epoch to run, from 0: how many were trained before ``state``.
        on_compiled: Called once, when the program is ready and the first epoch begins.
        on_progress: Called within the epochs of a `PreparedSet` with the number of epochs so
            far, such as 2.5.
        on_epoch: Called after each epoch with its index from 0, the state, and its metrics.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        InputError: A batch is larger than the data, or a record cannot be read.
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.

    >>> from jaxmnist import load_dataset
    >>> mnist = load_dataset("mnist")
    >>> state, history = fit(Config(epochs=1), mnist)
    >>> bool(history.eval_accuracy[-1] > 0.9)
    True
    """
    check_batches_fit(config, dataset)
    key = jax.random.key(config.seed)
    # An epoch's program does not depend on their number: the next fit finds it compiled.
    program = replace(config, epochs=1).program()
    hyper = default_hyper(config)
    start = state or _jitted_init(key, hyper, program, dataset.num_classes)
    if isinstance(dataset, PreparedSet):
        run_epoch = streaming.compile_pieces(program, key, hyper, dataset, start, on_progress)
    else:
        run_epoch = _compile_epoch(program, key, hyper, dataset, start)
    on_compiled()
    return run_epochs(run_epoch, start, range(epoch, config.epochs), on_epoch)


def run_epochs(
    run_epoch: RunEpoch,
    state: TrainState,
    indices: range,
    on_epoch: Callable[[int, TrainState, History], None],
) -> tuple[TrainState, History]:
    """Run epochs one after another, and stop where a loss stops being finite.

    Args:
        run_epoch: From an epoch's index and the state before it to the state after it, its
            metrics, and each batch's train loss.
        state: Before the first of them.
        indices: Which epochs.
        on_epoch: Called after each epoch with its index, the state, and its metrics.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.
    """
    epochs: list[History] = []
    for index in indices:
        reached = state
        state, metrics, losses = run_epoch(index, state)
        losses = np.append(losses, metrics.eval_loss)
        broken = ~np.isfinite(losses)
        if broken.any():
            step = int(broken.argmax())
            raise DivergedError(index, step, float(losses[step]), reached, _stack(epochs))
        epochs.append(metrics)
        on_epoch(index, state, metrics)
    return state, _stack(epochs)


class DivergedError(ArithmeticError):
    """A loss became NaN or infinite.

    Attributes:
        epoch: The epoch it happened in, from 0.
        step: The first step of that epoch with such a loss, from 0; the number of steps if only
            the evaluation after them has it.
        loss: That loss.
        state: The state before that epoch.
        history: The epochs before it.
    """

    def __init__(
        self, epoch: int, step: int, loss: float, state: TrainState, history: History
    ) -> None:
        super().__init__(f"the loss became {loss} at step {step} of epoch {epoch}")
        self.epoch, self.step, self.loss = epoch, step, loss
        self.state, self.history = state, history


def _compile_epoch(
    config: Config, key: Key[Array, ""], hyper: Hyper, dataset: Dataset, state: TrainState
) -> RunEpoch:
    """Compile an epoch on images in memory: one program."""
    constants = (config, dataset.num_classes, key, hyper, dataset.arrays())
    _jitted_epoch.lower(*constants, 0, state).compile()
    return lambda index, state: jax.block_until_ready(_jitted_epoch(*constants, index, state))


def _stack(epochs: list[History]) -> History:
    return History(*jnp.asarray(epochs).reshape(-1, len(History._fields)).T)


_jitted_init = jax.jit(init, static_argnums=(2, 3))
_jitted_epoch = jax.jit(train_and_evaluate, static_argnums=(0, 1))
