"""The errors of a model's submodules, forward and backward."""

from collections.abc import Mapping

from matplotlib.figure import Figure


def layer_errors(
    errors: Mapping[str, tuple[float | None, float | None]],
    allowed: float,
    location: str | None,
    title: str,
) -> Figure:
    """Draw the relative error of every submodule's result, and of the gradient in it.

    Args:
        errors: By the submodule's name, in forward order: forward and backward; None is not drawn.
        allowed: The relative error that is rounding, drawn as a line.
        location: The submodule where two models first diverge, drawn as a line, or None.
        title: Says which models they are.

    Returns:
        A picture with a row for each submodule, on a logarithmic scale; an error of 0 is drawn at
        the smallest that is shown.
    """
    names = list(errors)
    shown = [e for pair in errors.values() for e in pair if e]
    least = min([*shown, allowed or 1e-16]) / 10
    figure = Figure(figsize=(8, 1.6 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    for which, (label, marker) in enumerate((("forward", "o"), ("backward", "x"))):
        points = [(pair[which], row) for row, pair in enumerate(errors.values())]
        found = [(max(error, least), row) for error, row in points if error is not None]
        if found:
            x, y = zip(*found, strict=True)
            axes.plot(x, y, marker, label=label, color=f"C{which}", linestyle="none")
    if allowed:
        axes.axvline(allowed, color="0.5", linestyle="--", label="allowed")
    if location in names:
        axes.axhline(names.index(location), color="C3", alpha=0.4, label="first divergence")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") or "the module" for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("Relative error")
    axes.set_title(title)
    axes.legend(loc="best")
    return figure
