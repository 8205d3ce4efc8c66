"""Hold any JAX optimizer, model or run against PyTorch, Optax and the formulas."""

from jaxmnist.verify.compare import Comparer as Comparer
from jaxmnist.verify.compare import Comparison as Comparison
from jaxmnist.verify.compare import Comparisons as Comparisons
from jaxmnist.verify.compare import Divergence as Divergence
from jaxmnist.verify.compare import Errors as Errors
