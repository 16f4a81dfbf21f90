"""Logs of slates of varying size: every estimator, target and pair is of a logged row's own size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.slates import EMPTY, cut_to, packed, unpacked, widened
from agents.objectives.bases.batch_kl import batch_kl
from agents.policies.base import make_policy
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.policy_cases import perturb
from agents.training.evaluation import off_policy_sessions
from agents.training.log_columns import make_storage
from agents.training.pairs import rejected_rows
from agents.values import fitted_q
from agents.values.critics import CriticConfig, fit_critic, score_rows
from agents.values.fitted_q import fit_action_value
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig
from tests.agents.slate_table import (
    REWARD,
    SLATES,
    assert_estimated,
    table_log,
    varying_log,
    varying_reward,
)

NETWORK = NetworkConfig((16,))
CONFIGS = {
    "plackett_luce": PlackettLucePolicyConfig(NETWORK, item_width=4),
    "generative": GenerativePolicyConfig(
        NETWORK, SemanticIdConfig(num_codebooks=2, codebook_size=2), width=16, num_layers=1
    ),
}
POSITIONS = {1: [0], 2: [0, 2], 3: [0, 1, 2]}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return varying_log(tmp_path_factory.mktemp("log") / "log")


def policy_of(log, name: str = "plackett_luce", seed: int = 0, slate_size: int = 3) -> Any:
    space = replace(SessionSpace.of_log(log), slate_size=slate_size)
    return perturb(make_policy(space, CONFIGS[name], seed=seed), 0.6, seed).eval()


def true_value(policy: Any, log, earned: Callable[[tuple[int, ...]], float] = varying_reward) -> float:
    """Enumerate what the policy would show and earn: each size is as frequent as in the log, at either step."""
    rows = log.offsets[:-1][[0]] + np.arange(2)
    batch = LogStorage(log).get(rows)
    frequency = np.bincount(log.rows["shown"].sum(axis=1)) / log.num_rows
    total = 0.0
    for size in np.flatnonzero(frequency).tolist():
        items = np.array(list(itertools.permutations(range(4), size)))
        # As the first items of whole slates: a sum over all completions.
        whole = np.array(list(itertools.permutations(range(4), policy.space.slate_size)))
        reward = np.array([earned(tuple(slate)) for slate in items])
        for step in range(2):
            chances = np.exp(policy.judge(batch[[step]].expand(len(whole)), whole)[0])
            assert chances.sum() == pytest.approx(1.0, abs=1e-4)
            first = [chances[(whole[:, :size] == slate).all(axis=1)].sum() for slate in items]
            total += frequency[size] * float(np.dot(first, reward))
    return total


@pytest.mark.parametrize(
    ("name", "slate_size"),
    [
        ("plackett_luce", 3),
        ("plackett_luce", 4),
        ("generative", 3),
        pytest.param("generative", 4, marks=pytest.mark.nightly),
    ],
)
def test_every_estimator_finds_the_enumerated_value(log, name, slate_size):
    """The log holds every session once: weighting alone is exact. Whole slates would earn half as much again."""
    policy = policy_of(log, name, slate_size=slate_size)
    assert_estimated(policy, log, true_value(policy, log))


def test_a_policy_of_longer_slates_is_judged_by_the_items_that_a_log_has_room_for(tmp_path):
    """Every slate of the log is full, and shorter than the policy's."""
    log = table_log(tmp_path / "log")
    policy = policy_of(log, slate_size=4)
    earned = dict(zip(map(tuple, SLATES.tolist()), REWARD.tolist(), strict=True))
    assert_estimated(policy, log, true_value(policy, log, lambda slate: earned[tuple(map(int, slate))]))
    with pytest.raises(InvalidInput, match=r"fills slates of slate_size=1, and .*log has longer ones, of 2; train"):
        off_policy_sessions(policy_of(log, slate_size=1), log)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_short_slate_is_as_probable_as_its_items_wherever_they_stand(log, name):
    policy = policy_of(log, name)
    batch = LogStorage(log, columns=("slate",)).get(slice(None))
    slates = np.asarray(batch["slate"])
    assert ((slates == EMPTY) == ~log.rows["shown"]).all()
    assert {tuple(row) for row in log.rows["shown"].tolist()} == {(1, 0, 0), (1, 0, 1), (1, 1, 1)}
    log_prob, prefix = policy.judge(batch, slates)
    with torch.no_grad():
        np.testing.assert_allclose(policy.get_dist(batch).log_prob(batch["slate"]), log_prob, atol=1e-5)
    for size, positions in POSITIONS.items():
        rows = np.flatnonzero(np.count_nonzero(slates != EMPTY, axis=1) == size)
        items = slates[rows][:, positions]
        front = np.concatenate([items, np.full((len(rows), 3 - size), EMPTY)], axis=1)
        expected = policy.judge(batch[torch.from_numpy(rows)], front)
        np.testing.assert_allclose(log_prob[rows], expected[0], atol=1e-5)
        np.testing.assert_allclose(prefix[rows][:, positions], expected[1][:, :size], atol=1e-5)


def test_fitted_q_evaluation_asks_for_what_the_next_row_would_have_shown(log, monkeypatch):
    seen = []

    def recorded(value, observation, actions):
        seen.append(actions)
        return torch.zeros(1, actions.shape[1])

    monkeypatch.setattr(fitted_q, "expected_value", recorded)
    # A step of as many rows reads them all.
    fit_action_value(log, policy_of(log), CriticConfig(NETWORK, num_rounds=2, steps_per_round=1, batch_size=2**16))
    going_on = ~log.rows["terminated"]
    shown = torch.cat(seen, dim=1)[:, going_on] != EMPTY
    assert (shown.numpy() == log.rows["shown"][np.flatnonzero(going_on) + 1]).all()


@pytest.mark.parametrize("name", ["crr", "cql"])
def test_values_are_of_slates_of_the_rows_sizes(log, name, monkeypatch):
    """Of this row's where Q is asked here, and of the next row's where it is bootstrapped."""
    objective: Any = OBJECTIVES.get(name)(policy_of(log))
    batch = make_storage(objective, log, torch.zeros(log.num_rows)).get(np.arange(0, log.num_rows, 14))
    asked: dict[str, list[Any]] = {"slow": [], "members": []}
    values = objective.values
    slow, forward = type(values).slow, type(values).forward
    monkeypatch.setattr(type(values), "slow", lambda *seen: asked["slow"].append(seen[2]) or slow(*seen))
    monkeypatch.setattr(type(values), "forward", lambda *seen: asked["members"].append(seen[2]) or forward(*seen))
    losses = objective(batch)
    assert losses["loss_actor"].isfinite()
    assert losses["loss_qvalue"].isfinite()
    here, after = batch["slate"] != EMPTY, batch["next", "observation", "shown"]
    for actions in asked["members"]:
        assert ((actions != EMPTY) == here).all()
    assert asked["slow"]
    for actions in asked["slow"]:
        assert ((actions != EMPTY) == after).all()


def test_slateq_searches_among_slates_of_the_rows_sizes(log):
    objective: Any = OBJECTIVES.get("slateq")(policy_of(log))
    storage = make_storage(objective, log, torch.zeros(log.num_rows))
    batch = storage.get(np.arange(0, log.num_rows, 40))
    shown = batch["slate"] != EMPTY
    best, worth = objective.best(batch["observation"], 3, shown)
    assert ((best != EMPTY) == shown).all()
    choice = objective.choice_network(batch["observation"]).double()
    value = objective.values.slow(batch["observation"], None).double()
    for row, size in enumerate(shown.sum(dim=1).tolist()):
        every = torch.tensor(list(itertools.combinations(range(5), 1 + size)))
        every = every[every[:, 0] == 0]  # none is always there
        chances = choice[row][every].softmax(dim=-1)
        assert worth[row].item() == pytest.approx((chances * value[row][every]).sum(dim=-1).max().item(), rel=1e-5)
    assert objective(batch)["loss_actor"].isfinite()


@pytest.mark.parametrize("expectile", [None, 0.7])
def test_scores_compare_slates_with_slates_of_their_size(log, expectile):
    """Longer slates earn more here, which no policy has chosen: their scores are no higher, those of the best are."""
    config = CriticConfig(NETWORK, num_rounds=2, steps_per_round=200, learning_rate=1e-2, expectile=expectile)
    scores = score_rows(fit_critic(log, config), log).numpy()
    sizes, reward = log.rows["shown"].sum(axis=1), log.reward()
    rows = [np.flatnonzero(sizes == size) for size in (1, 2, 3)]
    means = np.array([[values[mine].mean() for mine in rows] for values in (reward, scores)])
    assert np.ptp(means[0]) > 2.0
    assert np.ptp(means[1]) < 0.2
    for mine in rows:
        assert np.corrcoef(scores[mine], reward[mine])[0, 1] > 0.8


def test_pairs_are_of_slates_of_one_size(log):
    scores = np.random.default_rng(0).normal(size=log.num_rows)
    rows, weight = rejected_rows(log, scores, 2, 0)
    size = log.rows["shown"].sum(axis=1)
    assert (size[rows] == size[:, None])[weight > 0].all()
    assert (weight > 0).any(axis=1).mean() > 0.9


def test_divergence_is_of_slates_of_the_rows_sizes(log):
    """Of slates of one item that of two categorical laws; four standard errors of 600 samples."""
    policy, other = policy_of(log), policy_of(log, seed=3)
    rows = np.flatnonzero(log.rows["shown"].sum(axis=1) == 1)[:1].repeat(600)
    batch = LogStorage(log, columns=("slate",)).get(rows)

    torch.manual_seed(0)
    with torch.no_grad():
        found = batch_kl(lambda: nullcontext(policy), lambda: nullcontext(other), batch, batch["slate"])
        laws = [p.get_dist(batch[:1]).table(4)[0].log_softmax(-1) for p in (policy, other)]
    expected = (laws[0].exp() * (laws[0] - laws[1])).sum().item()
    assert found.mean().item() == pytest.approx(expected, abs=4.0 * found.std().item() / 600**0.5)


def test_slates_are_cut_and_packed_by_hand():
    shown = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1]]) > 0
    slates = torch.tensor([[[5, 6, 7], [5, 6, 7], [5, 6, 7]]])
    cut = cut_to(slates, shown)
    assert cut.tolist() == [[[5, -1, 6], [-1, 5, -1], [5, 6, 7]]]
    items, index = packed(cut)
    assert items.tolist() == [[[5, 6, -1], [5, -1, -1], [5, 6, 7]]]
    assert unpacked(10 * items, index).tolist() == [[[50, 50, 60], [0, 50, 50], [50, 60, 70]]]
    protos = torch.ones(2, 3, 4)
    assert cut_to(protos, torch.ones(3, 4) != EMPTY) is protos
    assert cut_to(slates, shown[:, :2]).tolist() == [[[5, -1], [-1, 5], [5, 6]]]
    assert cut_to(slates, None, 2).tolist() == [[[5, 6]] * 3]
    assert widened(torch.tensor([[5, 6], [5, 5]]), 3).tolist() == [[5, 6, -1], [5, -1, -1]]
