"""The schedules of ``torch.optim.lr_scheduler``: from a count of updates to a rate.

The first argument is the optimizer's learning rate, where PyTorch takes the optimizer.
"""

from jaxmnist.parity.schedules.combined import chained as chained
from jaxmnist.parity.schedules.combined import sequential_lr as sequential_lr
from jaxmnist.parity.schedules.cycles import Cycle as Cycle
from jaxmnist.parity.schedules.cycles import (
    cosine_annealing_lr as cosine_annealing_lr,
)
from jaxmnist.parity.schedules.cycles import (
    cosine_annealing_warm_restarts as cosine_annealing_warm_restarts,
)
from jaxmnist.parity.schedules.cycles import cyclic_lr as cyclic_lr
from jaxmnist.parity.schedules.cycles import one_cycle as one_cycle
from jaxmnist.parity.schedules.decays import constant_lr as constant_lr
from jaxmnist.parity.schedules.decays import exponential_lr as exponential_lr
from jaxmnist.parity.schedules.decays import lambda_lr as lambda_lr
from jaxmnist.parity.schedules.decays import linear_lr as linear_lr
from jaxmnist.parity.schedules.decays import multi_step_lr as multi_step_lr
from jaxmnist.parity.schedules.decays import multiplicative_lr as multiplicative_lr
from jaxmnist.parity.schedules.decays import polynomial_lr as polynomial_lr
from jaxmnist.parity.schedules.decays import step_lr as step_lr
from jaxmnist.parity.schedules.plateau import reduce_on_plateau as reduce_on_plateau
