"""How the runtime ends a process: in one line, and with the exit status of a command.

The coordination service ends the process from C++ when another process stopped: it prints a stack
trace that no option turns off, and aborts.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

OnAbort = Callable[[str, int], None]
"""``on_abort(message, status)``: what to print, and the exit status, if the runtime ends this
process from here on."""


def hush() -> OnAbort:
    """Reduce to one line what the runtime prints when it ends this process, and set its status.

    Gloo prints a line on stdout, too. So both streams of the *process* go through a filter, a
    separate process that outlives it, while Python's stdout bypasses it.

    Returns:
        A function that sets the message and the exit status.
    """
    sys.stdout.flush()
    sys.stdout = os.fdopen(
        os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors
    )
    # In a session of its own, the filter is not ended by Ctrl-C before the process it filters.
    filtering = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert filtering.stdin is not None
    for stream in (1, 2):
        os.dup2(filtering.stdin.fileno(), stream)
    filtering.stdin.close()
    status = 1

    def set_message(text: str, exit_status: int) -> None:
        nonlocal status
        status = exit_status
        sys.stderr.write(f"\0{text}\n")
        sys.stderr.flush()

    global _handler  # C holds no reference to it.
    _handler = _Handler(lambda _: os._exit(status))
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)
    return set_message


# A handler of Python's own runs only where Python does, which the aborting thread does not.
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_handler: object = None

# It copies its input, up to this package's own last message or the service's.
_FILTER = """
import sys
meaning, said = b"", False
for line in sys.stdin.buffer:
    if line.startswith(b"\\0"):
        meaning = line[1:]
        continue
    if b"JAX distributed service detected fatal errors" in line:
        line = b"jaxmnist: " + meaning
    if not said and not line.startswith(b"[Gloo] "):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    said = said or line.startswith(b"jaxmnist: ")
"""


def end_after(seconds: float, message: str, status: int) -> threading.Timer:
    """End this process if it is not done with a step in time, wherever in C++ it may be.

    Args:
        seconds: The time.
        message: The line to print then.
        status: The exit status.

    Returns:
        What to cancel when the step is done.
    """

    def end() -> None:
        os.write(2, f"jaxmnist: {message}\n".encode(errors="backslashreplace"))
        os._exit(status)

    timer = threading.Timer(max(0.0, seconds), end)
    timer.daemon = True
    timer.start()
    return timer
