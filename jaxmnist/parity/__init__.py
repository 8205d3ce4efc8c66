"""PyTorch's optimizers, clipping and schedules as drop-ins for Optax.

    tx = parity.nadam(lr=0.002, weight_decay=1e-4, decoupled_weight_decay=True)
    tx = optax.chain(parity.clip_grad_norm(1.0), parity.adam(amsgrad=True))

Every drop-in has PyTorch's name, arguments and defaults, and takes the same steps
(``scripts/parity_optimizers.py`` compares them with ``torch.optim`` in float64). It is a plain
Optax transformation or schedule, composed of Optax's own where those are equal; each docstring says
where they are not. Numbers may be traced, so that one program serves every value; a learning rate,
a momentum and betas may be schedules.
"""

from jaxmnist.parity.from_torch import optimizer_from_torch as optimizer_from_torch
from jaxmnist.parity.optimizers import adadelta as adadelta
from jaxmnist.parity.optimizers import adafactor as adafactor
from jaxmnist.parity.optimizers import adagrad as adagrad
from jaxmnist.parity.optimizers import adam as adam
from jaxmnist.parity.optimizers import adamax as adamax
from jaxmnist.parity.optimizers import adamw as adamw
from jaxmnist.parity.optimizers import asgd as asgd
from jaxmnist.parity.optimizers import clip_grad_norm as clip_grad_norm
from jaxmnist.parity.optimizers import clip_grad_value as clip_grad_value
from jaxmnist.parity.optimizers import lbfgs as lbfgs
from jaxmnist.parity.optimizers import muon as muon
from jaxmnist.parity.optimizers import nadam as nadam
from jaxmnist.parity.optimizers import radam as radam
from jaxmnist.parity.optimizers import rmsprop as rmsprop
from jaxmnist.parity.optimizers import rprop as rprop
from jaxmnist.parity.optimizers import sgd as sgd
from jaxmnist.parity.optimizers import sparse_adam as sparse_adam
from jaxmnist.parity.schedules import Cycle as Cycle
from jaxmnist.parity.schedules import chained as chained
from jaxmnist.parity.schedules import constant_lr as constant_lr
from jaxmnist.parity.schedules import cosine_annealing_lr as cosine_annealing_lr
from jaxmnist.parity.schedules import (
    cosine_annealing_warm_restarts as cosine_annealing_warm_restarts,
)
from jaxmnist.parity.schedules import cyclic_lr as cyclic_lr
from jaxmnist.parity.schedules import exponential_lr as exponential_lr
from jaxmnist.parity.schedules import lambda_lr as lambda_lr
from jaxmnist.parity.schedules import linear_lr as linear_lr
from jaxmnist.parity.schedules import multi_step_lr as multi_step_lr
from jaxmnist.parity.schedules import multiplicative_lr as multiplicative_lr
from jaxmnist.parity.schedules import one_cycle as one_cycle
from jaxmnist.parity.schedules import polynomial_lr as polynomial_lr
from jaxmnist.parity.schedules import reduce_on_plateau as reduce_on_plateau
from jaxmnist.parity.schedules import sequential_lr as sequential_lr
from jaxmnist.parity.schedules import step_lr as step_lr
