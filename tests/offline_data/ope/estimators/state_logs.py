"""Logs whose states are known: a population of three steps, and long sessions of two states."""

import numpy as np

from offline_data.ope.sessions import LoggedSessions

DISCOUNT = 0.8
ANY_Q = [[[3.0, -1.0], [0.5, 7.0]], [[0.0, 2.0], [-4.0, 1.0]], [[1.0, 1.0], [2.0, -3.0]]]


def as_sessions(log, **changes):
    """The population's arrays, its states as categories."""
    rows = np.array([step for session in log for step in session])
    columns = {
        "offsets": np.concatenate([[0], np.cumsum([len(session) for session in log])]),
        "reward": rows[:, 2],
        "behavior_log_prob": rows[:, 3],
        "target_log_prob": rows[:, 4],
        "discount": DISCOUNT,
        "q_value": rows[:, 5],
        "state_value": rows[:, 6],
        "state_features": rows[:, 0].astype(np.int64),
    }
    return LoggedSessions(**{**columns, **changes})


def chain(num_sessions, length, seed, features="categories"):
    """Two states, of which each action chooses the next with .8; the second state pays one, sessions are long."""
    rng = np.random.default_rng(seed)
    behavior, target = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.2, 0.8], [0.3, 0.7]])
    state = np.zeros((num_sessions, length), np.int64)
    action = np.zeros_like(state)
    for t in range(length):
        action[:, t] = rng.random(num_sessions) < behavior[state[:, t], 1]
        if t + 1 < length:
            kept = rng.random(num_sessions) < 0.8
            state[:, t + 1] = np.where(kept, action[:, t], 1 - action[:, t])
    flat, taken = state.ravel(), action.ravel()
    noise = rng.normal(size=(len(flat), 2))
    sessions = LoggedSessions(
        offsets=np.arange(num_sessions + 1) * length,
        reward=flat.astype(float),
        behavior_log_prob=np.log(behavior[flat, taken]),
        target_log_prob=np.log(target[flat, taken]),
        discount=1.0,
        state_features=flat if features == "categories" else np.column_stack([flat - 0.5, noise]),
    )
    at, truth = np.array([1.0, 0.0]), 0.0
    moves = target @ np.array([[0.8, 0.2], [0.2, 0.8]])
    for _ in range(length):
        truth, at = truth + at[1], at @ moves
    return sessions, truth
