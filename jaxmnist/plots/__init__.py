"""Pictures: arrays in, a matplotlib Figure out. Nothing here reads, writes or keeps state."""

from jaxmnist.plots import style as style
from jaxmnist.plots.curves import training_curve as training_curve
from jaxmnist.plots.curves import training_curves as training_curves
from jaxmnist.plots.descent import descent_1d as descent_1d
from jaxmnist.plots.descent import descent_2d as descent_2d
from jaxmnist.plots.descent import descent_network as descent_network
from jaxmnist.plots.descent import gradient_descent as gradient_descent
from jaxmnist.plots.digits import digits as digits
from jaxmnist.plots.losses import cross_entropy as cross_entropy
from jaxmnist.plots.losses import softmax as softmax
from jaxmnist.plots.network import Cut as Cut
from jaxmnist.plots.network import loss_surface as loss_surface
from jaxmnist.plots.network import training_comparison as training_comparison
from jaxmnist.plots.steps import bias_correction as bias_correction
from jaxmnist.plots.steps import step_sizes as step_sizes
from jaxmnist.plots.steps import terminal_velocity as terminal_velocity
from jaxmnist.plots.style import OPTIMIZERS as OPTIMIZERS
from jaxmnist.plots.style import theme as theme
from jaxmnist.plots.taylor import taylor as taylor
from jaxmnist.plots.verification import distributions as distributions
from jaxmnist.plots.verification import divergence as divergence
