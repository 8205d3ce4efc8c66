"""Load data in a thread of its own, beside the imports that a command waits for meanwhile."""

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
