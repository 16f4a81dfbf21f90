"""Equality with Open Bandit Pipeline and SCOPE-RL, whose values `tests/reference/ope_peers.py` wrote down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.limited_weights import LimitConfig
from offline_data.ope.sessions import LoggedSessions
from recenv.files.json_text import read_json
from tests.reference import ope_problems

VALUES = read_json(Path(ope_problems.__file__).with_name("ope_peers.json"))


def chosen(table: np.ndarray, action: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table, action[..., None], axis=-1)[..., 0]


def log_probs(log: ope_problems.Arrays) -> dict[str, np.ndarray]:
    return {f"{policy}_log_prob": np.log(chosen(log[policy], log["action"])) for policy in ("behavior", "target")}


def model(log: ope_problems.Arrays) -> dict[str, np.ndarray]:
    return {
        "q_value": chosen(log["model"], log["action"]),
        "state_value": (log["target"] * log["model"]).sum(axis=-1),
    }


def bandit() -> LoggedSessions:
    log = ope_problems.bandit()
    # [rounds, actions]: how probable the logged embedding is of each action.
    of_action = np.prod([log["embedding_of"][:, d][:, log["embedding"][:, d]].T for d in range(2)], axis=0)
    embeddings = {
        f"{policy}_embedding_log_prob": np.log((log[policy] * of_action).sum(axis=1))
        for policy in ("behavior", "target")
    }
    offsets = np.arange(len(log["action"]) + 1)
    return LoggedSessions(
        offsets=offsets, reward=log["reward"], discount=1.0, **log_probs(log), **model(log), **embeddings
    )


def slates() -> LoggedSessions:
    log = ope_problems.slates()
    items = {f"{policy}_item_log_prob": np.log(log[f"{policy}_item"]) for policy in ("behavior", "target")}
    # Within a slate the discount counts nothing.
    return LoggedSessions.of_slates(reward=log["reward"], discount=0.3, **log_probs(log), **model(log), **items)


def sessions() -> LoggedSessions:
    log = ope_problems.sessions()
    count, steps = log["action"].shape
    columns = {name: values.ravel() for name, values in {**log_probs(log), **model(log)}.items()}
    return LoggedSessions(
        offsets=np.arange(0, count * steps + 1, steps), reward=log["reward"].ravel(), discount=0.9, **columns
    )


@pytest.mark.parametrize(
    ("log", "theirs", "ours"),
    [
        (bandit, "dm", "dm"),
        (bandit, "ips", "ips"),
        (bandit, "ips", "pdis"),
        (bandit, "snips", "snips"),
        (bandit, "dr", "dr"),
        (bandit, "sndr", "wdr"),
        (bandit, "mips", "mips"),
        (slates, "sips", "ips"),
        (slates, "iips", "iips"),
        (slates, "rips", "pdis"),
        (slates, "snsips", "snips"),
        (slates, "sniips", "sniips"),
        (slates, "snrips", "pdsnips"),
        (slates, "cascade dr", "dr"),
        (sessions, "dm", "dm"),
        (sessions, "tis", "ips"),
        (sessions, "pdis", "pdis"),
        (sessions, "sntis", "snips"),
        (sessions, "snpdis", "pdsnips"),
        (sessions, "dr", "dr"),
        (sessions, "sndr", "wdr"),
    ],
)
def test_values_are_the_peers(log, theirs, ours):
    """SCOPE-RL adds 1e-10 to what it divides by, which is what the tolerance leaves room for."""
    found = estimate(ours, log(), num_bootstrap=2).value
    assert found == pytest.approx(VALUES[log.__name__][theirs], rel=1e-9)


@pytest.mark.parametrize(
    ("theirs", "ours", "limit"),
    [("clipped 1.5", "cips", 1.5), ("switch dr 1.5", "switch_dr", 1.5), ("dr os 2.0", "dr_os", 2.0)],
)
def test_values_at_a_limit_of_the_weights_are_the_peers(theirs, ours, limit):
    found = estimate(ours, bandit(), config=LimitConfig(limit=limit), num_bootstrap=2).value
    assert found == pytest.approx(VALUES["bandit"][theirs], rel=1e-9)
