"""The update rules among which a black box is recognised: their specifications."""

from dataclasses import dataclass, fields
from typing import Final

ADAPTIVE: Final = ("adagrad", "rmsprop", "adam", "adadelta")

_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "momentum": (),
    "adagrad": (),
    "rmsprop": ("decay",),
    "adam": ("b1", "decay"),
    "adadelta": ("decay",),
    "adamax": ("b1", "decay"),
    "radam": ("b1", "decay"),
    "belief": ("b1", "decay"),
    "yogi": ("b1", "decay"),
    "adan": ("b1", "b2", "decay"),
    "adopt": ("b1", "decay"),
    "ademamix": ("b1", "b3", "decay", "alpha"),
    "simplified ademamix": ("b1", "decay", "alpha"),
    "acprop": ("b1", "decay"),
    "cocob": ("alpha",),
    "lion": ("b1", "decay"),
    "sign": (),
    "rprop": ("eta_minus", "eta_plus", "least", "most"),
    "novograd": ("b1", "decay"),
    "sm3": ("momentum",),
    "optimistic": ("optimism",),
    "optimistic adam": ("b1", "decay", "optimism"),
    "adafactor": ("power", "bound"),
    "muon": ("momentum",),
}
"""The numbers that every rule of a kind has."""

TWO: Final = ("both", "accumulated, and outside")
"""The places of two epsilons, of which the one that is not outside is "epsilon_root"."""

CONTRIBUTED: Final = ("simplified ademamix", "acprop", "cocob", "optimistic adam")

KINDS: Final = tuple(_NUMBERS)


@dataclass(frozen=True)
class RuleSpec:
    """The specification of an update rule, without its numbers. The defaults are plain."""

    kind: str
    """"momentum", which without one is SGD, or another of `KINDS`."""
    has_momentum: bool = True
    """Of "momentum" only."""
    epsilon: str = "none"
    """"none", "outside" the root, "inside" it, outside "before correction" of the average, "both"
    outside and inside, "accumulated" in the average, or so "and outside" too, or the least that is
    taken: "clamped"."""
    weight_decay: str = "none"
    """"none", "coupled" to the gradient, or "decoupled" from it."""
    nesterov: bool = False
    dampened: bool = False
    """Of "momentum": whether gradients after the first enter with weight 1 - dampening."""
    first_weighed: bool = False
    """Of "momentum", dampened: whether the first gradient enters with that weight too."""
    rate_inside: bool = False
    """Of a velocity: whether it holds the rate, which shows under a schedule."""
    post: str = "none"
    """Whether the scaled gradient has a velocity: "none", "velocity" or "nesterov"."""
    corrected: str = "both"
    """Of Adam: "both", "first", "second" or "none" of its averages. RMSProp: "none" or "second"."""
    first_count: int = 1
    """Of a correction: t at the first update."""
    centered: bool = False
    """Of RMSProp: whether the square of the average gradient is subtracted."""
    largest: str = "none"
    """Of Adam: whether the largest average square so far is used (AMSGrad), and if so whether it
    is found "before correction" or "after correction"."""
    momentum_decays: bool = False
    """Of Adam with Nesterov's momentum: whether b1 grows with the steps, as in NAdam's paper."""
    single: bool = False
    """Whether a number of the rule's own is in float32: NAdam's product of momenta, Adafactor's
    decay."""
    threshold: int = 5
    """Of RAdam: the rho from which the step is adaptive."""
    trust: str = "none"
    """Whether a step is as large as its leaf: "none", of the "gradient" or of the "update"."""
    averaged: bool = False
    """Whether the weights lie between the rule's own and their average, as in Schedule-Free."""
    lag: bool = False
    """Of Rprop: whether a step is the one before's."""
    factored: bool = False
    """Of Adafactor: whether a matrix's squares are those of its rows times its columns."""
    lazy: bool = False
    """Of Adam: whether an element without a gradient keeps its averages and its weight."""
    bfloat16: bool = False
    """Of Muon: whether Newton's and Schulz's iteration is in bfloat16."""
    initial: bool = False
    """Whether the accumulator of squares starts above 0."""
    scheduled: bool = False
    """Whether the learning rate changes with the steps."""

    @property
    def deviations(self) -> int:
        """The number of choices that are not the plain one."""
        if self.kind == "muon":
            return 0  # Its libraries agree in none, and a handful of forms are all there are.
        plain = RuleSpec(
            self.kind,
            corrected=_plainly_corrected(self),
            averaged=self.averaged,
            factored=self.factored,
            single=self.single,
            # Optax's optimistic Adam has Nesterov's momentum unless it is told not to.
            nesterov=self.nesterov and self.kind == "optimistic adam",
        )
        free = ("kind", "has_momentum", "epsilon", "scheduled", "weight_decay", "trust")
        different = [
            field.name
            for field in fields(self)
            if field.name not in free and getattr(self, field.name) != getattr(plain, field.name)
        ]
        # The momentum's growth is NAdam's own, and comes with Nesterov's momentum.
        rare = (self.epsilon in ("before correction", *TWO)) - self.momentum_decays
        return len(different) + rare

    @property
    def rarity(self) -> int:
        """How late it is tried: 0 the usual rules, 1 the rare ones, 2 those of `CONTRIBUTED`.

        Each is tried among its own, so that none is crowded out by others that start nearer.
        """
        if self.kind in CONTRIBUTED or self.averaged or self.epsilon == TWO[1]:
            return 2
        plain = ("momentum", *ADAPTIVE, "adamax", "radam")
        rare = self.kind not in plain or self.trust != "none" or self.post == "nesterov"
        return int(rare)

    @property
    def has_velocity(self) -> bool:
        """Whether there is a velocity that may hold the learning rate."""
        return self.post != "none" or (self.kind == "momentum" and self.has_momentum)

    @property
    def whole(self) -> bool:
        """Whether every element depends on the whole leaf, and rounds as its largest does."""
        return self.kind == "muon"

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numbers to fit."""
        return (
            *(("momentum",) if self.has_velocity else ()),
            *_NUMBERS[self.kind],
            *(("share",) if self.averaged else ()),
            *(("momentum_decay",) if self.momentum_decays else ()),
            *(("dampening",) if self.dampened else ()),
            *(("epsilon",) if self.epsilon != "none" else ()),
            *(("epsilon_root",) if self.epsilon in TWO else ()),
            *(("initial",) if self.initial else ()),
            *(("weight_decay",) if self.weight_decay != "none" else ()),
        )


def _plainly_corrected(spec: RuleSpec) -> str:
    """Which averages are corrected plainly; Schedule-Free's Adam is RMSProp with a correction."""
    if spec.kind == "rmsprop":
        return "second" if spec.averaged else "none"
    return "both"
