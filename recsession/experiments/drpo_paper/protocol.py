"""The paper's protocol as tasks and methods of ours: what is said in it, and what each open point was taken to mean.

Said: Adam 3e-4 without decay, batches of 320, 5,000 steps, two layers of 128, a state of 10 numbers, the signal is the
immediate reward, and the grids below. Open, and taken so:

* the items, users and noise of the world are those of `embedding_bandit`, the size of a log is 20,000;
* the suboptimal policy, which is to have medium reward, is `exposure`: popular items of moderate relevance;
* a policy's worth is the reward without its noise, of the item nearest to the policy's mean;
* the Gaussian's scale is learned, begins at .2 and stays above .1, which is how far the logged actions spread;
* *policy noise* is that spread, *noise injected* takes the share of uniform items and leaves expert and suboptimal as
  1 to 6; both in the medium scenario, and so are ablation and phantom gradients;
* a *fixed filter* is Algorithm 1 with P held: at .5, where it begins, in the ablation. The *soft base* without a filter
  weighs negatives by .1, what the paper calls AsymRe; the *hard filter alone* takes the mean of what is kept for a
  baseline and weighs both signs alike, that is, plain policy gradient inside the filter;
* BPPO's grid is eps alone, as published; how often its old policy becomes the present one, `steps_per_policy`, stays at
  our default, though it matters as much: the paper does not say what it was;
* AWR's temperature is in units of the reward; its weights have a cap, as in its source, which is in its grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch

from agents.families import OBJECTIVES
from agents.nn.encoders.flat import FlatConfig
from agents.nn.networks import NetworkConfig
from agents.objectives.bases.batch_filter import keep_best
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.trainer import TrainerConfig
from offline_data.behavior.three_part import noise_of
from offline_data.dial.quality import mixture_spec
from recenv.errors import require, require_range
from recenv.session_config import SessionConfig
from recsession.experiments.drpo_paper.published import TABLE
from recsession.experiments.learning_task import LearningTask, Method

EXPERIMENTS: Final = ("table", "noise", "ablation", "sensitivity", "phantom")
NOISE_METHODS: Final = ("bc", "awr", "asymre", "adaptive_bc", "drpo_exp", "drpo")
FIXED_SHARE: Final = 0.5
WORLD: Final = {"user_model": "embedding_bandit"}


@dataclass(frozen=True)
class Protocol:
    """Sizes and budgets; the defaults are the paper's, where it gives them."""

    experiments: tuple[str, ...] = EXPERIMENTS
    """Which are run."""
    methods: tuple[str, ...] = tuple(TABLE["medium"])
    """Which of the first table's."""
    development_seeds: tuple[int, ...] = (100, 101)
    """Of the logs that the grids' settings are chosen on."""
    num_sessions: int = 20_000
    """Rows of a log."""
    embedding_dim: int = 10
    """Of items and users."""
    num_evaluation_sessions: int = 4_000
    """Users that a policy is judged by."""
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            num_steps=5_000,
            batch_size=320,
            learning_rate=3e-4,
            final_rate=1.0,
            log_interval=500,
            checkpoint_interval=1_000,
            policy=GaussianPolicyConfig(NetworkConfig((128, 128), FlatConfig())),
        )
    )
    """Budget and policy of every method."""

    def __post_init__(self) -> None:
        for name, known in (("experiments", EXPERIMENTS), ("methods", TABLE["medium"])):
            unknown = [each for each in getattr(self, name) if each not in known]
            require(not unknown, f"{name} has {', '.join(unknown)}; choose from {', '.join(known)}")
        for seed in self.development_seeds:
            require_range("development_seeds", seed, 0, 2**31 - 1, integer=True)

    def world(self, **options: Any) -> SessionConfig:
        """Return the bandit's config, with options of its user model."""
        return SessionConfig().override(**WORLD, embedding_dim=self.embedding_dim, **options)

    def task(
        self,
        shares: tuple[float, float, float],
        *,
        reward_noise: float | None = None,
        policy_noise: float | None = None,
    ) -> LearningTask:
        """Return a log of the paper's kind, scored by its rewards.

        Args:
            shares: of the expert, of the suboptimal policy and of uniform items; they sum to one.
            reward_noise: standard deviation of the reward's noise; None for the world's own.
            policy_noise: standard deviation of each coordinate of a logged action; None for the behaviors' own.
        """
        return LearningTask(
            mixture_spec(*noise_of(shares), proto_scale=policy_noise),
            self.world() if reward_noise is None else self.world(rating_noise=reward_noise),
            num_sessions=self.num_sessions,
            score="reward",
            trainer=self.trainer,
            num_evaluation_sessions=self.num_evaluation_sessions,
            judged_in=self.world(rating_noise=0.0),
        )


def method(objective: str, *in_score_units: str, **options: Any) -> Method:
    """Return a method by its objective's name and options.

    Args:
        objective: of a registered objective.
        *in_score_units: see `Method`.
        **options: of its config.
    """
    return Method(objective, OBJECTIVES.resolve(objective).Config(**options), in_score_units)


def settings(name: str, num_steps: int) -> dict[str, Method]:
    """Return a method of the first table by the labels of its settings, the published grid; one of one has no choice.

    Args:
        name: of `published.TABLE`, or `asymre`.
        num_steps: gradient steps of a training.
    """
    half = num_steps // 2
    match name:
        case "apg":
            return {"": method("signed_pg")}
        case "asymre":
            return {"": method("signed_pg", negative_scale=0.1)}
        case "crr":
            return {f"beta {beta:g}": method("crr", weight="exponential", beta=beta) for beta in (0.5, 1.0, 5.0)}
        case "bppo":
            budget = {"cloning_steps": half, "critic_steps": half}
            return {f"eps {eps:g}": method("bppo", epsilon=eps, **budget) for eps in (0.1, 0.2, 0.3)}
        case "awr":
            return {
                f"beta {beta:g}, cap {cap:g}": method("awr", "temperature", temperature=beta, weight_cap=cap)
                for beta in (0.05, 0.1, 1.0)
                for cap in (20.0, 1e6)
            }
        case "iql":
            return {f"tau {tau:g}": method("iql", expectile=tau) for tau in (0.5, 0.7, 0.9)}
    return {"": method(name)}


def fixed_filter(share: float) -> Method:
    """Return Algorithm 1 with the share that it keeps held.

    Args:
        share: P, in (0, 1].
    """
    return method("drpo", adapt=False, share=share, min_share=min(share, 0.05))


def filtered_advantage(reward: torch.Tensor, share: float) -> torch.Tensor:
    """Return the reward minus the mean of what is kept, and zero for what is not, [N]; its mean is zero.

    Args:
        reward: [N].
        share: of the rows that is kept, the highest.
    """
    every_row = torch.ones_like(reward, dtype=torch.bool)
    kept = keep_best(reward.double(), torch.tensor(share, dtype=torch.float64), every_row).rows
    return torch.where(kept, reward - reward[kept].mean(), 0.0)
