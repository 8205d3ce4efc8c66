"""Loss surfaces: two-dimensional ones with a name, and how optimizers cross them."""

from jaxmnist.landscapes.minibatch import descend as descend
from jaxmnist.landscapes.minibatch import tilts as tilts
from jaxmnist.landscapes.race import LEARNING_RATES as LEARNING_RATES
from jaxmnist.landscapes.race import Race as Race
from jaxmnist.landscapes.race import arrival as arrival
from jaxmnist.landscapes.race import first_step as first_step
from jaxmnist.landscapes.race import race as race
from jaxmnist.landscapes.race import trajectories as trajectories
from jaxmnist.landscapes.race import trajectory as trajectory
from jaxmnist.landscapes.surfaces import SURFACES as SURFACES
from jaxmnist.landscapes.surfaces import Surface as Surface
from jaxmnist.landscapes.surfaces import heights as heights
from jaxmnist.landscapes.surfaces import surface as surface
