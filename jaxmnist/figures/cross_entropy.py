"""Cross-entropy of a probability and of a logit, with their gradients (D1, D2)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import losses, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Each, Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    logits = jnp.linspace(-50.0, 50.0, 1001)

    def clamped(logit: Any, target: Any) -> Any:
        return losses.binary_cross_entropy(jax.nn.sigmoid(logit), target)

    def against_logit(loss: Any) -> Mapping[int, Any]:
        by_target = {}
        for target in (1, 0):
            both = jax.vmap(jax.value_and_grad(loss), in_axes=(0, None))
            value, gradient = both(logits, jnp.array(float(target)))
            by_target[target] = {"loss": value, "gradient": gradient}
        return by_target

    p = jnp.linspace(0.005, 1.0, 200)
    return {
        "p": p,
        "surprise": jax.vmap(losses.binary_cross_entropy, in_axes=(0, None))(p, jnp.array(1.0)),
        "logits": logits,
        "clamped": against_logit(clamped),
        "stable": against_logit(losses.binary_cross_entropy_with_logits),
    }


def _draw(data: Data) -> Figure:
    clamped, stable = (
        {
            int(target): {name: np.array(values, float) for name, values in curves.items()}
            for target, curves in data[form].items()
        }
        for form in ("clamped", "stable")
    )
    return plots.cross_entropy(
        p=np.array(data["p"]),
        surprise=np.array(data["surprise"]),
        logits=np.array(data["logits"]),
        clamped=clamped,
        stable=stable,
    )


_FORM: Final = {
    "p": Numbers("p"),
    "surprise": Numbers("p"),
    "logits": Numbers("logits"),
    "clamped": Each({"loss": Numbers("logits"), "gradient": Numbers("logits")}, ("0", "1")),
    "stable": Each({"loss": Numbers("logits"), "gradient": Numbers("logits")}, ("0", "1")),
}

PICTURE: Final = Picture("cross_entropy", "D1, D2", _compute, _draw, form=_FORM)
