"""Pictures: arrays in, a matplotlib Figure out. Nothing here reads, writes or keeps state."""

from jaxmnist.plots.curves import training_curve as training_curve
from jaxmnist.plots.curves import training_curves as training_curves
from jaxmnist.plots.digits import digits as digits
from jaxmnist.plots.race import RULE as RULE
from jaxmnist.plots.race import race as race
from jaxmnist.plots.race import race_frames as race_frames
from jaxmnist.plots.race import races as races
from jaxmnist.plots.style import theme as theme
from jaxmnist.plots.terrain import Terrain as Terrain
from jaxmnist.plots.traps import local_minimum as local_minimum
from jaxmnist.plots.traps import saddle as saddle
from jaxmnist.plots.traps import valley_momentum as valley_momentum
from jaxmnist.plots.verification import distributions as distributions
from jaxmnist.plots.verification import divergence as divergence
