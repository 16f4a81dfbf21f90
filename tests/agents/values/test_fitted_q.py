"""Fitted Q evaluation of policies of both kinds of action."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.nn.networks import NetworkConfig
from agents.values import critics, fitted_q
from agents.values.critics import CriticConfig
from agents.values.fitted_q import expected_value, fit_action_value, usual_fitted_q
from recenv.errors import InvalidInput
from tests.agents.slate_table import REWARD, SLATES, TablePolicy, table_log

NETWORK = NetworkConfig((16,))
PATIENT = CriticConfig(NETWORK, num_rounds=3, steps_per_round=100, batch_size=256, learning_rate=3e-3)
HASTY = CriticConfig(NETWORK, num_rounds=2, steps_per_round=5, batch_size=64)
# A round reads every row of a thousand.
THOROUGH = dataclasses.replace(HASTY, batch_size=4096)
TABULAR = CriticConfig(
    NetworkConfig((32,)), num_rounds=3, steps_per_round=200, batch_size=144, learning_rate=2e-2, item_width=2
)
# Seven tenths of its slates are the best one.
LEANING = np.where(np.arange(12) == REWARD.argmax(), 0.7, 0.3 / 11)


@pytest.fixture(scope="module")
def uniform_log(make_log):
    return make_log("uniform", 400)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_log(tmp_path_factory.mktemp("table") / "log")


def first_values(value, actor, log, num_samples=200):
    """Mean over the sessions' first observations of E Q(o, a), a drawn from the policy."""
    batch = LogStorage(log).get(log.offsets[:-1])
    torch.manual_seed(0)
    with torch.no_grad():
        actions = actor.get_dist(batch).sample((num_samples,))
        return float(value(batch["observation"], actions).mean())


def test_value_of_the_behavior_policy_itself_is_its_mean_return(uniform_log, uniform_actor):
    # The mean return of 400 sessions has a standard error of 2.3 % here, and both sides read the same sessions: 5 % is
    # what is left to the fit. Going on past `max_steps`, where 30 % of the sessions end, would add 9 %.
    config = dataclasses.replace(PATIENT, num_rounds=20, steps_per_round=40)
    value = fit_action_value(uniform_log, uniform_actor, config)
    truth = uniform_log.session_returns().mean()
    assert uniform_log.rows["truncated"].sum() > 0.2 * uniform_log.num_sessions
    assert first_values(value, uniform_actor, uniform_log) == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(
    ("num_rows", "max_steps", "num_rounds"),
    [(400, 3, 10), (400, 12, 12), (30_000, 3, 30), (30_000, 50, 40), (10**6, 1, 40)],
)
def test_a_small_log_of_short_sessions_has_fewer_rounds(num_rows, max_steps, num_rounds):
    """By hand: a round of 20 steps reads 10,240 rows; 30,000 rows take 30 rounds for ten passes."""
    log: Any = SimpleNamespace(num_rows=num_rows, max_steps=max_steps)
    assert usual_fitted_q(log) == dataclasses.replace(critics.FITTED_Q, num_rounds=num_rounds)


def test_value_is_of_the_target_and_not_of_the_log(uniform_log, uniform_actor, with_reward):
    """A step earns a minute by the proto-action's first coordinate: the better policy goes there."""
    good = np.array(uniform_log.rows["proto"][:, 0] > 0)
    log = with_reward(uniform_log, good.astype(np.float64))
    config = dataclasses.replace(PATIENT, num_rounds=12, steps_per_round=40)
    answers = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            uniform_actor.head.body[-1].bias.copy_(torch.tensor([sign, 0.0, 0.0, 0.0]))
        answers.append(first_values(fit_action_value(log, uniform_actor, config), uniform_actor, log))
    length = np.diff(log.offsets).mean()
    # N(1, 1/4) is positive 97.7 % of the time, N(-1, 1/4) 2.3 %.
    assert answers[0] == pytest.approx(0.977 * length, rel=0.15)
    assert answers[1] == pytest.approx(0.023 * length, abs=0.15 * length)


def test_target_acts_upon_what_followed(log, build_policy, monkeypatch):
    actor, seen = build_policy(initial_scale=0.4), []

    def recorded(value, observation, actions):
        seen.append((observation, actions))
        return torch.zeros(1, actions.shape[1])

    monkeypatch.setattr(fitted_q, "expected_value", recorded)
    monkeypatch.setattr(critics, "_FEW_ROWS", 301)
    fit_action_value(log, actor, THOROUGH)
    following: Any = LogStorage(log, with_next=True).get(slice(None))["next"]
    expected = actor.get_dist(following)
    first, second = torch.cat([actions for _, actions in seen], dim=1)
    torch.testing.assert_close((first + second) / 2.0, expected.mean.detach())  # pairs of opposite noise
    noise = (first - second) / 2.0 / expected.stddev.detach()
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1.0, abs=0.1)
    clocks = torch.cat([observation["clock"] for observation, _ in seen])
    assert torch.equal(clocks, following["observation", "clock"])


@pytest.mark.parametrize("budget", [HASTY, THOROUGH])
def test_policy_is_asked_once_for_each_row_that_a_later_round_reads(log, build_policy, monkeypatch, budget):
    actor, asked, rows = build_policy(), [], []
    get = LogStorage.get
    action_cache = actor.action_cache

    def counted(batch, generator):
        asked.append(len(batch))
        return action_cache(batch, generator)

    monkeypatch.setattr(actor, "action_cache", counted)
    monkeypatch.setattr(LogStorage, "get", lambda self, index: rows.append(index) or get(self, index))
    fit_action_value(log, actor, dataclasses.replace(budget, num_rounds=4))
    read = torch.cat(rows[budget.steps_per_round :]).unique()
    assert sum(asked) == len(read)
    assert (len(read) == log.num_rows) == (budget is THOROUGH)


def test_targets_are_of_the_values_at_the_rounds_start(log, build_policy, monkeypatch):
    """Of each row that a round reads: r + discount E Q(o', a'), whatever the steps before it made of Q."""
    actor, batches, asked = build_policy(), [], {}
    monkeypatch.setattr(actor, "cached_actions", lambda cache, generator: cache.chunk(2, dim=1)[0][None])  # the mean
    following: Any = LogStorage(log, with_next=True, columns=("proto",)).get(slice(None))["next"]
    mean = actor.get_dist(following).mean.detach()
    get = LogStorage.get

    def recorded(self, index):
        batch = get(self, index)
        batches.append((index, batch["target_0"]))
        return batch

    def at_the_start(value, observation, actions):
        found = expected_value(value, observation, actions)
        asked.setdefault(len(batches), []).append(value(following["observation"], mean))
        return found

    monkeypatch.setattr(LogStorage, "get", recorded)
    monkeypatch.setattr(fitted_q, "expected_value", at_the_start)
    config = dataclasses.replace(HASTY, num_rounds=3, discount=0.9, learning_rate=1e-2)
    fit_action_value(log, actor, config)
    assert sorted(asked) == [5, 10]
    ended = torch.from_numpy(log.rows["terminated"] | log.rows["truncated"])
    reward = torch.from_numpy(log.reward()).float()
    for place, (index, target) in enumerate(batches[5:], 5):
        after = asked[5 * (place // 5)][0]
        expected = reward + 0.9 * torch.where(ended, 0.0, after)
        torch.testing.assert_close(target, expected[index], rtol=1e-3, atol=1e-3)


def test_action_value_is_reproducible_and_discounted(log, uniform_actor):
    batch = LogStorage(log, columns=("proto",)).get(slice(0, 50))

    def fit(**changes):
        seed = changes.pop("seed", 3)
        value = fit_action_value(log, uniform_actor, dataclasses.replace(HASTY, **changes), seed=seed)
        with torch.no_grad():
            return value(batch["observation"], batch["proto"])

    assert torch.equal(fit(), fit())
    assert not torch.equal(fit(), fit(seed=4))
    patient = {"steps_per_round": 60, "num_rounds": 3, "learning_rate": 3e-3}
    assert fit(discount=1e-6, **patient).mean() == pytest.approx(log.reward().mean(), rel=0.2)


# --- slates


@pytest.mark.parametrize("size", [1, 2])
def test_slates_values_are_those_of_the_table(table, size):
    policy: Any = TablePolicy(table, LEANING)
    config = dataclasses.replace(TABULAR, discount=0.9, ensemble_size=size)
    value = fit_action_value(table, policy, config, seed=1)
    storage = LogStorage(table)
    slates = torch.from_numpy(SLATES)[:, None]
    with torch.no_grad():
        first, last = (value(storage.get(np.array([row]))["observation"], slates)[:, 0].numpy() for row in (0, 1))
    np.testing.assert_allclose(last, REWARD, atol=0.15)
    np.testing.assert_allclose(first, REWARD + 0.9 * LEANING @ REWARD, atol=0.25)
    members = expected_value(value, storage.get(slice(0, 2))["observation"], slates.expand(-1, 2, -1))
    assert members.shape == (size, 2)
    np.testing.assert_allclose(members.detach()[0], [first.mean(), last.mean()], atol=0.15)


def test_members_are_fits_of_their_own(log, uniform_actor):
    batch = LogStorage(log, columns=("proto",)).get(slice(0, 50))
    single = fit_action_value(log, uniform_actor, HASTY, seed=3)
    value = fit_action_value(log, uniform_actor, dataclasses.replace(HASTY, ensemble_size=3), seed=3)
    members = value.members(batch["observation"], batch["proto"])
    torch.testing.assert_close(members[0], single(batch["observation"], batch["proto"]))
    assert members.std(dim=0).min() > 0


def test_rows_count_by_their_weights(table, monkeypatch):
    """Half of the rows earn ten more: with no weight of theirs Q is that of the others, and with it five more."""
    lucky = np.random.default_rng(0).permutation(table.num_rows) % 2 == 0
    paid, policy = table.reward() + 10.0 * lucky, cast(Any, TablePolicy(table, LEANING))
    monkeypatch.setattr(type(table), "reward", lambda self, rows: paid[rows])
    config, first = dataclasses.replace(TABULAR, discount=1e-6), LogStorage(table).get(np.array([0]))["observation"]
    errors = []
    for weights in (2.0 * ~lucky, None):
        value = fit_action_value(table, policy, config, seed=1, row_weights=weights)
        with torch.no_grad():
            found = value(first, torch.from_numpy(SLATES)[:, None])[:, 0].numpy()
        errors.append(float(np.mean(found - REWARD)))
    assert errors == pytest.approx([0.0, 5.0], abs=1.5)


# --- refusals


def test_the_other_kind_of_action_is_refused(log, slate_log, table, uniform_actor):
    with pytest.raises(
        InvalidInput, match=r"is a log of slates, and the policy, gaussian, acts by proto-actions: coll"
    ):
        fit_action_value(slate_log, uniform_actor, HASTY)
    policy: Any = TablePolicy(table, LEANING)
    with pytest.raises(InvalidInput, match=r"is a log of proto-actions, .*TablePolicy, .*--action-kind slate"):
        fit_action_value(log, policy, HASTY)


def test_other_items_and_other_slates_are_refused(table, slate_log):
    policy: Any = TablePolicy(table, LEANING)
    with pytest.raises(
        InvalidInput,
        match=r"the policy was made for user_model='none, an imported log', and .* has 'interest_evolution'",
    ):
        fit_action_value(slate_log, policy, HASTY)
    policy.space = dataclasses.replace(policy.space, embeddings=2.0 * policy.space.embeddings)
    with pytest.raises(InvalidInput, match="the policy was made for other embeddings of the same 4 items"):
        fit_action_value(table, policy, HASTY)
    policy = TablePolicy(table, LEANING)
    policy.space = dataclasses.replace(policy.space, slate_size=1)
    with pytest.raises(InvalidInput, match=r"the policy fills slates of slate_size=1, and .* has longer ones, of 2"):
        fit_action_value(table, policy, HASTY)
