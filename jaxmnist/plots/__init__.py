"""Pictures: arrays in, a matplotlib Figure out. Nothing here reads, writes or keeps state."""

from jaxmnist.plots import style as style
from jaxmnist.plots.curves import training_curve as training_curve
from jaxmnist.plots.curves import training_curves as training_curves
from jaxmnist.plots.digits import digits as digits
from jaxmnist.plots.network import Cut as Cut
from jaxmnist.plots.network import loss_surface as loss_surface
from jaxmnist.plots.network import training_comparison as training_comparison
from jaxmnist.plots.style import OPTIMIZERS as OPTIMIZERS
from jaxmnist.plots.style import theme as theme
from jaxmnist.plots.verification import distributions as distributions
from jaxmnist.plots.verification import divergence as divergence
