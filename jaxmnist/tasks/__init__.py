"""What a run trains, as a value of pure functions: the tutorial's task, and one's own.

`Task` is the value; `task` builds one from a model, an optimizer and a loss as people have them;
`tutorial_task` is the tutorial's own, one task among others.
"""

from jaxmnist.tasks.build import task as task
from jaxmnist.tasks.tutorial import model_and_optimizer as model_and_optimizer
from jaxmnist.tasks.tutorial import tutorial_task as tutorial_task
from jaxmnist.tasks.value import Batch as Batch
from jaxmnist.tasks.value import BatchMetrics as BatchMetrics
from jaxmnist.tasks.value import Metrics as Metrics
from jaxmnist.tasks.value import Model as Model
from jaxmnist.tasks.value import Task as Task
from jaxmnist.tasks.value import first_of_pair as first_of_pair
