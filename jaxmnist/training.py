"""A training run as pure functions, from one step to the whole run as one program.

Read from the top: `make_train` is the run, `train_epoch` and `evaluate` its two halves, and
`train_step` and `eval_step` one batch of each. `fit` at the end is the same run under a host
loop, for those who want to see every epoch as it ends, or whose data do not fit in memory.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jaxmnist import optim
from jaxmnist.config import Config, Hyper, hyper
from jaxmnist.data.batches import normalize, permutation
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.data.stream import pieces
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.errors import InputError
from jaxmnist.losses import accuracy, cross_entropy_with_integer_labels, softmax
from jaxmnist.model import MLP

Params = PyTree[Array]
ApplyFn = Callable[..., Any]
"""``apply_fn(params, x) -> logits``, such as a Linen module's ``apply``."""
Scan = Callable[..., tuple[Any, Any]]
"""``scan(body, carry, xs) -> (carry, ys)``, as ``jax.lax.scan``."""


class TrainState(NamedTuple):
    """Everything a step changes."""

    params: Params
    """What ``model.init`` returned, moved along."""
    opt_state: optax.OptState
    """The optimizer's accumulators."""


class BatchMetrics(NamedTuple):
    """What one batch measured, or a whole epoch's batches stacked on the first axis."""

    loss: Float[Array, "*steps"]
    """Mean cross-entropy over the batch, in nats."""
    accuracy: Float[Array, "*steps"]
    """Share of the batch classified correctly."""


class History(NamedTuple):
    """The four figures of an epoch (D9) and their per-sample twins; a run stacks its epochs.

    The document averages batch means, so a short last batch weighs as much as a full one. The
    ``_per_sample`` figures weigh every image the same.
    """

    train_loss: Float[Array, "*epochs"]
    train_accuracy: Float[Array, "*epochs"]
    eval_loss: Float[Array, "*epochs"]
    eval_accuracy: Float[Array, "*epochs"]
    train_loss_per_sample: Float[Array, "*epochs"]
    train_accuracy_per_sample: Float[Array, "*epochs"]
    eval_loss_per_sample: Float[Array, "*epochs"]
    eval_accuracy_per_sample: Float[Array, "*epochs"]


Train = Callable[[Key[Array, ""], Hyper, Arrays], tuple[TrainState, History]]
"""A whole run: ``train(key, hyper, data) -> (state, history)``, pure."""


def make_train(config: Config, num_classes: int = 10, scan: Scan = jax.lax.scan) -> Train:
    """Build the whole run as one pure function, to be jitted, mapped or differentiated.

    The config fixes shapes and names only: its ``seed`` and ``learning_rate`` are not read here.
    They arrive as ``key`` and ``hyper``, so one compiled program serves every seed and every
    value of every hyperparameter.

    Args:
        config: Layers, optimizer, convention, epochs and batch sizes.
        num_classes: Number of logits.
        scan: What loops over epochs, steps and test batches: `jaxmnist.checkpointed_scan` for
            reverse derivatives through runs of any length.

    Returns:
        ``train(key, hyper, data) -> (state, history)``; every array of the history has one
        entry per epoch.

    Raises:
        InputError: When traced, if a batch is larger than the data, or the config's dtype is
            float64 while JAX's 64-bit numbers are off.

    Source: document rows D6-D9.

    >>> from jaxmnist import load_dataset
    >>> config = Config(epochs=2)
    >>> data = jax.tree.map(lambda x: x[:1000], load_dataset("mnist").arrays())
    >>> train = jax.jit(make_train(config))
    >>> state, history = train(jax.random.key(0), hyper(config), data)
    >>> history.eval_loss.shape
    (2,)
    """

    def train(key: Key[Array, ""], hyper: Hyper, data: Arrays) -> tuple[TrainState, History]:
        check_batches_fit(config, data)

        def epoch(state: TrainState, index: Int[Array, ""]) -> tuple[TrainState, History]:
            state, figures, _ = train_and_evaluate(
                config, num_classes, key, hyper, data, index, state, scan
            )
            return state, figures

        state = init(key, hyper, config, num_classes)
        return scan(epoch, state, jnp.arange(config.epochs))

    return train


def init(key: Key[Array, ""], hyper: Hyper, config: Config, num_classes: int = 10) -> TrainState:
    """Draw the initial weights and start the optimizer.

    Args:
        key: The run's key; the weights depend on it alone.
        hyper: The optimizer's float arguments, and perhaps ``init_scale``.
        config: Layers, optimizer and convention.
        num_classes: Number of logits.

    Returns:
        The state before the first step.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.
    """
    model, tx = model_and_optimizer(config, num_classes, hyper)
    init_key, _ = jax.random.split(key)
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    params = jax.tree.map(
        lambda leaf: leaf.astype(dtype), model.init(init_key, jnp.zeros((1, 28, 28)))
    )
    if "init_scale" in hyper:
        params = jax.tree.map(
            lambda leaf: jnp.asarray(hyper["init_scale"], leaf.dtype) * leaf, params
        )
    return TrainState(params, tx.init(params))


def model_and_optimizer(
    config: Config, num_classes: int, hyper: Hyper
) -> tuple[MLP, optax.GradientTransformation]:
    """Build what a run trains, and what with.

    Args:
        config: Layers, optimizer, convention and dtype.
        num_classes: Number of logits.
        hyper: The optimizer's float arguments. A dict of learning rates makes an optimizer of
            each layer's own; ``init_scale`` is for `init`, and is passed over.

    Returns:
        The Flax module, and the optimizer for its parameters.

    Raises:
        InputError: The dict's layers are not the network's, the optimizer takes no such argument,
            or the config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: document rows D7, D8 and D20-D25.

    >>> model, tx = model_and_optimizer(Config(), 10, hyper(Config()))
    >>> model.hidden
    (256, 128, 64, 20)
    """
    check_precision(config)
    model = MLP(config.hidden, num_classes, config.dtype)
    arguments = {name: value for name, value in hyper.items() if name != "init_scale"}
    create = functools.partial(optim.create, config.optimizer, convention=config.convention)
    rates = arguments.get("learning_rate")
    if not isinstance(rates, dict):
        return model, create(**arguments)
    layers = [f"dense_{index}" for index in range(len(config.hidden) + 1)]
    if sorted(rates) != sorted(layers):
        raise InputError(
            f"learning_rate has the layers {', '.join(sorted(rates))}; "
            f"the network's are {', '.join(layers)}"
        )
    each: dict[Any, optax.GradientTransformation] = {
        layer: create(**{**arguments, "learning_rate": rates[layer]}) for layer in layers
    }
    return model, optax.partition(each, {"params": {layer: layer for layer in layers}})


def train_epoch(
    state: TrainState,
    order: Int[Array, " visits"],
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> tuple[TrainState, BatchMetrics]:
    """Take one step on every batch of the shuffled data, the short last one included.

    Args:
        state: Before the epoch.
        order: A permutation of the samples: batch k is ``order[k * batch_size:][:batch_size]``.
            A part of one makes a part of an epoch.
        images: All training images.
        labels: Their classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: The optimizer.
        batch_size: Images in a full batch.
        scan: What loops over the steps, as in `make_train`.

    Returns:
        The state after the epoch, and each batch's figures, measured before its own step.

    Source: document rows D6 and D9: 938 batches of 64, the last of 32.
    """

    def step(state: TrainState, batch: Int[Array, " batch"]) -> tuple[TrainState, BatchMetrics]:
        return train_step(
            state, _take(images, batch), _take(labels, batch), apply_fn=apply_fn, tx=tx
        )

    full_batches = order.size // batch_size
    split = full_batches * batch_size
    state, metrics = scan(step, state, order[:split].reshape(full_batches, batch_size))
    if split < order.size:
        state, last = step(state, order[split:])
        metrics = _append(metrics, last)
    return state, metrics


def epoch_order(
    key: Key[Array, ""], index: Int[Array, ""] | int, samples: int
) -> Int[Array, " samples"]:
    """Shuffle the training images for an epoch.

    Args:
        key: The run's key.
        index: The epoch, from 0.
        samples: How many images there are, below 2**24.

    Returns:
        The order in which they are taken: it depends on the arguments alone, whatever was trained
        before and wherever the images are.

    Source: document row D6.

    >>> epoch_order(jax.random.key(0), 3, 5).sort()
    Array([0, 1, 2, 3, 4], dtype=int32)
    """
    _, data_key = jax.random.split(key)
    return permutation(jax.random.fold_in(data_key, index), samples)


def evaluate(
    params: Params,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
    *,
    apply_fn: ApplyFn,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> BatchMetrics:
    """Measure every batch of the data in its stored order, the short last one included.

    Args:
        params: The model's parameters.
        images: All test images.
        labels: Their classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        batch_size: Images in a full batch.
        scan: What loops over the batches, as in `make_train`.

    Returns:
        Each batch's figures.

    Source: document rows D6 and D9: 79 batches of 128, the last of 16.
    """
    full_batches = labels.size // batch_size
    split = full_batches * batch_size
    _, metrics = scan(
        lambda _, batch: (None, eval_step(params, *batch, apply_fn=apply_fn)),
        None,
        (
            images[:split].reshape(full_batches, batch_size, *images.shape[1:]),
            labels[:split].reshape(full_batches, batch_size),
        ),
    )
    if split < labels.size:
        metrics = _append(
            metrics, eval_step(params, images[split:], labels[split:], apply_fn=apply_fn)
        )
    return metrics


def train_step(
    state: TrainState,
    images: UInt8[Array, "batch 28 28"],
    labels: Int[Array, " batch"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, BatchMetrics]:
    """Move the parameters once along the optimizer's update for one batch.

    Args:
        state: Before the step.
        images: The batch, as stored; it is normalised here.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: The optimizer.

    Returns:
        The state after the step, and the batch's figures before it.

    Source: document row D8.
    """

    def loss_and_logits(params: Params) -> tuple[Float[Array, ""], Float[Array, "batch classes"]]:
        logits = apply_fn(params, inputs(images, params))
        return cross_entropy_with_integer_labels(logits, labels), logits

    (loss, logits), grads = jax.value_and_grad(loss_and_logits, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state), BatchMetrics(loss, accuracy(logits, labels))


def eval_step(
    params: Params,
    images: UInt8[Array, "batch 28 28"],
    labels: Int[Array, " batch"],
    *,
    apply_fn: ApplyFn,
) -> BatchMetrics:
    """Measure one batch without moving anything.

    Args:
        params: The model's parameters.
        images: The batch, as stored; it is normalised here.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        The batch's figures.
    """
    logits = apply_fn(params, inputs(images, params))
    return BatchMetrics(cross_entropy_with_integer_labels(logits, labels), accuracy(logits, labels))


def average(
    metrics: BatchMetrics, batch_size: int, samples: int
) -> tuple[BatchMetrics, BatchMetrics]:
    """Average an epoch's batches in both ways: each batch the same, and each sample the same.

    Args:
        metrics: Each batch's figures; all batches are full but perhaps the last.
        batch_size: Samples in a full batch.
        samples: Samples in all batches.

    Returns:
        The mean over batches, as the document takes it, and the mean over samples.

    Source: document row D9.

    >>> metrics = BatchMetrics(loss=jnp.array([1.0, 4.0]), accuracy=jnp.array([0.5, 1.0]))
    >>> [float(means.loss) for means in average(metrics, batch_size=2, samples=3)]
    [2.5, 2.0]
    """
    sizes = jnp.minimum(batch_size, samples - batch_size * jnp.arange(metrics.loss.size))
    weights = sizes.astype(metrics.loss.dtype) / samples
    return (
        BatchMetrics(*(jnp.mean(values) for values in metrics)),
        BatchMetrics(*(jnp.sum(values * weights) for values in metrics)),
    )


def predict(
    params: Params, images: UInt8[Array, "batch 28 28"], *, apply_fn: ApplyFn
) -> Float[Array, "batch classes"]:
    """Give each image's probability of each class.

    Args:
        params: The model's parameters.
        images: As stored; they are normalised here.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        Probabilities that sum to 1 over the last axis.

    Source: document rows D3 and D10.
    """
    return softmax(apply_fn(params, inputs(images, params)))


def inputs(images: UInt8[Array, "*shape"], params: Params) -> Float[Array, "*shape"]:
    """Normalise images in the precision of the parameters that they are for.

    Args:
        images: As stored.
        params: The model's parameters.

    Returns:
        The images in float64 if a parameter is, else in float32.

    Source: document row D5.
    """
    is_wide = any(jnp.result_type(leaf) == jnp.float64 for leaf in jax.tree.leaves(params))
    return normalize(images, jnp.float64 if is_wide else jnp.float32)


def check_precision(config: Config) -> None:
    """Refuse float64 where JAX would silently compute in float32.

    Args:
        config: The run.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.
    """
    if config.dtype == "float64" and jnp.result_type(float) != jnp.float64:
        raise InputError(
            "dtype is float64, and JAX's 64-bit numbers are off: "
            "put the call inside `with jax.enable_x64(True):`"
        )


def sizes(data: Arrays | Dataset | PreparedSet) -> tuple[int, int]:
    """Count the training and the test images.

    Args:
        data: In memory or on disk.

    Returns:
        How many there are of each.
    """
    if isinstance(data, PreparedSet):
        return len(data.train), len(data.test)
    return data.train_labels.size, data.test_labels.size


def check_batches_fit(config: Config, data: Arrays | Dataset | PreparedSet) -> None:
    """Refuse batches that are larger than the data.

    Args:
        config: The run.
        data: What it would run on.

    Raises:
        InputError: A batch is larger than the data.
    """
    train, test = sizes(data)
    for name, batch_size, samples in (
        ("batch_size", config.batch_size, train),
        ("eval_batch_size", config.eval_batch_size, test),
    ):
        if batch_size > samples:
            raise InputError(f"{name} is {batch_size}; the data has only {samples} images for it")


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
    same for the same seed, and so are the weights and every batch's figures, to the last bit; an
    epoch's means may differ in the last bits, as another program sums them.

    Args:
        config: The run, its seed and learning rate included.
        dataset: The images, in memory or as `jaxmnist.data.open_stream` returns them.
        state: Where to begin, such as where an earlier run was stopped; None for the start.
        epoch: The first epoch to run, from 0: how many are behind ``state``.
        on_compiled: Called once, when the program is ready and the first epoch begins.
        on_progress: Called within the epochs of a `PreparedSet` with the number of epochs so
            far, such as 2.5.
        on_epoch: Called after each epoch with its index from 0, the state, and its figures.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        InputError: A batch is larger than the data, or a record cannot be read.
        DivergedError: A loss is NaN or infinite; it carries what was reached before.

    >>> from jaxmnist import load_dataset
    >>> mnist = load_dataset("mnist")
    >>> state, history = fit(Config(epochs=1), mnist)
    >>> bool(history.eval_accuracy[-1] > 0.9)
    True
    """
    check_batches_fit(config, dataset)
    key = jax.random.key(config.seed)
    # What the programs do not depend on is blanked, so that the next fit finds them compiled.
    program = replace(config, epochs=1, seed=0, learning_rate=None)
    start = state or _jitted_init(key, hyper(config), program, dataset.num_classes)
    if isinstance(dataset, PreparedSet):
        run_epoch = _compile_pieces(program, key, hyper(config), dataset, start, on_progress)
    else:
        run_epoch = _compile_epoch(program, key, hyper(config), dataset, start)
    on_compiled()
    return run_epochs(run_epoch, start, range(epoch, config.epochs), on_epoch)


RunEpoch = Callable[[int, TrainState], tuple[TrainState, History, Any]]
"""An epoch by its index: the state after it, its figures, and each batch's train loss."""


def run_epochs(
    run_epoch: RunEpoch,
    state: TrainState,
    indices: range,
    on_epoch: Callable[[int, TrainState, History], None],
) -> tuple[TrainState, History]:
    """Run epochs one after another, and stop where a loss stops being finite.

    Args:
        run_epoch: From an epoch's index and the state before it to the state after it, its
            figures, and each batch's train loss.
        state: Before the first of them.
        indices: Which epochs.
        on_epoch: Called after each epoch with its index, the state, and its figures.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        DivergedError: A loss is NaN or infinite; it carries what was reached before.
    """
    epochs: list[History] = []
    for index in indices:
        reached = state
        state, figures, losses = run_epoch(index, state)
        losses = np.append(losses, figures.eval_loss)
        broken = ~np.isfinite(losses)
        if broken.any():
            step = int(broken.argmax())
            raise DivergedError(index, step, float(losses[step]), reached, _stack(epochs))
        epochs.append(figures)
        on_epoch(index, state, figures)
    return state, _stack(epochs)


def _compile_epoch(
    config: Config, key: Key[Array, ""], hyper: Hyper, dataset: Dataset, state: TrainState
) -> RunEpoch:
    """Compile an epoch on images in memory: one program."""
    constants = (config, dataset.num_classes, key, hyper, dataset.arrays())
    _jitted_epoch.lower(*constants, 0, state).compile()
    return lambda index, state: jax.block_until_ready(_jitted_epoch(*constants, index, state))


def train_and_evaluate(
    config: Config,
    num_classes: int,
    key: Key[Array, ""],
    hyper: Hyper,
    data: Arrays,
    index: Int[Array, ""] | int,
    state: TrainState,
    scan: Scan = jax.lax.scan,
    place: Callable[[ApplyFn], ApplyFn] = lambda apply_fn: apply_fn,
) -> tuple[TrainState, History, Float[Array, " steps"]]:
    """Train on every batch once and evaluate: one epoch of `make_train` and of `fit`.

    Args:
        config: Layers, optimizer, convention and batch sizes.
        num_classes: Number of logits.
        key: The run's key.
        hyper: The optimizer's float arguments.
        data: The images.
        index: The epoch's index, from 0; with the key it gives the order.
        state: Before the epoch.
        scan: What runs the steps; see `make_train`.
        place: Wraps the model's ``apply``, such as to spread a batch over devices.

    Returns:
        The state after the epoch, its figures, and each batch's train loss.
    """
    model, tx = model_and_optimizer(config, num_classes, hyper)
    apply_fn = place(model.apply)
    state, train_metrics = train_epoch(
        state,
        epoch_order(key, index, data.train_labels.size),
        data.train_images,
        data.train_labels,
        apply_fn=apply_fn,
        tx=tx,
        batch_size=config.batch_size,
        scan=scan,
    )
    eval_metrics = evaluate(
        state.params,
        data.test_images,
        data.test_labels,
        apply_fn=apply_fn,
        batch_size=config.eval_batch_size,
        scan=scan,
    )
    figures = _figures(config, train_metrics, eval_metrics, *sizes(data))
    return state, figures, train_metrics.loss


def _figures(
    config: Config,
    train_metrics: BatchMetrics,
    eval_metrics: BatchMetrics,
    train_samples: int,
    test_samples: int,
) -> History:
    train_figures = average(train_metrics, config.batch_size, train_samples)
    eval_figures = average(eval_metrics, config.eval_batch_size, test_samples)
    return History(*train_figures[0], *eval_figures[0], *train_figures[1], *eval_figures[1])


# Images in a piece of a stream, unless a single batch has more: enough to hide what a dispatch
# costs, and a few megabytes.
_PIECE = 4096


def _compile_pieces(
    config: Config,
    key: Key[Array, ""],
    hyper: Hyper,
    prepared: PreparedSet,
    state: TrainState,
    on_progress: Callable[[float], None],
) -> RunEpoch:
    """Compile an epoch on images on disk: a program for every piece, and one for a short last."""
    constants = (config, prepared.num_classes, hyper)
    samples, test_samples = sizes(prepared)
    size, test_size = _piece_size(config.batch_size), _piece_size(config.eval_batch_size)
    for program, moved, total, full in (
        (_jitted_train_piece, state, samples, size),
        (_jitted_eval_piece, state.params, test_samples, test_size),
    ):
        for count in {min(full, total), total % full} - {0}:
            images = jax.ShapeDtypeStruct((count, 28, 28), jnp.uint8)
            labels = jax.ShapeDtypeStruct((count,), jnp.int32)
            program.lower(*constants, moved, images, labels).compile()

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, History, Any]:
        order = np.asarray(_jitted_epoch_order(key, index, samples))
        with contextlib.closing(pieces(prepared, "train", order, size)) as iterator:
            state, train_metrics = _over_pieces(
                functools.partial(_jitted_train_piece, *constants),
                state,
                iterator,
                lambda done: on_progress(index + min(1.0, done * size / samples)),
            )
        if not np.isfinite(train_metrics.loss).all():
            nothing = jnp.full(len(History._fields), jnp.nan)
            return state, History(*nothing), train_metrics.loss
        stored_order = range(test_samples)
        with contextlib.closing(pieces(prepared, "test", stored_order, test_size)) as iterator:
            _, eval_metrics = _over_pieces(
                functools.partial(_jitted_eval_piece, *constants), state.params, iterator
            )
        figures = _jitted_figures(config, train_metrics, eval_metrics, samples, test_samples)
        return state, figures, train_metrics.loss

    return run_epoch


def _piece_size(batch_size: int) -> int:
    """Return how many images a piece has: whole batches, at least one."""
    return batch_size * max(1, _PIECE // batch_size)


def _over_pieces(
    program: Callable[..., tuple[Any, BatchMetrics]],
    carry: Any,
    iterator: Iterator[tuple[np.ndarray, np.ndarray]],
    on_piece: Callable[[int], None] = lambda _: None,
) -> tuple[Any, BatchMetrics]:
    """Run a program over every piece, or until a loss is not finite; stack the batches' figures.

    To call it is only to dispatch it. While the device computes a piece, the next one is read and
    copied there; then the figures of the one before are waited for, which keeps the host from
    running further ahead: two pieces at most are on the device.
    """
    metrics: list[BatchMetrics] = []
    for piece in iterator:
        carry, figures = program(carry, *jax.device_put(piece))
        metrics.append(figures)
        if len(metrics) > 1:
            metrics[-2] = jax.device_get(metrics[-2])
            if not np.isfinite(metrics[-2].loss).all():
                break
            on_piece(len(metrics) - 1)
    metrics[-1] = jax.device_get(metrics[-1])
    on_piece(len(metrics))
    stacked = (jnp.asarray(np.concatenate(values)) for values in zip(*metrics, strict=True))
    return carry, BatchMetrics(*stacked)


def _train_piece(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    state: TrainState,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
) -> tuple[TrainState, BatchMetrics]:
    """Take one step on every batch of a piece that is in the epoch's order already."""
    model, tx = model_and_optimizer(config, num_classes, hyper)
    order = jnp.arange(labels.size)
    return train_epoch(
        state, order, images, labels, apply_fn=model.apply, tx=tx, batch_size=config.batch_size
    )


def _eval_piece(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    params: Params,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
) -> tuple[Params, BatchMetrics]:
    """Measure every batch of a piece."""
    model, _ = model_and_optimizer(config, num_classes, hyper)
    batch_size = config.eval_batch_size
    metrics = evaluate(params, images, labels, apply_fn=model.apply, batch_size=batch_size)
    return params, metrics


_jitted_init = jax.jit(init, static_argnums=(2, 3))
_jitted_epoch = jax.jit(train_and_evaluate, static_argnums=(0, 1))
_jitted_train_piece = jax.jit(_train_piece, static_argnums=(0, 1))
_jitted_eval_piece = jax.jit(_eval_piece, static_argnums=(0, 1))
_jitted_figures = jax.jit(_figures, static_argnums=(0, 3, 4))
_jitted_epoch_order = jax.jit(epoch_order, static_argnums=2)


def _take(array: Array, indices: Int[Array, " batch"]) -> Array:
    """Read rows that are known to exist, without the usual clamping of the indices."""
    return array.at[indices].get(mode="promise_in_bounds")


def _append(metrics: BatchMetrics, last: BatchMetrics) -> BatchMetrics:
    return jax.tree.map(lambda many, one: jnp.append(many, one), metrics, last)


def _stack(epochs: list[History]) -> History:
    return History(*jnp.asarray(epochs).reshape(-1, len(History._fields)).T)
