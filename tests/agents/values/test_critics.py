from __future__ import annotations

import dataclasses
import math
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.batches.replay import LogStorage
from agents.nn.networks import NetworkConfig
from agents.nn.value_networks import ActionNetwork, StateNetwork, ValueEnsemble
from agents.values import critics
from agents.values.critics import (
    CriticConfig,
    expectile_loss,
    fit_critic,
    score_members,
    score_rows,
    trace_returns,
)
from agents.values.fitted_q import fit_action_value
from offline_data.store import log_checks
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput
from tests.agents.slate_table import EMBEDDINGS, REWARD, SLATES, numbers, table_log
from tests.reference.critic_reference import lambda_returns
from tests.strategies.logs import logged_values

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

    class Watched(ValueEnsemble):
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
    monkeypatch.setattr(critics, "ValueEnsemble", Watched)
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


# --- slates, imported logs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_log(tmp_path_factory.mktemp("table") / "log")


def tabulated(critic, log: LoggedDataset) -> tuple[np.ndarray, np.ndarray]:
    """V by step, [2], and Q by step and slate, [2, 12]; the members' means."""
    batch = LogStorage(log, columns=("slate",)).get(slice(None))
    with torch.no_grad():
        v = critic.state_value(batch["observation"]).numpy()
        q = v + critic.advantage(batch["observation"], batch["slate"]).numpy()
    step, number = np.tile([0, 1], log.num_sessions), numbers(log.rows["slate"])
    return (
        np.array([v[step == t].mean() for t in (0, 1)]),
        np.array([[q[(step == t) & (number == n)].mean() for n in range(12)] for t in (0, 1)]),
    )


TABULAR = CriticConfig(
    NetworkConfig((32,)), num_rounds=3, steps_per_round=120, batch_size=144, learning_rate=2e-2, item_width=2
)


@pytest.mark.parametrize(("trace_decay", "size"), [(1.0, 1), (0.0, 2)])
def test_slates_values_are_those_of_the_table(table, trace_decay, size):
    config = dataclasses.replace(TABULAR, trace_decay=trace_decay, discount=0.9, ensemble_size=size)
    state, action = tabulated(fit_critic(table, config, seed=2), table)
    assert np.array_equal(EMBEDDINGS[2], EMBEDDINGS[3])  # so that an item's worth has to be learned of itself
    np.testing.assert_allclose(state, [1.9 * REWARD.mean(), REWARD.mean()], atol=0.1)
    np.testing.assert_allclose(action[0], REWARD + 0.9 * REWARD.mean(), atol=0.3)
    np.testing.assert_allclose(action[1], REWARD, atol=0.3)


def test_embeddings_that_a_log_lacks_are_refused(table):
    bare = dataclasses.replace(table, catalog={})
    with pytest.raises(InvalidInput, match=r"item features 'catalog': .* has no embeddings of its items; say log"):
        fit_critic(bare, dataclasses.replace(HASTY, item_features="catalog"))


# --- expectiles


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95))
def test_expectile_of_two_points_minimises_the_loss(expectile, share):
    """Of 0 and 1, the latter with probability p: tau p / (tau p + (1 - tau) (1 - p))."""
    exact = expectile * share / (expectile * share + (1 - expectile) * (1 - share))
    at = torch.tensor(exact, dtype=torch.float64, requires_grad=True)
    loss = share * expectile_loss(1 - at, expectile) + (1 - share) * expectile_loss(0 - at, expectile)
    loss.backward()
    assert at.grad is not None
    assert abs(at.grad.item()) < 1e-12
    for further in (-0.01, 0.01):
        moved = torch.tensor(exact + further, dtype=torch.float64)
        assert share * expectile_loss(1 - moved, expectile) + (1 - share) * expectile_loss(-moved, expectile) > loss


@pytest.mark.parametrize(("expectile", "exact"), [(0.8, 4 / 7), (0.2, 1 / 13)])
def test_expectile_values_are_those_worked_by_hand(tmp_path, expectile, exact):
    """A quarter of the slates earn 1: the last step's V is t/4 / (t/4 + 3 (1 - t)/4), the first's twice as much."""
    reward = (SLATES[:, 0] == 2).astype(float)
    log = table_log(tmp_path / "log", reward)
    config = dataclasses.replace(TABULAR, trace_decay=0.0, expectile=expectile)
    critic = fit_critic(log, config, seed=2)
    state, action = tabulated(critic, log)
    np.testing.assert_allclose(state, [2 * exact, exact], atol=0.03)
    np.testing.assert_allclose(action, [reward + exact, reward], atol=0.06)
    # The score is Q - V here too.
    scores = score_rows(critic, log).numpy()
    step = np.tile([0, 1], log.num_sessions)
    expected = action[step, numbers(log.rows["slate"])] - state[step]
    np.testing.assert_allclose(scores, expected, atol=0.02)


def test_expectile_of_proto_actions(planted):
    log, good = planted
    myopic = dataclasses.replace(PATIENT, discount=1e-6, expectile=0.9)
    exact = 0.9 * good.mean() / (0.9 * good.mean() + 0.1 * (1 - good.mean()))
    assert values(fit_critic(log, myopic), log).mean() == pytest.approx(exact, abs=0.05)


# --- ensembles


@pytest.mark.parametrize("expectile", [None, 0.7])
def test_members_are_fits_of_their_own(log, monkeypatch, expectile):
    """Each is what one network is alone, from the same initial weights and batches: they learn from own targets."""
    single = dataclasses.replace(HASTY, num_rounds=3, expectile=expectile)
    critic = fit_critic(log, dataclasses.replace(single, ensemble_size=3), seed=4)
    members = score_members(critic, log)
    assert members.shape == (log.num_rows, 3)
    assert members.dtype == torch.float32
    assert members.std(dim=1).min() > 0
    torch.testing.assert_close(score_rows(critic, log), members.mean(dim=1))
    torch.testing.assert_close(members[:, 0], score_rows(fit_critic(log, single, seed=4), log))
    space, seeded = critics.SessionSpace.of_log(log), critics.seeded

    @contextmanager
    def second(seed):
        with seeded(seed):
            _ = StateNetwork(space, NETWORK), ActionNetwork(space, NETWORK, "proto", 8)  # the first member
            yield

    monkeypatch.setattr(critics, "seeded", second)
    torch.testing.assert_close(members[:, 1], score_rows(fit_critic(log, single, seed=4), log))


def test_members_agree_on_what_the_log_shows(table):
    """And less on slates that it does not show: those of one item twice."""
    critic = fit_critic(table, dataclasses.replace(TABULAR, ensemble_size=4))
    batch = LogStorage(table, columns=("slate",)).get(slice(None))
    repeated = batch["slate"].clone()
    repeated[:, 1] = repeated[:, 0]
    with torch.no_grad():
        known, unknown = (
            critic.advantages(batch["observation"], slate).std(dim=0) for slate in (batch["slate"], repeated)
        )
    assert unknown.mean() > 2.0 * known.mean()


@pytest.mark.parametrize("kind", ["proto", "slate"])
def test_memory_does_not_grow_with_the_log(make_log, uniform_actor, monkeypatch, kind):
    monkeypatch.setattr(critics, "_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(critics, "_ROWS_A_BLOCK", 128)
    monkeypatch.setattr(log_checks, "_ROWS_AT_ONCE", 128)
    config = dataclasses.replace(HASTY, steps_per_round=2, batch_size=16, ensemble_size=3)
    peaks = []
    for count in (20, 20, 20, 4000, 4000):  # the first warms up
        log = make_log("uniform", count, kind)
        tracemalloc.start()
        score_members(fit_critic(log, config), log)
        if kind == "proto":
            fit_action_value(log, uniform_actor, config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A float32 for each of the 24,000 rows would be 96,000. What is made once, whenever that is, is in one run only.
    assert min(peaks[3:]) < max(peaks[1:3]) + 60_000


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
        ("expectile", 0.0),
        ("expectile", 1.0),
        ("ensemble_size", 0),
        ("ensemble_size", 1001),
        ("item_width", 0),
    ],
)
def test_config_out_of_range_is_refused(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value} is "):
        CriticConfig(**{field: value})
