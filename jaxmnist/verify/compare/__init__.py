"""The comparison engine: how far two computations are apart, and where they first diverge.

Every verifier of this package ends here. `Comparer` takes two computations step by step;
`compare_curves` and `compare_means` take what a whole run has recorded. All of them measure by the
same distance, relative error and ULP (`measures`), and return a `Comparison`.
"""

from jaxmnist.verify.compare.comparer import Comparer as Comparer
from jaxmnist.verify.compare.measures import Leaves as Leaves
from jaxmnist.verify.compare.measures import distance as distance
from jaxmnist.verify.compare.measures import relative_error as relative_error
from jaxmnist.verify.compare.recorded import Curve as Curve
from jaxmnist.verify.compare.recorded import compare_curves as compare_curves
from jaxmnist.verify.compare.recorded import compare_means as compare_means
from jaxmnist.verify.compare.results import Comparison as Comparison
from jaxmnist.verify.compare.results import Comparisons as Comparisons
from jaxmnist.verify.compare.results import Divergence as Divergence
from jaxmnist.verify.compare.results import Errors as Errors
from jaxmnist.verify.compare.results import Result as Result
