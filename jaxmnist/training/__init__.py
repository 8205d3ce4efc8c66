"""A training run as pure functions, and the same run under a host loop.

Read from the top: `make_train` is the whole run as one program, `train_epoch` and `evaluate` its
two halves, `train_step` and `eval_step` one batch of each. These are pure: arrays in, arrays out.
`fit` is the same run epoch by epoch from Python, for those who want to see every epoch as it ends,
or whose data do not fit in memory.
"""

from jaxmnist.training.epoch import average as average
from jaxmnist.training.epoch import epoch_order as epoch_order
from jaxmnist.training.epoch import evaluate as evaluate
from jaxmnist.training.epoch import make_train as make_train
from jaxmnist.training.epoch import scan_batches as scan_batches
from jaxmnist.training.epoch import train_and_evaluate as train_and_evaluate
from jaxmnist.training.epoch import train_epoch as train_epoch
from jaxmnist.training.host_loop import DivergedError as DivergedError
from jaxmnist.training.host_loop import fit as fit
from jaxmnist.training.host_loop import run_epochs as run_epochs
from jaxmnist.training.setup import check_precision as check_precision
from jaxmnist.training.setup import init as init
from jaxmnist.training.setup import model_and_optimizer as model_and_optimizer
from jaxmnist.training.state import ApplyFn as ApplyFn
from jaxmnist.training.state import BatchMetrics as BatchMetrics
from jaxmnist.training.state import History as History
from jaxmnist.training.state import Params as Params
from jaxmnist.training.state import RunEpoch as RunEpoch
from jaxmnist.training.state import Scan as Scan
from jaxmnist.training.state import Train as Train
from jaxmnist.training.state import TrainState as TrainState
from jaxmnist.training.state import check_batches_fit as check_batches_fit
from jaxmnist.training.state import sizes as sizes
from jaxmnist.training.step import eval_step as eval_step
from jaxmnist.training.step import inputs as inputs
from jaxmnist.training.step import predict as predict
from jaxmnist.training.step import train_step as train_step
