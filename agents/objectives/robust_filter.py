"""The robust filter: clone only the best `kappa` of the whole log, within a moving trust region.

What to learn is the hard filter of `dro`, exact on the whole log. How to learn it is a ratio to a slow copy `pi_ref`:

    w = (1[s > tau] + c 1[s = tau]) / kappa,              E_b[w] = 1
    L(theta) = -E_b[ w min(r, 1 + eps) ],                 r = pi_theta(a | s) / pi_ref(a | s)      trust region on
    L(theta) = -E_b[ w log pi_theta(a | s) ]                                                       trust region off

Their gradients agree wherever `pi_ref = pi_theta`, so every fixed point is the maximum-likelihood fit of `q*`, and
with `kappa = 1` and the other parts off this is behavior cloning. With the trust region a fixed point need not attract:
within an interval the ratio weighs the rows that the step goes to, and where the kept actions spread more than the
policy's scale that pushes further than the way back is long. A mean whose actions spread twice its fixed scale sigma
jumps from .28 sigma on one side to .28 sigma on the other at steps of eta / sigma^2 = .2 (.47 with a wide bound and no
KL); at steps of .1, or where the scale is learned, or in a categorical policy, it comes to rest.

Trust region. A sample whose ratio passed `1 + eps` has no gradient until `pi_ref` moves, and far from the data a single
step passes it. `pi_ref` is therefore copied from `pi_theta` every `reference_interval` steps: each interval is one
proximal step from a point where every gradient is alive. `KL(pi_ref, pi_theta)` is measured just before the copy, that
is over the whole interval, and `eps` divided by 1.5 above 1.5 times its target, multiplied by 1.5 below the target
over 1.5. That alone does not hold the KL, which went to 5 times its target on the default log: a ratio beyond the
bound takes the gradient away, and Adam goes on without one. A step whose KL is above the target is therefore shortened,
on the line from `pi_ref`'s parameters, to the share `sqrt(target / KL)`. The KL of that step, which is logged, is at
the target where KL is quadratic in the parameters, such as a Gaussian's mean, and else only near it: half of it where
a learned scale would have shrunk to a third in one interval, 1.6 times it where one of four logits would have fallen
by 4.

Curriculum. `kappa` falls from 1 to its target by factors of `decay`, never upwards. Every `measure_interval` steps the
gradients g1, g2 of the filtered loss on the batch's halves give `noise = (|g1 - g2|^2 / 4) / |(g1 + g2) / 2|^2`: near 0
far from the stage's optimum, near 1 at it, where the mean gradient vanishes. It is smoothed within a stage; `kappa`
falls when it is at most `noise_bound`, or after `patience` measurements. The threshold of every stage is found at
`refresh`, so that the state is a few scalars and a resumed run needs no scores.

Source: ours. The filter is the solution of the optimistic problem of DRPO (arXiv:2602.10430), which has neither ratio,
reference nor KL, weights what its filter keeps, and filters batch by batch; trust region and curriculum are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from agents.objectives.bases.draws import Draws
from agents.objectives.bases.ratios import log_ratio
from agents.robust.density_cap import dual_threshold, filter_weight
from agents.robust.selection import Outcomes, select_rows
from recenv.errors import require, require_range
from recenv.statistics import effective_sample_size

_EPSILON_FACTOR = 1.5
_LARGEST_NOISE = 1e3  # stands for a batch without a mean gradient
LEAST_FRACTION: Final = 3e-4
"""The least that kappa="auto" takes, to which its number of stages goes."""


@dataclass(frozen=True)
class RobustFilterConfig:
    """Hyper-parameters of the robust filter; `filter`, `trust_region` and `curriculum` switch its parts.

    Examples:
        >>> from agents import RobustFilterConfig
        >>> RobustFilterConfig(kappa=0.5, decay=0.8).kappas()
        [1.0, 0.8, 0.6400000000000001, 0.5120000000000001, 0.5]
        >>> RobustFilterConfig(kappa=0.5, trust_region=False, curriculum=False).kappas()
        [0.5]
    """

    kappa: float | Literal["auto"] = 0.02
    """Mass of the log to retain in the end, in (0, 1]; "auto" finds it by what the rows earned."""
    visits: float | None = None
    """Times that training sees a row that it draws from, in the mean: batches are of the best rows alone, and as large
    as that takes, at most the trainer's. It needs curriculum=False. None: batches are of the whole log, in which all
    other rows teach nothing, and how often a retained row is seen depends on the log's length."""
    begin_gain: float = 0.75
    """With visits and kappa="auto": the first step draws from as many rows as gain this part of what those gain that
    are retained in the end, and each further step from fewer, by one factor: the many teach what the few alone would
    not, the few come last. In (0, 1]."""
    filter: bool = True
    """Weight by the hard filter; off means w = 1."""
    trust_region: bool = True
    """Bound the ratio to the reference; off means plain log-likelihood."""
    curriculum: bool = True
    """Lower kappa from 1 in stages; off means the target from the first step."""
    decay: float = 0.7
    """Factor between two stages of kappa, in (0, 0.99]."""
    measure_interval: int = 10
    """Steps between two measurements of the gradient noise."""
    noise_smoothing: float = 0.5
    """Weight of the past in the smoothed noise, in [0, 1)."""
    noise_bound: float = 0.5
    """Smoothed noise at or under which kappa falls; 0 leaves it to patience."""
    patience: int = 4
    """Measurements after which kappa falls all the same."""
    epsilon: float = 0.2
    """Initial bound on the ratio, less one."""
    epsilon_min: float = 0.05
    """Lower bound of the adaptive epsilon: at 0 nothing is learned and nothing measured."""
    epsilon_max: float = 5.0
    """Upper bound of the adaptive epsilon."""
    kl_target: float = 0.2
    """KL(reference, policy) aimed at over one reference interval, nats."""
    reference_interval: int = 5
    """Steps between two copies of the policy into the reference; at 1 the ratio is always 1."""

    def __post_init__(self) -> None:
        if self.kappa != "auto":
            require_range("kappa", self.kappa, 0.0, 1.0, low_open=True)
        if self.visits is not None:
            require_range("visits", self.visits, 0.0, 1e6, low_open=True)
            require_range("begin_gain", self.begin_gain, 0.0, 1.0, low_open=True)
            require(
                not self.curriculum,
                f"visits={self.visits:g} draws the rows of the last stage alone; set curriculum=False, or visits=None",
            )
        require_range("decay", self.decay, 0.0, 0.99, low_open=True)
        require_range("noise_smoothing", self.noise_smoothing, 0.0, 1.0, high_open=True)
        require_range("noise_bound", self.noise_bound, 0.0)
        require_range("epsilon_min", self.epsilon_min, 0.0, low_open=True)
        require_range("epsilon_max", self.epsilon_max, self.epsilon_min)
        require_range("epsilon", self.epsilon, self.epsilon_min, self.epsilon_max)
        require_range("kl_target", self.kl_target, 0.0, low_open=True)
        for name in ("measure_interval", "patience", "reference_interval"):
            require_range(name, getattr(self, name), 1, integer=True)

    def kappas(self, found: float = LEAST_FRACTION) -> list[float]:
        """Return the retained mass of every stage, falling, the target last.

        Args:
            found: what "auto" stands for; the lowest one gives the most stages.
        """
        if not self.filter:
            return [1.0]
        target = max(found, LEAST_FRACTION) if self.kappa == "auto" else self.kappa
        kappas = [1.0 if self.curriculum else target]
        while kappas[-1] > target:
            kappas.append(max(target, self.decay * kappas[-1]))
        return kappas


def trust_region_loss(log_prob: Tensor, reference_log_prob: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    """Return `-w min(r, 1 + eps)` of each action.

    Args:
        log_prob: `[B]` log-probabilities under the policy, nats.
        reference_log_prob: `[B]` log-probabilities under the reference, nats.
        weight: `[B]` filter weights, >= 0.
        epsilon: scalar > 0.
    """
    # Cut as logs, before the exponential can overflow: inf times a weight of 0 is NaN.
    ratio = log_ratio(log_prob, reference_log_prob).minimum(epsilon.log1p().to(log_prob.dtype)).exp()
    return -weight.detach() * ratio


def adapted_epsilon(epsilon: Tensor, kl: Tensor, kl_target: Tensor) -> Tensor:
    """Return the next `eps`: smaller after too long a step, larger after too short a one.

    Args:
        epsilon: scalar > 0.
        kl: measured KL(reference, policy), nats; NaN counts as too long.
        kl_target: scalar > 0, nats.
    """
    too_long = ~(kl <= _EPSILON_FACTOR * kl_target)
    too_short = kl < kl_target / _EPSILON_FACTOR
    return epsilon * torch.where(too_long, 1 / _EPSILON_FACTOR, torch.where(too_short, _EPSILON_FACTOR, 1.0))


def kept_step(kl: Tensor, kl_target: Tensor) -> Tensor:
    """Return the share of a step that brings its KL down to the target, a scalar in [0, 1]: KL grows with its square.

    Args:
        kl: KL(reference, policy) of the whole step, nats; NaN or infinite takes all of it back. A mean over samples may
            be below zero.
        kl_target: scalar > 0, nats.
    """
    # A KL of 0 or below gives inf, cut to 1; target / inf is 0; NaN becomes 0.
    return (kl_target / kl.clamp_min(0.0)).sqrt().clamp_max(1.0).nan_to_num(0.0)


def gradient_noise(first: Tensor, second: Tensor) -> Tensor:
    """Return `(|g1 - g2|^2 / 4) / |(g1 + g2) / 2|^2`, the noise-to-signal ratio of the mean of two gradients.

    Args:
        first: `[P]` gradient on one half-batch.
        second: `[P]` gradient on the other; where their mean vanishes the result is infinite or NaN.
    """
    return (first - second).square().sum() / (first + second).square().sum()


@OBJECTIVES.register("robust_filter")
class RobustFilterObjective(Objective):
    """The robust filter; see the module for the equations and `RobustFilterConfig` for the scalars.

    All state (kappa, threshold, epsilon, reference, smoothed noise, counters) is in `state_dict`.
    """

    needs = frozenset({"score"})
    Config = RobustFilterConfig
    diagnostics = ("retained_mass", "effective_sample_size", "kappa", "epsilon", "kl", "gradient_noise")
    _schedulable_buffers = frozenset({"epsilon", "kl_target", "noise_bound"})
    kappas: Tensor  # [S], float64, with the threshold and the tie's fraction of each stage
    taus: Tensor
    tie_fractions: Tensor
    stage: Tensor  # [1], index of the present stage
    measurements: Tensor  # of the gradient noise, in this stage
    epsilon: Tensor
    kl_target: Tensor
    noise_bound: Tensor
    kl: Tensor
    gradient_noise: Tensor

    def __init__(self, actor_network: Any, *, config: RobustFilterConfig | None = None) -> None:
        config = RobustFilterConfig() if config is None else config
        super().__init__(actor_network, config=config, create_reference=getattr(config, "trust_region", False))
        kappas = torch.tensor(config.kappas(), dtype=torch.float64)
        self.register_buffer("kappas", kappas)
        self.register_buffer("taus", torch.full_like(kappas, -torch.inf))
        self.register_buffer("tie_fractions", torch.zeros_like(kappas))
        self.register_buffer("stage", torch.zeros(1, dtype=torch.int64))
        self._ranked: Tensor | None = None
        self.register_buffer("measurements", torch.zeros((), dtype=torch.int64))
        for name in ("kl", "gradient_noise"):
            self.register_buffer(name, torch.zeros(()))

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`; where kappa is to be found, what the rows earned says how far."""
        return cls.needs | {"outcomes"} if config.kappa == "auto" and config.filter else cls.needs

    @torch.no_grad()
    def refresh(self, scores: Tensor, advantage: np.ndarray | None = None, session: np.ndarray | None = None) -> None:
        """Find kappa, if it is "auto", and the threshold of every stage by the scores; see `Objective.refresh`."""
        present = self.kappas.index_select(0, self.stage) if self._refreshed else 1.0
        super().refresh(scores)
        kappas, found = self.config.kappas(), None
        if "outcomes" in self.needs:
            found = select_rows(scores, None if advantage is None or session is None else Outcomes(advantage, session))
            self.remarks, self.findings = [found.describe()], {"selection": found.as_dict()}
            kappas = self.config.kappas(found.kappa)
            kappas += kappas[-1:] * (self.kappas.numel() - len(kappas))  # the state has one size, whatever is found
            kappas = [min(kappa, float(present)) for kappa in kappas]  # never upwards, whatever a later critic finds
        self.kappas.copy_(torch.tensor(kappas, dtype=torch.float64))
        for stage, kappa in enumerate(kappas):
            if kappa < 1.0:  # at 1 everything is retained: tau = -inf
                self.taus[stage], self.tie_fractions[stage] = dual_threshold(scores, kappa)
        if self.config.visits is not None:
            self._last = int((scores >= self.taus[-1]).sum())
            self._first = max(found.widest(self.config.begin_gain), self._last) if found else self._last
            self._ranked = scores.argsort(descending=True, stable=True)[: self._first]

    def draws(self, num_steps: int, batch_size: int) -> Draws | None:
        """Return the best rows, narrowing to those retained, as many at once as `visits` takes."""
        if self._ranked is None or self.config.visits is None:
            return None
        first, last = self._first, self._last
        mean = (first - last) / math.log(first / last) if first > last else last  # over steps, of rows drawn from
        wanted = math.ceil(self.config.visits * mean / num_steps)
        return Draws(self._ranked, first, last, num_steps, min(wanted, batch_size))

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and the diagnostics.

        `retained_mass` is the batch's share of positive weights, `effective_sample_size` its `(sum w)^2 / sum w^2`;
        kappa and epsilon are the present ones, KL (nats) and gradient noise the last measured, 0 before the first.
        """
        return self.filtered_terms(tensordict, self.weight(tensordict), self.log_prob(tensordict))

    def filtered_terms(self, tensordict: TensorDictBase, weight: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return what `terms` does.

        Args:
            tensordict: the batch.
            weight: `[B]`, the filter's.
            log_prob: `[B]` log-probabilities of the logged actions under the policy, nats.
        """
        if self.config.trust_region:
            with torch.no_grad():
                reference_log_prob = self.log_prob(tensordict, self.target_actor_network_params)
            loss = trust_region_loss(log_prob, reference_log_prob, weight, self.epsilon)
        else:
            loss = -weighted_log_prob(weight, log_prob)
        counted = self.counted(tensordict)
        weight = torch.where(counted, weight, 0.0)
        return {
            "loss_actor": loss,
            "retained_mass": (weight > 0).to(weight.dtype).sum() / counted.sum().clamp_min(1),
            "effective_sample_size": effective_sample_size(weight),
            **self._measured(),
        }

    def weight(self, tensordict: TensorDictBase) -> Tensor:
        """Return the filter weights `w = q*/b` of the batch, `[B]`, found from its scores and the log's threshold.

        With `visits` the rows are drawn by what they weigh, and each weighs one.
        """
        if self.config.visits is not None:
            return torch.ones_like(self.score(tensordict))
        tables = (self.taus, self.tie_fractions, self.kappas)
        return filter_weight(self.score(tensordict), *(table.index_select(0, self.stage) for table in tables))

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Run the curriculum and the trust region where their interval is over; return their diagnostics."""
        super().after_step(tensordict)
        if self.kappas.numel() > 1 and self._num_steps % self.config.measure_interval == 0:
            self._measure_noise(tensordict)
        if self.config.trust_region and self._num_steps % self.config.reference_interval == 0:
            self._move_reference(tensordict)
        return self._measured()

    def _move_reference(self, tensordict: TensorDictBase) -> None:
        """Adapt epsilon to the step since the last copy, shorten that step if it was too long, and copy."""
        kl = self.reference_kl(tensordict)
        epsilon = adapted_epsilon(self.epsilon, kl, self.kl_target)
        self.epsilon.copy_(epsilon.clamp(self.config.epsilon_min, self.config.epsilon_max))
        policy, reference = self.actor_network_params.data, self.target_actor_network_params.data
        share = kept_step(kl, self.kl_target)
        for new, old in zip(policy.values(True, True), reference.values(True, True), strict=True):
            if new.is_floating_point():  # not the codes of a generative policy's items
                kept = old.lerp(new, share.to(new.dtype))
                new.copy_(torch.where(share > 0, kept, old))  # of NaN nothing is kept either
        self.kl.copy_(self.reference_kl(tensordict))
        reference.update_(policy)

    def _measure_noise(self, tensordict: TensorDictBase) -> None:
        """Smooth one measurement into the stage's noise, then lower kappa if it is time; no synchronisation."""
        noise = gradient_noise(*self._half_gradients(tensordict)).to(self.gradient_noise)
        # Finite, or one measurement of infinity would stay in the average.
        noise = noise.nan_to_num(_LARGEST_NOISE).clamp_max(_LARGEST_NOISE)
        smoothed = torch.lerp(noise, self.gradient_noise, self.config.noise_smoothing)
        self.gradient_noise.copy_(torch.where(self.measurements > 0, smoothed, noise))
        self.measurements += 1
        ready = (self.gradient_noise <= self.noise_bound) | (self.measurements >= self.config.patience)
        self.measurements.masked_fill_(ready, 0)
        self.stage.copy_((self.stage + ready).clamp_max(self.kappas.numel() - 1))

    def _half_gradients(self, tensordict: TensorDictBase) -> list[Tensor]:
        """Return the gradients `[P]` of the filtered loss on the batch's two halves."""
        parameters = [p for p in self.actor_network_params.parameters() if p.requires_grad]
        with torch.enable_grad():
            loss = -weighted_log_prob(self.weight(tensordict), self.log_prob(tensordict))
            counted = self.counted(tensordict)
            rank, size = counted.cumsum(0), counted.sum() // 2
            halves = (counted & (rank <= size), counted & (rank > size) & (rank <= 2 * size))
            losses = [torch.where(half, loss, 0.0).sum() / size.clamp_min(1) for half in halves]
            gradients = [
                torch.autograd.grad(half, parameters, retain_graph=True, materialize_grads=True) for half in losses
            ]
        return [torch.cat([part.flatten() for part in gradient]) for gradient in gradients]

    def _measured(self) -> dict[str, Tensor]:
        kappa = self.kappas.index_select(0, self.stage)[0]
        return {"kappa": kappa, **{name: getattr(self, name).clone() for name in ("epsilon", "kl", "gradient_noise")}}
