"""Loss surfaces, two-dimensional ones and the network's own, and how optimizers cross them."""

from jaxmnist.landscapes.minibatch import descend as descend
from jaxmnist.landscapes.minibatch import share_beyond as share_beyond
from jaxmnist.landscapes.minibatch import tilts as tilts
from jaxmnist.landscapes.network_steps import NetworkSteps as NetworkSteps
from jaxmnist.landscapes.network_steps import network_steps as network_steps
from jaxmnist.landscapes.plane import Plane as Plane
from jaxmnist.landscapes.plane import loss_on_plane as loss_on_plane
from jaxmnist.landscapes.plane import plane_through as plane_through
from jaxmnist.landscapes.plane import point_on as point_on
from jaxmnist.landscapes.plane import project as project
from jaxmnist.landscapes.plane import random_plane as random_plane
from jaxmnist.landscapes.plane import share_in_plane as share_in_plane
from jaxmnist.landscapes.race import LEARNING_RATES as LEARNING_RATES
from jaxmnist.landscapes.race import Race as Race
from jaxmnist.landscapes.race import arrival as arrival
from jaxmnist.landscapes.race import first_step as first_step
from jaxmnist.landscapes.race import race as race
from jaxmnist.landscapes.race import trajectories as trajectories
from jaxmnist.landscapes.race import trajectory as trajectory
from jaxmnist.landscapes.step_lengths import step_lengths as step_lengths
from jaxmnist.landscapes.surfaces import SURFACES as SURFACES
from jaxmnist.landscapes.surfaces import Surface as Surface
from jaxmnist.landscapes.surfaces import heights as heights
from jaxmnist.landscapes.surfaces import surface as surface
from jaxmnist.landscapes.training_trajectory import Trajectory as Trajectory
from jaxmnist.landscapes.training_trajectory import make_course as make_course

Course = Trajectory
"""The earlier name of `Trajectory`."""
