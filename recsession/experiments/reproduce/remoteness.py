"""The study of the follow-up to DRPO; what is compared stands in `recsession.experiments.remoteness.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offline_data.units import Progress
from recsession.experiments.remoteness.arms import POSITIVE_ONLY, Arm
from recsession.experiments.remoteness.equilibria import settled_reward
from recsession.experiments.remoteness.learning import Budget, learn
from recsession.experiments.remoteness.protocol import SMALL, Protocol, Setting
from recsession.experiments.remoteness.verdict import sentences
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit
from recsession.experiments.seed_statistics import seed_interval
from recsession.families import STUDIES

if TYPE_CHECKING:
    from offline_data.describe.pages import Section

_FAILURES = ("collapsed", "at_boundary", "left_the_numbers")


@dataclass(frozen=True)
class ArmsUnit(SealedUnit):
    """All arms of one setting and seed."""

    folder: Path
    name: str
    setting: Setting
    budget: Budget
    share: float
    seed: int

    @property
    def cost(self) -> int:
        """Evaluations, of the start and of the arms."""
        return 2 * self.budget.evaluations

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Train the arms; see `learn`."""
        setting = self.setting
        checkpoint, arms = self.folder / f"{self.name}.checkpoint", setting.arms()
        found = learn(setting.world, setting.learned, arms, self.seed, self.budget, self.share, progress, checkpoint)
        checkpoint.unlink(missing_ok=True)
        return found


@STUDIES.register("remoteness")
class RemotenessStudy(Study):
    """The follow-up to DRPO: C-U1 and D-U1 exactly, how strong negatives may be, which do harm, what a taper saves.

    In each world, with the policy's scale (its concentration) fixed and learned: the strength q / p from positives
    alone to collapse; near or far negatives removed, far ones capped; tapers of every shape that leave the local
    negative the same push, each beside a global alpha of the same total push. All arms of a seed share contexts, start
    and batches. The small form has three seeds and short training, the full form ten. C-U1's sweeps stand beside their
    closed form, and an arm that collapses, loses its scale or leaves the numbers is counted as such.
    """

    Config = Protocol
    forms: Mapping[str, Any] = {"small": SMALL, "full": Protocol()}
    num_seeds: Mapping[str, int] = {"small": 3, "full": 10}
    title = "Remoteness: which negatives help, which do harm, and what a taper saves"

    def _units(self, name: str, setting: Setting) -> list[ArmsUnit]:
        budget, share = self.config.budget, self.config.share
        return [ArmsUnit(self.folder / f"seed-{seed}", name, setting, budget, share, seed) for seed in self.seeds]

    def units(self) -> list[SealedUnit]:
        """Return one a setting and seed."""
        units = [self._units(name, setting) for name, setting in self.config.settings().items()]
        return [unit for row in zip(*units, strict=True) for unit in row]

    def numbers(self) -> dict[str, Any]:
        """Return for each setting its arms, in order, with intervals over seeds."""
        return {"settings": [self._setting(name, each) for name, each in self.config.settings().items()]}

    def _setting(self, name: str, setting: Setting) -> dict[str, Any]:
        results = [unit.result() for unit in self._units(name, setting)]
        positive = [result["arms"][POSITIVE_ONLY.name]["reward"] for result in results]
        arms = [
            _arm(setting, arm, [result["arms"][arm.name] for result in results], positive) for arm in setting.arms()
        ]
        groups = {
            "local": setting.sweep("local"),
            "all": setting.sweep("all"),
            "interventions": setting.interventions(),
            "tapers": setting.tapers(),
        }
        return {
            "name": name,
            "title": setting.title,
            "arms": arms,
            "groups": {group: [arm.name for arm in found] for group, found in groups.items()},
        }

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return what the numbers say; see `Study.verdict`."""
        return sentences(numbers)

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the page's tables and figures; see `Study.sections`."""
        from recsession.experiments.remoteness.figures import sections

        return sections(numbers)


def _arm(setting: Setting, arm: Arm, ends: Sequence[Mapping[str, Any]], positive: Sequence[float]) -> dict[str, Any]:
    """Return an arm's numbers over seeds: `gain` is paired, its reward less that of positives alone."""
    rewards = [end["reward"] for end in ends]
    gains = [reward - alone for reward, alone in zip(rewards, positive, strict=True)]
    means = ("reward_sampled", "shift", "scale", "support", "kept_local", "kept_others")
    followed = arm in setting.interventions()
    closed = setting.world == "cu1" and not setting.learned and arm.rule == "none"
    curves = [[0.0 if value is None else value for value in end["curve"]] for end in ends]
    return {
        **asdict(arm),
        "name": arm.name,
        "reward": _rounded(seed_interval(rewards)),
        "gain": _rounded({key: value for key, value in seed_interval(gains).items() if key != "per_seed"}),
        **{name: _round(sum(end[name] for end in ends) / len(ends)) for name in means if name in ends[0]},
        **{name: sum(end[name] for end in ends) for name in _FAILURES},
        "closed_form": _round(settled_reward(arm)) if closed else None,
        "curve": [_round(sum(values) / len(values)) for values in zip(*curves, strict=True)] if followed else [],
    }


def _rounded(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: [_round(each) for each in value] if isinstance(value, list) else _round(value)
        for key, value in interval.items()
    }


def _round(value: float) -> float:
    """Return a number to five digits: more are noise in what is committed."""
    return float(f"{value:.5g}")
