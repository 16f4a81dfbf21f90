"""DRPO as published: clone the best of each batch, the more the better it is; its exponential form; and its baseline.

    drpo         w = A / (sd(A) + 1e-8),  A = r - nu
    drpo_exp     w = exp((r - mean(kept)) / beta)
    adaptive_bc  w = 1

    L(theta) = -mean over the kept of w log pi_theta(a | s)

with r the score, nu the smallest score that is kept, and sd that of the kept as a population; which rows of a batch are
kept, and how their share moves, is in `bases.batch_filter`. `drpo` descends the integrand of the dual of the robust
problem, E_b[(r - nu)_+ log pi] / kappa, and not the uniform weights of that problem's solution, which are those of
`adaptive_bc`, one of the paper's baselines, and on a whole log of `robust_filter`. The last row that `drpo` keeps has a
weight of zero; where all that is kept is equal, or is one row, a step teaches nothing.

The paper's signal is the immediate reward of a contextual bandit, `--score reward`. Its DRPO-Q has Q in place of r:
any score here, `q_minus_v` by default. The authors' D4RL agents keep a tenth and weigh by exp(3 (Q - V)), at most 100,
or by Q - V itself:

    drpo_exp  adapt=False, share=0.1, baseline="zero", beta=1/3, weight_cap=100
    drpo      adapt=False, share=0.1, baseline="zero", normalize=False

Source: DRPO v1 (arXiv:2602.10430), Algorithm 1 and its appendix, as its authors' published text has them; there is no
ratio, reference, KL or clip in it. "Adaptive trust region" in its abstract is the share itself, "variance-guided
curriculum" the controller. What is wrong in the paper, and not followed: `drpo_exp` is called the solution of the
optimistic problem with a KL term. It solves neither the statement's problem (KL to the uniform on the support, whose
solution is q = min(b / kappa, e^((s - c) / T))) nor the proof's (KL to b: q = b min(1 / kappa, e^((s - c) / T))), which
are positive everywhere and keep the cap; it is exact for the KL to what the filter keeps, the cap dropped. The
target ratio of .1 is the agents' own; that it is a share which stays is our reading. That weights stop at 1e15 is ours:
the paper's rewards, in [0, 1], never come there, and beyond it the squares in Adam would overflow. Ours, too, is
`in_deviations` of `drpo_exp`: the published beta is one of rewards in [0, 1], and says little about other scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.bases.batch_filter import BatchFilterConfig, BatchFilterObjective, Kept
from agents.objectives.bases.batch_statistics import spread
from recenv.errors import require, require_range

_EPSILON = 1e-8  # Algorithm 1's, beside the standard deviation


@dataclass(frozen=True)
class DrpoConfig(BatchFilterConfig):
    """Hyper-parameters of DRPO; the defaults are Algorithm 1's.

    Examples:
        >>> from agents import DrpoConfig
        >>> DrpoConfig().share, DrpoConfig(adapt=False, share=0.1, baseline="zero", normalize=False).normalize
        (0.5, False)
    """

    baseline: Literal["threshold", "zero"] = "threshold"
    """What is taken from a score: nu, the smallest that is kept, or nothing, where the score is an advantage."""
    normalize: bool = True
    """Divide by the standard deviation over the kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.baseline in ("threshold", "zero"), f"baseline={self.baseline!r} is unknown; choose threshold or zero"
        )


@dataclass(frozen=True)
class DrpoExpConfig(BatchFilterConfig):
    """Hyper-parameters of DRPO-Exp.

    Examples:
        >>> from agents import DrpoExpConfig
        >>> DrpoExpConfig(adapt=False, share=0.1, baseline="zero", beta=1 / 3, weight_cap=100.0).share
        0.1
    """

    beta: float = 0.05
    """Temperature, in units of the score; the paper's rewards lie in [0, 1]."""
    in_deviations: bool = False
    """Take `beta` times the standard deviation over the kept, as `drpo` divides by it, for scores of any size."""
    baseline: Literal["mean", "zero"] = "mean"
    """What is taken from a score: the mean of the kept, or nothing, where the score is an advantage."""
    weight_cap: float = 1e15
    """Largest weight of one action."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("beta", self.beta, 0.0, low_open=True)
        require(self.baseline in ("mean", "zero"), f"baseline={self.baseline!r} is unknown; choose mean or zero")
        require_range("weight_cap", self.weight_cap, 0.0, 1e15, low_open=True)


@dataclass(frozen=True)
class AdaptiveBcConfig(BatchFilterConfig):
    """Hyper-parameters of adaptive behavior cloning, those of the filter."""


def drpo_weight(score: Tensor, kept: Kept, *, baseline: str = "threshold", normalize: bool = True) -> Tensor:
    """Return `(r - nu) / (sd + 1e-8)`, `[B]`.

    Args:
        score: `[B]` float64, finite.
        kept: what is kept of it.
        baseline: see `DrpoConfig`, and so `normalize`.
        normalize: divide by the standard deviation.
    """
    advantage = score - kept.threshold if baseline == "threshold" else score
    return advantage / (spread(score, kept.rows) + _EPSILON) if normalize else advantage


def drpo_exp_weight(
    score: Tensor,
    kept: Kept,
    beta: Tensor,
    weight_cap: Tensor,
    *,
    baseline: str = "mean",
    in_deviations: bool = False,
) -> Tensor:
    """Return `exp((r - mean(kept)) / beta)`, `[B]`, at most `weight_cap`; with deviations `beta (sd + 1e-8)` for beta.

    Args:
        score: `[B]` float64, finite.
        kept: what is kept of it.
        beta: scalar > 0.
        weight_cap: scalar > 0.
        baseline: see `DrpoExpConfig`, and so `in_deviations`.
        in_deviations: take beta times the standard deviation of what is kept.
    """
    if in_deviations:
        beta = beta * (spread(score, kept.rows) + _EPSILON)
    if baseline == "mean":
        score = score - score.where(kept.rows, 0.0).sum() / kept.count
    # The cap is taken as a log: the exponential of a large score would be infinite.
    return (score / beta).minimum(weight_cap.log()).exp()


@OBJECTIVES.register("drpo")
class DrpoObjective(BatchFilterObjective):
    """Weight the best of each batch linearly; see the module for the equations and `DrpoConfig` for its scalars."""

    Config = DrpoConfig
    examples = ({"adapt": False, "share": 0.1, "baseline": "zero", "normalize": False}, {})

    def weight(self, score: Tensor, kept: Kept) -> Tensor:
        """Return `drpo_weight`, `[B]`."""
        return drpo_weight(score, kept, baseline=self.config.baseline, normalize=self.config.normalize)


@OBJECTIVES.register("drpo_exp")
class DrpoExpObjective(BatchFilterObjective):
    """Weight the best of each batch exponentially; see the module and `DrpoExpConfig`."""

    Config = DrpoExpConfig
    examples = (
        {"adapt": False, "share": 0.1, "baseline": "zero", "beta": 1 / 3, "weight_cap": 100.0},
        {"beta": 0.3, "in_deviations": True},
        {},
    )
    _schedulable_buffers = BatchFilterObjective._schedulable_buffers | {"beta", "weight_cap"}
    beta: Tensor
    weight_cap: Tensor

    def weight(self, score: Tensor, kept: Kept) -> Tensor:
        """Return `drpo_exp_weight`, `[B]`."""
        options = {"baseline": self.config.baseline, "in_deviations": self.config.in_deviations}
        return drpo_exp_weight(score, kept, self.beta, self.weight_cap, **options)


@OBJECTIVES.register("adaptive_bc")
class AdaptiveBcObjective(BatchFilterObjective):
    """Clone the best of each batch, all alike; see the module."""

    Config = AdaptiveBcConfig

    def weight(self, score: Tensor, kept: Kept) -> Tensor:
        """Return 1 for each row, `[B]`."""
        return score.new_ones(score.shape)
