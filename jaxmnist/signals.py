"""Ctrl-C and SIGTERM: the first one stops a command in order, a second one ends it at once.

A command that is asked to stop prints one line and ends with the exit status 128 + the signal's
number, 130 or 143. The request reaches it as `Stopped`, raised in the main thread: at once, or
where a block `held()` ends. While modules are imported the process is ended instead, because
extension modules abort at an exception in their imports.

Python delivers a signal only between two of its own instructions, and compiled code, such as a
compilation or an epoch of training, may run for minutes. So a thread reads every signal as it
arrives. It ends the process a second after the first one, unless the main thread is in a held
block, and at once after the second one.

A signal that was ignored when the process started stays ignored, as `nohup` and shells ask for.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import NoReturn

_NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}
# Seconds that Python has for a stop in order, where no block is held.
_GRACE = 1.0
# `timeout`, among others, sends a signal to a process and to its group: that is one request.
_SAME = 0.2


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    is_installed = False
    received = 0
    holds = 0
    progress = ""
    is_ending = False


_state = _State()


def install() -> None:
    """Handle the signals from here on, in a process that runs a command and nothing else.

    It is called before the imports that take time, so that none of them is interrupted with a
    traceback.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _state.is_installed = True
    take_over()
    for hook in ("excepthook", "unraisablehook"):
        _mute_when_stopped(sys, hook)
    _mute_when_stopped(threading, "excepthook")
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def take_over() -> None:
    """Set the handlers again where a library has replaced them; after `install` only."""
    if not _state.is_installed:
        return
    for number in _NAMES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def release() -> None:
    """Ignore the signals from here on: the command is over, and its exit status is known."""
    if _state.is_installed:
        for number in _NAMES:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let a first signal wait for the end of the block; `received` tells of it.

    Raises:
        Stopped: After the outermost block, if there was one.
    """
    is_main = threading.current_thread() is threading.main_thread()
    # Without `install`, in another program's process, Ctrl-C waits in the same way.
    borrowed = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if borrowed:
        signal.signal(signal.SIGINT, _note)
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
        number = _state.received
        if borrowed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _state.received = 0
    if number and not _state.holds:
        raise Stopped(number)


def received() -> int:
    """Return the number of the first signal, or 0."""
    return _state.received


def report(progress: str) -> None:
    """Set what the line of a stopped command says after the signal's name.

    Args:
        progress: What is done and how to continue, such as " after epoch 3 of 20; …".
    """
    _state.progress = progress


def message(number: int) -> str:
    """Return the line of a stopped command, which the main thread now prints and ends.

    Args:
        number: The signal's number.
    """
    _state.is_ending = True
    return f"stopped by {_NAMES.get(number, number)}{_state.progress}"


def _note(number: int, frame: types.FrameType | None) -> None:
    """Remember the first signal, and pass it on where no block is held."""
    is_first = not _state.received
    _state.received = _state.received or number
    if is_first and not _state.holds:
        if _state.is_installed and _is_importing(frame):
            _exit(number)
        raise Stopped(number)


def _is_importing(frame: types.FrameType | None) -> bool:
    """Return whether an import is under way: extension modules abort at an exception in theirs."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch(reader: int) -> NoReturn:
    """Read the signals as they arrive, and end the process where Python cannot."""
    first, arrived, unheld = 0, 0.0, None
    while True:
        ready = select.select([reader], [], [], 0.05 if first else None)[0]
        numbers = [number for number in os.read(reader, 64) if number in _NAMES] if ready else []
        now = time.monotonic()
        if first and numbers and now - arrived > _SAME:
            _exit(first)
        if numbers and not first:
            first, arrived = numbers[0], now
            if _state.holds:
                _tell("\njaxmnist: stopping after this epoch; again to stop at once\n")
        if first:
            unheld = None if _state.holds or _state.is_ending else unheld or now
            if unheld is not None and now - unheld > _GRACE:
                _exit(first)


def _exit(number: int) -> NoReturn:
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\033[?25h")  # The cursor, which a progress bar hides.
        if not _state.is_ending:
            os.write(2, f"jaxmnist: {message(number)}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, text.encode())


def _mute_when_stopped(module: object, name: str) -> None:
    """Have a hook that prints exceptions print none that the signal has caused."""
    shown = getattr(module, name)

    def show(*args: object) -> None:
        if not _state.received:
            shown(*args)

    setattr(module, name, show)
