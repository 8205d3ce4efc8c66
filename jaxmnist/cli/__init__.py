"""The commands: each parses, calls, prints. What they do is decided elsewhere.

JAX, TensorFlow Datasets and matplotlib are imported inside the commands, so that `--help` and a
mistyped option answer at once.
"""

import signal
import sys
import traceback
from collections.abc import Sequence

from jaxmnist import signals
from jaxmnist.cli import console, parser
from jaxmnist.distributed import meeting, processes
from jaxmnist.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 1 if a run failed and with 2 on a person's mistake.

    A command that a signal stopped exits with 128 + the signal's number.

    Args:
        arguments: The command line without the program's name; None takes the process's own.
    """
    try:
        try:
            parser.parse(arguments)()
        finally:
            sys.stdout.flush()
    except InputError as error:
        console.fail(str(error))
    except processes.LostProcessError as error:
        console.fail(str(error), status=1)
    except KeyboardInterrupt as stopped:
        _stop(getattr(stopped, "number", signal.SIGINT))
    except Exception as error:
        if signals.received():  # Which a library turned into another exception.
            _stop(signals.received())
        if isinstance(error, OSError):
            console.fail(console.unexpected(error))
        if console.is_of_memory(error):
            console.fail(console.OUT_OF_MEMORY, status=1)
        if processes.joined() or meeting.is_open():
            traceback.print_exc()
            console.leave(1)
        raise


def _stop(number: int) -> None:
    console.fail(signals.message(number), status=128 + number)
