"""How good a policy is, on the scale where the log's noise is 0 and the expert is 1."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from offline_data.behavior import ActionKind, BehaviorPolicy, make_behavior
from offline_data.rollout import play_sessions
from recenv.errors import require, require_range
from recenv.random_streams import derive_seeds
from recenv.world import World

SESSIONS_PER_BATCH = 2048


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: the estimate.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @staticmethod
    def of(samples: np.ndarray) -> Interval:
        """Return the mean of independent samples [n] and its normal-approximation interval."""
        mean = float(np.mean(samples))
        half = 1.96 * float(np.std(samples, ddof=1)) / float(np.sqrt(len(samples))) if len(samples) > 1 else 0.0
        return Interval(mean, mean - half, mean + half)

    def as_dict(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Reference:
    """The two policies that the normalised score is measured against, by expected session return.

    Attributes:
        expert_return: J of the expert, which reads hidden state.
        noise_return: J of the noise.
    """

    expert_return: Interval
    noise_return: Interval

    def __post_init__(self) -> None:
        require(
            self.expert_return.mean > self.noise_return.mean,
            f"the expert's return {self.expert_return:.3f} does not exceed the noise's "
            f"{self.noise_return:.3f}; a normalised score has no meaning here, choose another noise or world",
        )

    def normalized_score(self, session_return: float) -> float:
        """Return (J - J_noise) / (J_expert - J_noise)."""
        low = self.noise_return.mean
        return (session_return - low) / (self.expert_return.mean - low)


def evaluate_returns(world: World, policy: BehaviorPolicy, num_sessions: int, seed: int, role: str) -> np.ndarray:
    """Return the undiscounted returns of fresh sessions under a policy, [num_sessions] float64.

    Args:
        world: the world.
        policy: who acts.
        num_sessions: how many users.
        seed: root seed; with `role` it fixes the users and the policy's luck.
        role: keeps evaluations, calibrations and logs from sharing users.

    Raises:
        InvalidInput: for a number of sessions below 1.
    """
    require_range("num_sessions", num_sessions, 1, 2**40, integer=True)
    returns = np.empty(num_sessions)
    for start in range(0, num_sessions, SESSIONS_PER_BATCH):
        index = np.arange(start, min(start + SESSIONS_PER_BATCH, num_sessions))
        users = derive_seeds(seed, f"{role} users", index)
        luck = derive_seeds(seed, f"{role} luck", index)
        returns[index] = play_sessions(world, policy, users, luck, rewards_only=True).session_returns()
    return returns


def reference_returns(
    world: World, noise: str, action_kind: ActionKind, *, num_sessions: int = 4096, seed: int = 0
) -> Reference:
    """Return the expert's and the noise's expected session return, each over the same fresh users.

    Args:
        world: the world.
        noise: name of the noise's behavior policy.
        action_kind: "slate" or "proto".
        num_sessions: users of each.
        seed: root seed.

    Raises:
        InvalidInput: for an unknown noise, or where the expert does not exceed it.
    """
    expert, other = (
        Interval.of(evaluate_returns(world, make_behavior(world, name, action_kind), num_sessions, seed, "reference"))
        for name in ("expert", noise)
    )
    return Reference(expert, other)
