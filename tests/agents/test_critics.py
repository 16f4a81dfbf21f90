from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents import critics
from agents.critics import (
    ActionValue,
    CriticConfig,
    StateValue,
    fit_action_value,
    fit_critic,
    score_rows,
    trace_returns,
)
from agents.encoders import NetworkConfig
from agents.replay import LogStorage
from offline_data.dataset import LoggedDataset
from recenv.errors import InvalidInput
from tests.reference.critic_reference import lambda_returns
from tests.strategies import logged_values

NETWORK = NetworkConfig((16,))
# Long enough to learn something of 200 sessions.
PATIENT = CriticConfig(NETWORK, num_rounds=3, steps_per_round=100, batch_size=256, learning_rate=3e-3)
HASTY = CriticConfig(NETWORK, num_rounds=2, steps_per_round=5, batch_size=64)


@pytest.fixture(scope="module")
def uniform_log(make_log):
    return make_log("uniform", 400)


@pytest.fixture(scope="module")
def planted(uniform_log, with_reward):
    """A log where a step earns a minute if the proto-action's first coordinate is positive; and which steps do."""
    good = np.array(uniform_log.rows["proto"][:, 0] > 0)
    return with_reward(uniform_log, good.astype(np.float64)), good


def values(critic, log: LoggedDataset) -> np.ndarray:
    with torch.no_grad():
        return critic.state_value(LogStorage(log).get(slice(None))["observation"]).numpy()


# --- targets


@given(logged_values(), st.floats(0.1, 1.0), st.floats(0.0, 1.0))
def test_targets_equal_the_forward_view(problem, discount, trace_decay):
    reward, value, offsets = problem
    expected = lambda_returns(reward.tolist(), value.tolist(), offsets.tolist(), discount, trace_decay)
    np.testing.assert_allclose(trace_returns(reward, value, offsets, discount, trace_decay), expected, atol=1e-9)


@given(logged_values(), st.floats(0.1, 1.0))
def test_lambda_zero_is_the_one_step_target(problem, discount):
    reward, value, offsets = problem
    np.testing.assert_allclose(trace_returns(reward, value, offsets, discount, 0.0), reward + discount * value)


@given(logged_values())
def test_lambda_one_is_the_return_to_go(problem):
    reward, value, offsets = problem
    target = trace_returns(reward, np.zeros_like(value), offsets, 1.0, 1.0)
    np.testing.assert_allclose(target[offsets[:-1]], np.add.reduceat(reward, offsets[:-1]), atol=1e-9)
    # Of the values, only the one after a session's last row counts.
    last = np.zeros(len(reward), bool)
    last[offsets[1:] - 1] = True
    scrambled = np.where(last, value, 1e9)
    np.testing.assert_allclose(
        trace_returns(reward, scrambled, offsets, 0.9, 1.0), trace_returns(reward, value, offsets, 0.9, 1.0)
    )


def test_targets_worked_by_hand():
    # One session of three steps that was cut off, one of a single step that its user ended.
    reward, value = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 30.0, 0.0])
    target = trace_returns(reward, value, np.array([0, 3, 4]), 0.5, 0.5)
    third = 3 + 0.5 * 30
    second = 2 + 0.5 * (0.5 * 20 + 0.5 * third)
    assert target.tolist() == [1 + 0.5 * (0.5 * 10 + 0.5 * second), second, third, 4.0]


# --- the critic


@pytest.fixture(scope="module")
def critic(planted):
    return fit_critic(planted[0], PATIENT, seed=1)


def test_one_round_explains_the_returns(planted):
    log, _ = planted
    critic = fit_critic(log, dataclasses.replace(PATIENT, num_rounds=1, steps_per_round=300))
    to_go = trace_returns(log.reward(), np.zeros(log.num_rows), log.offsets, 1.0, 1.0)
    state_value, advantage = values(critic, log), score_rows(critic, log).numpy()
    assert state_value.mean() == pytest.approx(to_go.mean(), rel=0.05)
    left_by_mean, left_by_v = np.var(to_go), np.var(to_go - state_value)
    assert left_by_v < 0.75 * left_by_mean
    assert np.var(to_go - state_value - advantage) < 0.95 * left_by_v


def test_score_separates_a_planted_good_action(planted, critic):
    log, good = planted
    score = score_rows(critic, log).numpy()
    # The chance that a good row's score exceeds a bad one's; 0.5 would be blind.
    assert (score[good][:, None] > score[~good][None]).mean() > 0.95
    # An advantage: what the policy does on average is worth nothing.
    assert abs(score.mean()) < 0.2 * score.std()


def test_scores_are_in_the_order_of_the_rows(log, critic, monkeypatch):
    with torch.no_grad():
        batch = LogStorage(log, columns=("proto",)).get(slice(None))
        expected = critic.advantage(batch["observation"], batch["proto"])
    monkeypatch.setattr(critics, "_ROWS_AT_ONCE", 7)
    score = score_rows(critic, log)
    assert score.dtype == torch.float32
    assert score.shape == (log.num_rows,)
    torch.testing.assert_close(score, expected)


def test_more_steps_lower_the_loss(planted):
    log, _ = planted
    to_go = trace_returns(log.reward(), np.zeros(log.num_rows), log.offsets, 1.0, 1.0)

    def left(steps: int) -> float:
        config = dataclasses.replace(PATIENT, num_rounds=1, steps_per_round=steps)
        return float(np.mean((to_go - values(fit_critic(log, config), log)) ** 2))

    assert left(150) < 0.85 * left(1)


def test_discount_shortens_the_horizon(planted):
    log, good = planted
    myopic = fit_critic(log, dataclasses.replace(PATIENT, discount=1e-6))
    assert values(myopic, log).mean() == pytest.approx(good.mean(), rel=0.1)


@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_later_rounds_bootstrap_where_the_user_was_still_there(planted, monkeypatch, trace_decay):
    log, _ = planted
    calls, networks = [], []
    after = LogStorage(log, with_next=True).get(slice(None))["next", "observation"]

    class Watched(StateValue):
        def __init__(self, *args):
            super().__init__(*args)
            networks.append(self)

    def recorded(reward, next_value, offsets, discount, decay):
        calls.append((np.array(next_value), discount, decay))
        if len(calls) > 1:
            found = networks[0](after).numpy()
            np.testing.assert_allclose(next_value, np.where(log.rows["terminated"], 0.0, found), rtol=1e-5)
        return trace_returns(reward, next_value, offsets, discount, decay)

    monkeypatch.setattr(critics, "trace_returns", recorded)
    monkeypatch.setattr(critics, "StateValue", Watched)
    fit_critic(log, dataclasses.replace(HASTY, num_rounds=3, discount=0.9, trace_decay=trace_decay))
    (first, *first_options), *later = calls
    assert not first.any()
    assert first_options == [0.9, 1.0]  # Monte Carlo
    assert len(later) == 2
    for next_value, *options in later:
        assert options == [0.9, trace_decay]
        assert np.array_equal(next_value == 0.0, log.rows["terminated"])
    assert not np.array_equal(later[0][0], later[1][0])


def test_same_seed_gives_the_same_scores(log):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (score_rows(fit_critic(log, HASTY, seed=seed), log) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rows_a_block", [1, 25])
def test_blocks_of_sessions_change_nothing_but_rounding(make_log, uniform_actor, monkeypatch, rows_a_block):
    log, config, blocks = make_log("uniform", 20), dataclasses.replace(HASTY, num_rounds=3), []
    batch = LogStorage(log, columns=("proto",)).get(slice(None))

    def recorded(reward, next_value, offsets, discount, decay):
        blocks.append(np.diff(offsets))
        return trace_returns(reward, next_value, offsets, discount, decay)

    def fitted():
        critic, value = fit_critic(log, config), fit_action_value(log, uniform_actor, config)
        with torch.no_grad():
            q_value = value(batch["observation"], batch["proto"])
        return critic.state_value.shift, critic.state_value.unit, score_rows(critic, log), q_value

    monkeypatch.setattr(critics, "trace_returns", recorded)
    whole = fitted()
    assert len(blocks) == 4  # three rounds of the critic, the first of fitted Q evaluation
    blocks.clear()
    monkeypatch.setattr(critics, "_ROWS_A_BLOCK", rows_a_block)
    for expected, found in zip(whole, fitted(), strict=True):
        torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=1e-3, atol=1e-3)
    assert np.array_equal(np.concatenate(blocks), np.tile(np.diff(log.offsets), 4))
    assert len(blocks) >= 4 * 4
    assert all(len(block) == 1 or block.sum() <= rows_a_block for block in blocks)


def test_progress_counts_every_step(log, uniform_actor):
    ticks = []
    fit_critic(log, HASTY, progress=ticks.append)
    assert sum(ticks) == HASTY.num_steps == 10
    fit_action_value(log, uniform_actor, HASTY, progress=ticks.append)
    assert sum(ticks) == 20


def test_constant_rewards_give_finite_scores(log, with_reward):
    flat = with_reward(log, np.zeros(log.num_rows))
    assert score_rows(fit_critic(flat, HASTY), flat).isfinite().all()


def test_a_slates_log_has_no_proto_actions(slate_log, uniform_actor):
    for fit in (lambda: fit_critic(slate_log, HASTY), lambda: fit_action_value(slate_log, uniform_actor, HASTY)):
        with pytest.raises(InvalidInput, match="column 'proto' is not in"):
            fit()


# --- the action's value


def test_action_value_reads_the_direction_alone(log, world):
    torch.manual_seed(0)
    value = ActionValue(world, NETWORK, 0.0, 1.0)
    batch = LogStorage(log, columns=("proto",)).get(slice(0, 20))
    observation, proto = batch["observation"], batch["proto"]
    expected = value(observation, proto)
    assert expected.shape == (20,)
    torch.testing.assert_close(value(observation, 3.0 * proto), expected)
    assert not torch.allclose(value(observation, -proto), expected)
    stacked = value(observation, torch.stack([proto, -proto]))
    torch.testing.assert_close(stacked, torch.stack([expected, value(observation, -proto)]))


def test_unit_and_shift_scale_the_value(log, world):
    batch = LogStorage(log, columns=("proto",)).get(slice(0, 5))
    answers = []
    for shift, unit in ((0.0, 1.0), (7.0, 3.0)):
        torch.manual_seed(0)
        answers.append(ActionValue(world, NETWORK, shift, unit)(batch["observation"], batch["proto"]))
    torch.testing.assert_close(answers[1], 7.0 + 3.0 * answers[0])


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


def test_value_is_of_the_target_and_not_of_the_log(uniform_log, uniform_actor, with_reward):
    """A step earns a minute by the proto-action's first coordinate: the better policy goes there."""
    good = np.array(uniform_log.rows["proto"][:, 0] > 0)
    log = with_reward(uniform_log, good.astype(np.float64))
    config = dataclasses.replace(PATIENT, num_rounds=12, steps_per_round=40)
    answers = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            uniform_actor.module[0].module.body[-1].bias.copy_(torch.tensor([sign, 0.0, 0.0, 0.0]))
        answers.append(first_values(fit_action_value(log, uniform_actor, config), uniform_actor, log))
    length = np.diff(log.offsets).mean()
    # N(1, 1/4) is positive 97.7 % of the time, N(-1, 1/4) 2.3 %.
    assert answers[0] == pytest.approx(0.977 * length, rel=0.15)
    assert answers[1] == pytest.approx(0.023 * length, abs=0.15 * length)


def test_target_acts_upon_what_followed(log, build_policy, monkeypatch):
    actor, seen = build_policy(initial_scale=0.4), []

    def recorded(value, observation, mean, scale, generator):
        seen.append((observation, mean, scale))
        return torch.zeros(len(mean))

    monkeypatch.setattr(critics, "expected_value", recorded)
    monkeypatch.setattr(critics, "_ROWS_AT_ONCE", 301)
    fit_action_value(log, actor, HASTY)
    following: Any = LogStorage(log, with_next=True).get(slice(None))["next"]
    expected = actor.get_dist(following)
    torch.testing.assert_close(torch.cat([mean for _, mean, _ in seen]), expected.mean.detach())
    torch.testing.assert_close(torch.cat([scale for *_, scale in seen]), expected.stddev.detach())
    clocks = torch.cat([observation["clock"] for observation, *_ in seen])
    assert torch.equal(clocks, following["observation", "clock"])


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_rounds", 0),
        ("num_rounds", 10_001),
        ("steps_per_round", 0),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("learning_rate", 0.0),
        ("learning_rate", 1.5),
        ("learning_rate", math.nan),
        ("trace_decay", -0.1),
        ("trace_decay", 1.1),
        ("discount", 0.0),
        ("discount", 1.01),
    ],
)
def test_config_out_of_range_is_refused(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value} is "):
        CriticConfig(**{field: value})
