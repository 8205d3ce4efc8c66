"""The optimizer's state to and from ``torch.optim.Optimizer.state_dict()``.

PyTorch stores the same accumulators under other names, one dictionary per parameter in the order
of ``module.parameters()``, and the hyperparameters in ``param_groups``. A state that the other
framework cannot use with the same arithmetic is refused: it would continue with other numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist import conventions, optim
from jaxmnist.errors import InputError
from jaxmnist.interop.counterparts import check_state, from_groups, to_group, torch_counterpart
from jaxmnist.interop.order import parameter_indices
from jaxmnist.interop.parameters import flatten, params_from_state_dict, require_torch
from jaxmnist.interop.tensors import to_numpy
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate


def opt_state_to_state_dict(
    name: str,
    opt_state: Any,
    params: Mapping[str, Any],
    learning_rate: LearningRate | None = None,
    convention: str = "document",
    **overrides: Hyperparameter,
) -> dict[str, Any]:
    """Turn an optimizer's state into what PyTorch's ``load_state_dict`` takes.

    All arguments but the second and third are those that made the optimizer, as `optim.create`
    takes them: PyTorch's state contains the hyperparameters too, and loading it sets them.

    Momentum's velocity is divided by the learning rate where it contains it, for PyTorch's does
    not. SGD and momentum count nothing in PyTorch, so that their count is lost.

    Args:
        name: One of `optim.NAMES`.
        opt_state: What the optimizer of that name returned.
        params: The MLP's parameters that it belongs to.
        learning_rate: The rate at the next step, a number; None for the convention's default.
        convention: One of `optim.CONVENTIONS`.
        **overrides: Arguments of that optimizer's factory, in place of the convention's.

    Returns:
        ``{"state": {index: {...}}, "param_groups": [{...}]}`` of CPU tensors and numbers, for
        ``torch.optim.SGD`` (SGD and momentum), ``Adagrad``, ``RMSprop``, ``Adadelta`` or ``Adam``
        over the ``parameters()`` of the tutorial's ``nn.Sequential``.

    Raises:
        InputError: Another optimizer's state, shapes other than the parameters', arithmetic that
            PyTorch does not have, or no PyTorch.

    >>> import jaxmnist as jm
    >>> params = jm.MLP(hidden=(5,)).init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> opt_state = jm.optim.momentum(0.1).init(params)
    >>> state_dict = opt_state_to_state_dict("momentum", opt_state, params, 0.1)
    >>> state_dict["state"][0]["momentum_buffer"].shape
    torch.Size([5, 784])
    """
    arguments = {**conventions.defaults(name, convention), **overrides}
    conventions.check_arguments(name, **overrides)
    if learning_rate is not None:
        arguments["learning_rate"] = learning_rate
    if callable(learning_rate):
        raise InputError(
            f"{name}: learning_rate is a schedule; PyTorch keeps a number, so give the rate at the "
            "next step"
        )
    counterpart = torch_counterpart(name)
    template = _template(name, params)
    if type(opt_state) is not type(template):
        raise InputError(
            f"opt_state is a {type(opt_state).__name__}, and {name}'s is a "
            f"{type(template).__name__}; of a chain's state, give the element that is one"
        )
    scale = _velocity_scale(name, arguments)
    accumulators = {
        theirs: _leaves(opt_state._asdict()[ours], params, ours)
        for ours, theirs in counterpart.accumulators.items()
    }

    torch = require_torch()
    tensors = [torch.empty(np.shape(leaf)) for leaf in flatten(params).values()]
    state_dict = getattr(torch.optim, counterpart.optimizer)(
        tensors, **to_group(name, arguments)
    ).state_dict()
    if accumulators:
        kept = counterpart.accumulators.values()
        columns = zip(*accumulators.values(), strict=True)
        state_dict["state"] = {
            index: {key: torch.tensor(leaf / scale) for key, leaf in zip(kept, leaves, strict=True)}
            for index, leaves in enumerate(columns)
        }
    if counterpart.counts:
        for entry in state_dict["state"].values():
            # A tensor for each parameter, because PyTorch counts by adding to it in place.
            entry["step"] = torch.tensor(float(opt_state.count))
    return state_dict


def opt_state_from_state_dict(
    name: str,
    state_dict: Mapping[str, Any],
    params: Mapping[str, Any],
    convention: str = "document",
    names: Sequence[str] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Turn the ``state_dict`` of one of PyTorch's optimizers into a state here.

        opt_state, hyper = opt_state_from_state_dict("adam", optimizer.state_dict(), params)
        tx = optim.create("adam", **hyper)

    resume from PyTorch's state; ``hyper`` also serves `make_train` and `training.init`.

    Args:
        name: One of `optim.NAMES`.
        state_dict: Of ``torch.optim.SGD`` (SGD and momentum), ``Adagrad``, ``RMSprop``,
            ``Adadelta`` or ``Adam`` over the ``parameters()`` of the tutorial's
            ``nn.Sequential``, on the CPU.
        params: The MLP's parameters that it belongs to, which decide the accumulators' dtype.
        convention: That of the optimizer that resumes. It determines what momentum's velocity
            contains; every other difference is in ``hyper``.
        names: The parameters' names (``0.weight`` ...) in the order of the state_dict's groups;
            None for its own ``param_names``, or else the order of ``module.parameters()``.

    Returns:
        The state, and every hyperparameter of the PyTorch optimizer by the name it has here.
        SGD and momentum count nothing in PyTorch: their count begins at 0, which only a schedule
        would notice.

    Raises:
        InputError: Missing keys, shapes other than the parameters', another optimizer's state,
            options that no optimizer here has, such as weight decay, or several groups without
            names in which two parameters have the same shape.

    >>> import torch
    >>> layer = torch.nn.Linear(784, 10)
    >>> adagrad = torch.optim.Adagrad(layer.parameters(), lr=0.5)
    >>> params = params_from_state_dict({f"0.{k}": v for k, v in layer.state_dict().items()})
    >>> opt_state, hyper = opt_state_from_state_dict("adagrad", adagrad.state_dict(), params)
    >>> hyper
    {'learning_rate': 0.5, 'initial_accumulator_value': 0.0, 'eps': 1e-10, 'eps_root': 0.0}
    """
    arguments = conventions.defaults(name, convention)
    counterpart = torch_counterpart(name)
    if missing := {"state", "param_groups"} - state_dict.keys():
        raise InputError(
            f"the state_dict has no {min(missing)!r}; an optimizer's has 'state' and "
            f"'param_groups', and this one {sorted(map(str, state_dict))}"
        )
    arguments |= from_groups(name, state_dict["param_groups"])
    check_state(name, state_dict["state"])
    hyper = {key: arguments[key] for key in conventions.hyperparameters(name)}

    expected = {leaf: np.shape(array) for leaf, array in flatten(params).items()}
    parameters = parameter_indices(state_dict, expected, names)
    template = optim.create(name, convention=convention, **hyper).init
    state = state_dict["state"]
    if not counterpart.accumulators or not any(i in state for i in parameters.values()):
        return template(params), hyper

    scale = _velocity_scale(name, arguments)
    shapes = jax.eval_shape(template, params)
    accumulators = {}
    for ours, theirs in counterpart.accumulators.items():
        wanted = flatten(shapes._asdict()[ours])
        arrays = {
            leaf: scale * _read(state, index, leaf, theirs, wanted[leaf].shape)
            for leaf, index in parameters.items()
        }
        arrays = {leaf: jnp.asarray(arrays[leaf], wanted[leaf].dtype) for leaf in arrays}
        accumulators[ours] = params_from_state_dict(arrays)
    count = _read_count(state, parameters) if counterpart.counts else 0
    return shapes._replace(count=jnp.asarray(count, jnp.int32), **accumulators), hyper


def _read(
    state: Mapping[int, Mapping[str, Any]],
    index: int,
    leaf: str,
    key: str,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return one entry of one parameter's state as an array."""
    where = f"the state_dict's state of parameter {index} ({leaf})"
    entry = state.get(index, {})
    if entry.get(key) is None:
        raise InputError(f"{where} has no {key!r}; it has {sorted(map(str, entry))}")
    array = to_numpy(entry[key], f"{where}: {key!r}")
    if array.dtype.itemsize < 4:
        array = array.astype(np.float32)  # As the accumulators here are at least.
    if array.shape != shape:
        raise InputError(
            f"{where}: {key!r} has shape {array.shape}, and the parameter has shape {shape}"
        )
    return array


def _read_count(state: Mapping[int, Mapping[str, Any]], parameters: Mapping[str, int]) -> int:
    """Return the number of steps: PyTorch stores one per parameter, an optimizer here one."""
    counts = {leaf: int(_read(state, i, leaf, "step", ())) for leaf, i in parameters.items()}
    first = next(iter(counts))
    for leaf, count in counts.items():
        if count != counts[first]:
            raise InputError(
                f"{first} has been stepped {counts[first]} times and {leaf} {count} times; an "
                "optimizer here steps all parameters together"
            )
    return counts[first]


def _leaves(tree: Any, params: Mapping[str, Any], name: str) -> list[np.ndarray]:
    """Return the accumulator's arrays in PyTorch's order, in the parameters' shapes."""
    expected = flatten(params)
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise InputError(f"opt_state's {name} is not a tree of the structure of params")
    arrays = {leaf: np.asarray(array) for leaf, array in flatten(tree).items()}
    for leaf, array in arrays.items():
        if array.shape != np.shape(expected[leaf]):
            raise InputError(
                f"opt_state's {name} has shape {array.shape} at {leaf}, and the parameter has "
                f"shape {np.shape(expected[leaf])}"
            )
    return list(arrays.values())


def _velocity_scale(name: str, arguments: Mapping[str, Any]) -> float:
    """Return an accumulator's ratio to PyTorch's: the rate, for the tutorial's velocity."""
    if not arguments.get("learning_rate_in_velocity", False):
        return 1.0
    rate = float(arguments["learning_rate"])
    if rate == 0:
        raise InputError(
            f"{name}: the velocity contains the learning rate, and at 0 it cannot be taken out; "
            "use convention='pytorch'"
        )
    return rate


def _template(name: str, params: Mapping[str, Any]) -> Any:
    return jax.eval_shape(optim.create(name).init, params)
