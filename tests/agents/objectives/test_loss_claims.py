"""The theory of losses in probability ratios: GBPO's bounds, what reduces to what, and what changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.bases.ratios import group_advantage, log_ratio
from agents.objectives.bc import bc_loss
from agents.objectives.gbpo import gbpo_loss
from agents.objectives.gspo import gspo_loss
from agents.objectives.ppo import ppo_clip_loss
from agents.objectives.sage import decoupled_advantage, sage_loss
from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.topr import topr_loss
from agents.testing.losses import (
    GroupedRewards,
    LoggedRatios,
    TokenRatios,
    grouped_rewards,
    logged_ratios,
    softmax_actions,
    token_ratios,
)
from agents.training.log_columns import group_moments
from tests.agents.objectives.loss_values import assert_equal, tensor, value_and_gradient
from tests.properties import Claim, every_claim

ROOT_2 = 2.0**0.5

# --- GBPO


def check_gbpo_gradient_in_the_logits(implementation: Any, problem: tuple[np.ndarray, int, float, float]) -> None:
    """||d/dlogits|| <= sqrt 2 |A| (1 - pi) where A >= 0, and sqrt 2 |A| pi where A < 0; of a mass, known or not."""
    logits, action, advantage, propensity = problem

    def loss(given: torch.Tensor) -> torch.Tensor:
        log_prob = given.log_softmax(0)[action : action + 1]
        return implementation(log_prob, tensor([propensity]), tensor([advantage]))

    gradient = value_and_gradient(loss, logits)[1]
    share = np.exp(logits - logits.max())
    share /= share.sum()
    bound = ROOT_2 * abs(advantage) * (np.delete(share, action).sum() if advantage >= 0 else share[action])
    assert np.linalg.norm(gradient) <= bound * (1 + 1e-9)


def check_gbpo_coefficient(implementation: Any, problem: LoggedRatios) -> None:
    """Of log pi: <= |A| where A >= 0, and <= |A| / pi_old where A < 0, which |A| does not bound."""
    gradient = value_and_gradient(implementation, problem.log_prob, problem.old_log_prob, problem.advantage)[1]
    bound = np.abs(problem.advantage)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = np.where(problem.advantage < 0, bound * np.exp(-problem.old_log_prob), bound)
    assert (np.abs(gradient) <= bound * (1 + 1e-9))[~np.isnan(bound)].all()


def plain_ratio(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    old_log_prob = torch.where(old_log_prob.isnan(), log_prob.detach(), old_log_prob)
    return -advantage * log_ratio(log_prob, old_log_prob).exp()


def bounded_like_a_positive(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor
) -> torch.Tensor:
    return gbpo_loss(log_prob, old_log_prob, advantage.abs()) * advantage.sign()


# --- what reduces to what


def check_topr_of_rewards_of_one_is_cloning(implementation: Any, problem: LoggedRatios) -> None:
    """With all R = 1 it is SFT, value and gradient; with R >= 0, SFT weighted by R."""
    columns = (problem.log_prob, problem.old_log_prob)
    ones, reward = np.ones(len(problem.log_prob)), np.abs(problem.advantage)
    assert_equal(value_and_gradient(implementation, *columns, ones), value_and_gradient(bc_loss, problem.log_prob))
    expected = value_and_gradient(signed_pg_loss, problem.log_prob, reward)
    assert_equal(value_and_gradient(implementation, *columns, reward), expected)


def check_gspo_of_one_token_is_ppo_clip(implementation: Any, problem: LoggedRatios) -> None:
    """With the same A and eps, value and gradient."""
    columns = (problem.log_prob, problem.old_log_prob)

    def one_token(log_prob: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
        number, epsilon = torch.ones(len(log_prob), 1), tensor(0.2)
        clip = (epsilon, epsilon, tensor(3.0))
        return implementation(log_prob.unsqueeze(-1), old.unsqueeze(-1), number, advantage, *clip)

    expected = value_and_gradient(ppo_clip_loss, *columns, problem.advantage, 0.2, 3.0)
    assert_equal(value_and_gradient(one_token, *columns, problem.advantage), expected)


def check_sage_without_its_parts_is_gspo(implementation: Any, problem: TokenRatios) -> None:
    """With boost 0 and no entropy term, fed the same A: value and gradient, whatever the entropies."""
    number = counted(problem)
    columns = (problem.log_prob, problem.old_log_prob, number, problem.advantage)
    found = value_and_gradient(implementation, *columns, np.linspace(0, 1, len(number)), 0.2, 0.3, 0.0, 0.0, 3.0)
    assert_equal(found, value_and_gradient(gspo_loss, *columns, 0.2, 0.3, 3.0))


def check_ppo_clip_of_weights_is_cloning_at_home(implementation: Any, problem: LoggedRatios) -> None:
    """PPO-clip with A = w >= 0 is `-w min(r, 1 + eps)`, value and gradient.

    Its gradient is that of weighted cloning at pi = pi_ref, and nowhere else unless w = 0.
    """
    weight = np.abs(problem.advantage)
    columns = (problem.log_prob, problem.old_log_prob)
    found = value_and_gradient(implementation, *columns, weight, 0.2, 3.0)
    assert_equal(found, value_and_gradient(capped_ratio, *columns, weight, 0.2))
    finite = np.maximum(problem.log_prob, -1e3)
    at_home = value_and_gradient(implementation, finite, finite, weight, 0.2, 3.0)[1]
    np.testing.assert_allclose(at_home, -weight)
    away = value_and_gradient(implementation, finite, finite + 0.1, weight, 0.2, 3.0)[1]
    assert (away[weight > 0] > -weight[weight > 0] * 0.95).all()


def capped_ratio(
    log_prob: torch.Tensor, old: torch.Tensor, weight: torch.Tensor, epsilon: torch.Tensor
) -> torch.Tensor:
    return -weight * log_ratio(log_prob, old).minimum(epsilon.log1p()).exp()


def clipped_on_both_sides(
    log_prob: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, epsilon: torch.Tensor, cap: torch.Tensor
) -> torch.Tensor:
    return -advantage * log_ratio(log_prob, old).clamp((1 - epsilon).log(), epsilon.log1p()).exp()


# --- what changes nothing


def counted(problem: TokenRatios) -> np.ndarray:
    return (np.arange(problem.log_prob.shape[1]) < problem.lengths[:, None]).astype(float)


def check_gspo_of_a_repeated_sequence(implementation: Any, problem: TokenRatios) -> None:
    """Repeated k times it has the same value, and the same gradient summed over the tokens; as tokens or as sums."""
    number, clip = counted(problem), (0.2, 0.3, 3.0)
    value, gradient = value_and_gradient(
        implementation, problem.log_prob, problem.old_log_prob, number, problem.advantage, *clip
    )
    again = [np.tile(part, (1, 3)) for part in (problem.log_prob, problem.old_log_prob, number)]
    found = value_and_gradient(implementation, *again, problem.advantage, *clip)
    assert_equal((found[0], found[1].sum(-1)), (value, gradient.sum(-1)))
    sums = [(part * again[2]).sum(-1, keepdims=True) for part in (*again[:2], np.ones_like(again[2]))]
    found = value_and_gradient(implementation, *sums, problem.advantage, *clip)
    # Each of the sum's tokens has the gradient of the sum.
    assert_equal((found[0], found[1][:, 0] * sums[2][:, 0]), (value, gradient.sum(-1)))


def check_gspo_of_a_padded_sequence(implementation: Any, problem: TokenRatios) -> None:
    """Masked padding changes neither value nor gradient, and gets none, whatever it holds."""
    clip = (0.2, 0.3, 3.0)
    columns = (problem.log_prob, problem.old_log_prob, counted(problem))
    value, gradient = value_and_gradient(implementation, *columns, problem.advantage, *clip)
    for held in (-np.inf, np.nan):
        padded = [np.pad(part, ((0, 0), (0, 3)), constant_values=held) for part in columns[:2]]
        padded.append(np.pad(columns[2], ((0, 0), (0, 3))))
        found = value_and_gradient(implementation, *padded, problem.advantage, *clip)
        assert_equal((found[0], found[1]), (value, np.pad(gradient, ((0, 0), (0, 3)))))


def summed(
    log_prob: torch.Tensor, old: torch.Tensor, number: torch.Tensor, advantage: torch.Tensor, *clip: torch.Tensor
) -> torch.Tensor:
    """Clips the ratio of the whole sequence."""
    whole = torch.where(number > 0, log_prob - old, 0.0).sum(-1, keepdim=True)
    return gspo_loss(whole, torch.zeros_like(whole), torch.ones_like(whole), advantage, *clip)  # type: ignore[call-arg]


def mean_of_all(
    log_prob: torch.Tensor, old: torch.Tensor, number: torch.Tensor, advantage: torch.Tensor, *clip: torch.Tensor
) -> torch.Tensor:
    """Divides by the width of the batch."""
    ratio = torch.where(number > 0, log_prob - old, 0.0).mean(-1, keepdim=True)
    return gspo_loss(ratio, torch.zeros_like(ratio), torch.ones_like(ratio), advantage, *clip)


def compared(rewards: np.ndarray, group: np.ndarray, offset: float) -> np.ndarray:
    """The advantage of each component of sessions in their groups, [S, M]."""
    mean, std = (tensor(values) for values in group_moments(rewards, group))
    return group_advantage(tensor(rewards), mean, std, tensor(offset)).numpy()


def check_grpo_is_invariant(implementation: Any, problem: GroupedRewards) -> None:
    """To alpha R + beta in each group (alpha > 0, std > 0), with no offset; of SAGE, to one of each component, too.

    With an offset the relative error is at most offset / min(std, alpha std).
    """
    rewards, changed = problem.rewards, problem.scale * problem.rewards + problem.shift
    deviation = group_moments(rewards, problem.group)[1]
    divided = deviation > 0
    for offset, within in ((0.0, 1e-9), (problem.offset, problem.offset)):
        found, expected = (implementation(values, problem.group, offset) for values in (changed, rewards))
        smallest = np.minimum(deviation, problem.scale * deviation)[divided]
        allowed = within / smallest * np.abs(expected[divided]) if offset else within
        assert (np.abs(found - expected)[divided] <= allowed + 1e-9).all()
        assert (found[~divided] == 0).all()


def in_the_batch(rewards: np.ndarray, group: np.ndarray, offset: float) -> np.ndarray:
    """Compares each session with all others."""
    return compared(rewards, np.zeros_like(group), offset)


def decoupled(rewards: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean, std = (tensor(values) for values in group_moments(rewards, group))
    everything = torch.ones(len(rewards), dtype=torch.bool)
    return decoupled_advantage(tensor(rewards), mean, std, tensor(weights), tensor(0.0), everything).numpy()


def check_sage_is_invariant(implementation: Any, problem: GroupedRewards) -> None:
    """To alpha R_m + beta in each group and for each component m, with no offset."""
    changed = problem.scale * problem.rewards + problem.shift
    found, expected = (implementation(values, problem.group, problem.weights) for values in (changed, problem.rewards))
    # Where the sums agree up to rounding, their standardisation is of rounding.
    total = compared(problem.rewards, problem.group, 0.0) @ problem.weights
    if total.std() > 1e-9:
        np.testing.assert_allclose(found, expected, atol=1e-7)


CLAIMS = [
    Claim(
        check_gbpo_gradient_in_the_logits,
        softmax_actions(),
        gbpo_loss,
        mutant=bounded_like_a_positive,
        shows="gbpo-gradient-in-the-logits",
    ),
    Claim(
        check_gbpo_coefficient,
        logged_ratios(mass=True),
        gbpo_loss,
        mutant=plain_ratio,
        shows="gbpo-coefficient-is-bounded",
    ),
    Claim(
        check_topr_of_rewards_of_one_is_cloning,
        logged_ratios(),
        topr_loss,
        # tapers the positives, too
        mutant=lambda log_prob, old, reward: (
            -log_ratio(log_prob, old).clamp_max(0.0).exp().detach() * reward * log_prob.clamp_min(-1e9)
        ),
        shows="topr-of-ones-is-cloning",
    ),
    Claim(
        check_gspo_of_one_token_is_ppo_clip,
        logged_ratios(),
        gspo_loss,
        mutant=lambda log_prob, old, number, *rest: gspo_loss(log_prob / 2, old / 2, number, *rest),  # type: ignore[call-arg]
        shows="gspo-of-one-token-is-ppo",
    ),
    Claim(
        check_sage_without_its_parts_is_gspo,
        token_ratios(),
        sage_loss,
        mutant=lambda log_prob, old, number, advantage, entropy, lower, upper, boost, penalty, cap: sage_loss(
            log_prob, old, number, advantage, entropy, lower, upper, boost, penalty + 0.1, cap
        ),
        shows="sage-without-its-parts-is-gspo",
    ),
    Claim(
        check_ppo_clip_of_weights_is_cloning_at_home,
        logged_ratios(),
        ppo_clip_loss,
        mutant=clipped_on_both_sides,
        shows="ppo-of-weights-is-cloning-at-home",
    ),
    Claim(
        check_gspo_of_a_repeated_sequence, token_ratios(), gspo_loss, mutant=summed, shows="gspo-of-a-repeated-sequence"
    ),
    Claim(
        check_gspo_of_a_padded_sequence,
        token_ratios(),
        gspo_loss,
        mutant=mean_of_all,
        shows="gspo-of-a-padded-sequence",
    ),
    Claim(check_grpo_is_invariant, grouped_rewards(), compared, mutant=in_the_batch, shows="grpo-is-invariant"),
    Claim(
        check_sage_is_invariant,
        grouped_rewards(),
        decoupled,
        # the reward before the comparison
        mutant=lambda rewards, group, weights: decoupled((rewards @ weights)[:, None], group, np.ones(1)),
        shows="sage-is-invariant",
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


@pytest.mark.claim("gbpo-coefficient-is-bounded")
def test_the_coefficient_of_a_negative_is_not_bounded_by_its_advantage():
    """pi = 0.9 and pi_old = 0.1 give 9 |A|: the bound of the gradient in the logits comes from 1 - pi."""
    columns = (np.log([0.9]), np.log([0.1]), np.array([-2.0]))
    assert value_and_gradient(gbpo_loss, *columns)[1] == pytest.approx([18.0])
