"""Off-policy estimators as loops over sessions, and a session MDP small enough to enumerate; plain Python only.

A session is a list of steps `(reward, behavior_log_prob, target_log_prob, q_value, state_value)`.
"""

import math
from itertools import product


def weights_after(session, num_steps):
    """Cumulative importance weight after step 0, 1, ..., held at its last value once the session has ended."""
    weights, weight = [], 1.0
    for step in range(num_steps):
        if step < len(session):
            weight *= math.exp(session[step][2] - session[step][1])
        weights.append(weight)
    return weights


def session_return(session, discount):
    """Discounted sum of rewards."""
    return sum(discount**step * row[0] for step, row in enumerate(session))


def effective_sample_size(sessions):
    """(sum w)^2 / sum w^2 of whole-session weights."""
    weights = [weights_after(session, len(session))[-1] for session in sessions]
    return sum(weights) ** 2 / sum(w * w for w in weights) if any(weights) else 0.0


def ips(sessions, discount):
    """Mean of weighted returns."""
    return sum(weights_after(s, len(s))[-1] * session_return(s, discount) for s in sessions) / len(sessions)


def pdis(sessions, discount):
    """Mean of the sums of rewards, each weighted by the decisions up to it."""
    total = 0.0
    for session in sessions:
        for step, (weight, row) in enumerate(zip(weights_after(session, len(session)), session, strict=True)):
            total += discount**step * weight * row[0]
    return total / len(sessions)


def snips(sessions, discount):
    """Weighted mean of returns."""
    weights = [weights_after(session, len(session))[-1] for session in sessions]
    return sum(w * session_return(s, discount) for w, s in zip(weights, sessions, strict=True)) / sum(weights)


def _normalised_weights(sessions):
    """Per session and step: the cumulative weight over its sum across sessions; zeros where the sum is zero."""
    horizon = max(map(len, sessions))
    table = [weights_after(session, horizon) for session in sessions]
    totals = [sum(row[step] for row in table) for step in range(horizon)]
    return [[w / total if total else 0.0 for w, total in zip(row, totals, strict=True)] for row in table]


def pdsnips(sessions, discount):
    """Per-decision weighted mean of rewards, step by step."""
    normalised = _normalised_weights(sessions)
    return sum(
        discount**step * normalised[s][step] * row[0]
        for s, session in enumerate(sessions)
        for step, row in enumerate(session)
    )


def dm(sessions, discount):
    """Mean of the model's value at the first step."""
    return sum(session[0][4] for session in sessions) / len(sessions)


def dr_session(session, discount):
    """Jiang and Li's recursion from the last step back."""
    value = 0.0
    for reward, behavior, target, q_value, state_value in reversed(session):
        value = state_value + math.exp(target - behavior) * (reward + discount * value - q_value)
    return value


def dr(sessions, discount):
    """Mean of the recursion over sessions."""
    return sum(dr_session(session, discount) for session in sessions) / len(sessions)


def limited_sum(session, discount, limited, model):
    """The model's first value, if any, plus discounted errors (rewards without one) under limited weights."""
    weights = weights_after(session, len(session))
    total = session[0][4] if model else 0.0
    for step, (reward, _, _, q_value, _) in enumerate(session):
        later = session[step + 1][4] if step + 1 < len(session) else 0.0
        error = reward + discount * later - q_value if model else reward
        total += discount**step * limited(weights[step]) * error
    return total


def cips(sessions, discount, limit):
    """Weights are cut at the limit."""
    return sum(limited_sum(s, discount, lambda w: min(w, limit), False) for s in sessions) / len(sessions)


def switch_dr(sessions, discount, limit):
    """Weights above the limit count nothing."""
    return sum(limited_sum(s, discount, lambda w: w * (w <= limit), True) for s in sessions) / len(sessions)


def dr_os(sessions, discount, limit):
    """Weights are shrunk to limit w / (limit + w^2)."""
    return sum(limited_sum(s, discount, lambda w: limit * w / (limit + w * w), True) for s in sessions) / len(sessions)


def wdr(sessions, discount):
    """Thomas and Brunskill's sum: weighted rewards less the control variate w_t Q_t - w_{t-1} V_t, w_{-1} = 1/S."""
    normalised = _normalised_weights(sessions)
    total = 0.0
    for s, session in enumerate(sessions):
        before = 1.0 / len(sessions)
        for step, (reward, _, _, q_value, state_value) in enumerate(session):
            now = normalised[s][step]
            total += discount**step * (now * reward - (now * q_value - before * state_value))
            before = now
    return total


class SmallMdp:
    """Three steps at most, two states, two actions; a step pays and moves by chance, and may end the session."""

    horizon, num_states, num_actions = 3, 2, 2
    # outcomes[state][action]: (probability, reward, next state or None where the session ends)
    outcomes = (
        (((0.5, 1.0, 0), (0.3, 0.0, 1), (0.2, 2.0, None)), ((0.9, -1.0, 1), (0.1, 4.0, None))),
        (((0.6, 0.5, 1), (0.4, 3.0, 0)), ((0.7, 0.0, None), (0.3, 1.0, 0))),
    )
    deterministic = (
        (((1.0, 1.0, 0),), ((1.0, -1.0, 1),)),
        (((1.0, 0.5, None),), ((1.0, 2.0, 0),)),
    )

    def __init__(self, *, deterministic=False):
        if deterministic:
            self.outcomes = self.deterministic

    def exact_q(self, policy, discount):
        """Q[step][state][action] of `policy[state][action]` by backward recursion."""
        q = [[[0.0] * self.num_actions for _ in range(self.num_states)] for _ in range(self.horizon + 1)]
        for step in reversed(range(self.horizon)):
            for state, action in product(range(self.num_states), range(self.num_actions)):
                for probability, reward, after in self.outcomes[state][action]:
                    future = 0.0
                    if after is not None:
                        future = sum(policy[after][a] * q[step + 1][after][a] for a in range(self.num_actions))
                    q[step][state][action] += probability * (reward + discount * future)
        return q

    def value(self, policy, discount):
        """Exact expected return of `policy` from state 0."""
        first = self.exact_q(policy, discount)[0][0]
        return sum(policy[0][a] * first[a] for a in range(self.num_actions))

    def sessions(self, behavior, target, q):
        """Every possible session from state 0 as (probability under `behavior`, session), `q[step][state][action]`."""
        found = []

        def walk(probability, state, steps):
            if state is None or len(steps) == self.horizon:
                found.append((probability, steps))
                return
            here = q[len(steps)][state]
            state_value = sum(target[state][a] * here[a] for a in range(self.num_actions))
            for action in range(self.num_actions):
                logs = [math.log(p[state][action]) if p[state][action] else -math.inf for p in (behavior, target)]
                for chance, reward, after in self.outcomes[state][action]:
                    step = (reward, *logs, here[action], state_value)
                    walk(probability * behavior[state][action] * chance, after, [*steps, step])

        walk(1.0, 0, [])
        return found
