"""Every operation of a torch module's forward pass, with its values and its submodule.

The operations are PyTorch's own (ATen's), recorded below autograd, so that what a module computes
by functions, a sum with its input or a product of queries and keys, is seen as well as what its
submodules compute. Each operation is of the innermost submodule that was running, or of the one
whose parameter it reads, where that lies deeper.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.verify.locate.views import overlap, view


class Ref(NamedTuple):
    """A value's number, in the place of a tensor among an operation's arguments."""

    number: int


class Operation(NamedTuple):
    """One operation: what it was called with, and what came out."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    module: str
    """The dotted name of the submodule."""

    @property
    def name(self) -> str:
        """Such as "native_layer_norm"."""
        return self.function.overloadpacket.__name__


class Call(NamedTuple):
    """One call of a submodule."""

    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    start: int
    """The number of operations before it."""
    stop: int
    """The number of operations before its end."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass
class Value:
    """A tensor as it was when it was made.

    Attributes:
        tensor: Its numbers.
        maker: The operation that made it, by its position, or None.
        name: Of a parameter, buffer or input; else None.
        data: Whether it depends on an input.
    """

    tensor: Any
    maker: int | None = None
    name: str | None = None
    data: bool = False

    def array(self) -> np.ndarray:
        """Return the numbers in NumPy."""
        tensor = self.tensor.detach().resolve_conj().resolve_neg()
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


@dataclass
class TorchTrace:
    """What a module did: its operations and calls in order, and all values by number."""

    operations: list[Operation] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    returned: Any = None
    gradients: dict[int, np.ndarray] = field(default_factory=dict)
    """In what submodules are given and return, by number, once backward has run."""

    def consumers(self) -> dict[int, list[int]]:
        """List the operations that read each value."""
        found: dict[int, list[int]] = {}
        for index, operation in enumerate(self.operations):
            for number in operation.inputs:
                found.setdefault(number, []).append(index)
        return found


def record(
    torch: Any,
    module: Any,
    call: Callable[[], Any],
    inputs: Mapping[str, Any],
    leaves: Callable[[Any], Mapping[str, Any]],
) -> TorchTrace:
    """Run a module and record what it does.

    Args:
        torch: The library.
        module: The ``torch.nn.Module`` that runs.
        call: Runs it, and returns what it returned.
        inputs: The tensors that it is given, by name.
        leaves: From what it returned to tensors by name.

    Returns:
        The trace; ``returned`` is what the module returned.
    """
    recorder = _Recorder(torch, module, inputs)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with recorder.hooked(), _mode(recorder):
            returned = call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    trace = recorder.trace
    trace.returned = returned
    for name, tensor in leaves(returned).items():
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
            trace.outputs[name] = recorder.number(tensor)
    return trace


def _mode(recorder: "_Recorder") -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            return recorder.operation(func, args, kwargs or {})

    return Mode()


class _Recorder:
    """Numbers tensors by what they hold: their storage and the view of it, until it is written."""

    def __init__(self, torch: Any, module: Any, inputs: Mapping[str, Any]) -> None:
        self.torch, self.module = torch, module
        self.trace = TorchTrace()
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._by_storage: dict[int, dict[int, tuple[Any, ...]]] = {}
        self._last: dict[int, tuple[int, bool]] = {}
        self._alive: list[Any] = []  # no storage is freed, so that no address is used twice
        self._stack = [""]
        self._hooked: set[int] = set()
        self._owners: dict[int, list[str]] = {}
        for name, tensor in (*module.named_parameters(remove_duplicate=False),):
            self._owners.setdefault(self._storage(tensor), []).append(name.rpartition(".")[0])
            self._named(tensor, name)
        for name, tensor in module.named_buffers():
            self._named(tensor, name)
        for name, tensor in inputs.items():
            self.trace.values[self.number(tensor)].name = name
            self.trace.values[self.number(tensor)].data = True

    def _named(self, tensor: Any, name: str) -> None:
        value = self.trace.values[self.number(tensor)]
        value.name = value.name or name

    def _storage(self, tensor: Any) -> int:
        return tensor.untyped_storage().data_ptr()

    def number(self, tensor: Any, maker: int | None = None, data: bool = False) -> int:
        storage = self._storage(tensor)
        key = (storage or id(tensor), *view(tensor), tensor.is_conj())
        if maker is not None:
            self._last[storage] = (maker, data)
        if key not in self._numbers:
            if maker is None and storage in self._last:
                # Another view of what an operation made, or wrote a part of.
                maker, data = self._last[storage]
            number = self._numbers[key] = len(self.trace.values)
            self._by_storage.setdefault(storage, {})[number] = key
            self.trace.values.append(Value(tensor.detach(), maker, None, data))
            self._alive.append(tensor)
        return self._numbers[key]

    def operation(self, function: Any, args: Any, kwargs: Any) -> Any:
        torch = self.torch
        values = self.trace.values
        inputs: list[int] = []

        def seen(x: Any) -> Any:
            if isinstance(x, torch.Tensor) and x.layout == torch.strided:
                inputs.append(self.number(x))
                return Ref(inputs[-1])
            if isinstance(x, list | tuple):
                return type(x)(seen(y) for y in x)
            return x

        arguments = tuple(seen(x) for x in args)
        keywords = {name: seen(x) for name, x in kwargs.items()}
        names = [a.name for a in function._schema.arguments]
        written = [
            args[i] if i < len(args) else kwargs.get(names[i])
            for i in sorted(writes(function, args))
        ]
        for tensor in written:
            self._before_write(tensor)
        result = function(*args, **kwargs)
        index = len(self.trace.operations)
        data = any(values[number].data for number in inputs)
        made = [x for x in tensors(torch, (result, written)) if x.layout == torch.strided]
        outputs = tuple(self.number(x, index, data) for x in made)
        self.trace.operations.append(
            Operation(
                function,
                arguments,
                keywords,
                tuple(inputs),
                outputs,
                self._owner(inputs),
            )
        )
        return result

    def _before_write(self, tensor: Any) -> None:
        """Keep in copies what is about to be written to; other parts of a storage stay."""
        if not isinstance(tensor, self.torch.Tensor):
            return
        views = self._by_storage.get(self._storage(tensor), {})
        for number, key in list(views.items()):
            if overlap(key[1:5], view(tensor)):
                value = self.trace.values[number]
                value.tensor = value.tensor.clone()
                del views[number], self._numbers[key]

    def _owner(self, inputs: list[int]) -> str:
        running = self._stack[-1]
        prefix = running and running + "."
        for number in inputs:
            value = self.trace.values[number]
            if value.data:
                continue
            for name in self._owners.get(self._storage(value.tensor), ()):
                if name.startswith(prefix):
                    return name
        return running

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follow which submodule is running."""
        with ExitStack() as stack:
            for name, submodule in self.module.named_modules():
                if name:
                    self._hook(stack, name, submodule)
            yield

    def _hook(self, stack: ExitStack, name: str, submodule: Any) -> None:
        starts: list[tuple[int, tuple[int, ...], Any, Any]] = []
        recorder = weakref.proxy(self)

        def before(module: Any, args: Any, kwargs: Any) -> None:
            del module
            given = recorder.numbers((args, kwargs))
            starts.append((len(recorder.trace.operations), given, args, kwargs))
            recorder._stack.append(name)

        def after(module: Any, _: Any, output: Any) -> None:
            del module
            recorder._stack.pop()
            start, given, args, kwargs = starts.pop()
            stop = len(recorder.trace.operations)
            made = () if output is None else recorder.numbers(output)
            recorder.trace.calls.append(Call(name, given, made, start, stop, args, kwargs))

        handles = (
            submodule.register_forward_pre_hook(before, with_kwargs=True),
            submodule.register_forward_hook(after, always_call=True),
        )
        for handle in handles:
            stack.callback(handle.remove)

    def numbers(self, tree: Any) -> tuple[int, ...]:
        strided = [x for x in tensors(self.torch, tree) if x.layout == self.torch.strided]
        found = tuple(self.number(x) for x in strided)
        for number, tensor in zip(found, strided, strict=True):
            if tensor.requires_grad and number not in self._hooked:
                self._hooked.add(number)
                tensor.register_hook(self._keep(number))
        return found

    def _keep(self, number: int) -> Callable[[Any], None]:
        gradients = self.trace.gradients

        def keep(gradient: Any) -> None:
            gradients[number] = gradient.detach().numpy().copy()

        return keep


def writes(function: Any, arguments: Sequence[Any]) -> set[int]:
    """Return the positions of the arguments that an operation writes to.

    Args:
        function: The operation; one without a schema writes to none.
        arguments: What it is called with.

    Returns:
        Positions, those of BatchNorm's running statistics too, which its schema does not tell.
    """
    schema = getattr(function, "_schema", None)
    if schema is None:
        return set()
    if schema.name == "aten::native_batch_norm":
        return {3, 4} if arguments[5] is True else set()
    return {
        i
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    }


def tensors(torch: Any, tree: Any) -> Iterator[Any]:
    """Yield the tensors of a nested value, in order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for x in tree.values():
            yield from tensors(torch, x)
    elif isinstance(tree, list | tuple):
        for x in tree:
            yield from tensors(torch, x)
    elif hasattr(tree, "__dataclass_fields__"):
        for x in vars(tree).values():
            yield from tensors(torch, x)
