"""The optimizers of ``torch.optim`` under their names, arguments and defaults."""

from jaxmnist.parity.optimizers.adadelta import adadelta as adadelta
from jaxmnist.parity.optimizers.adafactor import adafactor as adafactor
from jaxmnist.parity.optimizers.adagrad import adagrad as adagrad
from jaxmnist.parity.optimizers.adam import adam as adam
from jaxmnist.parity.optimizers.adam import adamw as adamw
from jaxmnist.parity.optimizers.adamax import adamax as adamax
from jaxmnist.parity.optimizers.asgd import asgd as asgd
from jaxmnist.parity.optimizers.clipping import clip_grad_norm as clip_grad_norm
from jaxmnist.parity.optimizers.clipping import clip_grad_value as clip_grad_value
from jaxmnist.parity.optimizers.lbfgs import lbfgs as lbfgs
from jaxmnist.parity.optimizers.muon import muon as muon
from jaxmnist.parity.optimizers.nadam import nadam as nadam
from jaxmnist.parity.optimizers.radam import radam as radam
from jaxmnist.parity.optimizers.rmsprop import rmsprop as rmsprop
from jaxmnist.parity.optimizers.rprop import rprop as rprop
from jaxmnist.parity.optimizers.sgd import sgd as sgd
from jaxmnist.parity.optimizers.sparse_adam import sparse_adam as sparse_adam
