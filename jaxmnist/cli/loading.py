"""Load data beside the imports, and compile beside what a command does with the data first."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def begun(load: Callable[..., Any], *place: Any) -> Callable[..., Any]:
    """Begin to load data, and go on.

    Reading, inflating and hashing release the interpreter's lock, which imports hold.

    Args:
        load: ``load(*place)``, or from elsewhere.
        place: Where the data are expected to be asked for.

    Returns:
        ``load``, which waits there for what was begun, and raises what that raised. If it is never
        asked for, the process may end before it is loaded.

    >>> load = begun(str.upper, "mnist")
    >>> load("mnist"), load("kmnist")
    ('MNIST', 'KMNIST')
    """
    loading: Future[Any] = Future()

    def work() -> None:
        try:
            loading.set_result(load(*place))
        except BaseException as error:
            loading.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return lambda *asked: loading.result() if asked == place else load(*asked)


def then_compile(load: Callable[..., Any]) -> Callable[..., Any]:
    """Begin to compile the order of the epochs as soon as data are loaded, and go on.

    Args:
        load: What loads them.

    Returns:
        What loads them and begins to compile.
    """
    import jax

    from jaxmnist.training import sizes
    from jaxmnist.training.programs import compiled_order

    def load_and_compile(*place: Any) -> Any:
        data = load(*place)
        compiled_order(jax.random.key(0), sizes(data)[0])
        return data

    return load_and_compile
