"""A training run as pure functions, and the same run under a host loop.

Read from the top: `make_train` is the whole run as one program, `train_epoch` and `evaluate` its
two halves, `train_step` and `eval_step` one batch of each. These are pure: arrays in, arrays out.
`fit` is the same run epoch by epoch from Python, for those who want to see every epoch as it ends,
or whose data do not fit in memory.
"""

from jaxmnist.tasks.tutorial import check_precision as check_precision
from jaxmnist.tasks.tutorial import inputs as inputs
from jaxmnist.tasks.tutorial import model_and_optimizer as model_and_optimizer
from jaxmnist.tasks.value import BatchMetrics as BatchMetrics
from jaxmnist.training.epoch import epoch_key as epoch_key
from jaxmnist.training.epoch import epoch_order as epoch_order
from jaxmnist.training.epoch import evaluate as evaluate
from jaxmnist.training.epoch import measure_epoch as measure_epoch
from jaxmnist.training.epoch import scan_batches as scan_batches
from jaxmnist.training.epoch import train_epoch as train_epoch
from jaxmnist.training.epoch import update_epoch as update_epoch
from jaxmnist.training.host_loop import DivergedError as DivergedError
from jaxmnist.training.host_loop import PlannedRun as PlannedRun
from jaxmnist.training.host_loop import check_labels as check_labels
from jaxmnist.training.host_loop import first_rows as first_rows
from jaxmnist.training.host_loop import fit as fit
from jaxmnist.training.host_loop import plan_run as plan_run
from jaxmnist.training.host_loop import run_epochs as run_epochs
from jaxmnist.training.means import Means as Means
from jaxmnist.training.means import average as average
from jaxmnist.training.run import as_task as as_task
from jaxmnist.training.run import make_train as make_train
from jaxmnist.training.run import train_and_evaluate as train_and_evaluate
from jaxmnist.training.setup import init as init
from jaxmnist.training.setup import start as start
from jaxmnist.training.state import ApplyFn as ApplyFn
from jaxmnist.training.state import BatchSizes as BatchSizes
from jaxmnist.training.state import History as History
from jaxmnist.training.state import OnEpoch as OnEpoch
from jaxmnist.training.state import Params as Params
from jaxmnist.training.state import RunEpoch as RunEpoch
from jaxmnist.training.state import Scan as Scan
from jaxmnist.training.state import Train as Train
from jaxmnist.training.state import TrainState as TrainState
from jaxmnist.training.state import by_name as by_name
from jaxmnist.training.state import check_batches_fit as check_batches_fit
from jaxmnist.training.state import samples_in as samples_in
from jaxmnist.training.state import sizes as sizes
from jaxmnist.training.state import split_pair as split_pair
from jaxmnist.training.step import eval_step as eval_step
from jaxmnist.training.step import measure_batch as measure_batch
from jaxmnist.training.step import predict as predict
from jaxmnist.training.step import train_step as train_step
from jaxmnist.training.step import update as update
