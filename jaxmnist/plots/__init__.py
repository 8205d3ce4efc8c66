"""Pictures: arrays in, a matplotlib Figure out. Nothing here reads, writes or keeps state."""

from jaxmnist.plots.curves import training_curve as training_curve
from jaxmnist.plots.curves import training_curves as training_curves
from jaxmnist.plots.digits import digits as digits
from jaxmnist.plots.graph import graph as graph
from jaxmnist.plots.style import theme as theme
from jaxmnist.plots.verification import distributions as distributions
from jaxmnist.plots.verification import divergence as divergence
