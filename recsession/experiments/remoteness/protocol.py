"""What the study of remoteness compares, and for how long.

The follow-up's text gives the worlds, the policies, what its interventions and shapes are and how these are matched. It
gives no budgets, no strengths and, of D-U1, no border between near and far: those here are ours, chosen on the seeds
100 to 109 so that each sweep shows where its reward rises, falls and collapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recenv.errors import require_range
from recsession.experiments.remoteness.arms import INTERVENTIONS, POSITIVE_ONLY, SHAPES, Arm
from recsession.experiments.remoteness.learning import Budget
from recsession.experiments.remoteness.tasks import World


@dataclass(frozen=True)
class Setting:
    """A world, a kind of policy, and the strengths q / p at which its negatives are tried."""

    world: World
    """C-U1 or D-U1."""
    learned: bool
    """Whether the scale or the concentration is learned."""
    local: tuple[float, ...]
    """Strengths of the local negative alone."""
    every: tuple[float, ...]
    """Strengths of all negatives, averaged."""
    intervened: float
    """The strength of all negatives at which near or far ones are removed or capped."""
    tapered: tuple[float, ...]
    """Strengths of all negatives at which tapers are compared."""

    @property
    def title(self) -> str:
        """What it is called on the page."""
        free, kind = ("scale", "sigma") if self.world == "cu1" else ("concentration", "kappa")
        how = f"a learned {free}" if self.learned else f"{kind} fixed"
        return f"{self.world[0].upper()}-U1, {how}"

    def interventions(self) -> list[Arm]:
        """Return the arms that say who is to blame; the last has the push that is left without the far ones."""
        arms = [Arm(self.intervened, rule=rule) for rule in INTERVENTIONS]
        return [POSITIVE_ONLY, *arms, Arm(self.intervened, rule="without_far", even=True)]

    def tapers(self) -> list[Arm]:
        """Return the arms that compare shapes: each, and beside it a global alpha of the same total push."""
        shapes = [Arm(strength, rule=shape) for strength in self.tapered for shape in SHAPES]
        return [*shapes, *(replace(arm, even=True) for arm in shapes if arm.rule != "global")]

    def sweep(self, negatives: str) -> list[Arm]:
        """Return the unweighted arms by strength, from positives alone upwards.

        Args:
            negatives: "local" or "all".
        """
        arms = [Arm(q, "local") for q in self.local] if negatives == "local" else [Arm(q) for q in self.every]
        return [POSITIVE_ONLY, *arms]

    def arms(self) -> Sequence[Arm]:
        """Return every arm once."""
        arms = [*self.sweep("local"), *self.sweep("all"), *self.interventions(), *self.tapers()]
        return list(dict.fromkeys(arms))


@dataclass(frozen=True)
class Protocol:
    """What the numbers depend on besides the seeds."""

    budget: Budget = field(default_factory=Budget)
    """Of every policy."""
    share: float = 0.75
    """Of the local negative's push that every taper leaves at the start, in (0, 1): equal near-field retention."""
    continuous_fixed: Setting = Setting(
        "cu1",
        False,
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.58, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0, 1.2),
        (0.1, 0.2, 0.3, 0.5, 0.7),
        0.83,
        (0.5, 1.0, 2.0),
    )
    """C-U1 at sigma = .60; .83 is what the authors' public code takes for its interventions (1.4 times |A-| / A+)."""
    continuous_learned: Setting = Setting(
        "cu1", True, (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5), (0.01, 0.02, 0.03, 0.05), 0.09, (0.1, 0.3, 1.0)
    )
    """C-U1 where sigma is learned; .09 likewise."""
    categorical_fixed: Setting = Setting(
        "du1",
        False,
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5),
        (0.5, 1.0, 2.0),
        2.0,
        (1.0, 2.0, 4.0),
    )
    """D-U1 at kappa = 8."""
    categorical_learned: Setting = Setting(
        "du1", True, (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2), (0.1, 0.5, 1.0, 2.0), 1.0, (0.5, 1.0, 2.0)
    )
    """D-U1 where kappa is learned."""

    def __post_init__(self) -> None:
        require_range("share", self.share, 0.0, 1.0, low_open=True, high_open=True)

    def settings(self) -> dict[str, Setting]:
        """Return the settings by name, in the order of the page."""
        names = ("continuous_fixed", "continuous_learned", "categorical_fixed", "categorical_learned")
        return {name: getattr(self, name) for name in names}


SMALL = Protocol(Budget(start_steps=1000, steps=1000, evaluations=5))
