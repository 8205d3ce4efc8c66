"""Every picture of the tutorial's walk-through: what computes it, what draws it, its file's name.

`PICTURES` has them by name in the tutorial's order. The module that makes a picture has the
picture's name; `race` makes `race_valley` and `race_saddle`. A picture is made in two steps: `make`
computes its numbers and stores them as JSON, `redraw` draws from that JSON, which takes a second.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jaxmnist.figures import (
    backpropagation,
    bias_correction,
    chain_rule,
    cross_entropy,
    descent_1d,
    descent_2d,
    descent_network,
    digits,
    gradient_descent,
    local_minimum,
    loss_surface,
    neuron,
    optimizers,
    predictions,
    race,
    races,
    saddle,
    softmax,
    step_sizes,
    taylor,
    terminal_velocity,
    training,
    valley_momentum,
)
from jaxmnist.figures.picture import Data as Data
from jaxmnist.figures.picture import OnProgress as OnProgress
from jaxmnist.figures.picture import Picture as Picture
from jaxmnist.figures.picture import make as make
from jaxmnist.figures.picture import redraw as redraw

_ALL = (
    cross_entropy.PICTURE,
    softmax.PICTURE,
    digits.PICTURE,
    training.PICTURE,
    predictions.PICTURE,
    chain_rule.PICTURE,
    backpropagation.PICTURE,
    neuron.PICTURE,
    gradient_descent.PICTURE,
    local_minimum.PICTURE,
    saddle.PICTURE,
    taylor.PICTURE,
    descent_1d.PICTURE,
    descent_2d.PICTURE,
    descent_network.PICTURE,
    terminal_velocity.PICTURE,
    valley_momentum.PICTURE,
    step_sizes.PICTURE,
    bias_correction.PICTURE,
    *race.PICTURES,
    races.PICTURE,
    loss_surface.PICTURE,
    optimizers.PICTURE,
)

PICTURES: Final[Mapping[str, Picture]] = MappingProxyType(
    {picture.name: picture for picture in _ALL}
)
