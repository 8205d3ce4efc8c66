"""Where the gradients of a comparison come from.

Some are given: every optimizer gets the same numbers whatever it does with them. Others follow
the trajectory: they are a function's gradient at the current parameters, so that a rounding error
comes back with the next gradient, damped or amplified.

A source that brings its own parameters starts the optimizer at zero and adds the start of the
trajectory before it takes the gradient there. The parameter is then the displacement, with
all its digits; added to a weight of 0.05, a displacement of 1e-6 would have eleven left.
"""

from jaxmnist.verify.gradient_sources.gradients import Gradients as Gradients
from jaxmnist.verify.gradient_sources.lookup import FOLLOWING as FOLLOWING
from jaxmnist.verify.gradient_sources.lookup import GIVEN as GIVEN
from jaxmnist.verify.gradient_sources.lookup import SOURCES as SOURCES
from jaxmnist.verify.gradient_sources.lookup import source as source
