"""Conservative Q-learning: Q is pushed down where it is high, and up at the logged actions.

    L_Q = sum over members { (y - Q(s, a))^2 + alpha (log E_rho exp Q(s, .) - Q(s, a)) },    V'(s') = E_pi Q'(s', .)
    L(theta) = -E_pi [ min Q(s, .) ] + w KL(pi, rho)

rho is the uniform action: for slates, every slate of what the step offers alike; for proto-actions N(0, I / d), whose
directions, which are all that Q reads, are uniform. Of M actions of rho and M of pi, with the weight of multiple
importance sampling that is at most 2,

    log E_rho exp Q = log 1/(2M) sum over all of exp Q(s, a) rho(a) / (rho(a)/2 + pi(a)/2)

The policy's gradient goes through its samples where they can be differentiated (Gaussian), and else is the score
function's, `f_j - mean over the others of f` times `grad log pi(a_j)` with f = min Q - w log(pi / rho).

Source: Kumar, Zhou, Tucker and Levine 2020 (arXiv:2006.04779), equation 4 with R(mu) = -KL(mu, rho), and appendix F;
M is of its implementation, on the actor-critic of Haarnoja et al. 2018 (arXiv:1801.01290). There the action
space is bounded, rho its volume, and each sample is divided by its own density, which has no bound; the samples of
pi(. | s') are left out here. There w is adapted to a target entropy; here it is fixed, for an entropy in nats means
nothing where the length of a proto-action is free. Leave-one-out: Kool, van Hoof and Welling 2019. Values are in the
unit of the log's rewards, and so are alpha and w; one sample stands for V'. Every logged action gains alpha / 2, once
for each step that is bootstrapped through: with the paper's 5, at a discount of 1, that is more than what the steps
earn, and Q says how dense the log is; hence the smaller default, which is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from agents.distributions.uniform_slates import UniformSlates
from agents.families import OBJECTIVES
from agents.nn.session_space import SessionSpace
from agents.objectives.bases.action_values import (
    DIAGNOSTICS,
    ActionValuesConfig,
    ValueObjective,
    read_transition,
    td_loss,
)
from recenv.errors import require, require_range


@dataclass(frozen=True)
class CqlConfig(ActionValuesConfig):
    """Hyper-parameters of conservative Q-learning."""

    alpha: float = 0.05
    """Weight of the conservative part against the squared error; 5 to 10 in the paper, whose values are hundreds."""
    entropy_weight: float = 0.1
    """w, of the policy's divergence from the uniform action, in units of reward a nat."""
    num_samples: int = 10
    """M, of uniform actions and of the policy's; at least 2, which a baseline takes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("alpha", self.alpha, 0.0)
        require_range("entropy_weight", self.entropy_weight, 0.0)
        require_range("num_samples", self.num_samples, 2, 1024, integer=True)


def log_mean_exp(value: Tensor, uniform_log_prob: Tensor, policy_log_prob: Tensor) -> Tensor:
    """Return the estimate of `log E_rho exp Q`, `[..., B]`, of actions half of which are rho's and half pi's.

    Args:
        value: `[..., 2 M, B]`, Q of the actions.
        uniform_log_prob: `[2 M, B]` nats, under rho; where it is -inf, the action counts as one of rho's alone.
        policy_log_prob: `[2 M, B]` nats, under pi; no gradient flows into either.
    """
    # Densities stay logs, whose exponentials would under- and overflow.
    mixture = torch.logaddexp(uniform_log_prob, policy_log_prob) - math.log(2.0)
    log_weight = torch.where(uniform_log_prob == -torch.inf, 0.0, uniform_log_prob - mixture).detach()
    return (value + log_weight).logsumexp(dim=-2) - math.log(value.shape[-2])


def score_function_loss(gain: Tensor, log_prob: Tensor) -> Tensor:
    """Return what has the gradient of `-E_pi gain`, `[B]`: log-likelihoods weighted by gains less the others' mean.

    Args:
        gain: `[M, B]`, finite, of M >= 2 actions of the policy; no gradient flows into it.
        log_prob: `[M, B]` nats; where it is -inf, the action counts nothing.
    """
    others = (gain.sum(dim=0) - gain) / (len(gain) - 1)
    weight = (gain - others).detach()
    return -torch.where(log_prob == -torch.inf, 0.0, weight * log_prob).mean(dim=0)


def uniform_actions(space: SessionSpace | None, observation: Any, action: Tensor) -> Distribution:
    """Return the distribution rho of the uniform action; see the module.

    Args:
        space: of the items; None will do for proto-actions.
        observation: entries of B observations.
        action: [B, K] slates or [B, d] proto-actions, which tell the kind.

    Raises:
        InvalidInput: for slates of nobody knows which items.
    """
    if action.is_floating_point():
        return Independent(Normal(torch.zeros_like(action), action.shape[-1] ** -0.5), 1)
    require(space is not None, "actor_network has no `space`, which says what slates there are; pass a `Policy`")
    assert space is not None
    size = action.shape[-1]
    if space.offer == "candidates":
        items = observation["candidates"]
        return UniformSlates.of_offer(items, items >= 0, size)
    count = torch.full((len(action),), space.num_items, device=action.device)
    if space.offer == "available":
        ids = torch.arange(space.num_items, device=action.device).expand(len(action), -1)
        return UniformSlates.of_offer(ids, observation["available"] > 0, size)
    return UniformSlates(count, slate_size=size)


@OBJECTIVES.register("cql")
class CqlObjective(ValueObjective):
    """Conservative Q-learning; see the module for the equations and `CqlConfig` for the scalars.

    Args:
        actor_network: see `Objective`; a `Policy` where actions are slates.
        config: None for the defaults.
        qvalue_network: members of Q, called with (observation, action); None for twins of the actor's space.
    """

    Config = CqlConfig
    diagnostics = (*DIAGNOSTICS, "conservative_gap")
    _schedulable_buffers = frozenset({"alpha", "entropy_weight"})
    alpha: Tensor
    entropy_weight: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; `conservative_gap` is `log E_rho exp Q - Q(s, a)`, its mean."""
        step = read_transition(self, tensordict)
        shape = torch.Size([self.config.num_samples])
        uniform = uniform_actions(getattr(self.actor_network, "space", None), step.observation, step.action)
        random = step.cut(uniform.sample(shape))
        with self.acting() as actor:
            policy: Any = actor.get_dist(tensordict.copy())
            own = policy.rsample(shape) if policy.has_rsample else step.cut(policy.sample(shape))
            own_log_prob = policy.log_prob(own)
            with torch.no_grad():
                random_log_prob = policy.log_prob(random)
                later = step.cut_next(actor.get_dist(step.following.copy()).sample())  # type: ignore[union-attr]
                target = self.values.target(step, self.values.slow(step.next_observation, later), tensordict)
        uniform_log_prob = uniform.log_prob(own)
        actions = torch.cat([random, own.detach()])
        qvalue, values = self.values(step.observation, step.action), self.values(step.observation, actions)
        gap = log_mean_exp(
            values,
            torch.cat([uniform.log_prob(random), uniform_log_prob]),
            torch.cat([random_log_prob, own_log_prob]),
        )
        gap = gap - qvalue
        # Where fewer items are offered than a slate takes, both log-probabilities are -inf.
        divergence = torch.where(own_log_prob == -torch.inf, 0.0, own_log_prob - uniform_log_prob)
        if policy.has_rsample:
            gain = self.values.fixed(step.observation, own).amin(dim=0) - self.entropy_weight * divergence
            loss = -gain.mean(dim=0)
        else:
            gain = values[:, len(random) :].detach().amin(dim=0) - self.entropy_weight * divergence
            loss = score_function_loss(gain, own_log_prob)
        return {
            "loss_actor": loss,
            "loss_qvalue": td_loss(qvalue, target) + self.alpha * gap.sum(dim=0),
            **self.values.report(step, target, qvalue, tensordict),
            "conservative_gap": self._reduce_loss(gap.detach().mean(dim=0), tensordict, reduction="mean"),
        }
