"""The taper, GBPO, SAGE, AsymRE and their kin as published, of proto-actions or of slates, in plain NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.reference import ratio_reference, regression_reference, repulsion_reference
from tests.reference.published_steps_reference import Batch, Published

Rows = tuple[np.ndarray, np.ndarray]


class PlackettLuce:
    """Slates of items with a logit each, the same in every state; -1 stands in empty positions."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def item_log_prob(self, slates: np.ndarray) -> np.ndarray:
        """Of each item given those before it, [B, K]; 0 in an empty position."""
        found = np.zeros(slates.shape)
        for row, slate in enumerate(slates):
            left = np.ones(len(self.logits), bool)
            for place, item in enumerate(slate):
                if item >= 0:
                    found[row, place] = self.logits[item] - np.log(np.exp(self.logits[left]).sum())
                    left[item] = False
        return found

    def log_prob(self, state: np.ndarray, slates: np.ndarray) -> np.ndarray:
        return self.item_log_prob(slates).sum(axis=1)

    def descend(self, state: np.ndarray, slates: np.ndarray, slope: np.ndarray, rate: float) -> None:
        """See `Gaussian.descend`; the slope is of the slates, [B], or of their items, [B, K]."""
        total = np.zeros(len(self.logits))
        for row, slate in enumerate(slates):
            left = np.ones(len(self.logits), bool)
            for place, item in enumerate(slate):
                if item >= 0:
                    weight = np.where(left, np.exp(self.logits), 0.0)
                    gradient = -weight / weight.sum()
                    gradient[item] += 1.0
                    total += (slope[row] if slope.ndim == 1 else slope[row, place]) * gradient
                    left[item] = False
        self.logits = self.logits - rate * total / len(slates)


class Loss(Published):
    """What these share: cloning at first where the options say so, and the score as an advantage."""

    def rows(self, batch: Batch) -> Rows:
        if self.taken < self.options.get("cloning_steps", 0):
            log_prob = self.log_prob(batch)
            return -log_prob, -np.ones(len(log_prob))
        return self.losses(batch)

    def losses(self, batch: Batch) -> Rows:
        raise NotImplementedError

    def log_prob(self, batch: Batch) -> np.ndarray:
        return self.policy.log_prob(batch["state"], batch["action"])

    def advantage(self, batch: Batch) -> np.ndarray:
        std = self.scores.std()
        return (batch["score"] - self.scores.mean()) / (std if std > 0 else 1.0)

    def lengths(self, batch: Batch) -> np.ndarray:
        action = batch["action"]
        return np.ones(len(action)) if action.dtype == np.float64 else (action >= 0).sum(axis=1)


class Cloning(Loss):
    def state(self) -> dict[str, float]:
        return {"cloning_steps_left": max(self.options.get("cloning_steps", 0) - self.taken, 0)}


class Taper(Loss):
    def losses(self, batch: Batch) -> Rows:
        usual = {"threshold": 0.0, "width": 2.0, "rate": 1.897, "alpha": 1.0, "shape": "exponential"}
        taper: Any = [value for _, value in (usual | self.options).items()]
        log_prob, policy = self.log_prob(batch), self.policy
        if isinstance(policy, PlackettLuce):
            far = -log_prob / self.lengths(batch)
        else:
            far = (((batch["action"] - policy.mean(batch["state"])) / np.exp(policy.log_scale)) ** 2).mean(axis=1)
        return repulsion_reference.taper_losses(log_prob, far, self.advantage(batch), *taper)


class SignedPg(Loss):
    def losses(self, batch: Batch) -> Rows:
        weight = regression_reference.signed_weight(self.advantage(batch), self.options.get("negative_scale", 1.0))
        return regression_reference.weighted(weight, self.log_prob(batch))


class Asymre(Loss):
    def losses(self, batch: Batch) -> Rows:
        above = self.advantage(batch) - self.options.get("baseline_shift", -1.0)
        return regression_reference.weighted(above, self.log_prob(batch))


class RobustFilter(Loss):
    """Ours: the best kappa of the whole log all alike, the rows that tie at its end by the share that is left."""

    def losses(self, batch: Batch) -> Rows:
        kappa, score = self.options["kappa"], batch["score"]
        last = np.sort(self.scores)[::-1][math.ceil(kappa * len(self.scores) - 1e-9) - 1]
        part = (kappa - (self.scores > last).mean()) / (self.scores == last).mean()
        weight = np.select([score > last, score == last], [1.0, part], 0.0) / kappa
        return -weight * self.log_prob(batch), -weight


class ExpRewardWeighted(Loss):
    """Weights by the rewards of steps, standardised by all batches before, each of which counts alike."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.means: list[float] = []
        self.squares: list[float] = []

    def moments(self) -> tuple[float, float]:
        if not self.means:
            return 0.0, 0.0
        mean = math.fsum(self.means) / len(self.means)
        return mean, math.fsum(self.squares) / len(self.squares) - mean**2

    def losses(self, batch: Batch) -> Rows:
        reward = batch["return"] if self.options.get("of") == "session" else batch["reward"]
        mean, variance = self.moments()
        std = math.sqrt(variance) if variance > 1e-12 else math.inf
        temperature, cap = self.options.get("temperature", 0.5), self.options.get("weight_cap", 20.0)
        weight = regression_reference.exponential_weight(reward, mean, std, temperature, cap)
        self.means.append(reward.mean())
        self.squares.append((reward**2).mean())
        return regression_reference.weighted(weight, self.log_prob(batch))

    def state(self) -> dict[str, float]:
        return dict(zip(("reward_mean", "reward_variance"), self.moments(), strict=True))


class Gbpo(Cloning):
    """Of items: each its own ratio and advantage; of slates: the ratio of the whole, and the score."""

    def losses(self, batch: Batch) -> Rows:
        if self.options.get("unit", "item") == "slate":
            return ratio_reference.gbpo(self.log_prob(batch), batch["behavior_log_prob"], self.advantage(batch))
        policy: Any = self.policy
        own, prefix = policy.item_log_prob(batch["action"]), batch["prefix_log_prob"]
        old = prefix - np.concatenate([np.zeros((len(prefix), 1)), prefix[:, :-1]], axis=1)
        losses, slopes = ratio_reference.gbpo(own.ravel(), old.ravel(), batch["item_advantage"].ravel())
        return losses.reshape(own.shape).sum(axis=1), slopes.reshape(own.shape)


class Sage(Cloning):
    """Of one reward, that of `return`, `mean` and `std`, or of several, [B, M]; standardised over the batch."""

    def losses(self, batch: Batch) -> Rows:
        usual = {"epsilon_lower": 0.2, "epsilon_upper": 0.27, "epsilon_boost": 0.2, "epsilon_entropy": 0.3}
        given = {**usual, "ratio_cap": 3.0, "std_offset": 1e-4, **self.options}
        total = np.zeros(len(batch["score"]))
        columns = (batch[name].reshape(len(total), -1).T for name in ("return", "mean", "std"))
        for reward, mean, std in zip(*columns, strict=True):
            spread = np.where(std > 0, std, 1.0) + given["std_offset"]
            total += np.where(std > 0, (reward - mean) / spread, 0.0)
        std = total.std()
        advantage = (total - total.mean()) / (std + given["std_offset"]) if std > 0 else np.zeros(len(total))
        lengths = self.lengths(batch)
        mean_ratio = (self.log_prob(batch) - batch["behavior_log_prob"]) / lengths
        highest = 1 + given["epsilon_upper"] + given["epsilon_boost"]
        losses, slopes = np.zeros(len(total)), np.zeros(len(total))
        for row, (log_ratio, a, entropy) in enumerate(zip(mean_ratio, advantage, self.entropy(batch), strict=True)):
            lowest = 1 - given["epsilon_lower"] - given["epsilon_entropy"] * (1 - entropy)
            losses[row], slopes[row] = ratio_reference.clipped(log_ratio, a, lowest, highest, given["ratio_cap"])
            if given.get("upper_bound") == "denominator" and a >= 0:
                slopes[row] = -a * min(math.exp(log_ratio), highest)  # the coefficient stays, and so does its gradient
        return losses, slopes / lengths

    def entropy(self, batch: Batch) -> np.ndarray:
        if "embeddings" not in batch:
            return np.ones(len(batch["action"]))
        return np.array(
            [ratio_reference.slate_entropy(batch["embeddings"][slate[slate >= 0]]) for slate in batch["action"]]
        )
