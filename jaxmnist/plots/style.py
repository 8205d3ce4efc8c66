"""One visual language for all pictures: two themes, one size of type, one look per optimizer.

An optimizer has the same colour, dash and marker wherever it is drawn. The colours are told apart
by the colour-blind and on both themes; the dash and the marker say it a second time.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl

from jaxmnist.errors import shortened

Theme = Literal["light", "dark"]

FONT_SIZE: Final = 10
"""Of all text, in points; a picture is at most 10 inches wide, so that it stays legible."""

# Okabe and Ito's colours, told apart by the colour-blind.
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
ORANGE: Final = "#E69F00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
# Not among the optimizers': momentum with another constant than the tutorial's.
BROWN: Final = "#8C5A2B"


class Look(NamedTuple):
    """How one thing is drawn everywhere."""

    label: str
    color: str
    dash: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of ``Axes.plot`` for a line of this look, without markers."""
        return {"label": self.label, "color": self.color, "linestyle": self.dash}


OPTIMIZERS: Final[Mapping[str, Look]] = {
    "sgd": Look("SGD", BLUE, "-", "o"),
    "momentum": Look("Momentum", VERMILION, (0, (6, 1.5)), "s"),
    "adagrad": Look("Adagrad", GREEN, (0, (6, 1.5, 1.2, 1.5)), "^"),
    "rmsprop": Look("RMSProp", PURPLE, (0, (1.2, 1.2)), "D"),
    "adadelta": Look("Adadelta", ORANGE, (0, (4, 1.2, 1.2, 1.2, 1.2, 1.2)), "v"),
    "adam": Look("Adam", SKY, (0, (2.5, 1)), "P"),
}

FIRST: Final[Mapping[str, Any]] = {"color": BLUE, "marker": "o"}
"""Of two things that are no optimizers: train, ours."""
SECOND: Final[Mapping[str, Any]] = {"color": VERMILION, "marker": "s"}
"""Test, theirs."""

GOOD: Final = GREEN
"""Values, in a graph; what is right."""
BAD: Final = VERMILION
"""Gradients, in a graph; what is wrong."""

_THEMES: Final[Mapping[Theme, Mapping[str, str]]] = {
    "light": {"background": "#FFFFFF", "ink": "#1F2328", "muted": "#818B98"},
    "dark": {"background": "#0D1117", "ink": "#E6EDF3", "muted": "#7D8590"},
}


def literal(text: str, most: int = 60) -> str:
    r"""Write a name so that a picture shows it as it is, not as mathematics between dollar signs.

    Args:
        text: Such as a file's name, which may have any characters.
        most: How many of them are shown; of a longer name the middle is left out.

    Returns:
        The text for a title or a label, in one line.

    >>> print(literal("a$x$.png"))
    a\$x\$.png
    """
    return shortened(text, most).replace("$", r"\$")


@contextlib.contextmanager
def theme(name: Theme = "light") -> Iterator[None]:
    """Draw and save pictures inside this in one theme.

    A picture must be saved inside too: matplotlib makes some of its parts only then.

    Args:
        name: light or dark.

    >>> from jaxmnist import plots
    >>> with theme("dark"):
    ...     background()
    '#0D1117'
    """
    colors = _THEMES[name]
    settings: dict[Any, Any] = {
        "figure.facecolor": colors["background"],
        "axes.facecolor": colors["background"],
        "savefig.facecolor": "auto",
        "text.color": colors["ink"],
        "axes.labelcolor": colors["ink"],
        "axes.titlecolor": colors["ink"],
        "axes.edgecolor": colors["muted"],
        "xtick.color": colors["muted"],
        "ytick.color": colors["muted"],
        "xtick.labelcolor": colors["ink"],
        "ytick.labelcolor": colors["ink"],
        "grid.color": colors["muted"],
        "grid.alpha": 0.3,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "font.size": FONT_SIZE,
        "font.family": ["DejaVu Sans"],
        "lines.linewidth": 1.8,
        "svg.hashsalt": "jaxmnist",
        "svg.fonttype": "path",
        **dict.fromkeys(
            (
                "axes.titlesize",
                "axes.labelsize",
                "xtick.labelsize",
                "ytick.labelsize",
                "legend.fontsize",
                "figure.titlesize",
            ),
            FONT_SIZE,
        ),
    }
    with mpl.rc_context(settings):
        yield


def ink() -> str:
    """The colour of text, and of lines that are no optimizer's."""
    return mpl.rcParams["text.color"]


def muted() -> str:
    """The colour of what stays in the background."""
    return mpl.rcParams["grid.color"]


def background() -> str:
    """The colour behind everything."""
    return mpl.rcParams["axes.facecolor"]
