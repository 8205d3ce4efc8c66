"""Adapters that give optimizers of Optax, PyTorch and NumPy one interface.

An adapter holds parameters by name, takes gradients by name, and returns the optimizer's
accumulators under names that mean the same for every kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import optax

from jaxmnist import optim
from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.gradient_sources.gradients import Loss
from jaxmnist.verify.named_trees import Layout, Named
from jaxmnist.verify.programs import compiled
from jaxmnist.verify.references import Recurrence

States = dict[str, Named]
"""What an accumulator means -> leaf -> its array."""

MEANINGS: Final[Mapping[str, str]] = {
    # Optax's, and those of PyTorch's optimizers that are not here.
    "trace": "velocity",
    "grad_avg": "average gradient",
    "e_g": "average square",
    "max_exp_avg_sq": "largest average square",
    "nu_max": "largest average square",
    "e_x": "average squared change",
    **{
        field: meaning
        for entry in optim.ENTRIES.values()
        for ours, meaning in entry.meanings.items()
        for field in (ours, *([entry.torch.accumulators[ours]] if entry.torch else []))
    },
}
"""What every accumulator's name means: ours, Optax's and PyTorch's."""


class Adapter(ABC):
    """An optimizer with its parameters, whatever its kind."""

    @property
    @abstractmethod
    def params(self) -> Named:
        """The current parameters."""

    @abstractmethod
    def step(self, gradients: Named, loss: Loss | None = None) -> None:
        """Take one step, with the loss for those that ask for it."""

    @abstractmethod
    def restarted(self, params: Any) -> "Adapter":
        """Return the same optimizer at its start, with other parameters of the same structure."""

    @abstractmethod
    def states(self) -> States:
        """The accumulators whose meaning is known and that have the parameters' shapes."""


def make_adapter(optimizer: Any, params: Any, who: str) -> Adapter:
    """Give an optimizer, whatever its kind, these parameters and one interface.

    Args:
        optimizer: An `optax.GradientTransformation`; a `Recurrence`; or a function from a list of
            torch parameters to a `torch.optim.Optimizer`, or to a pair of one and a scheduler.
        params: A tree of NumPy arrays, which are copied.
        who: "the optimizer" or "the reference", for the messages.

    Returns:
        The adapter.

    Raises:
        InputError: It is none of these, or it raises when it is given the parameters.
    """
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if isinstance(optimizer, optax.GradientTransformation):
        return OptaxAdapter(optimizer, params, who)
    if isinstance(optimizer, Recurrence):
        return NumpyAdapter(optimizer, params, who)
    if callable(optimizer):
        return TorchAdapter(optimizer, params, who)
    raise InputError(
        f"{who} is a {type(optimizer).__name__}; it must be an optax.GradientTransformation, a "
        "verify.Recurrence, or a function from parameters to a torch.optim.Optimizer"
    )


class OptaxAdapter(Adapter):
    """A `GradientTransformation`, compiled, on the tree it was written for."""

    def __init__(self, tx: optax.GradientTransformation, params: Any, who: str) -> None:
        self._layout, self._who, self._tx = Layout.of(params), who, tx

        def step(
            gradients: Any, state: Any, params: Any, at: tuple[Any, Any], loss: Any
        ) -> tuple[Any, Any]:
            extra = {}
            if loss is not None:
                count, value = at
                extra = {"value": value, "grad": gradients}
                extra["value_fn"] = lambda tree: loss(count, tree)
            updates, state = tx.update(gradients, state, params, **extra)
            self._layout.check(updates, f"{who}: the updates")
            return optax.apply_updates(params, updates), state

        self._step = compiled(step, static_argnums=4)
        self._start(params)

    def _start(self, params: Any) -> None:
        self._params = jax.tree.map(jax.numpy.array, params)
        with _blamed(self._who, "on init", self._layout):
            self._state = self._tx.init(self._params)

    def restarted(self, params: Any) -> "OptaxAdapter":
        """Return it at its start; what is compiled is shared."""
        other = copy(self)
        other._start(params)
        return other

    @property
    def params(self) -> Named:
        """The current parameters."""
        return self._layout.named(self._params, self._who)

    def step(self, gradients: Named, loss: Loss | None = None) -> None:
        """Take one step."""
        at, function = (0, 0.0), None
        if loss is not None and isinstance(self._tx, optax.GradientTransformationExtraArgs):
            at, function = (loss.step, loss.evaluate(self.params)[0]), loss.function
        with _blamed(self._who, "on update", self._layout):
            self._params, self._state = self._step(
                self._layout.tree(gradients), self._state, self._params, at, function
            )

    def states(self) -> States:
        """Every field of a known name that holds a tree of the parameters' structure."""
        names = dict(zip(self._layout.paths, self._layout.names, strict=True))
        shapes = dict(zip(self._layout.names, self._layout.shapes, strict=True))
        fields: dict[tuple[Any, ...], Named] = {}
        state = jax.tree.map(_renamed, self._state, is_leaf=_is_belief)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
            for position, key in enumerate(path):
                field, rest = getattr(key, "name", None), path[position + 1 :]
                if field in MEANINGS and shapes.get(names.get(rest, "")) == np.shape(leaf):
                    fields.setdefault(path[: position + 1], {})[names[rest]] = np.asarray(leaf)
        return _known([(path[-1].name, leaves) for path, leaves in fields.items()], self._layout)


class _Belief(NamedTuple):
    """AdaBelief's state, whose second field is no average square of gradients."""

    mu: Any
    variance: Any


def _is_belief(node: Any) -> bool:
    return isinstance(node, optax.ScaleByBeliefState)


def _renamed(node: Any) -> Any:
    return _Belief(node.mu, node.nu) if _is_belief(node) else node


class NumpyAdapter(Adapter):
    """A `Recurrence`, one state per leaf."""

    def __init__(self, recurrence: Recurrence, params: Any, who: str) -> None:
        self._recurrence, self._who = recurrence, who
        self._layout = Layout.of(params)
        self._params = self._layout.named(params, who)
        with blamed(who, "on init"):
            self._states = {name: recurrence.init(w) for name, w in self._params.items()}

    def restarted(self, params: Any) -> "NumpyAdapter":
        """Return it at its start."""
        return NumpyAdapter(self._recurrence, params, self._who)

    @property
    def params(self) -> Named:
        """The current parameters."""
        return self._params

    def step(self, gradients: Named, loss: Loss | None = None) -> None:
        """Take one step."""
        for name, g in gradients.items():
            w = self._params[name]
            with blamed(self._who, f"on the update of {name}"):
                change, self._states[name] = self._recurrence.update(g, self._states[name])
            if np.shape(change) != w.shape:
                raise InputError(
                    f"{self._who}: the update of {name} has shape {np.shape(change)}; it must have "
                    f"the parameter's, {w.shape}"
                )
            self._params = self._params | {name: np.asarray(w + change, w.dtype)}

    def states(self) -> States:
        """The arrays of each leaf's state."""
        fields: dict[str, Named] = {}
        for leaf, state in self._states.items():
            for field, array in state.items():
                if np.shape(array) == self._params[leaf].shape:
                    fields.setdefault(field, {})[leaf] = np.asarray(array)
        return _known(list(fields.items()), self._layout)


class TorchAdapter(Adapter):
    """A `torch.optim.Optimizer`, and its scheduler if the factory returned one too."""

    def __init__(self, factory: Callable[[Any], Any], params: Any, who: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"{who} is a function, which makes it a torch.optim factory, but torch is not "
                "installed: pip install 'jaxmnist[torch]'"
            ) from error
        self._who, self._layout, self._factory = who, Layout.of(params), factory
        start = self._layout.named(params, who)
        self._tensor = torch.tensor
        self._weights = {name: torch.tensor(w, requires_grad=True) for name, w in start.items()}
        with _blamed(who, "when it was given the parameters", self._layout):
            made = factory(list(self._weights.values()))
        pair: Any = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        self._optimizer, self._scheduler = pair
        self._takes_sparse = isinstance(self._optimizer, torch.optim.SparseAdam)
        self._sparse = False
        self._needs_value = isinstance(self._scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            raise InputError(
                f"{who} returned a {type(made).__name__}; it must return a torch.optim.Optimizer, "
                "or a pair of one and its scheduler"
            )

    def restarted(self, params: Any) -> "TorchAdapter":
        """Return it at its start."""
        return TorchAdapter(self._factory, params, self._who)

    @property
    def params(self) -> Named:
        """The current parameters, in the memory that PyTorch will change."""
        return {name: weight.detach().numpy() for name, weight in self._weights.items()}

    def step(self, gradients: Named, loss: Loss | None = None) -> None:
        """Take one step, and one of the scheduler."""
        if loss is not None and self._needs_value:
            value, _ = loss.evaluate({n: w.copy() for n, w in self.params.items()})
            self._value = value
        arguments = () if loss is None else (lambda: self._closure(loss),)
        self._give(gradients)
        with _blamed(self._who, "on step", self._layout):
            try:
                self._optimizer.step(*arguments)
            except RuntimeError:
                # SparseAdam refuses the gradient of a whole array, unless a loop makes it sparse.
                if self._sparse or not self._takes_sparse:
                    raise
                self._sparse = True
                self._give(gradients)
                self._optimizer.step(*arguments)
            if self._scheduler is not None:
                self._step_scheduler(loss)

    def _give(self, gradients: Named) -> None:
        """Set the gradients: of SparseAdam, those of the rows that have one."""
        for name, weight in self._weights.items():
            gradient = self._tensor(gradients[name])
            weight.grad = gradient.to_sparse(1) if self._sparse and gradient.ndim else gradient

    def _closure(self, loss: Loss) -> Any:
        """The loss and its gradients where the parameters are now."""
        value, gradients = loss.evaluate({n: w.copy() for n, w in self.params.items()})
        self._give(gradients)
        return self._tensor(np.float64(value))

    def _step_scheduler(self, loss: Loss | None) -> None:
        if not self._needs_value:
            self._scheduler.step()
            return
        if loss is None:
            raise InputError(
                f"{self._who}'s ReduceLROnPlateau needs the loss; give one: "
                "loss=lambda step, params: …"
            )
        # The metric of a step is the loss that its gradients were taken of.
        self._scheduler.step(self._value)

    def states(self) -> States:
        """The tensors of each parameter's state."""
        fields: dict[str, Named] = {}
        for leaf, weight in self._weights.items():
            for field, value in self._optimizer.state[weight].items():
                if field != "step" and getattr(value, "shape", None) == weight.shape:
                    fields.setdefault(field, {})[leaf] = value.detach().numpy()
        return _known(list(fields.items()), self._layout)


@contextmanager
def _blamed(who: str, when: str, layout: Layout) -> Iterator[None]:
    """Name what the caller's code raised, and the parameters that it was given."""
    try:
        with blamed(who, when):
            yield
    except InputError as error:
        if error.__cause__ is None:
            raise
        shapes = ", ".join(f"{n} {s}" for n, s in zip(layout.names, layout.shapes, strict=True))
        raise InputError(f"{error}; the parameters are {shapes}") from error.__cause__


def _known(fields: list[tuple[str, Named]], layout: Layout) -> States:
    """By meaning. Groups of parameters have fields of their own, of which each has some leaves.

    What two fields mean for one leaf is not known.
    """
    states: States = {}
    twice: set[str] = set()
    for field, leaves in fields:
        meaning = MEANINGS.get(field)
        if meaning is None:
            continue
        kept = states.setdefault(meaning, {})
        if kept.keys() & leaves.keys():
            twice.add(meaning)
        kept.update(leaves)
    return {
        meaning: {name: leaves[name] for name in layout.names if name in leaves}
        for meaning, leaves in states.items()
        if meaning not in twice
    }
