"""Objectives as published, in plain NumPy: each takes a step of gradient descent on a batch, by a gradient by hand.

The policy is N(W s + b, diag(sigma^2)) on states [B, n] and actions [B, d]; a batch is a dict of float64 columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Batch = dict[str, np.ndarray]


@dataclass
class Gaussian:
    """A policy, and its gradients.

    Attributes:
        weight: [d, n].
        bias: [d].
        log_scale: [d].
    """

    weight: np.ndarray
    bias: np.ndarray
    log_scale: np.ndarray

    def copy(self) -> Gaussian:
        return Gaussian(self.weight.copy(), self.bias.copy(), self.log_scale.copy())

    def mean(self, state: np.ndarray) -> np.ndarray:
        return state @ self.weight.T + self.bias

    def log_prob(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        standard = (action - self.mean(state)) / np.exp(self.log_scale)
        return (-0.5 * standard**2 - self.log_scale - 0.5 * math.log(2.0 * math.pi)).sum(axis=1)

    def descend(self, state: np.ndarray, action: np.ndarray, slope: np.ndarray, rate: float) -> None:
        """Take a step down the mean over rows of a loss.

        Args:
            state: [B, n].
            action: [B, d].
            slope: [B], the derivative of each row's loss in its log-probability.
            rate: of the step.
        """
        scale, count = np.exp(self.log_scale), len(state)
        standard = (action - self.mean(state)) / scale
        by_mean = slope[:, None] * standard / scale / count
        by_scale = (slope[:, None] * (standard**2 - 1.0)).sum(axis=0) / count
        self.weight = self.weight - rate * by_mean.T @ state
        self.bias = self.bias - rate * by_mean.sum(axis=0)
        self.log_scale = self.log_scale - rate * by_scale


class Published:
    """What each reference is: a policy, options by the names of the objective's config, and one step after another.

    Attributes:
        q: [members, n + d], of the action values that it begins with; none of most.
        v: [n], of the state value.
    """

    q: np.ndarray = np.empty((0, 5))
    v: np.ndarray = np.empty(0)

    def __init__(self, policy: Gaussian, options: dict, scores: np.ndarray) -> None:
        """Take the policy, which the steps change, and the scores of the whole log, [N]."""
        self.policy, self.options, self.scores, self.taken = policy, options, scores, 0

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Return the losses on a batch, by name, and take a step of gradient descent."""
        losses, slope = self.rows(batch)
        self.policy.descend(batch["state"], batch["action"], slope, rate)
        self.taken += 1
        return {"loss_actor": float(np.mean(losses))}

    def rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's loss, and its derivative in the row's log-probability, [B] each."""
        raise NotImplementedError

    def state(self) -> dict[str, float]:
        """Return what it remembers, by the names of the objective's buffers."""
        return {}


class GroupReinforce(Published):
    """Group-relative REINFORCE off-policy (arXiv:2509.24203), of actions of one token."""

    def rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        own = self.policy.log_prob(batch["state"], batch["action"])
        losses, slopes = np.zeros(len(own)), np.zeros(len(own))
        for row in range(len(own)):
            log_ratio = own[row] - batch["behavior_log_prob"][row]
            coefficient = self._coefficient(log_ratio, *(batch[name][row] for name in ("return", "mean", "std")))
            losses[row], slopes[row] = -coefficient * own[row], -coefficient
            penalty, kind = self.options.get("regularizer_weight", 0.1), self.options.get("regularizer", "none")
            if kind == "k2":
                losses[row] += penalty * log_ratio**2
                slopes[row] += 2.0 * penalty * log_ratio
            elif kind == "forward_kl":
                losses[row] -= penalty * own[row]
                slopes[row] -= penalty
        return losses, slopes

    def _coefficient(self, log_ratio: float, value: float, mean: float, std: float) -> float:
        if std == 0:
            return 0.0
        ratio, advantage = math.exp(log_ratio), value - mean
        if self.options.get("std_normalize", False):
            advantage /= std + 1e-6
        if not self._counts(ratio, advantage):
            return 0.0
        weight = {
            "none": 1.0,
            "importance": min(ratio, 20.0),
            "advantage": min(math.exp(advantage / self.options.get("temperature", 1.0)), 20.0),
        }[self.options.get("weight", "none")]
        return weight * advantage

    def _counts(self, ratio: float, advantage: float) -> bool:
        inside = 0.8 <= ratio <= 1.2
        return {
            "one_side": (advantage >= 0 and ratio <= 1.2) or (advantage <= 0 and ratio >= 0.8),
            "two_side": inside,
            "ring": inside or (advantage >= 0 and ratio <= 0.4) or (advantage <= 0 and ratio >= 3.0),
            "none": True,
        }[self.options.get("clip", "one_side")]


def clipped_slope(ratio: float, advantage: float, epsilon: float) -> tuple[float, float]:
    """Return -min(r A, clip(r, 1 - eps, 1 + eps) A), and its derivative in log r."""
    clipped = min(max(ratio, 1.0 - epsilon), 1.0 + epsilon)
    if ratio * advantage <= clipped * advantage:
        return -ratio * advantage, -ratio * advantage
    return -clipped * advantage, 0.0


class Bppo(Published):
    """Behavior proximal policy optimisation (arXiv:2302.11312), on values linear in state and action.

    A batch has also the noise [B, d] of the actions that pi_k draws.
    """

    def __init__(self, policy: Gaussian, options: dict, scores: np.ndarray) -> None:
        super().__init__(policy, options, scores)
        rng = np.random.default_rng(5)
        self.q, self.v = rng.normal(size=(2, 5)), rng.normal(size=3)
        self.slow_q, self.slow_v, self.last = self.q.copy(), self.v.copy(), policy.copy()
        self.epsilon, self.mean_square, self.discount = options.get("epsilon", 0.25), 1.0, options.get("discount", 1.0)

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        state, logged, reward = batch["state"], batch["action"], batch["reward"]
        square = float((reward**2).mean())
        unit = math.sqrt(self.mean_square if self.taken else square)
        target = reward / unit + self.discount * np.where(batch["done"], 0.0, batch["next_state"] @ self.slow_v)
        by_actor = self._of_the_policy(batch, rate)
        fitted = self.taken < self.options["critic_steps"]
        both = np.concatenate([state, logged], axis=1)
        error, own_error = target - self.q @ both.T, target - state @ self.v
        losses = {"loss_actor": by_actor, "loss_qvalue": 0.0, "loss_value": 0.0}
        if fitted:
            losses |= {"loss_qvalue": float((error**2).mean(axis=1).sum()), "loss_value": float((own_error**2).mean())}
            self.q = self.q + 2.0 * rate * error @ both / len(both)
            self.v = self.v + 2.0 * rate * own_error @ state / len(both)
            self.slow_q, self.slow_v = 0.95 * self.slow_q + 0.05 * self.q, 0.95 * self.slow_v + 0.05 * self.v
        self.taken += 1
        self.mean_square = square if self.taken == 1 else self.mean_square + (square - self.mean_square) / self.taken
        beyond = self.taken - self.options["cloning_steps"]
        if beyond >= 0 and beyond % self.options["steps_per_policy"] == 0:
            self.last = self.policy.copy()
        if 0 < beyond <= self.options["decay_steps"]:
            self.epsilon *= 0.96
        return losses

    def _of_the_policy(self, batch: Batch, rate: float) -> float:
        state, logged = batch["state"], batch["action"]
        if self.taken < self.options["cloning_steps"]:
            loss = float(-self.policy.log_prob(state, logged).mean())
            self.policy.descend(state, logged, np.full(len(state), -1.0), rate)
            return loss
        action = self.last.mean(state) + np.exp(self.last.log_scale) * batch["noise"]
        worth = (self.slow_q @ np.concatenate([state, action], axis=1).T).min(axis=0) - state @ self.slow_v
        deviation = worth.std(ddof=1) if len(worth) > 1 else 0.0
        advantage = (worth - worth.mean()) / (deviation + 1e-10)
        ratio = np.exp(self.policy.log_prob(state, action) - self.last.log_prob(state, action))
        weighted = np.where(advantage > 0, 0.9, 1.0 - 0.9) * advantage
        rows = [clipped_slope(r, a, self.epsilon) for r, a in zip(ratio.tolist(), weighted.tolist(), strict=True)]
        losses, slopes = np.array(rows).T
        self.policy.descend(state, action, slopes, rate)
        return float(losses.mean())

    def state(self) -> dict[str, float]:
        beyond = {name: max(self.options[f"{name}_steps"] - self.taken, 0) for name in ("cloning", "critic")}
        left = {f"{name}_steps_left": value for name, value in beyond.items()}
        return {"epsilon": self.epsilon, "values.mean_square": self.mean_square, **left}
