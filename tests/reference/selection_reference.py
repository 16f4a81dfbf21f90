"""The rule of `kappa="auto"`, row by row: every share is kept in turn, and the best of those that hold is taken."""

from __future__ import annotations

import math


def kept_by(scores: list[float], share: float) -> list[int]:
    """The rows that a share keeps: the best of them, and all that score as the last of these."""
    count = max(round(len(scores) * share), 1)
    last = sorted(scores, reverse=True)[count - 1]
    return [row for row, score in enumerate(scores) if score >= last]


def more_than_all(values: list[float], kept: list[int]) -> float:
    """The mean over the kept, less that over all."""
    return math.fsum(values[row] for row in kept) / len(kept) - math.fsum(values) / len(values)


def clustered_error(values: list[float], sessions: list[int], kept: list[int]) -> float:
    """The standard error of `more_than_all`: the session's sums of influences, as if each session were one draw."""
    if len(kept) == len(values):
        return 0.0
    of_kept = math.fsum(values[row] for row in kept) / len(kept)
    of_all = math.fsum(values) / len(values)
    sums = dict.fromkeys(sessions, 0.0)
    for row, value in enumerate(values):
        sums[sessions[row]] += (row in kept) * (value - of_kept) / len(kept) - (value - of_all) / len(values)
    among = len({sessions[row] for row in kept})
    if among == 1:
        return math.inf
    return math.sqrt(among / (among - 1) * math.fsum(total**2 for total in sums.values()))


def rows_to_keep(
    scores: list[float], advantage: list[float] | None, sessions: list[int] | None, rows_to_fit: float
) -> list[int]:
    """The rows of the best share, of equals the largest."""
    shares: dict[int, list[int]] = {}
    for step in range(23):
        kept = kept_by(scores, 2.0 ** (-step / 2))
        shares[len(kept)] = kept
    claim = {m: 0.0 if m == len(scores) else more_than_all(scores, kept) for m, kept in shares.items()}
    worth = {m: claim[m] * m / (m + rows_to_fit) for m in shares}
    if advantage is not None and sessions is not None:
        gain = {m: 0.0 if m == len(scores) else more_than_all(advantage, kept) for m, kept in shares.items()}
        square = math.fsum(claim[m] ** 2 for m in shares)
        rho = max(math.fsum(claim[m] * gain[m] for m in shares) / square, 0.0) if square else 0.0
        for m, kept in shares.items():
            believed = (rho * claim[m] + gain[m]) / 2.0
            error = clustered_error(advantage, sessions, kept)
            sure = gain[m] > 2.0 * error or m == len(scores)
            worth[m] = believed * m / (m + rows_to_fit) - error if sure else -math.inf
    best = max(worth.values())
    return shares[max(m for m in shares if worth[m] == best)]
