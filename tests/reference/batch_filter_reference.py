"""DRPO's Algorithm 1, its exponential form and Adaptive BC in plain Python, row by row."""

from __future__ import annotations

import math
from statistics import fmean, pstdev

import numpy as np

from tests.reference.published_steps_reference import Batch, Published


class BatchFilter(Published):
    """What the three share; a heir gives the weights of the scores that are kept."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.share = self.options.get("share", 0.5)

    def rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        score = batch["score"].tolist()
        count = max(1, int(len(score) * self.share))
        order = sorted(range(len(score)), key=lambda row: (-score[row], row))[:count]
        weight = np.zeros(len(score))
        weight[order] = self.weights([score[row] for row in order])
        if self.options.get("adapt", True):
            # pstdev is exact: equal scores have a deviation of 0, whatever they are.
            narrow = pstdev(score[row] for row in order) < self.options.get("spread_ratio", 0.5) * pstdev(score)
            grown, shrunk = (
                factor * self.share for factor in (self.options.get("growth", 1.02), self.options.get("decay", 0.98))
            )
            self.share = min(1.0, grown) if narrow else max(self.options.get("min_share", 0.05), shrunk)
        slope = -weight * len(score) / count
        return slope * self.policy.log_prob(batch["state"], batch["action"]), slope

    def weights(self, kept: list[float]) -> list[float]:
        raise NotImplementedError

    def state(self) -> dict[str, float]:
        return {"share": self.share}


class Drpo(BatchFilter):
    """A = r - nu over its standard deviation; or, as in DRPO-Q, the scores themselves."""

    def weights(self, kept: list[float]) -> list[float]:
        nu = 0.0 if self.options.get("baseline") == "zero" else min(kept)
        unit = pstdev(kept) + 1e-8 if self.options.get("normalize", True) else 1.0
        return [(each - nu) / unit for each in kept]


class DrpoExp(BatchFilter):
    """Exponentials of what is above the mean of the kept; or of the scores themselves."""

    def weights(self, kept: list[float]) -> list[float]:
        mean, beta = 0.0 if self.options.get("baseline") == "zero" else fmean(kept), self.options.get("beta", 0.05)
        beta *= pstdev(kept) + 1e-8 if self.options.get("in_deviations") else 1.0
        return [min(math.exp((each - mean) / beta), self.options.get("weight_cap", 1e15)) for each in kept]


class AdaptiveBc(BatchFilter):
    """All alike."""

    def weights(self, kept: list[float]) -> list[float]:
        return [1.0] * len(kept)
