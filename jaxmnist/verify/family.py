"""A family of recurrences that holds the known optimizers, and the member that a black box is.

An optimizer is watched on gradients made for the purpose: 16 scales from 1e-12 to 1e3, so that an
epsilon of any size shows, at weights of 0 and of 1, so that weight decay shows. Its steps are then
fitted by each form of recurrence in turn, the plain ones first: its decays, epsilon and initial
value by least squares, and its learning rate, in which a step is linear, in closed form. A form
is believed when it gives back every step to a part in 10^8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import optimize

from jaxmnist.verify.sides import Side

STEPS: Final = 32
BELIEVED: Final = 1e-8
"""The relative error of a step up to which a fit is believed."""

ADAPTIVE: Final = ("adagrad", "rmsprop", "adam", "adadelta")


@dataclass(frozen=True)
class Form:
    """A recurrence but for its numbers. The defaults are what is plain."""

    kind: str
    """"momentum", which without one is SGD, or one of `ADAPTIVE`."""
    has_momentum: bool = True
    """Of "momentum" only."""
    epsilon: str = "none"
    """"none", "outside" the root, "inside" it, or outside "before correction" of the average."""
    weight_decay: str = "none"
    """"none", "coupled" to the gradient, or "decoupled" from it."""
    nesterov: bool = False
    dampened: bool = False
    """Of "momentum": whether gradients after the first enter with weight 1 - dampening."""
    rate_inside: bool = False
    """Of "momentum": whether the velocity holds the rate, which shows under a schedule."""
    corrected: str = "both"
    """Of Adam: "both", "first", "second" or "none" of its averages. RMSProp: "none" or "second"."""
    first_count: int = 1
    """Of a correction: t at the first update."""
    centered: bool = False
    """Of RMSProp: whether the square of the average gradient is subtracted."""
    largest: str = "none"
    """Of Adam: whether the largest average square so far is used (AMSGrad), and if so whether it
    is found "before correction" or "after correction"."""
    initial: bool = False
    """Whether the accumulator of squares starts above 0."""
    scheduled: bool = False
    """Whether the learning rate changes with the steps."""

    @property
    def deviations(self) -> int:
        """In how many ways it is not plain."""
        plain = Form(self.kind, corrected="none" if self.kind == "rmsprop" else "both")
        free = ("kind", "has_momentum", "epsilon", "scheduled", "weight_decay")
        different = [
            field.name
            for field in fields(self)
            if field.name not in free and getattr(self, field.name) != getattr(plain, field.name)
        ]
        return len(different) + (self.epsilon == "before correction")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of what is to be fitted."""
        names = {
            "momentum": ("momentum",) if self.has_momentum else (),
            "adagrad": (),
            "rmsprop": ("decay",),
            "adam": ("b1", "decay"),
            "adadelta": ("decay",),
        }[self.kind]
        return (
            *names,
            *(("dampening",) if self.dampened else ()),
            *(("epsilon",) if self.epsilon != "none" else ()),
            *(("initial",) if self.initial else ()),
            *(("weight_decay",) if self.weight_decay != "none" else ()),
        )


_least_squares: Any = optimize.least_squares  # its published types take no function for `jac`


class Probe(NamedTuple):
    """What an optimizer did with the gradients for watching it; arrays are [steps, elements]."""

    gradients: np.ndarray
    weights: np.ndarray
    """Before each step."""
    changes: np.ndarray
    """By each step."""
    scales: np.ndarray
    """Of an element's changes, to measure an error by; not less than what rounding hides."""
    initial: float | None
    """Where the accumulator of squares starts, if that can be seen."""
    decays: bool
    """Whether the weight itself moves it."""
    velocity: np.ndarray | None
    """The velocity after the last step, if that can be seen."""


class Member(NamedTuple):
    """One recurrence with its numbers."""

    form: Form
    numbers: Mapping[str, float]
    rates: np.ndarray | float
    """The learning rate of each step; one number if it is always the same."""
    error: float
    """The largest relative error of a step."""


def probe_gradients(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The gradients, [steps, elements], and the weights to start from."""
    rng = np.random.default_rng(seed)
    scales = np.logspace(-12, 3, 16)
    signs = rng.choice([-1.0, 1.0], (STEPS, scales.size), p=[0.35, 0.65])
    once = signs * scales * np.exp(rng.normal(size=(STEPS, scales.size)))
    return np.hstack([once, once]), np.repeat([0.0, 1.0], scales.size)


def watch(side: Side, gradients: np.ndarray) -> Probe:
    """Run an optimizer of one leaf, ``w``, on the gradients.

    Args:
        side: The optimizer, with `probe_gradients`' weights.
        gradients: [steps, elements].

    Returns:
        What it did.
    """
    initial = next(
        (
            float(np.ravel(leaves["w"])[0])
            for name, leaves in side.states().items()
            if name in ("average square", "sum of squares")
        ),
        None,
    )
    weights = [side.params["w"].copy()]
    for gradient in gradients:
        side.step({"w": gradient})
        weights.append(side.params["w"].copy())
    changes = np.diff(weights, axis=0)
    scales = np.abs(changes).max(axis=0) + 1e-6 * np.abs(weights).max(axis=0)
    at_zero, at_one = np.split(changes, 2, axis=1)
    noise = 1e-14 + 1e-9 * np.abs(at_zero).max(axis=0)
    decays = bool((np.abs(at_one - at_zero) > noise).any())
    velocity = side.states().get("velocity", {}).get("w")
    return Probe(gradients, np.array(weights[:-1]), changes, scales, initial, decays, velocity)


def identify(probe: Probe) -> Member | None:
    """The plainest member of the family that does what was watched, or None.

    Args:
        probe: What an optimizer did.

    Returns:
        The form, its numbers, its learning rate or rates, and how well it fits.
    """
    if not (np.isfinite(probe.changes).all() and probe.changes.any()):
        return None
    for scheduled in (False, True):
        forms = list(_forms(probe, scheduled))
        for deviations in range(2 if scheduled else 3):
            level = [form for form in forms if form.deviations == deviations]
            starts = sorted((_best_start(form, probe) for form in level), key=lambda s: s.error)
            for start in starts[:_TRIED]:
                member = fit(start.form, start.numbers, probe)
                if member.error < BELIEVED and _is_sane(member):
                    return member
    return None


def _is_sane(member: Member) -> bool:
    """Whether no number has gone where its form is a plainer one."""
    return all(1e-6 < member.numbers.get(name, 0.5) < 1 - 1e-6 for name in _SHARES)


def evaluate(form: Form, numbers: Mapping[str, float], probe: Probe) -> Member:
    """A form with these numbers, and the learning rate that fits best, on what was watched."""
    columns = {name: np.full((1, 1), value) for name, value in numbers.items()}
    residual, rates = _residuals(form, columns, probe)
    return Member(form, dict(numbers), rates[0], float(np.abs(residual).max()))


def fit(form: Form, numbers: Mapping[str, float], probe: Probe) -> Member:
    """The same with the numbers that fit best, by least squares from the given ones.

    A number x enters as log x, a decay as log(1 - x); derivatives are by complex step, exact.
    """
    names = [name for name in form.numbers if name != "initial" or probe.initial is None]
    fixed = {name: value for name, value in numbers.items() if name not in names}
    if not names:
        return evaluate(form, numbers, probe)

    def columns(x: np.ndarray) -> dict[str, np.ndarray]:
        free = {name: _from_log(name, x[:, [i]]) for i, name in enumerate(names)}
        return free | {name: np.full((len(x), 1), value) for name, value in fixed.items()}

    def residual(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(_residuals(form, columns(x[None]), probe)[0][0].ravel(), nan=1e3)

    def jacobian(x: np.ndarray) -> np.ndarray:
        shifted = x + 1e-30j * np.eye(len(x))
        slopes = np.imag(_residuals(form, columns(shifted), probe)[0]) / 1e-30
        return np.nan_to_num(slopes.reshape(len(x), -1).T)

    start = np.array([_to_log(name, numbers[name]) for name in names])
    with np.errstate(all="ignore"):
        found = _least_squares(
            residual, start, jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=40
        )
    fitted = {name: float(_from_log(name, found.x[i])) for i, name in enumerate(names)}
    return evaluate(form, fitted | fixed, probe)


def predict(member: Member, probe: Probe) -> np.ndarray:
    """The changes that a member makes with a probe's gradients at its weights."""
    rates = np.broadcast_to(member.rates, len(probe.gradients))[:, None]
    columns = {name: np.full((1, 1), value) for name, value in member.numbers.items()}
    if not (member.form.rate_inside and member.form.scheduled):
        with np.errstate(all="ignore"):
            directions = np.concatenate(list(_directions(member.form, columns, probe)))
        return -rates * directions
    velocity, changes = 0.0, []
    for rate, g in zip(rates, probe.gradients, strict=True):
        velocity = member.numbers["momentum"] * velocity + rate * g
        changes.append(-velocity)
    return np.array(changes)


# --- The recurrence ---


def _directions(
    form: Form, numbers: Mapping[str, np.ndarray], probe: Probe
) -> Iterator[np.ndarray]:
    """What each step multiplies by the learning rate, [candidates, elements].

    The weights in it are the watched ones, so that a step is linear in its rate.
    """
    candidates = len(next(iter(numbers.values()), np.zeros(1)))
    elements = probe.gradients.shape[1]
    first = second = changes = largest = mean = np.zeros((candidates, elements))
    if form.initial:
        second = second + numbers["initial"]
    eps = numbers["epsilon"] if form.epsilon != "none" else 0.0
    dampening = numbers["dampening"] if form.dampened else 0.0
    momentum = numbers["momentum"] if form.has_momentum and form.kind == "momentum" else 0.0
    inside, outside = (eps, 0.0) if form.epsilon == "inside" else (0.0, eps)
    decay, b1 = numbers.get("decay", 0.0), numbers.get("b1", 0.0)

    for step, (g, w) in enumerate(zip(probe.gradients, probe.weights, strict=True)):
        if form.weight_decay == "coupled":
            g = g + numbers["weight_decay"] * w
        if form.kind == "momentum":
            first = momentum * first + (1 - dampening if step else 1.0) * g
            u = g + momentum * first if form.nesterov else first
        elif form.kind == "adagrad":
            second = second + g * g
            u = g / (np.sqrt(second + inside) + outside)
        elif form.kind == "adadelta":
            second = decay * second + (1 - decay) * g * g
            u = g * (np.sqrt(changes + inside) + outside) / (np.sqrt(second + inside) + outside)
            changes = decay * changes + (1 - decay) * u * u
        else:
            t = step + form.first_count
            correct_first = 1 - b1**t if form.corrected in ("both", "first") else 1.0
            correct_second = 1 - decay**t if form.corrected in ("both", "second") else 1.0
            first = b1 * first + (1 - b1) * g
            second = decay * second + (1 - decay) * g * g
            square = second
            if form.largest == "before correction":
                square = largest = _larger(second, largest)
            elif form.largest == "after correction":
                largest = _larger(second / correct_second, largest)
                square = largest * correct_second
            if form.centered:
                mean = decay * mean + (1 - decay) * g
                square = square - mean * mean
            m = first / correct_first
            if form.nesterov:
                later = 1 - b1 ** (t + 1) if form.corrected in ("both", "first") else 1.0
                m = b1 * first / later + (1 - b1) * g / correct_first
            if form.epsilon == "before correction":
                u = m * np.sqrt(correct_second) / (np.sqrt(square) + outside)
            else:
                u = m / (np.sqrt(square / correct_second + inside) + outside)
        if form.weight_decay == "decoupled":
            u = u + numbers["weight_decay"] * w
        yield np.broadcast_to(u, (candidates, elements))


def _residuals(
    form: Form, numbers: Mapping[str, np.ndarray], probe: Probe
) -> tuple[np.ndarray, np.ndarray]:
    """Each step's error over the element's scale, [candidates, steps, elements], and the rates."""
    with np.errstate(all="ignore"):
        weights = np.where(probe.scales > 0, 1 / probe.scales, 0.0)
        target = -probe.changes * weights
        if (
            form.rate_inside and form.scheduled
        ):  # velocity_t - momentum · velocity_(t-1) = rate_t · g
            earlier = np.vstack([np.zeros_like(target[:1]), target[:-1]])
            target = target - numbers["momentum"][:, :, None] * earlier
            direction = np.broadcast_to(probe.gradients * weights, target.shape)
        else:
            direction = np.stack(list(_directions(form, numbers, probe)), axis=1) * weights
        over = (-1,) if form.scheduled else (-2, -1)
        rates = (direction * target).sum(axis=over) / (direction * direction).sum(axis=over)
        shown = rates[:, :, None] if form.scheduled else rates[:, None, None]
        return shown * direction - target, rates


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.real(a) > np.real(b), a, b)


# --- Which forms, and from where ---

_TRIED: Final = 6  # of the forms with as many deviations, those that start nearest

_SHARES: Final = ("momentum", "b1", "decay", "dampening")

_STARTS: Final[Mapping[str, tuple[float, ...]]] = {
    "momentum": (0.5, 0.9, 0.99),
    "b1": (0.5, 0.9, 0.99),
    "dampening": (0.1, 0.5, 0.9),
    "decay": (0.9, 0.99, 0.999),
    "epsilon": (1e-10, 1e-8, 1e-6, 1e-3),
    "initial": (1e-3, 0.1),
    "weight_decay": (1e-4, 1e-2),
}


def _forms(probe: Probe, scheduled: bool) -> Iterator[Form]:
    """Every form that the probe does not rule out."""
    decays = ("coupled", "decoupled") if probe.decays else ("none",)
    places = ("none", "outside", "inside")
    initial = (False, True) if probe.initial is None else (probe.initial != 0,)
    common: dict[str, Any] = {"scheduled": scheduled}
    for weight_decay in decays:
        common["weight_decay"] = weight_decay
        yield Form("momentum", has_momentum=False, **common)
        for nesterov, dampened in product((False, True), repeat=2):
            yield Form("momentum", nesterov=nesterov, dampened=dampened, **common)
        if scheduled and weight_decay == "none":
            yield Form("momentum", rate_inside=True, **common)
        for epsilon in places:
            # Where it cannot be seen, an initial value is the same as an epsilon inside the root.
            yield Form("adagrad", epsilon=epsilon, initial=bool(probe.initial), **common)
            for start in initial:
                for centered, corrected in product((False, True), ("none", "second")):
                    yield Form(
                        "rmsprop",
                        epsilon=epsilon,
                        initial=start,
                        centered=centered,
                        corrected=corrected,
                        **common,
                    )
        for epsilon in ("outside", "inside"):
            yield Form("adadelta", epsilon=epsilon, **common)
        for start, epsilon, corrected, nesterov, first_count, largest in product(
            initial,
            (*places, "before correction"),
            ("both", "first", "second", "none"),
            (False, True),
            (1, 2),
            ("none", "before correction", "after correction"),
        ):
            if corrected == "none" and first_count != 1:
                continue
            if epsilon == "before correction" and corrected not in ("both", "second"):
                continue
            yield Form(
                "adam",
                initial=start,
                epsilon=epsilon,
                corrected=corrected,
                nesterov=nesterov,
                first_count=first_count,
                largest=largest,
                **common,
            )


def _best_start(form: Form, probe: Probe) -> Member:
    """The best of a grid of numbers, all tried at once."""
    names = form.numbers
    known = {} if probe.initial is None else {"initial": (probe.initial,)}
    grid = list(product(*({**_STARTS, **known}[name] for name in names)))
    columns = {name: np.array([[row[i]] for row in grid]) for i, name in enumerate(names)}
    residual, rates = _residuals(form, columns, probe)
    errors = np.nan_to_num(np.sqrt((np.abs(residual) ** 2).mean(axis=(1, 2))), nan=np.inf)
    best = int(errors.argmin())
    return Member(form, dict(zip(names, grid[best], strict=True)), rates[best], float(errors[best]))


def _to_log(name: str, value: float) -> float:
    return float(np.log(1 - value if name in _SHARES else value))


def _from_log(name: str, x: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1 - np.exp(x) if name in _SHARES else np.exp(x)
