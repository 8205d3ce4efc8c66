"""Loss surfaces: a network's own, cut by a plane, and the paths of training over it (row D28)."""

from jaxmnist.landscapes.network import Course as Course
from jaxmnist.landscapes.network import Plane as Plane
from jaxmnist.landscapes.network import loss_on_plane as loss_on_plane
from jaxmnist.landscapes.network import make_course as make_course
from jaxmnist.landscapes.network import plane_through as plane_through
from jaxmnist.landscapes.network import point_on as point_on
from jaxmnist.landscapes.network import project as project
from jaxmnist.landscapes.network import random_plane as random_plane
from jaxmnist.landscapes.network import share_in_plane as share_in_plane
