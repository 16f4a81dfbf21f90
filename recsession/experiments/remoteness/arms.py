"""The arms of a comparison: how strong the negatives are, which of them are there, and how each is weighted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from agents.objectives.taper import Shape, TaperConfig, matched_taper, taper_weight
from recsession.experiments.remoteness.tasks import Look, Task
from recsession.experiments.remoteness.worlds import NUM_GOOD

Intervention = Literal["none", "without_near", "without_far", "far_capped", "far_cut"]
INTERVENTIONS: Final = get_args(Intervention)
SHAPES: Final[tuple[Shape, ...]] = ("exponential", "reciprocal_quadratic", "reciprocal_linear", "hard", "global")
"""Of the tapers; the last is a constant alpha."""
CUT: Final = 0.05
"""`far_cut` leaves a far negative at most this share of a near one's push; `far_capped` all of it."""


@dataclass(frozen=True)
class Arm:
    """One way to learn from a world's negatives.

    Examples:
        >>> from recsession.experiments.remoteness.arms import Arm
        >>> Arm(0.5, rule="exponential", even=True).name
        'q/p 0.5 all exponential as one alpha'
    """

    strength: float
    """q / p: negatives are averaged, positives are averaged, and this is the weight of the one mean in the other."""
    negatives: Literal["all", "local"] = "all"
    """Whether all are averaged or only the local one."""
    rule: Intervention | Shape = "none"
    """What each is multiplied by."""
    even: bool = False
    """Replace a batch's multipliers by one for all that leaves the same push in sum: an equal budget, unselective."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        rule = [] if self.rule == "none" else [self.rule]
        return " ".join([f"q/p {self.strength:g}", self.negatives, *rule, *["as one alpha"] * self.even])


POSITIVE_ONLY: Final = Arm(0.0)


@dataclass(frozen=True)
class MatchedTapers:
    """One taper of each shape, all of which leave the same share of the local negatives' push at the start."""

    tapers: Mapping[str, TaperConfig]

    @classmethod
    @torch.no_grad()
    def of(cls, task: Task, share: float) -> MatchedTapers:
        """Match them on the training contexts and the policy as it is, of one arm.

        Args:
            task: with that policy.
            share: of the push of the local negatives that is to be left.
        """
        look = task.look(torch.arange(task.num_contexts))
        local, force = (values[0, :, 0] for values in (look.remoteness, look.force))
        begun = {shape: TaperConfig(shape=shape, threshold=0.0, width=1.0) for shape in SHAPES}
        return cls({shape: matched_taper(config, local, force, share) for shape, config in begun.items()})

    def weight(self, shape: Shape, far: Tensor) -> Tensor:
        """Return the weights of a shape, [...], in [0, 1].

        Args:
            shape: one of `SHAPES`.
            far: [...] remoteness.
        """
        taper = self.tapers[shape]
        scalars = {name: getattr(taper, name) for name in ("threshold", "width", "rate", "alpha")}
        return taper_weight(far, shape, **scalars)


class Arms:
    """Several arms over the same batches, and what each lets its negatives push.

    Args:
        arms: in their order.
        border: the remoteness beyond which an action is far.
        tapers: of the shapes among their rules.
    """

    def __init__(self, arms: Sequence[Arm], border: float, tapers: MatchedTapers | None = None) -> None:
        self.border, self.tapers = border, tapers
        self.strength = torch.tensor([arm.strength for arm in arms])[:, None, None]
        self.even = torch.tensor([arm.even for arm in arms])[:, None, None]
        self.local = torch.tensor([arm.negatives == "local" for arm in arms])[:, None, None]
        rules = [arm.rule for arm in arms]
        self.places = {rule: torch.tensor([i for i, each in enumerate(rules) if each == rule]) for rule in set(rules)}

    def multipliers(self, look: Look) -> Tensor:
        """Return what each bad action's push is multiplied by, [E, B, n], in [0, 1] and detached.

        Args:
            look: what each arm thinks of the batch.
        """
        weight = torch.empty_like(look.force)
        for rule, places in self.places.items():
            weight[places] = self._weight(rule, look.remoteness[places], look.force[places])
        force = look.force * self._counted(weight)
        share = _sum(weight * force) / _sum(force)
        return torch.where(self.even, share, weight)

    def advantages(self, look: Look) -> Tensor:
        """Return the advantages of a batch, [E, B, 4 + n]: 1 in the mean over the good, -q/p times multipliers, else.

        Args:
            look: what each arm thinks of the batch.
        """
        counted = self._counted(look.force)
        bad = self.strength * self.multipliers(look) * counted / counted.sum(-1, keepdim=True)
        good = torch.full_like(bad[..., :1], 1.0 / NUM_GOOD).expand(*bad.shape[:-1], NUM_GOOD)
        return torch.cat([good, -bad], dim=-1)

    def _weight(self, rule: str, far: Tensor, force: Tensor) -> Tensor:
        if rule in SHAPES:
            assert self.tapers is not None
            return self.tapers.weight(rule, far)
        near = (far <= self.border).to(force.dtype)
        if rule in ("far_capped", "far_cut"):
            reference = _sum(near * force) / _sum(near).clamp_min(1.0)
            cap = ((CUT if rule == "far_cut" else 1.0) * reference / force.clamp_min(1e-30)).clamp_max(1.0)
            return torch.where(near > 0, 1.0, cap)
        return {"none": torch.ones_like(near), "without_near": 1.0 - near, "without_far": near}[rule]

    def _counted(self, like: Tensor) -> Tensor:
        """Return ones for the negatives that are there, [E, B, n]."""
        first = torch.zeros_like(like)
        first[..., 0] = 1.0
        return torch.where(self.local, first, 1.0)


def _sum(values: Tensor) -> Tensor:
    return values.sum((-2, -1), keepdim=True)
