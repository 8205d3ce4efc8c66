"""Where people keep the curves of their runs: TensorBoard, Weights & Biases, MLflow, Trackio.

`opened` returns a callback for `jaxmnist.fit`. Each of the libraries is an extra of this package,
and is imported only when it is asked for.
"""

from jaxmnist.logs.callback import KINDS as KINDS
from jaxmnist.logs.callback import opened as opened
from jaxmnist.logs.installed import check_installed as check_installed
