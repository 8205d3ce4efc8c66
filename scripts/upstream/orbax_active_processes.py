"""Orbax's v1 Checkpointer refuses to work in one of several processes; v0's manager can."""

import tempfile

from orbax.checkpoint import v1

context, is_ = v1.Context(), "open"
context.multiprocessing.active_processes = {0}
try:
    with tempfile.TemporaryDirectory() as folder:
        v1.training.Checkpointer(folder, context=context).close()
except NotImplementedError as error:  # v1.save_checkpointables waits for the others.
    is_ = f"refused ({error})"
print(f"Checkpointer for process 0 alone: is {is_}; should be open")
raise SystemExit(int(is_ == "open"))
