"""The commands: each parses, calls, prints. What they do is decided elsewhere.

JAX, TensorFlow Datasets and matplotlib are imported inside the commands, so that `--help` and a
mistyped option answer at once.
"""

import traceback
from collections.abc import Sequence

from jaxmnist.cli import console, parser
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 1 if a run failed and with 2 on a person's mistake.

    Args:
        arguments: The command line without the program's name; None takes the process's own.
    """
    try:
        parser.parse(arguments)()
    except InputError as error:
        console.fail(str(error))
    except processes.LostProcessError as error:
        console.fail(str(error), status=1)
    except KeyboardInterrupt:
        console.leave(130)
    except Exception:
        if processes.joined():
            traceback.print_exc()
            console.leave(1)
        raise
