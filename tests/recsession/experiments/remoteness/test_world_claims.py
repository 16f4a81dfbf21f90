"""What the follow-up claims of C-U1, by gradient steps in the policy's own coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.objectives.signed_pg import signed_pg_loss
from agents.policies.gaussian import IndependentNormal
from recsession.experiments.remoteness.arms import Arm, Arms
from recsession.experiments.remoteness.equilibria import settled
from recsession.experiments.remoteness.tasks import FAR_DISTANCE, INITIAL_SCALE, ContinuousTask, Look
from recsession.experiments.remoteness.worlds import ContinuousContexts, continuous_contexts
from recsession.experiments.theory.comparison import gradient_steps

SEEDS, COUNT = st.integers(100, 109), 12


def follow(contexts: ContinuousContexts, arm: Arm, learned: bool = False, num_steps: int = 80) -> torch.Tensor:
    """A mean and a log scale for each context along steps on its actions, from a+; [T + 1, N, 3]."""
    actions = torch.from_numpy(np.concatenate([contexts.good, contexts.bad], 1))
    weights = Arms([arm], ContinuousTask.far)
    count = len(actions)
    scale = 0.19 if learned else INITIAL_SCALE
    start = torch.cat(
        [torch.from_numpy(contexts.target), torch.full((count, 1), np.log(scale), dtype=torch.float64)], dim=1
    )

    def loss(u: torch.Tensor) -> torch.Tensor:
        mean, sigma = u[:, None, :2], u[:, None, 2:].exp().expand(-1, 1, 2)
        policy = IndependentNormal(mean, sigma if learned else sigma.detach())
        far = ((actions[:, 4:] - mean) / sigma).square().mean(-1).detach()
        force = policy.score_function_norm(actions[:, 4:]).detach()
        # Each context is a batch of its own here, where the network of the worlds shares.
        look = Look(policy.log_prob(actions)[:, None], far[:, None], force[:, None])
        advantage = torch.cat(
            [weights.advantages(Look(*(v[n : n + 1] for v in vars(look).values()))) for n in range(count)]
        )
        return signed_pg_loss(look.log_prob, advantage).sum()

    step = 0.2 * scale**2 if learned else 0.3 * INITIAL_SCALE**2
    sizes = torch.tensor([step, step, 0.02 if learned else 0.0], dtype=torch.float64)
    return gradient_steps(loss, start, sizes, num_steps)


@pytest.mark.claim("little-repulsion-is-useful")
@given(SEEDS, st.floats(0.05, 0.95))
def test_little_repulsion_is_useful_from_the_local_negative_alone(seed, rho):
    """The reward at m* rises up to rho = 7/12 and then falls; of all eight it falls from the start."""
    contexts = continuous_contexts(seed, "train", COUNT)
    positive = float(contexts.reward(contexts.target).mean())
    rewards = {}
    for negatives in ("local", "all"):
        arm = Arm(rho, negatives)
        shift, _ = settled(arm)
        mean = contexts.target + shift * contexts.direction
        loss = Arms([arm], ContinuousTask.far)
        actions = torch.from_numpy(np.concatenate([contexts.good, contexts.bad], 1))
        coordinates = torch.from_numpy(mean).requires_grad_()
        policy = IndependentNormal(coordinates[:, None], torch.full((1, 2), INITIAL_SCALE, dtype=torch.float64))
        zeros = torch.zeros(1, COUNT, 8, dtype=torch.float64)
        advantage = loss.advantages(Look(zeros, zeros, zeros))[0]
        signed_pg_loss(policy.log_prob(actions), advantage).sum().backward()
        assert coordinates.grad is not None
        assert coordinates.grad.abs().max() < 1e-7 / (1 - rho)  # where it settles, by the real loss
        rewards[negatives] = float(contexts.reward(mean).mean())
    assert rewards["all"] < positive
    # Symmetric around the optimum: above positives alone until m* is as far beyond it as a+ is before it.
    assert (rewards["local"] > positive) == (0.5 * rho / (1 - rho) < 1.4)
    best = contexts.target + settled(Arm(7 / 12, "local"))[0] * contexts.direction
    np.testing.assert_allclose(best, contexts.optimum, atol=1e-12)


@pytest.mark.claim("little-repulsion-is-useful")
def test_steps_on_the_local_negative_go_where_the_claim_says():
    contexts = continuous_contexts(100, "train", 4)
    reward = {
        q: float(contexts.reward(follow(contexts, Arm(q, "local"))[-1, :, :2].numpy()).mean()) for q in (0, 0.3, 0.9)
    }
    assert reward[0.3] > reward[0] + 0.1
    assert reward[0.9] < 0.1
    assert float(contexts.reward(follow(contexts, Arm(0.3))[-1, :, :2].numpy()).mean()) < reward[0] - 0.1


@pytest.mark.claim("without-the-far-ones-it-is-rescued")
def test_the_far_negatives_are_to_blame_where_the_scale_is_learned():
    """At the fixed sigma none is far and the near ones are all; a learned scale makes far ones, which shrink it."""
    contexts = continuous_contexts(100, "train", COUNT)
    distance = np.linalg.norm(contexts.bad - contexts.target[:, None], axis=-1)
    assert distance.max() / INITIAL_SCALE == pytest.approx(1.9 / 0.6)
    assert distance.max() / INITIAL_SCALE < FAR_DISTANCE
    few = continuous_contexts(100, "train", 4)

    def end(rule: str, learned: bool) -> tuple[float, float]:
        strength = 0.09 if learned else 0.83
        path = follow(few, Arm(strength, rule=rule), learned, 200 if learned else 80)  # type: ignore[arg-type]
        # A scale that is all but gone throws the mean out of the numbers.
        return float(few.reward(path[-1, :, :2].numpy()).mean()), float(np.nanmin(path[..., 2].exp()))

    positive = float(few.reward(few.target).mean())
    assert end("without_near", False)[0] == pytest.approx(positive, abs=1e-6)
    assert end("without_far", False)[0] < 0.2 * positive
    assert end("none", False)[0] < 0.01 * positive
    scale = {rule: end(rule, True)[1] for rule in ("none", "without_near", "without_far", "far_cut")}
    assert scale["none"] < 0.03
    assert scale["without_near"] < 0.03
    assert scale["without_far"] > 0.15
    assert scale["far_cut"] > 0.15


@pytest.mark.claim("scale-settles-with-the-mean")
@pytest.mark.parametrize("negatives", ["local", "all"])
def test_a_settled_scale_is_where_its_gradient_is_zero(negatives):
    for rho in (0.01, 0.03, 0.05, 0.2, 0.5):
        shift, square = settled(Arm(rho, negatives))
        contexts = continuous_contexts(105, "train", 3)
        mean = contexts.target + shift * contexts.direction
        actions, weight = (contexts.good, 1.0), (contexts.bad[:, :1] if negatives == "local" else contexts.bad, -rho)
        moment = sum(w * ((a - mean[:, None]) ** 2).sum(-1).mean() for a, w in (actions, weight))
        assert square == pytest.approx(moment / (2 * (1 - rho)), rel=1e-9, abs=1e-12)
    assert settled(Arm(0.2, "local"))[1] > 0 > settled(Arm(0.25, "local"))[1]
    assert settled(Arm(0.037))[1] > 0 > settled(Arm(0.0375))[1]
