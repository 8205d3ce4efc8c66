"""A run on disk: its configuration, its metrics, its weights, its checkpoints and its pictures.

A run's folder contains `config.json`, `metrics.jsonl` (one line per epoch), `model.safetensors`
(PyTorch's names), the curves and the first test batch's predictions as pictures,
`predictions.csv`, and the newest checkpoints, `checkpoints/EPOCHS`. A run of a task in a file of
one's own has that file's text as `task.py`, its model under the names of its own structure, and
predictions only if it classifies digits. Every file is replaced only by
a complete one, and the model is updated with every epoch, so that a run that is stopped, at
whatever moment, loses nothing that it wrote and can be resumed from its newest whole checkpoint.

One process at a time writes to the folder (`.lock`). `config.json` has the SHA-256 of the data and
of the model, and the machines that trained it; a checkpoint has those of its arrays, and a copy of
the metrics up to it. What a resumed run was further with is in `superseded` until it is as far
again, and a run that overwrites another in `.new` until its first epoch is whole.

`save_pictures`, `save_task_pictures` and `write_picture` are resolved when first used: reading a
run does not load matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxmnist.runs.checkpoints import rewind as rewind
from jaxmnist.runs.checkpoints import save_checkpoint as save_checkpoint
from jaxmnist.runs.folder import append_epoch as append_epoch
from jaxmnist.runs.folder import check_free as check_free
from jaxmnist.runs.folder import create as create
from jaxmnist.runs.folder import is_finished as is_finished
from jaxmnist.runs.folder import load as load
from jaxmnist.runs.folder import read as read
from jaxmnist.runs.named_arrays import from_named_arrays as from_named_arrays
from jaxmnist.runs.named_arrays import named_arrays as named_arrays
from jaxmnist.runs.resumption import reopen as reopen
from jaxmnist.runs.run import Run as Run
from jaxmnist.runs.run import about as about
from jaxmnist.runs.run import from_about as from_about
from jaxmnist.runs.session import Session as Session
from jaxmnist.runs.session import open_run as open_run
from jaxmnist.runs.session import record_epoch as record_epoch
from jaxmnist.runs.task_file import TaskFile as TaskFile
from jaxmnist.runs.weights import load_model as load_model
from jaxmnist.runs.weights import named_model as named_model

if TYPE_CHECKING:
    from jaxmnist.plots.save import write_picture as write_picture
    from jaxmnist.runs.pictures import save_pictures as save_pictures
    from jaxmnist.runs.pictures import save_task_pictures as save_task_pictures

_LAZY = {
    "save_pictures": "jaxmnist.runs.pictures",
    "save_task_pictures": "jaxmnist.runs.pictures",
    "write_picture": "jaxmnist.plots.save",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
