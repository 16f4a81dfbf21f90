"""Marginal weights, linear ratios of visits and the blend of returns as loops, and a world whose log is its population.

Plain Python and NumPy; imports nothing of ours but the small world beside it.
"""

import math

import numpy as np
from scipy.optimize import minimize

from tests.reference.ope_reference import SmallMdp, weights_after

BEHAVIOR, TARGET = ((0.5, 0.5), (0.25, 0.75)), ((0.1, 0.9), (0.8, 0.2))


class EvenMdp(SmallMdp):
    """As `SmallMdp`, in halves: a log with each session as often as it is probable has 512 at most."""

    outcomes = (
        (((0.5, 1.0, 0), (0.5, 0.0, 1)), ((0.5, -1.0, 1), (0.5, 4.0, None))),
        (((0.5, 0.5, 1), (0.5, 3.0, 0)), ((0.5, 0.0, None), (0.5, 1.0, 0))),
    )


def population(mdp, q):
    """Sessions of `(state, action, reward, behavior log, target log, Q, V)`, each as often as it is probable."""
    found = []

    def walk(probability, state, steps):
        if state is None or len(steps) == mdp.horizon:
            found.append((probability, steps))
            return
        here = q[len(steps)][state]
        state_value = sum(TARGET[state][a] * here[a] for a in range(mdp.num_actions))
        for action in range(mdp.num_actions):
            logs = [math.log(policy[state][action]) for policy in (BEHAVIOR, TARGET)]
            for chance, reward, after in mdp.outcomes[state][action]:
                step = (state, action, reward, *logs, here[action], state_value)
                walk(probability * BEHAVIOR[state][action] * chance, after, [*steps, step])

    walk(1.0, 0, [])
    counts = [probability * 512 for probability, _ in found]
    assert all(count == round(count) for count in counts)
    return [steps for count, (_, steps) in zip(counts, found, strict=True) for _ in range(round(count))]


def visits(mdp, policy):
    """Probability of being in each state at each step, [step][state]."""
    at = [[1.0 if state == 0 else 0.0 for state in range(mdp.num_states)]]
    for _ in range(mdp.horizon - 1):
        following = [0.0] * mdp.num_states
        for state in range(mdp.num_states):
            for action in range(mdp.num_actions):
                for chance, _, after in mdp.outcomes[state][action]:
                    if after is not None:
                        following[after] += at[-1][state] * policy[state][action] * chance
        at.append(following)
    return at


def marginal_weights(states, ratios, predict):
    """The weight mu_t of each row of each session; `predict(states, targets)` regresses what came to a step."""
    longest = max(map(len, states))
    weights = [[ratio[0]] for ratio in ratios]
    for step in range(1, longest):
        there = [s for s in range(len(states)) if len(states[s]) > step]
        found = predict([states[s][step] for s in there], [weights[s][step - 1] for s in there])
        for s, weight in zip(there, found, strict=True):
            weights[s].append(weight * ratios[s][step])
    return weights


def category_means(states, targets):
    """The mean target of each state's category."""
    return [
        sum(y for z, y in zip(states, targets, strict=True) if z == x) / sum(z == x for z in states) for x in states
    ]


def left_out_ridge(ridge):
    """A regression that predicts each of the others, by fitting again; coordinates of unit variance."""

    def predict(states, targets):
        x, y = np.array(states, float), np.array(targets)
        if len(y) == 1:
            return targets
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        found = []
        for left in range(len(y)):
            kept = np.arange(len(y)) != left
            design = np.hstack([np.ones((len(y), 1)), x])
            penalty = np.diag([0.0] + [ridge * len(y)] * x.shape[1])
            system = design[kept].T @ design[kept] + penalty
            found.append(design[left] @ np.linalg.solve(system, design[kept].T @ y[kept]))
        found = np.clip(found, 0.0, y.max())
        return list(found * y.sum() / found.sum())

    return predict


def density_ratio(now, expected, rewards, discount, ridge):
    """The value of each session by linear ratio and Q; lists of [T, F] arrays, and of [T] rewards."""
    width, count = now[0].shape[1], len(now)
    system, earned, initial, squares = np.zeros((width, width)), np.zeros(width), np.zeros(width), np.zeros(width)
    for phi, policy, reward in zip(now, expected, rewards, strict=True):
        for t in range(len(reward)):
            after = policy[t + 1] if t + 1 < len(reward) else np.zeros(width)
            system += np.outer(phi[t] - discount * after, phi[t]) / count
            squares += phi[t] ** 2 / count
            earned += reward[t] * phi[t] / count
        initial += policy[0] / count
    system += ridge * np.diag(squares)
    theta, eta = np.linalg.solve(system, initial), np.linalg.solve(system.T, earned)
    values = []
    for phi, policy, reward in zip(now, expected, rewards, strict=True):
        value = policy[0] @ eta
        for t in range(len(reward)):
            after = policy[t + 1] if t + 1 < len(reward) else np.zeros(width)
            value += phi[t] @ theta * (reward[t] + discount * after @ eta - phi[t] @ eta)
        values.append(value)
    return values


def magic(sessions, discount, num_returns):
    """The blend of j-step weighted doubly robust returns; sessions of (reward, behavior, target, Q, V)."""
    count, longest = len(sessions), max(map(len, sessions))
    weights = np.array([weights_after(session, longest) for session in sessions])
    errors, first = np.zeros((count, longest)), np.array([session[0][4] for session in sessions])
    for s, session in enumerate(sessions):
        for t, (reward, _, _, q_value, _) in enumerate(session):
            after = session[t + 1][4] if t + 1 < len(session) else 0.0
            errors[s, t] = discount**t * (reward + discount * after - q_value)
    totals = weights.sum(axis=0)
    corrections = (weights * errors).sum(axis=0) / totals
    lengths = sorted({round(j) for j in np.linspace(0, longest, num_returns).tolist()})
    returns = np.array([first.mean() + corrections[:j].sum() for j in lengths])
    # What each session adds to each return, the ratios linearised.
    moved = weights * (errors - corrections) / totals * count
    terms = np.array([first - first.mean() + moved[:, :j].sum(axis=1) for j in lengths])
    covariance = terms @ terms.T / (count - 1) / count
    half = 0.6744897501960817 * math.sqrt(covariance[-1, -1])
    bias = np.maximum(np.abs(returns - returns[-1]) - half, 0.0)
    form = covariance + np.outer(bias, bias)
    form /= np.abs(form).max()
    start = np.full(len(lengths), 1.0 / len(lengths))
    found = minimize(
        lambda x: x @ form @ x,
        start,
        jac=lambda x: 2 * form @ x,
        bounds=[(0.0, 1.0)] * len(lengths),
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1.0},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return float(found.x @ returns)
