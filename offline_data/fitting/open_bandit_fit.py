"""A position-based click model of the Open Bandit Dataset: P(click) = decay^position sigmoid(mean + item's effect).

Both policies' logs are read together: given item and position, a click does not depend on who chose to show it. Clicks
are rare (42 in 10,000 rows), most items have none or one, and an effect fitted freely would be minus infinity.
Effects are therefore N(0, spread^2): they are the posterior mode, and the spread maximises the marginal likelihood in
Laplace's approximation (an empirical Bayes estimate); intervals are those of the same approximation.

Source: the position-based model is Richardson et al. 2007; the data, see `offline_data.interop.readers.open_bandit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar

from offline_data.fitting.held_out import HeldOut
from offline_data.fitting.maximum_likelihood import Evaluation, Optimum, ParameterEstimate, maximize
from offline_data.interop.readers.open_bandit import NUM_POSITIONS, POLICIES, read_open_bandit
from recenv.errors import require, require_range
from recenv.items.catalog import Catalog
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.statistics import Interval, reliability, wilson

NOTES: Final[tuple[str, ...]] = (
    "the config is partial: it has the log's slate and click model, and needs `items`, whose appeal is the fitted "
    "effect and whose embedding is one-hot; the log knows no sessions, so that one lasts a step and nothing moves",
    "user features, time, and what else a slot showed are left out: rows of the log count as independent",
)
_SPREADS: Final = (1e-2, 3.0)


@dataclass(frozen=True)
class OpenBanditFit:
    """A fitted click model of a campaign."""

    config: SessionConfig
    """One step, three positions, position-based clicks on the appeal of its own items, which are their effects."""
    estimates: dict[str, ParameterEstimate]
    """`position_decay`, `relevance_midpoint` (minus the mean) and `effect_spread`, which has no interval."""
    effects: tuple[ParameterEstimate, ...]
    """Of each item, with intervals."""
    positions: tuple[dict[str, float], ...]
    """Shown and clicked rows of each position, the rate's 95 % interval (Wilson)."""
    num_rows: int
    """Rows that were fitted."""
    held_out: HeldOut
    """How it predicts the others; each counts as a session of one step."""

    @property
    def items(self) -> Catalog:
        """The config's own items."""
        assert self.config.items is not None
        return self.config.items

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values; of the items their SHA-256, `recsession fit` writes them beside."""
        spread, notes = self.estimates["effect_spread"].value, [str(note) for note in NOTES]
        if spread < 1.1 * _SPREADS[0]:
            notes.append(f"effect_spread={spread:.3f} is the least that is tried: the clicks do not tell items apart")
        return {
            "format": "recsession-user-model",
            "config": self.config.to_dict(),
            "estimates": {name: estimate.as_dict() for name, estimate in self.estimates.items()},
            "effects": [estimate.as_dict() for estimate in self.effects],
            "positions": list(self.positions),
            "held_out": self.held_out.as_dict(),
            "notes": notes,
            "training": {"choice": "position_based", "num_steps": self.num_rows},
        }


def fit_open_bandit(path: str | Path, campaign: str, *, holdout_fraction: float = 0.2, seed: int = 0) -> OpenBanditFit:
    """Return the click model of a campaign's two logs.

    Args:
        path: the folder that holds `random/` and `bts/`.
        campaign: "all", "men" or "women".
        holdout_fraction: share of the rows that judge the fit, in (0, 1).
        seed: of that split.

    Raises:
        InvalidInput: as `read_open_bandit` does, for a value out of range, or if all fitted rows or none have a click.
    """
    require_range("holdout_fraction", holdout_fraction, 0.0, 1.0, low_open=True, high_open=True)
    require_range("seed", seed, 0, 2**63 - 1, integer=True)
    logs = [read_open_bandit(path, policy, campaign) for policy in POLICIES]
    item, position, click = (
        np.concatenate([getattr(log, name) for log in logs]) for name in ("item_id", "position", "click")
    )
    num_items = max(log.num_items for log in logs)
    drawn = derive_seeds(seed, "fit holdout", np.arange(len(click))) < np.uint64(holdout_fraction * 2.0**63)
    clicks, rows = int(click[~drawn].sum()), int(np.sum(~drawn))
    require(
        0 < clicks < rows < len(click),
        f"holdout_fraction={holdout_fraction} leaves {clicks} clicks in {rows} of {len(click)} rows to fit; change it",
    )
    shown, clicked = np.zeros((num_items, NUM_POSITIONS)), np.zeros((num_items, NUM_POSITIONS))
    np.add.at(shown, (item[~drawn], position[~drawn]), 1.0)
    np.add.at(clicked, (item[~drawn], position[~drawn]), click[~drawn])
    spread = _spread(shown, clicked)
    optimum = fit_effects(shown, clicked, spread)
    errors = np.sqrt(np.diag(np.linalg.inv(-optimum.evaluation.hessian)))
    mean, log_decay, effects = optimum.parameters[0], optimum.parameters[1], optimum.parameters[2:]
    estimates = {
        "position_decay": ParameterEstimate.wald(log_decay, errors[1]).clipped(-math.inf, 0.0).map(math.exp),
        "relevance_midpoint": ParameterEstimate.wald(mean, errors[0]).scaled(-1.0),
        "effect_spread": ParameterEstimate(spread),
    }
    chance = np.exp(log_decay * position[drawn]) / (1.0 + np.exp(-mean - effects[item[drawn]]))
    fitted, constant = _log_chance(chance, click[drawn]), _log_chance(np.full(len(chance), clicks / rows), click[drawn])
    return OpenBanditFit(
        config=_config(Catalog.from_arrays(np.eye(num_items), appeal=effects), estimates),
        estimates=estimates,
        effects=tuple(ParameterEstimate.wald(*pair) for pair in zip(effects, errors[2:], strict=True)),
        positions=tuple(_rate(k, shown[:, k].sum(), clicked[:, k].sum()) for k in range(NUM_POSITIONS)),
        num_rows=rows,
        held_out=HeldOut(
            num_sessions=len(chance),
            num_steps=len(chance),
            log_likelihood=float(fitted.mean()),
            baseline=float(constant.mean()),
            gain=Interval.of(fitted - constant),
            reliability=reliability(chance, click[drawn]),
        ),
    )


def fit_effects(shown: np.ndarray, clicked: np.ndarray, spread: float) -> Optimum:
    """Return the posterior mode of (mean, log decay, effect of each item), for effects of N(0, spread^2).

    Args:
        shown: [M, 3] rows of each item and position.
        clicked: [M, 3] those with a click.
        spread: standard deviation of the effects, above zero.
    """
    num_items, positions = shown.shape
    place = np.arange(positions, dtype=np.float64)
    missed = shown - clicked

    def evaluate(point: np.ndarray) -> Evaluation:
        mean, log_decay, effects = point[0], point[1], point[2:]
        level = (mean + effects)[:, None]
        # log(1 / (1 + exp(-x))), whose exponential would overflow for a far x.
        log_chance = place * log_decay - np.logaddexp(0.0, -level)
        chance = np.exp(log_chance)
        odds, relevance = chance / (1.0 - chance), np.exp(-np.logaddexp(0.0, -level))
        slope, curve = 1.0 - relevance, -relevance * (1.0 - relevance)
        value = np.sum(clicked * log_chance + missed * np.log1p(-chance)) - 0.5 * np.sum(effects**2) / spread**2
        surplus, sharp = clicked - missed * odds, missed * odds * (1.0 + odds)
        by_item = np.sum(surplus * slope, axis=1)
        gradient = np.concatenate([[by_item.sum(), np.sum(surplus * place)], by_item - effects / spread**2])
        bend = np.sum(surplus * curve - sharp * slope**2, axis=1)
        twist = -np.sum(sharp * slope * place, axis=1)
        hessian = np.zeros((2 + num_items, 2 + num_items))
        hessian[0, 0], hessian[1, 1] = bend.sum(), -np.sum(sharp * place**2)
        hessian[0, 1] = hessian[1, 0] = twist.sum()
        hessian[0, 2:] = hessian[2:, 0] = bend
        hessian[1, 2:] = hessian[2:, 1] = twist
        hessian[2:, 2:] = np.diag(bend - 1.0 / spread**2)
        return Evaluation(float(value), gradient, hessian, np.zeros_like(hessian))

    start = np.zeros(2 + num_items)
    share = clicked.sum() / shown.sum()
    start[0], start[1] = math.log(share / (1.0 - share)), -0.05
    low, high = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    low[1], high[1] = math.log(1e-6), 0.0
    return maximize(evaluate, start, np.ones(len(start), np.bool_), low, high)


def _spread(shown: np.ndarray, clicked: np.ndarray) -> float:
    """Return the spread of the largest marginal likelihood, in Laplace's approximation over the effects."""

    def lost(log_spread: float) -> float:
        evaluation = fit_effects(shown, clicked, math.exp(log_spread)).evaluation
        _, volume = np.linalg.slogdet(-evaluation.hessian[2:, 2:])
        return float(0.5 * volume + len(shown) * log_spread - evaluation.value)

    low, high = (math.log(end) for end in _SPREADS)
    return math.exp(float(minimize_scalar(lost, bounds=(low, high), method="bounded").x))  # type: ignore[attr-defined]


def _config(items: Catalog, estimates: dict[str, ParameterEstimate]) -> SessionConfig:
    return SessionConfig().override(
        slate_size=NUM_POSITIONS,
        max_steps=1,
        items=items,
        profile_noise=0.0,
        satiation=None,
        time_budget=None,
        user_model={"affinity_weight": 0.0, "appeal_weight": 1.0, "interest_step": 0.0},
        choice={
            "name": "position_based",
            "relevance_slope": 1.0,
            "relevance_midpoint": estimates["relevance_midpoint"].value,
            "position_decay": estimates["position_decay"].value,
        },
    )


def _log_chance(chance: np.ndarray, click: np.ndarray) -> np.ndarray:
    return np.where(click > 0, np.log(chance), np.log1p(-chance))


def _rate(position: int, shown: float, clicked: float) -> dict[str, float]:
    low, high = wilson(clicked, shown) if shown else (0.0, 1.0)
    return {"position": position, "shown": shown, "clicked": clicked, "low": low, "high": high}
