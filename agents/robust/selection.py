"""How many of the best rows to keep, from the log alone: the rule behind `kappa="auto"`.

Of N rows the m best by score are kept. Two witnesses say what that gains: the score itself, and what the rows earned.
Keeping them has two costs, of being wrong and of learning from few. m is what maximises

    worth(m) = (rho claim(m) + gain(m)) / 2  m / (m + d)  -  se(m)        among the m with  gain(m) > 2 se(m)

    claim(m) = mean score of the m best rows, less that of all rows
    gain(m)  = mean advantage of the m best rows, less that of all rows
    se(m)^2  = C / (C - 1) sum over sessions of (sum over their rows of r_i)^2,        C: sessions among the m rows
    r_i      = [i is kept] (a_i - mean of the m) / m  -  (a_i - mean of all) / N

The advantage a_i is what row i really earned, more than was to be expected of its observation: honest, and so noisy
that it cannot tell the best 300 rows from the best 1,000. The score can, being an average over many such rows, and
boasts of the very best. rho, at least zero, brings the claims to the size of the gains: least squares over the shares.
What is taken off is two standard errors of the half that is noisy; rows of one session share their luck, so that
sessions are what is counted. `d` is the number of rows at which half of a gain is learned. A share of whose gain the
log is not sure, at 97.5 %, is refused; keeping everything is worth nothing, exactly, and is what is left then. No
label, no good fraction and no shape of a distribution is asked for. Where nobody knows what the rows earned, the score
is believed alone.

The rule depends on scores and on advantages only up to a shift and a positive scale. Equal scores are kept together.

Source: ours. A mean that d rows of prior hold at zero is m / (m + d) of itself. The standard error is the usual one of
clustered means (Liang and Zeger 1986). What the rule was measured against, and what it loses: docs/selection.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

from agents.robust.problem import check_scores
from recenv.errors import InvalidInput, require, require_range

_NUMBERS: Final = {"iuf": "real numbers", "iu": "integers"}
NUM_SHARES: Final = 23
"""From all rows down by factors of the square root of two, to .05 %."""
ROWS_TO_FIT: Final = 50.0
"""d, for policies of proto-actions and of slates alike, where training sees every kept row about ten times."""
_ERRORS_OFF: Final = 2.0
"""Standard errors by which a share's gain must exceed zero, one-sided 97.5 %."""


@dataclass(frozen=True)
class Outcomes:
    """What the rows of a log earned.

    Examples:
        >>> import numpy as np
        >>> from agents import Outcomes
        >>> float(Outcomes(np.array([1.0, -1.0]), np.array([0, 0])).advantage.mean())
        0.0
    """

    advantage: np.ndarray
    """[N] of each row, more than was to be expected; see `agents.values.advantages`."""
    session: np.ndarray
    """[N] integers, equal where rows share their luck."""


@dataclass(frozen=True)
class Selection:
    """The curve of a log: by the number of rows kept, [K] falling, what is claimed of them and what they earned.

    Examples:
        >>> import torch
        >>> from agents import select_rows
        >>> noise, good = torch.randn(9000, generator=torch.Generator().manual_seed(0)), torch.linspace(9.0, 11.0, 1000)
        >>> select_rows(torch.cat([noise, good])).num_kept
        625
    """

    num_rows: int
    """N."""
    rows: np.ndarray
    """[K] rows kept, whole ties."""
    claim: np.ndarray
    """[K] mean score, more than the whole log's."""
    gain: np.ndarray | None
    """[K] mean advantage, more than the whole log's; None where nobody knows what the rows earned."""
    standard_error: np.ndarray | None
    """[K] of the gain; infinite where one session alone is kept."""
    worth: np.ndarray
    """[K] what is maximised; minus infinity where the log is not sure of a gain."""

    @property
    def chosen(self) -> int:
        """Which of the K is worth most; of equals the one that keeps most."""
        return int(np.argmax(self.worth))

    @property
    def num_kept(self) -> int:
        """Rows that the chosen share keeps."""
        return int(self.rows[self.chosen])

    def widest(self, part: float) -> int:
        """Return the most rows to which one can widen without falling below a part of the chosen gain.

        Args:
            part: in [0, 1]; 1 is at least what is kept.
        """
        gain = self.claim if self.gain is None else self.gain
        enough, index = part * gain[self.chosen], self.chosen
        while index > 0 and gain[index - 1] >= enough:
            index -= 1
        return int(self.rows[index])

    @property
    def matched_claim(self) -> np.ndarray:
        """[K] rho claim, the claim brought to the size of the gain; as it is where there is no gain."""
        if self.gain is None:
            return self.claim
        (claim, _), (gain, unit) = _near_one(self.claim), _near_one(self.gain)
        return np.ldexp(_matched(claim, gain) * claim, unit)

    @property
    def kappa(self) -> float:
        """The chosen share, in (0, 1]."""
        return self.num_kept / self.num_rows

    def describe(self) -> str:
        """Return the sentence to print."""
        if self.num_kept == self.num_rows:
            why = "every row scores the same" if len(self.rows) == 1 else "no share of them is sure to have earned more"
            return f"kappa=auto: 1, all {self.num_rows:,} rows, for {why}"
        earned = "nobody knows what they earned"
        if self.gain is not None and self.standard_error is not None:
            earned = f"they earned {self.gain[self.chosen]:.3g} +- {self.standard_error[self.chosen]:.2g} more"
        return (
            f"kappa=auto: {self.kappa:.2g}, the best {self.num_kept:,} of {self.num_rows:,} rows; by their scores they "
            f"are worth {self.claim[self.chosen]:.3g} a step more than the log, and {earned}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the curve and its sentence as plain values, None for what is unknown or not finite."""
        columns = {
            name: None
            if column is None
            else [value if np.isfinite(value) else None for value in np.asarray(column, float).tolist()]
            for name, column in (
                ("share", self.rows / self.num_rows),
                ("claim", self.claim),
                ("matched_claim", self.matched_claim),
                ("gain", self.gain),
                ("standard_error", self.standard_error),
                ("worth", self.worth),
            )
        }
        told = {"num_rows": self.num_rows, "kappa": self.kappa, "sentence": self.describe()}
        return {**told, "rows": self.rows.tolist(), **columns}


def select_rows(scores: Tensor, outcomes: Outcomes | None = None, *, rows_to_fit: float = ROWS_TO_FIT) -> Selection:
    """Return the curve of a log over its shares, and by it which share to keep; see the module.

    Args:
        scores: [N] float32 or float64, finite, N >= 1.
        outcomes: of the same rows; None where nobody knows, and the scores are taken at their word.
        rows_to_fit: d, at least zero.

    Raises:
        InvalidInput: for scores or outcomes that are empty, not finite, or of another shape or type.
    """
    check_scores(scores)
    require_range("rows_to_fit", rows_to_fit, 0.0)
    values = scores.detach().cpu().numpy()
    order = np.argsort(-values, kind="stable")
    falling, unit = _near_one(values[order].astype(np.float64))
    kept = _tie_ends(falling)
    claim = np.cumsum(falling - falling.mean())[kept - 1] / kept
    claim[0] = 0.0  # of the whole log, whatever rounding left
    claims = np.ldexp(claim, unit)
    learned = kept / (kept + rows_to_fit)
    if outcomes is None:
        return Selection(len(values), kept, claims, None, None, np.ldexp(claim * learned, unit))
    advantage, session = _checked(outcomes, values.shape)
    advantage, unit = _near_one(advantage)
    gain, error = _gains(advantage[order], session[order], kept)
    believed = (_matched(claim, gain) * claim + gain) / 2.0
    refused = gain <= _ERRORS_OFF * error
    refused[0] = False
    worth = np.where(refused, -np.inf, believed * learned - error)
    return Selection(len(values), kept, claims, *(np.ldexp(column, unit) for column in (gain, error, worth)))


def _near_one(column: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a column in units of a power of two near its largest value, which rounds nothing, and the power.

    No square of it overflows, and none that matters becomes zero.
    """
    unit = int(np.frexp(np.abs(column).max())[1])
    return np.ldexp(column, -unit), unit


def _matched(claim: np.ndarray, gain: np.ndarray) -> float:
    """Return rho, what the claims are to be multiplied by to be as large as the gains, at least zero."""
    square = float(claim @ claim)
    return max(float(claim @ gain) / square, 0.0) if square > 0.0 else 0.0


def _checked(outcomes: Outcomes, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the advantages, float64, and the rank of each row's session."""
    require(
        isinstance(outcomes, Outcomes), f"outcomes={type(outcomes).__name__} is not understood; pass Outcomes, or None"
    )
    for name, kinds in (("advantage", "iuf"), ("session", "iu")):
        kind = np.asarray(getattr(outcomes, name)).dtype
        require(kind.kind in kinds, f"{name} of the outcomes is of {kind}; give {_NUMBERS[kinds]}")
    advantage, session = np.asarray(outcomes.advantage, np.float64), np.asarray(outcomes.session)
    for name, column in (("advantage", advantage), ("session", session)):
        require(
            column.shape == shape,
            f"{name} of the outcomes has shape {column.shape}; give one for each of the {shape[0]} scores",
        )
    if not np.isfinite(advantage).all():
        row = int(np.flatnonzero(~np.isfinite(advantage))[0])
        raise InvalidInput(f"advantage of the outcomes is {advantage[row]} in row {row}; give finite numbers")
    return advantage, np.unique(session, return_inverse=True)[1].reshape(-1)


def _tie_ends(falling: np.ndarray) -> np.ndarray:
    """Return how many rows each share keeps, falling, N first: the share rounded, and all that score as its last row.

    Args:
        falling: [N] scores, the best first.
    """
    size = len(falling)
    least = np.maximum(np.rint(size * 2.0 ** (-0.5 * np.arange(NUM_SHARES))).astype(np.int64), 1)
    ends = np.searchsorted(-falling, -falling[least - 1], side="right")
    return np.unique(ends)[::-1]


def _gains(advantage: np.ndarray, session: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of keeping the first m rows and its standard error, for every m of `kept`.

    Args:
        advantage: [N], the best score first.
        session: [N] ranks.
        kept: [K] falling, N first.
    """
    size = len(advantage)
    centred = advantage - advantage.mean()
    num_sessions = int(session.max()) + 1
    everywhere = np.bincount(session, centred, num_sessions) / size
    sums, counts = np.zeros(num_sessions), np.zeros(num_sessions)
    gain, error, done = np.zeros(len(kept)), np.zeros(len(kept)), 0
    for index in range(len(kept) - 1, -1, -1):  # a share holds all smaller ones
        m = int(kept[index])
        sums += np.bincount(session[done:m], centred[done:m], num_sessions)
        counts += np.bincount(session[done:m], minlength=num_sessions)
        done = m
        if m == size:
            break  # the whole log's gain over itself is zero, without error
        gain[index] = sums.sum() / m
        among = int(np.count_nonzero(counts))
        residual = (sums - gain[index] * counts) / m - everywhere
        spread = float(np.sqrt(np.square(residual).sum()))
        error[index] = np.inf if among == 1 else spread * np.sqrt(among / (among - 1))
    return gain, error
