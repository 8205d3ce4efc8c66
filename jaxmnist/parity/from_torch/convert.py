"""A live torch optimizer as a transformation and its state, to continue with the same steps."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.interop.tensors import to_numpy
from jaxmnist.parity import optimizers
from jaxmnist.parity.from_torch import lbfgs
from jaxmnist.parity.from_torch.leaves import Leaf, check, leaves, torch_names, tree_of
from jaxmnist.parity.from_torch.optimizers import (
    Counterpart,
    arguments,
    counterpart,
    steps_made,
    with_schedules,
)
from jaxmnist.parity.from_torch.schedulers import position, scheduled
from jaxmnist.parity.optimizers.drop_in import DropInState
from jaxmnist.parity.schedules import reduce_on_plateau

_SCALARS: Final = ("mu_product", "eta", "mu")
"""What PyTorch keeps for every parameter, and is the same for all of a group."""

FROZEN: Final = "not in the optimizer"
"""The label of what it does not train."""


class Part(NamedTuple):
    """The leaves of one group that have been stepped as often."""

    tx: optax.GradientTransformation
    start: optax.GradientTransformation
    """The same with the current rate, of whose initial state a new parameter's is."""
    steps: int
    position: int
    """What schedules are called with next."""
    names: tuple[str, ...] = ()
    """PyTorch's, of its parameters."""
    plateau: Mapping[str, Any] = MappingProxyType({})
    """The state of a ReduceLROnPlateau, or nothing."""


def optimizer_from_torch(
    optimizer: Any, params: Any, scheduler: Any = None
) -> tuple[optax.GradientTransformationExtraArgs, Any]:
    """Build the transformation and the state that continue a live torch optimizer's run.

        optimizer = torch.optim.AdamW(module.named_parameters(), lr=0.001)
        …                                                       # some steps in PyTorch
        tx, opt_state = interop.optimizer_from_torch(optimizer, params)
        updates, opt_state = tx.update(gradients, opt_state, params)

    The transformation is `jaxmnist.parity`'s drop-in with the group's numbers; of several groups,
    or parameters that were not stepped as often, an ``optax.partition`` of them. What the optimizer
    does not train has updates of zero.

    Parameters are found by the names that the optimizer was given. Without names: in the order of
    the module's parameters, for one group and a `Match`, a list or the tutorial's MLP; or by their
    shapes, where no two are the same.

    A scheduler is taken as one that steps after every update, and continues from its
    ``last_epoch``. For a ReduceLROnPlateau, give each update ``value=``.

    Args:
        optimizer: One of ``torch.optim``'s. To LBFGS's transformation give each update
            ``value_fn=``, the loss as a function of the parameters.
        params: The parameters of the same dtypes: a tree whose paths are PyTorch's names, such as
            ``{"0": {"weight": …}}`` or ``{"0.weight": …}``; the tutorial's MLP's; or the result of
            `interop.match`, in whose tree the state is then. Only shapes and dtypes are used.
        scheduler: One of ``torch.optim.lr_scheduler``'s on this optimizer, or None.

    Returns:
        The transformation, and its state.

    Raises:
        InputError: The optimizer or the scheduler is none of PyTorch's own; names, shapes or dtypes
            are not those of `params`; the optimizer's step depends on a layout that is another
            here; or a scheduler's rate is not the optimizer's.

    >>> import torch
    >>> weight = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([("w", weight)], lr=0.5, momentum=0.5)
    >>> weight.grad = torch.tensor([1.0, 2.0])
    >>> optimizer.step()
    >>> tx, state = optimizer_from_torch(optimizer, {"w": np.ones(2, np.float32)})
    >>> tx.update({"w": jnp.array([1.0, 2.0])}, state)[0]["w"].tolist()
    [-0.75, -1.5]
    """
    torch = require_torch()
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"the optimizer is a {type(optimizer).__name__}; it must be a torch.optim.Optimizer"
        )
    if scheduler is not None and getattr(scheduler, "optimizer", None) is not optimizer:
        raise InputError(f"the scheduler is a {type(scheduler).__name__} of another optimizer")
    found, known, tree = counterpart(optimizer), leaves(params), tree_of(params)
    names = torch_names(optimizer, params, known)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    flat = [name for group in names for name in group]
    check(flat, weights, params, known)
    states = {
        name: optimizer.state.get(weight, {}) for name, weight in zip(flat, weights, strict=True)
    }
    label_of = {
        name: f"group {index} after {steps_made(states[name])} steps"
        for index, group in enumerate(names)
        for name in group
    }
    labels = [_label(leaf, label_of) for leaf in known]
    if found.needs_layout:
        _check_layout(type(optimizer).__name__, known)
    if found.make is optimizers.lbfgs:
        lbfgs.check_whole(flat, known)
        own = states[flat[0]]
        part = _part(found, optimizer, 0, scheduler, int(own.get("n_iter", 0) > 0))
        whole: Any = part.start.init(tree)
        inner = lbfgs.filled(whole.inner, flat, weights, own, known, tree)
        count = jnp.asarray(part.position, jnp.int32)
        tx = optax.with_extra_args_support(part.tx)
        return tx, whole._replace(count=count, inner=inner)

    parts: dict[str, Part] = {}
    for index, group in enumerate(names):
        for label in dict.fromkeys(label_of[name] for name in group):
            own = tuple(name for name in group if label_of[name] == label)
            part = _part(found, optimizer, index, scheduler, steps_made(states[own[0]]))
            parts[label] = part._replace(names=own)
    by_path = {
        path: leaf
        for (path, _), leaf in zip(
            jax.tree_util.tree_flatten_with_path(tree)[0], known, strict=True
        )
    }

    def filled(part: Part, masked: Any) -> Any:
        return _filled(part.start.init(masked), part, found, states, by_path)

    if len(parts) == 1 and FROZEN not in labels:
        (part,) = parts.values()
        return optax.with_extra_args_support(part.tx), filled(part, tree)
    label_tree = jax.tree.structure(tree).unflatten(labels)
    transforms = {label: part.tx for label, part in parts.items()}
    tx = optax.partition({**transforms, FROZEN: optax.set_to_zero()}, label_tree)
    whole = tx.init(tree)
    inner = dict(whole.inner_states)
    for label, part in parts.items():
        masked = _only(label, tree, label_tree)
        inner[label] = inner[label]._replace(inner_state=filled(part, masked))
    return tx, whole._replace(inner_states=inner)


def _only(label: str, tree: Any, labels: Any) -> Any:
    """Return the tree without the leaves of other labels."""
    return jax.tree.map(lambda w, each: w if each == label else optax.MaskedNode(), tree, labels)


def _label(leaf: Leaf | None, label_of: Mapping[str, str]) -> str:
    labels = [] if leaf is None else [label_of.get(name, FROZEN) for name in leaf.sources]
    if len(set(labels)) > 1:
        assert leaf is not None
        each = (f"{name}: {label_of.get(name, FROZEN)}" for name in leaf.sources)
        raise InputError(
            f"{leaf.name} is made of parameters that the optimizer treats differently: "
            f"{', '.join(each)}"
        )
    return labels[0] if labels else FROZEN


def _check_layout(name: str, known: Sequence[Leaf | None]) -> None:
    for leaf in known:
        if leaf is not None and not leaf.is_same:
            raise InputError(
                f"{name}'s step depends on the layout, and {leaf.name} has another than "
                f"{', '.join(leaf.sources)}; keep the parameters in PyTorch's layout"
            )


def _part(found: Counterpart, optimizer: Any, index: int, scheduler: Any, steps: int) -> Part:
    group = optimizer.param_groups[index]
    given = arguments(found, optimizer, index)
    plain = found.make(**given)
    if scheduler is None:
        return Part(plain, plain, steps, steps)
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        if not found.is_proportional:
            raise InputError(
                f"{type(optimizer).__name__}'s update is not proportional to its learning rate, so "
                "that a ReduceLROnPlateau cannot be a factor of it"
            )
        plateau = reduce_on_plateau(
            given["lr"],
            scheduler.mode,
            scheduler.factor,
            scheduler.patience,
            scheduler.threshold,
            scheduler.threshold_mode,
            scheduler.cooldown,
            scheduler.min_lrs[index],
            scheduler.eps,
        )
        tx = optax.chain(plain, plateau)
        keys = ("best", "num_bad_epochs", "cooldown_counter")
        plateau_state = {key: getattr(scheduler, key) for key in keys}
        return Part(tx, tx, steps, steps, plateau=plateau_state)
    new = with_schedules(given, scheduled(scheduler, index, group))
    start = found.make(**{**new, "lr": given["lr"]})
    return Part(found.make(**new), start, steps, position(scheduler))


def _filled(
    state: Any,
    part: Part,
    found: Counterpart,
    states: Mapping[str, Mapping[str, Any]],
    by_path: Mapping[Any, Leaf | None],
) -> Any:
    """Return an initial state with the optimizer's numbers in the fields that it has."""

    def array(key: str, path: Any, old: Any) -> Any:
        leaf = by_path[path]
        assert leaf is not None
        if any(states[name].get(key) is None for name in leaf.sources):
            return old
        arrays = {name: to_numpy(states[name][key], f"{name}'s {key}") for name in leaf.sources}
        new = leaf.convert(arrays)
        if np.iscomplexobj(new):
            new = np.stack([np.real(new), np.imag(new)], -1)
        if new.shape != old.shape:
            raise InputError(
                f"{key} of {', '.join(leaf.sources)} has shape {new.shape}, and the state's of "
                f"{leaf.name} is {old.shape}"
            )
        return jnp.array(new, old.dtype)  # A copy: PyTorch goes on writing in its memory.

    def field(name: str, value: Any) -> Any:
        key = found.fields.get(name, name)
        if name == "inner":
            return walk(value)
        if name in part.plateau:
            return jnp.asarray(part.plateau[name], value.dtype)
        if name in ("count", "step"):
            return jnp.asarray(part.steps, value.dtype)
        if key in _SCALARS:
            return jnp.asarray(float(states[part.names[0]].get(key, value)), value.dtype)
        if name != "lr":
            flat, structure = jax.tree_util.tree_flatten_with_path(value)
            return structure.unflatten([array(key, path, old) for path, old in flat])
        return value

    def walk(state: Any) -> Any:
        if hasattr(state, "_fields"):
            new = state._replace(**{k: field(k, v) for k, v in state._asdict().items()})
            count = jnp.asarray(part.position, jnp.int32)
            return new._replace(count=count) if isinstance(new, DropInState) else new
        return tuple(walk(each) for each in state)

    return walk(state)
