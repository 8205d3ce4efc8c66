"""The program `jaxmnist`, also `python -m jaxmnist`: one command in a process of its own."""

import gc
import os
import signal
import sys

from jaxmnist import signals


def main() -> None:
    """Run the command of the process's own command line."""
    closed = _open_closed_streams()
    signals.install()
    gc.set_threshold(50_000)  # The imports make many objects, and hardly one to be collected.
    try:
        import logging

        from jaxmnist import cli
        from jaxmnist.cli import console

        if 1 in closed:
            console.fail("standard output is closed; send it to /dev/null to see nothing of it")
        # What a library logs of a full disk, for one, a command says in one line. XLA reads the
        # variable when it is loaded; 1 is what JAX sets, for the programs that it starts as well.
        logging.disable(logging.CRITICAL)
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        cli.main()
    except KeyboardInterrupt:  # Before or after the command itself.
        number = signals.received() or signal.SIGINT
        sys.stderr.write(f"jaxmnist: {signals.message(number)}\n")
        os._exit(128 + number)
    finally:
        signals.release()
        gc.freeze()  # Else Python looks through all of the libraries' objects before it ends.


def _open_closed_streams() -> set[int]:
    """Open /dev/null for every standard stream that is closed; return which those are.

    The first files that are opened would get their numbers, and a library's words.
    """
    closed = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.add(os.open(os.devnull, os.O_RDWR))
    if sys.stdout is None:
        sys.stdout = open(1, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w")  # noqa: SIM115
    return closed


if __name__ == "__main__":
    main()
