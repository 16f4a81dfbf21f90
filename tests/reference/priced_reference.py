"""Slow, plain solutions of `max_q q.s` less a priced divergence; nothing sorted, roots by SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import root_scalar


def capped_weight(scores: np.ndarray, offset: float, kappa: float, temperature: float) -> np.ndarray:
    """`min(1 / kappa, e^{(s - c) / T})`."""
    with np.errstate(over="ignore"):
        return np.minimum(np.exp((scores - offset) / temperature), 1.0 / kappa)


def capped_kl(scores: np.ndarray, kappa: float, temperature: float, base: np.ndarray) -> tuple[np.ndarray, float]:
    """The maximiser of `E_q[s] - T KL(q || b)` under `q <= b / kappa`, and c, for 0 < kappa < 1 and T > 0."""
    support = base > 0
    high = scores[support].max()
    low = scores[support].min() + temperature * np.log(kappa)  # there every weight is at the cap

    def excess(offset: float) -> float:
        return float(base[support] @ capped_weight(scores[support], offset, kappa, temperature)) - 1.0

    offset = _root(excess, low - 1e-9 * (1 + abs(low)), high + 1e-9 * (1 + abs(high)))
    return base * np.where(support, capped_weight(scores, offset, kappa, temperature), 0.0), offset


def capped_kl_to_uniform(scores: np.ndarray, kappa: float, temperature: float, base: np.ndarray) -> np.ndarray:
    """The maximiser of `E_q[s] - T KL(q || u)` under `q <= b / kappa`, u uniform on the support of b."""
    support = base > 0
    s, b = scores[support], base[support]

    def q(offset: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.minimum(np.exp((s - offset) / temperature), b / kappa)

    low = s.min() + temperature * np.log(kappa / b.max())
    high = s.max() + temperature * np.log(len(s))
    offset = _root(lambda offset: float(q(offset).sum()) - 1.0, low - 1e-9, high + 1e-9)
    found = np.zeros(len(base))
    found[support] = q(offset)
    return found


def priced(q: np.ndarray, scores: np.ndarray, temperature: float, base: np.ndarray) -> float:
    """`E_q[s] - T KL(q || b)`."""
    kept = q > 0
    return float(q @ scores - temperature * (q[kept] @ np.log(q[kept] / base[kept])))


def capped_dual(offset: float, scores: np.ndarray, kappa: float, temperature: float, base: np.ndarray) -> float:
    """The Lagrange dual at any c, each row's maximum over 0 <= w <= 1 / kappa taken by itself."""
    multiplier = offset - temperature
    weight = capped_weight(scores, offset, kappa, temperature)
    each = weight * (scores - multiplier) - temperature * weight * np.log(np.maximum(weight, 1e-300))
    return float(multiplier + base @ each)


def ramp(scores: np.ndarray, penalty: float, base: np.ndarray) -> tuple[np.ndarray, float]:
    """The maximiser of `E_q[f] - K sqrt(E_b[(q/b)^2])` for K > 0, and nu: its ramp's second moment is K^2."""
    support = base > 0
    best = scores[support].max()

    def excess(nu: float) -> float:
        return float(np.sqrt(base @ np.where(support, np.maximum(scores - nu, 0.0), 0.0) ** 2)) - penalty

    lowest = best - (best - scores[support].min()) - 2 * penalty
    nu = _root(excess, lowest - 1e-9, best)
    q = base * np.where(support, np.maximum(scores - nu, 0.0), 0.0)
    return q / q.sum(), nu


def lower_bound(q: np.ndarray, scores: np.ndarray, penalty: float, base: np.ndarray) -> float:
    """`E_q[f] - K sqrt(E_b[(q/b)^2])`."""
    kept = base > 0
    return float(q @ scores - penalty * np.sqrt((q[kept] ** 2 / base[kept]).sum()))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(root_scalar(function, bracket=(low, high), method="brentq", xtol=1e-300, rtol=1e-15).root)  # pyright: ignore[reportArgumentType]
