"""Compare any JAX optimizer, model or run with PyTorch, Optax and the formulas.

    print(verify.optimizer(tx, torch.optim.Adam))    # the same steps? where do they diverge?
    print(verify.explain(tx, torch.optim.Adam))      # and why
    print(verify.model(apply_fn, params, module, inputs))
    print(verify.function(f, torch_f, args))         # a loss: values and gradients
    print(verify.schedule(schedule, factory, 100))   # learning rates, step by step
    print(verify.initializer(init, torch_init, shape))
    print(verify.training(config))
    verify.assert_same(tx, torch.optim.Adam)         # in a test

Every result has `.passed`, `.max_error` and `.first_divergence`, and prints as a table; its truth
is no verdict, and asking for it raises. PyTorch is imported when a comparison needs it, and not
before.
"""

from jaxmnist.verify.assertion import assert_same as assert_same
from jaxmnist.verify.calculus import calculus as calculus
from jaxmnist.verify.compare import Comparer as Comparer
from jaxmnist.verify.compare import Comparison as Comparison
from jaxmnist.verify.compare import Comparisons as Comparisons
from jaxmnist.verify.compare import Divergence as Divergence
from jaxmnist.verify.compare import Errors as Errors
from jaxmnist.verify.function import function as function
from jaxmnist.verify.function_runs.result import FunctionResult as FunctionResult
from jaxmnist.verify.gradient_sources import SOURCES as SOURCES
from jaxmnist.verify.identify.causes import Cause as Cause
from jaxmnist.verify.identify.explain import Explanation as Explanation
from jaxmnist.verify.identify.explain import explain as explain
from jaxmnist.verify.initializer import InitializerResult as InitializerResult
from jaxmnist.verify.initializer import initializer as initializer
from jaxmnist.verify.losses import losses as losses
from jaxmnist.verify.model import model as model
from jaxmnist.verify.model_runs.result import Layer as Layer
from jaxmnist.verify.model_runs.result import ModelResult as ModelResult
from jaxmnist.verify.optimizer import optimizer as optimizer
from jaxmnist.verify.references import Recurrence as Recurrence
from jaxmnist.verify.references import numpy_reference as numpy_reference
from jaxmnist.verify.references import optax_reference as optax_reference
from jaxmnist.verify.references import torch_reference as torch_reference
from jaxmnist.verify.schedule import ScheduleResult as ScheduleResult
from jaxmnist.verify.schedule import schedule as schedule
from jaxmnist.verify.whole_run.entry import training as training
from jaxmnist.verify.whole_run.task_run import TorchProgram as TorchProgram
from jaxmnist.verify.whole_run.verdict import TrainingResult as TrainingResult
