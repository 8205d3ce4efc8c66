"""The result of a comparison of models, with the place and the cause of a divergence."""

from collections.abc import Sequence

import jax

from jaxmnist.verify.compare import Comparison
from jaxmnist.verify.locate import statistics
from jaxmnist.verify.locate.search import JaxSide, located
from jaxmnist.verify.model_runs.outcome import Outcome, Pairing
from jaxmnist.verify.model_runs.result import Located, ModelResult


def concluded(
    pairing: Pairing,
    parts: Sequence[Comparison],
    differing: Outcome | None,
    dtype: str,
    cause: str | None = None,
) -> ModelResult:
    """Put the result together, and look for the divergence if there is one.

    Args:
        pairing: The models.
        parts: What was compared.
        differing: The comparison in float64 in which they differ, or None.
        dtype: What was asked for.
        cause: One that is known already.

    Returns:
        The result.
    """
    left_over = pairing.weights.left_over

    def search() -> Located:
        found = Located(None, cause, ())
        if differing is not None:
            found = _located(pairing, differing)
        if left_over:
            # What a parameter explains at the place where they diverge, it explains better.
            here = next((d for d in left_over if d.module == found.location), None)
            if found.location is None or here is not None:
                chosen = here or left_over[0]
                found = found._replace(location=chosen.module, cause=chosen.cause)
        return found

    notes = [*pairing.weights.notes, *(f"{d.module}: {d.cause}" for d in left_over)]
    name = f"the model in JAX and in PyTorch, {dtype}"
    return ModelResult(name, tuple(parts), bool(left_over), search, tuple(notes))


def _located(pairing: Pairing, differing: Outcome) -> Located:
    dtype = "float64"
    given = differing.given
    ours = differing.ours
    names = ([*ours.params], [f"inputs[{i}]" for i in range(len(ours.flat))])
    side = JaxSide(ours.function, ours.params, ours.flat, names, differing.drawn)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = located(
            pairing.torch,
            lambda moved: pairing.prepare(given, dtype, 0 if moved else None),
            differing.theirs,
            side,
            differing.least,
            differing.wrong,
        )
    if found.location is None and differing.state:
        ready = pairing.prepare(given, dtype)
        before = {name: x.numpy() for name, x in ready.buffers.items()}
        place = statistics.place(ready.module, before, differing.state)
        found = found._replace(location=place.module, cause=place.cause)
    return found


def uses_narrower(pairing: Pairing, wide: Outcome) -> bool:
    """Return whether one of the models computes in less than float64 though it is given float64.

    Args:
        pairing: The models.
        wide: Their comparison in float64.

    Returns:
        Whether the JAX function's program has a narrower float, or the module has a buffer or a
        result of one.
    """
    ours = wide.ours
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        text = str(jax.make_jaxpr(ours.function)(ours.params, ours.flat))
    if any(word in text for word in ("f32[", "bf16[", "f16[")):
        return True
    narrow: list[bool] = []
    ready = pairing.prepare(wide.given, "float64")
    for submodule in ready.module.modules():
        submodule.register_forward_hook(
            lambda _, __, out: narrow.append(
                getattr(out, "is_floating_point", lambda: False)()
                and out.dtype != pairing.torch.float64
            )
        )
    ready.call()
    return any(narrow)
