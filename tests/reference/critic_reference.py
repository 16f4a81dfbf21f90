"""TD(lambda) targets by their forward view, one session at a time; plain Python only."""

import itertools


def n_step_return(rewards, next_values, start, num_steps, discount):
    """Rewards of `num_steps` rows from `start`, then the value of the observation after the last of them."""
    total = sum(discount**k * rewards[start + k] for k in range(num_steps))
    return total + discount**num_steps * next_values[start + num_steps - 1]


def lambda_return(rewards, next_values, start, discount, trace_decay):
    """(1 - lambda) sum_n lambda^(n-1) G^(n), the longest n-step return taking what weight is left."""
    longest = len(rewards) - start
    total = trace_decay ** (longest - 1) * n_step_return(rewards, next_values, start, longest, discount)
    for n in range(1, longest):
        weight = (1 - trace_decay) * trace_decay ** (n - 1)
        total += weight * n_step_return(rewards, next_values, start, n, discount)
    return total


def lambda_returns(rewards, next_values, offsets, discount, trace_decay):
    """The target of every row of every session."""
    targets = []
    for first, end in itertools.pairwise(offsets):
        session = rewards[first:end], next_values[first:end]
        targets += [lambda_return(*session, t, discount, trace_decay) for t in range(end - first)]
    return targets
