"""A log of slates by item: the same sessions, with the prefixes that log and policy know exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.training import item_sessions
from agents.training.evaluation import off_policy_sessions, roll_out
from agents.training.item_sessions import sessions_of_items, target_prefixes
from offline_data.ope.estimate import estimate
from offline_data.ope.weights import session_log_weights, step_log_weights
from recenv.errors import InvalidInput
from tests.agents.slate_table import TablePolicy, table_log


def slate_policy(world, scale=1.0):
    """A fresh Plackett-Luce policy, whose last layer is scaled: the more, the further from uniform."""
    policy: Any = make_policy(SessionSpace.of_world(world), PlackettLucePolicyConfig(NetworkConfig((16,))), seed=3)
    for parameter in policy.head.item_table.parameters():
        parameter.data.mul_(scale)
    return policy


@pytest.fixture(scope="module")
def judged(world, make_log):
    """A log of uniform slates, and a policy near it, by step and by item."""
    log, policy = make_log("uniform", 600, "slate", seed=6), slate_policy(world, 6.0)
    steps = off_policy_sessions(policy, log, estimators=("snips",))
    return log, policy, steps, sessions_of_items(steps, log, target_prefixes(policy, log))


def test_sessions_by_item_are_those_by_step(judged, monkeypatch):
    log, policy, steps, items = judged
    assert items.offsets.tolist() == (3 * steps.offsets).tolist()
    np.testing.assert_allclose(items.returns(), steps.returns(), rtol=1e-6)
    np.testing.assert_allclose(session_log_weights(items), session_log_weights(steps), atol=1e-9)
    np.testing.assert_array_equal(items.user_id, steps.user_id)
    np.testing.assert_allclose(
        items.column("behavior_log_prob").reshape(-1, 3), -np.log([50, 49, 48]) * np.ones((log.num_rows, 1)), rtol=1e-6
    )
    assert items.q_value is None
    monkeypatch.setattr(item_sessions, "_ROWS_AT_ONCE", 97)
    again = sessions_of_items(replace(steps, discount=0.9), log, target_prefixes(policy, log))
    np.testing.assert_allclose(again.target_log_prob, items.target_log_prob, atol=1e-9)
    np.testing.assert_allclose(again.returns(), replace(steps, discount=0.9).returns(), rtol=1e-6)


def test_weights_of_first_items_are_tamer_than_those_of_slates(judged):
    """In the first step, where both have a weight each."""
    steps, items = judged[2:]

    def share(sessions):
        weights = np.exp(step_log_weights(sessions)[sessions.offsets[:-1]])
        return weights.sum() ** 2 / (weights**2).sum() / len(weights)

    assert share(steps) < share(items) < 1.0


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.nightly)])
def test_the_truth_lies_in_the_intervals_by_item(count, world, make_log):
    """Of the logs of seeds 0, 1, ...: so many misses of intervals that hold in 95 of 100 are one in a thousand."""
    policy = slate_policy(world, 6.0)
    truth = roll_out(policy, world, 8000, 0, deterministic=False).mean()
    held, widths = 0, np.empty((count, 2))
    for seed in range(count):
        log = make_log("uniform", 600, "slate", seed=seed)
        steps = off_policy_sessions(policy, log, estimators=("pdis",))
        items = sessions_of_items(steps, log, target_prefixes(policy, log))
        for place, sessions in enumerate((steps, items)):
            ends = estimate("pdis", sessions).ends
            assert ends is not None
            widths[seed, place] = ends.high - ends.low
        held += ends.low < truth < ends.high
    assert held >= binom.ppf(0.001, count, 0.95)
    by_step, by_item = widths.mean(axis=0)
    assert by_item < by_step


def test_logs_and_policies_without_prefixes_are_refused(log, slate_log, judged, tmp_path):
    policy, steps = judged[1], judged[2]
    with pytest.raises(InvalidInput, match="has no propensity of each position: collect with --action-kind slate"):
        sessions_of_items(steps, log, np.zeros((log.num_rows, 3)))
    missing = replace(slate_log, manifest={**slate_log.manifest, "propensities": "missing"})
    with pytest.raises(InvalidInput, match="its propensities are missing: collect without --missing-propensities"):
        target_prefixes(policy, missing)
    table = table_log(tmp_path / "log")
    rows = {**table.rows, "prefix_log_prob": np.log([[1 / 4, 1 / 12]]).repeat(table.num_rows, axis=0)}
    known = replace(table, manifest={**table.manifest, "propensities": "exact"}, rows=rows)
    whole: Any = TablePolicy(known, np.full(12, 1 / 12))
    with pytest.raises(InvalidInput, match="says only how probable a whole slate is; judge it by step"):
        target_prefixes(whole, known)
