"""Every picture of the document's walk-through: what computes it, what draws it, where it is kept.

`PICTURES` holds them by name in the document's order. Each is made in two steps: `make` computes
its numbers and keeps them as JSON, `redraw` draws from that JSON, which takes a second.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jaxmnist.figures import (
    backpropagation,
    classification,
    descent,
    losses,
    optimizers,
    reality,
    steps,
)
from jaxmnist.figures.picture import Data as Data
from jaxmnist.figures.picture import Picture as Picture
from jaxmnist.figures.picture import Report as Report
from jaxmnist.figures.picture import make as make
from jaxmnist.figures.picture import redraw as redraw

_ALL = (
    *losses.PICTURES,
    *classification.PICTURES,
    *backpropagation.PICTURES,
    *descent.PICTURES,
    *steps.PICTURES,
    *optimizers.PICTURES,
    *reality.PICTURES,
)

PICTURES: Final[Mapping[str, Picture]] = MappingProxyType(
    {picture.name: picture for picture in sorted(_ALL, key=lambda picture: picture.rows_shown[0])}
)
