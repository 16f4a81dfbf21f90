"""What a temperature and a weight cap come to on a log: the kappa of the hard filter that AWR is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.robust.capped_kl import CappedKl
from agents.values.critics import CriticConfig
from offline_data.describe.number_words import percent, readable
from offline_data.units import Progress
from recenv.errors import require_range
from recenv.session_config import SessionConfig
from recenv.statistics import effective_sample_size
from recsession.experiments.comparison import Comparison
from recsession.experiments.learning_units import LogUnit
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit, with_needs
from recsession.experiments.theory.comparison import Plot, compare
from recsession.families import STUDIES

if TYPE_CHECKING:
    from offline_data.describe.pages import Section

HEADER = (
    "temperature T",
    "weight cap M",
    "T log M, sd of the score",
    "kappa",
    "effective share of the rows",
    "mass at the cap",
)
SETTINGS = ((1.0, 20.0), (0.3, 20.0), (0.3, 1e3), (0.3, 1e6))
"""Temperatures and caps of the table: AWR's own, and those on the way to what a log that is mostly noise takes."""


@dataclass(frozen=True)
class FamilyConfig:
    """The log and its critic, as the quickstart has them, and the weights that are looked at."""

    num_sessions: int = 20_000
    """Sessions of each log."""
    good_fraction: float = 0.02
    """Share of the expert's steps in it."""
    noise: str = "clickbait"
    """Behavior policy of the rest."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """What gives the rows their score."""
    caps: tuple[float, ...] = (20.0, 1e3, 1e6)
    """Weight caps of the figure."""
    temperatures: tuple[float, ...] = tuple(round(10.0 ** (power / 8), 4) for power in range(-12, 5))
    """Temperatures of the figure, in standard deviations of the score."""

    def __post_init__(self) -> None:
        require_range("num_sessions", self.num_sessions, 10, 10**9, integer=True)
        require_range("good_fraction", self.good_fraction, 0.0, 1.0, low_open=True)


@dataclass(frozen=True)
class WeightsUnit(SealedUnit):
    """AWR's weights on a log, by temperature and cap."""

    log: LogUnit
    """Whose scores are weighed."""
    config: FamilyConfig
    """With the temperatures and caps."""
    name: str = "weights"
    """Of the result."""

    @property
    def folder(self) -> Path:  # type: ignore[override]
        """The log's."""
        return self.log.folder

    @property
    def cost(self) -> int:
        """None to speak of."""
        return 0

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The log."""
        return (self.log,)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the table's rows, and the figure's kappas by cap."""
        scores = self.log.files.scores().double()
        advantage = (scores - scores.mean()) / scores.std(correction=0)
        kappas = {
            f"{cap:g}": [float(CappedKl.of_awr(advantage, each, cap).kappa) for each in self.config.temperatures]
            for cap in self.config.caps
        }
        return {"table": [weighed(advantage.numpy(), *setting) for setting in SETTINGS], "kappas": kappas}


def weighed(advantage: np.ndarray, temperature: float, weight_cap: float) -> dict[str, float]:
    """Return what AWR's weights come to: the threshold T log M, kappa, the effective and the capped share.

    Args:
        advantage: `[N]` float64, standardised.
        temperature: T > 0.
        weight_cap: M > 0.
    """
    exponent = np.minimum(advantage / temperature, np.log(weight_cap))
    weight = np.exp(exponent - np.log(weight_cap))  # over the cap, so that its mean is kappa
    return {
        "temperature": temperature,
        "weight_cap": weight_cap,
        "threshold": temperature * float(np.log(weight_cap)),
        "kappa": float(weight.mean()),
        "effective_share": float(effective_sample_size(weight)) / len(weight),
        "at_the_cap": float(weight[advantage >= temperature * np.log(weight_cap)].sum() / weight.sum()),
    }


def rows(numbers: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table's cells under `HEADER`.

    Args:
        numbers: of `OneFamilyStudy.numbers`.
    """
    return [
        (
            f"{row['temperature']:g}",
            f"{row['weight_cap']:,.0f}",
            readable(row["threshold"]),
            f"{row['kappa']:.3g}",
            percent(row["effective_share"]),
            percent(row["at_the_cap"]),
        )
        for row in numbers["table"]
    ]


def plot(numbers: Mapping[str, Any]) -> Plot:
    """Return kappa by temperature, a line for each cap.

    Args:
        numbers: of `OneFamilyStudy.numbers`.
    """
    kappas = sorted(numbers["kappas"].items(), key=lambda item: float(item[0]))
    x = np.log10(numbers["temperatures"])
    lines = [compare(f"cap {float(cap):,.0f}", each, each, x=x) for cap, each in kappas]
    rule = (numbers["good_fraction"], "good steps")
    return Plot("The kappa that AWR comes to", "log10 of the temperature, sd of the score", "kappa", lines, True, rule)


@STUDIES.register("one_family")
class OneFamilyStudy(Study):
    """AWR's temperature and weight cap as the kappa of a hard filter, on logs of the quickstart.

    AWR solves `max E_q s - T KL(q || b)` under `q <= b / kappa` with `1 / kappa = M / E_b[min(M, e^{A/T})]`. So each
    setting has a kappa, which tells how sharply it selects; the share of its mass at the cap tells how near it is to
    the hard filter. Nothing is trained here but critics.
    """

    Config = FamilyConfig
    forms: Mapping[str, Any] = {
        "small": FamilyConfig(num_sessions=2_000),
        "full": FamilyConfig(),
    }
    num_seeds: Mapping[str, int] = {"small": 1, "full": 3}
    title = "AWR, the hard filter and tilting are one family"

    def worlds(self) -> Mapping[str, SessionConfig]:
        """Return the default world."""
        return {"default": self._comparison().task.config}

    def units(self) -> list[SealedUnit]:
        """Return a log, its scores and their weights for each seed."""
        return with_needs([self._weights(seed) for seed in self.seeds])

    def numbers(self) -> dict[str, Any]:
        """Return the means over the seeds, and the kappas of each."""
        results = [self._weights(seed).result() for seed in self.seeds]
        settings = zip(*(each["table"] for each in results), strict=True)
        table = [{name: float(np.mean([row[name] for row in same])) for name in same[0]} for same in settings]
        per_seed = [[row["kappa"] for row in each["table"]] for each in results]
        kappas = {
            cap: np.mean([each["kappas"][cap] for each in results], axis=0).tolist() for cap in results[0]["kappas"]
        }
        return {
            "good_fraction": self.config.good_fraction,
            "table": table,
            "kappas_per_seed": per_seed,
            "temperatures": list(self.config.temperatures),
            "kappas": kappas,
        }

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return which setting is nearest to the good fraction, and which is most of a hard filter."""
        good, table = numbers["good_fraction"], numbers["table"]
        nearest = min(table, key=lambda row: abs(np.log(row["kappa"] / good)))
        hardest = max(table, key=lambda row: row["at_the_cap"])
        return [
            f"T = {nearest['temperature']:g} with a cap of {nearest['weight_cap']:g} comes nearest to the good share "
            f"{good:g}: its kappa is {nearest['kappa']:.3g}.",
            f"T = {hardest['temperature']:g} with a cap of {hardest['weight_cap']:g} has "
            f"{100 * hardest['at_the_cap']:.0f} % of its mass at the cap, which binds from "
            f"{hardest['threshold']:.1f} standard deviations on.",
        ]

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the table, and the figure of kappa by temperature and cap."""
        from offline_data.describe.pages import Section, Table
        from recsession.experiments.theory_page import draw

        told = "The weights divided by their mean are at most 1 / kappa: the smaller kappa, the sharper the selection."
        figure = [draw(plot(numbers)), Table(HEADER, rows(numbers))]
        return [Section("Temperature and cap as one kappa", [told, figure])]

    def _comparison(self) -> Comparison:
        config = self.config
        return Comparison(num_sessions=config.num_sessions, good_fraction=config.good_fraction, noise=config.noise)

    def _weights(self, seed: int) -> WeightsUnit:
        task = replace(self._comparison().task, critic=self.config.critic)
        return WeightsUnit(LogUnit(task, self.folder / f"seed-{seed}", seed), self.config)
