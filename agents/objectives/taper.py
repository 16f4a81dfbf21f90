"""Remoteness taper: the signed policy gradient, whose push fades from actions that are already far away.

    L(theta) = -E_b[ w A log pi_theta(a | s) ],     A = (score - mean) / std over the whole log
    w = 1 if A >= 0 else g(D),     D = sg(-log pi_theta(a | s)),     x = [(D - tau) / c]_+
    exponential   g = exp(-lambda x)
    linear        g = max(0, 1 - lambda x)
    quadratic     g = max(0, 1 - lambda x / 2)^2

Every shape leaves 1 with slope -lambda at the threshold: linear and quadratic are n = 1, 2 of
max(0, 1 - lambda x / n)^n, whose limit is the exponential. The force on a Gaussian mean, g(D) times a distance that
grows like sqrt(D), is then bounded, and so are gradient steps on it at a fixed scale, whatever the negative mass.
`lambda = 0` is the signed policy gradient; `tau = -inf` keeps the positives alone. At lambda / c = 1 a nat the
exponential is `g = min(1, pi_theta(a | s) / e^-tau)`, the truncated ratio of TOPR with a constant in place of the
behavior policy; hence the default.

The threshold. D has no zero of its own: a slate of 10 of 1,000 items has about 69 nats, a density in 16 dimensions may
have less than none. By default tau is therefore measured: the `level` quantile of D over the batch's actions with
A >= 0, averaged over measurements, and never raised. So an action is remote when it surprises the policy more than what
it is asked to imitate, at its best so far; and a bound that holds for one threshold holds for all that follow, where
one that also rose would let the push grow again. The first step is not tapered.

Source: the authors' follow-up to DRPO (arXiv:2602.10430), whose text was not at hand: the exponential is theirs as
summarised, linear and quadratic are a reading of their names, and the measured threshold and every default are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from recenv.errors import require, require_range

Shape = Literal["exponential", "linear", "quadratic"]


@dataclass(frozen=True)
class TaperConfig:
    """Hyper-parameters of the remoteness taper."""

    shape: Shape = "exponential"
    """How the weight of a negative falls with its remoteness."""
    threshold: float | Literal["auto"] = "auto"
    """tau, the surprisal from which an action is remote, nats; "auto" measures it, -inf keeps the positives alone."""
    width: float = 1.0
    """c, the unit of remoteness, nats, > 0."""
    rate: float = 1.0
    """lambda, what is lost over the first width, >= 0; 0 tapers nothing."""
    level: float = 0.9
    """Of a measured threshold: the quantile of the surprisal of actions with A >= 0, in [0, 1]."""
    smoothing: float = 0.9
    """Of a measured threshold: weight of the past in its average, in [0, 1)."""
    measure_interval: int = 10
    """Of a measured threshold: steps between two measurements."""

    def __post_init__(self) -> None:
        """Refuse values outside the documented ranges, and the pair whose weight would be 0 times infinity."""
        shapes = get_args(Shape)
        require(self.shape in shapes, f"shape={self.shape!r} is not a shape; choose one of: {', '.join(shapes)}")
        if self.threshold not in ("auto", -torch.inf):
            require_range("threshold", self.threshold, -torch.inf)
        require_range("width", self.width, 0.0, low_open=True)
        require_range("rate", self.rate, 0.0)
        require(
            self.threshold != -torch.inf or self.rate > 0,
            "rate=0 with threshold=-inf is not defined: it keeps every negative and none; set rate above 0 or a finite "
            "threshold",
        )
        require_range("level", self.level, 0.0, 1.0)
        require_range("smoothing", self.smoothing, 0.0, 1.0, high_open=True)
        require_range("measure_interval", self.measure_interval, 1, integer=True)


def taper_weight(log_prob: Tensor, threshold: Tensor, width: Tensor, rate: Tensor, shape: Shape) -> Tensor:
    """Return the weight `g(D)` that a negative of each log-probability keeps, in [0, 1] and detached.

    Args:
        log_prob: any shape, nats.
        threshold: scalar tau, nats; infinity tapers nothing.
        width: scalar c > 0, nats.
        rate: scalar lambda >= 0.
        shape: of the fall.
    """
    surprisal = -log_prob.detach()
    remoteness = torch.where(surprisal > threshold, surprisal - threshold, 0.0) / width
    decay = torch.where(rate > 0, rate * remoteness, 0.0)  # 0 times an infinite remoteness is no taper
    if shape == "exponential":
        return (-decay).exp()
    degree = 1 if shape == "linear" else 2
    # Zero from where the line or parabola reaches it: beyond, a square would rise again.
    return (1.0 - decay / degree).clamp_min(0.0).pow(degree)


def taper_loss(
    log_prob: Tensor, advantage: Tensor, threshold: Tensor, width: Tensor, rate: Tensor, shape: Shape
) -> Tensor:
    """Return `-w A log pi` of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]` standardised advantage of either sign.
        threshold: as the others, see `taper_weight`.
        width: see there.
        rate: see there.
        shape: see there.
    """
    kept = torch.where(advantage >= 0, 1.0, taper_weight(log_prob, threshold, width, rate, shape))
    return -weighted_log_prob(kept * advantage, log_prob)


def positive_quantile(surprisal: Tensor, advantage: Tensor, level: float) -> Tensor:
    """Return the quantile of the surprisal of the actions with A >= 0; of all where a batch has none.

    Args:
        surprisal: `[B]` nats; infinite and NaN ones do not count.
        advantage: `[B]`.
        level: in [0, 1]; the quantile is an observed value, the lower of two neighbors.

    Returns:
        A scalar; infinity where nothing counts.
    """
    finite = surprisal.isfinite()
    positive = finite & (advantage >= 0)
    counted = torch.where(positive.any(), positive, finite)
    ordered = torch.where(counted, surprisal, torch.inf).sort().values
    # Where nothing counts, entry 0: infinity.
    index = (level * (counted.sum() - 1).clamp_min(0)).long()
    return ordered.index_select(0, index.reshape(1))[0]


class RemotenessThreshold(nn.Module):
    """The threshold tau as a buffer: as configured, or measured and never raised; see the module.

    Args:
        config: what `threshold`, `level` and `smoothing` say.
    """

    value: Tensor
    average: Tensor

    def __init__(self, config: TaperConfig) -> None:
        super().__init__()
        self._config = config
        fixed = torch.inf if config.threshold == "auto" else float(config.threshold)
        self.register_buffer("value", torch.tensor(fixed))
        self.register_buffer("average", torch.tensor(torch.inf))

    @torch.no_grad()
    def follow(self, objective: Objective, tensordict: TensorDictBase, num_steps: int) -> dict[str, Tensor]:
        """Measure after the first step and then once an interval; return the threshold, nats, unless it is a given one.

        Args:
            objective: whose policy and advantages are measured.
            tensordict: the batch of the step.
            num_steps: steps so far, with this one.
        """
        if self._config.threshold != "auto":
            return {}
        if (num_steps - 1) % self._config.measure_interval == 0:
            log_prob = torch.where(objective.counted(tensordict), objective.log_prob(tensordict), -torch.inf)
            self.measure(log_prob, objective.standardized_score(tensordict))
        return {"threshold": self.value.clone()}

    @torch.no_grad()
    def measure(self, log_prob: Tensor, advantage: Tensor) -> None:
        """Take a batch's surprisal into the average, and lower the threshold to it; no synchronisation.

        Args:
            log_prob: `[B]` nats, under the present policy.
            advantage: `[B]`.
        """
        found = positive_quantile(-log_prob, advantage, self._config.level).to(self.average)
        average = torch.where(self.average.isinf(), found, torch.lerp(found, self.average, self._config.smoothing))
        self.average.copy_(torch.where(found.isinf(), self.average, average))
        self.value.copy_(self.value.minimum(self.average))


@OBJECTIVES.register("taper")
class TaperObjective(Objective):
    """Remoteness taper; see the module for the equations and `TaperConfig` for the scalars."""

    needs = frozenset({"score"})
    Config = TaperConfig
    diagnostics = ("tapered_share",)
    _schedulable_buffers = frozenset({"width", "rate"})
    width: Tensor
    rate: Tensor

    def __init__(self, actor_network: Any, *, config: TaperConfig | None = None) -> None:
        super().__init__(actor_network, config=config)
        self.threshold = RemotenessThreshold(self.config)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and `tapered_share`, the share of the batch's negative mass that is taken off."""
        advantage, log_prob = self.standardized_score(tensordict), self.log_prob(tensordict)
        taper = (self.threshold.value, self.width, self.rate, self.config.shape)
        negative = torch.where(self.counted(tensordict), -advantage, 0.0).clamp_min(0.0)
        taken = (negative * (1.0 - taper_weight(log_prob, *taper))).sum()
        return {
            "loss_actor": taper_loss(log_prob, advantage, *taper),
            # A batch without negatives: 0 / 1e-30.
            "tapered_share": taken / negative.sum().clamp_min(1e-30),
        }

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Measure the threshold where its interval is over; return it, nats."""
        return super().after_step(tensordict) | self.threshold.follow(self, tensordict, self._num_steps)
