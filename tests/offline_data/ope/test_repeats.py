"""Logs that hold their sessions again and again, and logs in which equal sessions are no more than chance allows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from offline_data.ope import repeats
from offline_data.ope.estimate import estimate
from offline_data.ope.repeats import repeats_of, times_repeated
from offline_data.ope.sessions import LoggedSessions

pytestmark = pytest.mark.kernels


def columns(count: int, *, context: bool) -> dict[str, Any]:
    """Return a bandit's log: with context every weight is another, without it there are ten."""
    rng = np.random.default_rng(0)
    log_weights = rng.normal(0.0, 0.4, count)
    if not context:
        log_weights = log_weights[:10][rng.integers(10, size=count)]
    return {
        "reward": (rng.random(count) < 0.3).astype(float),
        "behavior_log_prob": np.zeros(count),
        "target_log_prob": log_weights - np.log(np.exp(log_weights).mean()),
    }


def taken(found: dict[str, Any], rows: np.ndarray) -> LoggedSessions:
    return LoggedSessions(**{name: values[rows] for name, values in found.items()}, discount=1.0)


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("order", ["behind one another", "side by side", "shuffled"])
@pytest.mark.parametrize("times", [2, 10])
def test_a_log_that_is_repeated_is_doubted(context, order, times):
    count = 3000
    found = columns(count, context=context)
    once = estimate("snips", taken(found, np.arange(count)))
    rows = np.repeat(np.arange(count), times) if order == "side by side" else np.tile(np.arange(count), times)
    if order == "shuffled":
        rows = np.random.default_rng(1).permutation(rows)
    again = estimate("snips", taken(found, rows))
    assert once.repeated == 1
    assert once.trusted
    # Of twenty different sessions a divisor of two might be chance.
    assert again.repeated == (times if context or times > 2 else 1)
    if again.repeated > 1:
        assert again.doubts == (f"sessions are repeated, {times} times each: the interval is too narrow",)
        assert again.verdict.grade == "doubtful"
    assert again.value == pytest.approx(once.value)


def test_few_sessions_are_few_however_often_they_are_there():
    found = columns(60, context=True)
    again = estimate("snips", taken(found, np.tile(np.arange(60), 100)))
    assert again.effective_sample_size > 1000
    assert again.doubts[0] == "effective sample size below 100"
    assert again.verdict.grade == "untrusted"


@pytest.mark.parametrize("rows", [np.r_[:3000, :600], np.resize(np.arange(3000), 9900)], ids=["some", "cut off"])
def test_repeats_that_are_not_of_all_are_found_where_sessions_differ(rows):
    assert taken(columns(3000, context=True), rows).repeated in (2, 3)


def test_what_models_of_others_say_does_not_hide_repeats():
    """Each third of the rows has another model, so that equal ones are of three kinds, as often as chance will."""
    found, rng = columns(3000, context=True), np.random.default_rng(3)
    again = {name: np.tile(values, 30) for name, values in found.items()}
    again["q_value"] = again["state_value"] = again["target_log_prob"] + rng.integers(3, size=90_000)
    assert LoggedSessions(**again, discount=1.0).repeated == 30


def test_equal_sessions_of_chance_are_allowed():
    """In 200 laws of 2 to 30,000 different sessions, even and uneven; the chance of an alarm is far below 1e-3."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        count, different = (int(10 ** rng.uniform(low, 4.5)) for low in (1.5, 0.3))
        law = rng.dirichlet(np.full(different, 10 ** rng.uniform(-1, 2)))
        occurs = rng.multinomial(count, law)
        assert repeats_of(occurs[occurs > 0]) == 1


def test_users_may_repeat_themselves():
    """Each user has four equal sessions: without users they are repeats, with them one unit each."""
    found, rows = columns(2000, context=True), np.repeat(np.arange(2000), 4)
    assert taken(found, rows).repeated == 4
    of_users = {name: values[rows] for name, values in found.items()}
    assert LoggedSessions(**of_users, discount=1.0, user_id=rows).repeated == 1
    twice = {name: np.tile(values, 2) for name, values in of_users.items()}
    renamed = np.concatenate([rows, rows + 2000])
    assert LoggedSessions(**twice, discount=1.0, user_id=renamed).repeated == 2


def test_a_session_is_all_of_its_rows_in_order_and_all_of_its_columns():
    offsets, length = np.arange(0, 601, 3), 600
    rng = np.random.default_rng(0)
    half = np.tile(rng.random(300), 2)
    base: dict[str, Any] = {"offsets": offsets, "behavior_log_prob": np.zeros(length), "discount": 1.0}
    same = LoggedSessions(**base, reward=half, target_log_prob=np.zeros(length))
    assert same.repeated == 2
    turned = np.concatenate([half[:300], half[:300].reshape(-1, 3)[:, ::-1].ravel()])
    assert LoggedSessions(**base, reward=turned, target_log_prob=np.zeros(length)).repeated == 1
    told_apart = LoggedSessions(
        **base, reward=half, target_log_prob=np.zeros(length), state_features=rng.random((length, 2))
    )
    assert told_apart.repeated == 1


def test_counts_are_those_of_a_dictionary(monkeypatch):
    rng = np.random.default_rng(0)
    digests = rng.integers(1, 2**64, 500, dtype=np.uint64)[rng.integers(500, size=3000)]
    found = repeats._Occurrences()
    found.add(digests[:1000])
    found.add(digests[1000:])
    assert sorted(found.counts()) == sorted(Counter(digests.tolist()).values())
    # With too little room those that end in zeros are left, with all of their repeats.
    monkeypatch.setattr(repeats, "_SLOTS", 256)
    small = repeats._Occurrences()
    small.add(digests)
    ends = Counter(digests.tolist())
    left = [times for digest, times in ends.items() if digest % (1 << small._dropped) == 0]
    assert small._dropped >= 2
    assert sorted(small.counts()) == sorted(left)


def test_more_sessions_than_there_is_room_for_are_seen_by_some(monkeypatch):
    monkeypatch.setattr(repeats, "_SLOTS", 1024)
    found = columns(3000, context=True)
    assert times_repeated(taken(found, np.tile(np.arange(3000), 3)), set()) == 3
    assert times_repeated(taken(found, np.arange(3000)), set()) == 1
