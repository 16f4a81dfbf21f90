"""The objectives that learn action values, in plain NumPy on linear networks, with their gradients by hand.

Q_e(s, a) = q_e . [s, a], V(s) = v . s, and the policy is N(W s + b, diag(sigma^2)); means are over the batch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearProblem:
    """A batch and the weights.

    Attributes:
        state: [B, n].
        action: [B, d].
        reward: [B], in the unit of the log's rewards.
        done: [B] bool.
        next_state: [B, n].
        q: [E, n + d], of Q.
        slow: [E, n + d], of its slow copy.
        weight: [d, n], W.
        bias: [d], b.
        log_scale: [d], log sigma.
        discount: of what follows.
    """

    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    next_state: np.ndarray
    q: np.ndarray
    slow: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    log_scale: np.ndarray
    discount: float

    def value(self, weights: np.ndarray, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return Q of each member, [E, ..., B]."""
        states = np.broadcast_to(state, (*action.shape[:-1], state.shape[-1]))
        return np.moveaxis(np.concatenate([states, action], axis=-1) @ weights.T, -1, 0)

    def mean(self, state: np.ndarray) -> np.ndarray:
        return state @ self.weight.T + self.bias

    def target(self, next_value: np.ndarray) -> np.ndarray:
        return self.reward + self.discount * np.where(self.done, 0.0, next_value)

    def td(self, target: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the squared errors' loss and its gradient in q, [E, n + d]."""
        error = target - self.value(self.q, self.state, self.action)
        both = np.concatenate([self.state, self.action], axis=1)
        return float((error**2).mean(axis=1).sum()), -2.0 * error @ both / len(both)

    def cloning(self, coefficient: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """Return -mean(coefficient log pi(a | s)) and its gradients."""
        scale = np.exp(self.log_scale)
        standard = (self.action - self.mean(self.state)) / scale
        log_prob = (-0.5 * standard**2 - self.log_scale - 0.5 * np.log(2.0 * np.pi)).sum(axis=1)
        slope = -coefficient[:, None] * standard / scale / len(standard)
        return float(-(coefficient * log_prob).mean()), {
            "weight": slope.T @ self.state,
            "bias": slope.sum(axis=0),
            "log_scale": -(coefficient[:, None] * (standard**2 - 1.0)).mean(axis=0),
        }


def relative(advantage: np.ndarray) -> np.ndarray:
    return advantage / np.sqrt((advantage**2).mean())


def iql(problem: LinearProblem, v: np.ndarray, expectile: float, beta: float, cap: float) -> dict[str, tuple]:
    """Return each loss with its gradients."""
    above = problem.value(problem.slow, problem.state, problem.action).min(axis=0) - problem.state @ v
    slope = np.where(above < 0.0, 1.0 - expectile, expectile)
    gradient = (-2.0 * slope * above) @ problem.state / len(above)
    weight = np.minimum(np.exp(beta * relative(above)), cap)
    return {
        "loss_actor": problem.cloning(weight),
        "loss_qvalue": problem.td(problem.target(problem.next_state @ v)),
        "loss_value": (float((slope * above**2).mean()), gradient),
    }


def crr(
    problem: LinearProblem,
    samples: np.ndarray,
    later: np.ndarray,
    weight: str,
    beta: float,
    cap: float,
) -> dict[str, tuple]:
    """Return each loss with its gradients; samples of the policy [m, B, d], here and at the following states."""
    own = problem.value(problem.q, problem.state, samples).min(axis=0).mean(axis=0)
    advantage = problem.value(problem.q, problem.state, problem.action).min(axis=0) - own
    if weight == "binary":
        coefficient = (advantage > 0).astype(float)
    else:
        coefficient = np.minimum(np.exp(relative(advantage) / beta), cap)
    next_value = problem.value(problem.slow, problem.next_state, later).min(axis=0).mean(axis=0)
    return {"loss_actor": problem.cloning(coefficient), "loss_qvalue": problem.td(problem.target(next_value))}


def td3_bc(
    problem: LinearProblem, slow_bias: np.ndarray, noise: np.ndarray, alpha: float, clip: float
) -> dict[str, tuple]:
    """Return each loss with its gradients; noise [B, d] before it is clipped, the slow policy of another bias [d]."""
    mean, dim = problem.mean(problem.state), problem.action.shape[1]
    own = problem.value(problem.q, problem.state, mean)[0]
    factor = alpha / np.abs(own).mean()
    slope = (-factor * problem.q[0, -dim:] + 2.0 * (mean - problem.action)) / len(mean)
    later = problem.next_state @ problem.weight.T + slow_bias + np.clip(noise, -clip, clip) / np.sqrt(dim)
    next_value = problem.value(problem.slow, problem.next_state, later).min(axis=0)
    loss = float((-factor * own + ((mean - problem.action) ** 2).sum(axis=1)).mean())
    return {
        "loss_actor": (loss, {"weight": slope.T @ problem.state, "bias": slope.sum(axis=0)}),
        "loss_qvalue": problem.td(problem.target(next_value)),
    }


def cql(
    problem: LinearProblem,
    random: np.ndarray,
    samples: np.ndarray,
    later: np.ndarray,
    alpha: float,
    entropy_weight: float,
) -> dict[str, tuple]:
    """Return each loss with its gradients; uniform and policy's actions [M, B, d], the policy's next one [B, d]."""
    count, dim = len(problem.state), problem.action.shape[1]
    scale, mean = np.exp(problem.log_scale), problem.mean(problem.state)
    own_log_prob = normal_log_prob(samples, mean, scale)
    actions = np.concatenate([random, samples])
    uniform = normal_log_prob(actions, np.zeros(dim), np.full(dim, dim**-0.5))
    mixture = np.log(0.5 * np.exp(uniform) + 0.5 * np.exp(normal_log_prob(actions, mean, scale)))
    loss, gradient = problem.td(problem.target(problem.value(problem.slow, problem.next_state, later).min(axis=0)))
    both = np.concatenate([np.broadcast_to(problem.state, (*actions.shape[:2], problem.state.shape[1])), actions], -1)
    logged = np.concatenate([problem.state, problem.action], axis=1)
    for member, q in enumerate(problem.q):
        exponents = both @ q + uniform - mixture
        spread = np.log(np.exp(exponents).mean(axis=0))
        share = np.exp(exponents) / np.exp(exponents).sum(axis=0)
        loss += alpha * float((spread - logged @ q).mean())
        gradient[member] += alpha * ((share[..., None] * both).sum(axis=0) - logged).mean(axis=0)

    value = problem.value(problem.q, problem.state, samples)
    divergence = own_log_prob - normal_log_prob(samples, np.zeros(dim), np.full(dim, dim**-0.5))
    gain = value.min(axis=0) - entropy_weight * divergence
    # Through the samples a = mean + scale noise: their own log-density changes with the scale alone.
    slope = problem.q[value.argmin(axis=0)][..., -dim:] - entropy_weight * dim * samples
    noise = (samples - mean) / scale
    by_mean = -slope.mean(axis=0) / count
    by_scale = -((slope * noise * scale).mean(axis=(0, 1)) + entropy_weight)
    actor = {"weight": by_mean.T @ problem.state, "bias": by_mean.sum(axis=0), "log_scale": by_scale}
    return {"loss_actor": (float(-gain.mean()), actor), "loss_qvalue": (loss, gradient)}


def normal_log_prob(action: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (-0.5 * ((action - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)).sum(axis=-1)


# --- slates


def slate_value(choice: np.ndarray, value: np.ndarray, slate: tuple[int, ...]) -> float:
    """Return the value of a slate: of what is chosen, none among it, by a multinomial logit.

    Args:
        choice: [1 + n] log v, of none first.
        value: [1 + n].
        slate: items from 0.
    """
    places = [0, *(1 + item for item in slate)]
    weight = np.exp(choice[places] - choice[places].max())
    return float((weight * value[places]).sum() / weight.sum())


def best_slate(choice: np.ndarray, value: np.ndarray, slate_size: int) -> tuple[float, tuple[int, ...]]:
    """Return the largest value of all slates of offered items, and the first slate that has it."""
    offered = [item for item in range(len(choice) - 1) if choice[1 + item] > -np.inf]
    slates = itertools.combinations(offered, min(slate_size, len(offered)))
    return max(((slate_value(choice, value, slate), slate) for slate in slates), key=lambda found: found[0])


def plackett_luce(logits: np.ndarray, slate: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a slate's log-probability and its gradient in the logits, [N]."""
    total, gradient, left = 0.0, np.zeros(len(logits)), np.ones(len(logits), np.bool_)
    for item in slate:
        share = np.where(left, np.exp(logits), 0.0)
        share /= share.sum()
        total += np.log(share[item])
        gradient -= share
        gradient[item] += 1.0
        left[item] = False
    return float(total), gradient


def slateq(
    state: np.ndarray,
    slate: np.ndarray,
    click: np.ndarray,
    reward: np.ndarray,
    done: np.ndarray,
    next_state: np.ndarray,
    q: np.ndarray,
    slow: np.ndarray,
    choice: np.ndarray,
    logits: np.ndarray,
    discount: float,
    order: np.ndarray,
) -> dict[str, tuple[float, np.ndarray]]:
    """Return each loss with its gradient, where all networks are linear in the state.

    Args:
        state: [B, n].
        slate: [B, K] different items.
        click: [B, K] bool, at most one in a slate.
        reward: [B].
        done: [B] bool.
        next_state: [B, n].
        q: [E, 1 + N, n], of Q(s, i), of no item first.
        slow: [E, 1 + N, n], of its slow copy.
        choice: [1 + N, n], of log v.
        logits: [N, n], of the policy.
        discount: of what follows.
        order: [B, K], the best slates in the order in which the policy is to show them.
    """
    count, size = slate.shape
    losses = dict.fromkeys(("loss_actor", "loss_qvalue", "loss_choice"), 0.0)
    gradients = {"loss_actor": np.zeros_like(logits), "loss_qvalue": np.zeros_like(q)}
    gradients["loss_choice"] = np.zeros_like(choice)
    for row in range(count):
        here, after = state[row], next_state[row]
        value_after = 0.0 if done[row] else best_slate(choice @ after, (slow @ after).min(axis=0), size)[0]
        target = reward[row] + discount * value_after
        chosen = 1 + slate[row, click[row].argmax()] if click[row].any() else 0
        error = target - q[:, chosen] @ here
        losses["loss_qvalue"] += (error**2).sum() / count
        gradients["loss_qvalue"][:, chosen] -= 2.0 * error[:, None] * here / count
        places = np.array([0, *(1 + slate[row])])
        share = np.exp(choice[places] @ here)
        share /= share.sum()
        losses["loss_choice"] -= np.log(share[places == chosen][0]) / count
        gradients["loss_choice"][places] += (share - (places == chosen))[:, None] * here / count
        best = best_slate(choice @ here, (slow @ here).min(axis=0), size)[1]
        assert set(best) == set(order[row].tolist())
        log_prob, slope = plackett_luce(logits @ here, order[row])
        losses["loss_actor"] -= log_prob / count
        gradients["loss_actor"] -= slope[:, None] * here / count
    return {name: (float(losses[name]), gradients[name]) for name in losses}
