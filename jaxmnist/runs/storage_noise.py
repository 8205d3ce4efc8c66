"""What the storage library says on stderr when it fails, and again later, is left out."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Leave out what is said besides the error that the block raises, during it and afterwards.

    The first array that cannot be read or written ends Orbax's event loop. The others, which
    TensorStore reads and writes in threads of its own, find it closed, some of them after the
    block: so what leaves it out stays when the block has failed.
    """
    raised, ignored = sys.excepthook, sys.unraisablehook

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not _is_late(error):
            raised(kind, error, trace)

    def show_ignored(noise: Any) -> None:
        if not (_is_late(noise.exc_value) or inspect.iscoroutine(noise.object)):
            ignored(noise)

    hooks: tuple[Callable[..., None], Callable[..., None]] = show, show_ignored
    sys.excepthook, sys.unraisablehook = hooks
    yield
    sys.excepthook, sys.unraisablehook = raised, ignored


def _is_late(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
