"""Hypothesis strategies shared by the tests; arrays are numpy's, so that no test here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recenv.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.user_models.interest_evolution import InterestEvolutionConfig

MAX_SCORES = 12


@st.composite
def scores(draw: st.DrawFn, min_size: int = 1) -> np.ndarray:
    """Draw `[N]` float64 scores, exact in float32, from few enough values that ties and atoms are common."""
    values = draw(st.lists(st.integers(-40, 40).map(lambda i: i / 4), min_size=1, max_size=MAX_SCORES, unique=True))
    drawn = draw(st.lists(st.sampled_from(values), min_size=min_size, max_size=MAX_SCORES))
    return np.array(drawn, dtype=np.float64)


@st.composite
def base_weights(draw: st.DrawFn, size: int) -> np.ndarray:
    """Draw `[size]` float64 weights of any positive sum: zeros, equal ones and very unequal ones."""
    weight = st.one_of(st.just(0.0), st.sampled_from([1.0, 3.0]), st.floats(1e-3, 1e3))
    weights = draw(st.lists(weight, min_size=size, max_size=size))
    weights[draw(st.integers(0, size - 1))] = draw(st.floats(1e-3, 1e3))
    return np.array(weights, dtype=np.float64)


def kappas(size: int) -> st.SearchStrategy[float]:
    """Draw a retained mass in (0, 1]: one, a whole number of `size` equal scores, or anything."""
    return st.one_of(st.just(1.0), st.integers(1, size).map(lambda kept: kept / size), st.floats(1e-3, 1.0))


@st.composite
def filter_problems(draw: st.DrawFn, weighted: bool | None = None) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Draw scores, kappa and base weights (None, for uniform ones, unless `weighted` says otherwise)."""
    drawn = draw(scores())
    with_weights = draw(st.booleans()) if weighted is None else weighted
    weights = draw(base_weights(len(drawn))) if with_weights else None
    return drawn, draw(kappas(len(drawn))), weights


@st.composite
def slate_problems(draw: st.DrawFn, spread: float = 4.0, max_items: int = 5) -> tuple[np.ndarray, int]:
    """Draw `[N]` float64 item scores in [-spread, spread], ties among them, and a slate size in [1, N]."""
    value = st.one_of(st.sampled_from([-spread, 0.0, spread]), st.floats(-spread, spread, allow_subnormal=False))
    table = draw(st.lists(value, min_size=1, max_size=max_items))
    return np.array(table, dtype=np.float64), draw(st.integers(1, len(table)))


# --- worlds


@dataclass(frozen=True)
class Interval:
    """Allowed values of an option: ends, which of them are excluded, and whether only whole numbers are allowed."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False
    integer: bool = False

    def inside(self) -> st.SearchStrategy[Any]:
        """Draw an allowed value; an option that takes any number may be given a whole one."""
        if self.integer:
            return st.integers(int(self.low), int(self.high))
        numbers = st.floats(self.low, self.high, exclude_min=self.low_open, exclude_max=self.high_open)
        whole = st.integers(int(self.low) + 1, int(self.high) - 1) if self.high - self.low >= 2 else st.nothing()
        return numbers | whole

    def outside(self) -> list[Any]:
        """Return values that are not allowed, of each kind."""
        if self.integer:
            return [int(self.low) - 1, int(self.high) + 1, float(self.low), "1", None, True]
        below = self.low if self.low_open else float(np.nextafter(self.low, -np.inf))
        above = self.high if self.high_open else float(np.nextafter(self.high, np.inf))
        return [below, above, float("nan"), float("inf"), "1", None, True]


# Every numeric option of a session by its flat name.
SESSION_OPTIONS = {
    "world_seed": Interval(0, 2**63 - 1, integer=True),
    "slate_size": Interval(1, 1024, integer=True),
    "max_steps": Interval(1, 2**31 - 1, integer=True),
    "history_length": Interval(1, 4096, integer=True),
    "profile_noise": Interval(0.0, 10.0),
    "num_items": Interval(1, 2**31 - 1, integer=True),
    "embedding_dim": Interval(2, 4096, integer=True),
    "num_topics": Interval(1, 65_535, integer=True),
    "topic_spread": Interval(0.0, 1e6),
    "quality_mean": Interval(-3.3, 3.3),
    "quality_scale": Interval(0.0, 1e6),
    "quality_noise": Interval(0.0, 1e6),
    "clickbait": Interval(0.0, 1.0),
    "length_mean": Interval(1e-3, 1e6),
    "length_spread": Interval(0.0, 10.0),
    "zipf_exponent": Interval(0.0, 1e6),
    "max_age": Interval(0.0, 1e6),
    "interest_scale": Interval(0.0, 1.0),
    "affinity_weight": Interval(-1e3, 1e3),
    "appeal_weight": Interval(-1e3, 1e3),
    "satiation_weight": Interval(-1e3, 1e3),
    "satiation_retention": Interval(0.0, 1.0, high_open=True),
    "interest_step": Interval(0.0, 1.0),
    "budget": Interval(0.0, 1e6, low_open=True),
    "match_quality": Interval(-1e3, 1e3),
    "quality_return": Interval(0.0, 10.0),
    "no_click_cost": Interval(0.0, 1e6),
    "like_bias": Interval(-1e3, 1e3),
    "like_quality": Interval(-1e3, 1e3),
    "click_reward": Interval(-1e6, 1e6),
    "minute_reward": Interval(-1e6, 1e6),
    "like_reward": Interval(-1e6, 1e6),
    "no_click_utility": Interval(-1e6, 1e6),
}


@st.composite
def session_configs(draw: st.DrawFn) -> SessionConfig:
    """Draw any valid session config; its world may be too large to make."""
    names = draw(st.lists(st.sampled_from(sorted(SESSION_OPTIONS)), unique=True, max_size=8))
    options = {name: draw(SESSION_OPTIONS[name].inside()) for name in names}
    items = options.setdefault("num_items", 1000)
    options["slate_size"] = min(options.get("slate_size", 10), items)
    return SessionConfig().override(**options, expose_user_state=draw(st.booleans()))


def _column(size: int, low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high, width=32), min_size=size, max_size=size)


@st.composite
def catalogs(draw: st.DrawFn, one_hot: bool = False) -> Catalog:
    """Draw a few items of the caller's own, in 2 to 7 dimensions; `one_hot` ones have a topic for an embedding."""
    dim, count = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    if one_hot:
        embeddings = np.eye(dim)[draw(st.lists(st.integers(0, dim - 1), min_size=count, max_size=count))]
    else:
        rows = st.lists(st.integers(-4, 4), min_size=dim, max_size=dim).filter(any)
        embeddings = np.array(draw(st.lists(rows, min_size=count, max_size=count)), np.float64)
    return Catalog.from_arrays(
        embeddings,
        quality=np.array(draw(_column(count, -3.0, 3.0))),
        appeal=np.array(draw(_column(count, -3.0, 3.0))),
        length=np.array(draw(_column(count, 0.5, 20.0))),
    )


@st.composite
def interest_configs(draw: st.DrawFn) -> InterestEvolutionConfig:
    """Draw parameters of the interest evolution model of a size that float32 answers can be compared at."""
    names = {
        "affinity_weight": st.floats(-4.0, 4.0),
        "appeal_weight": st.floats(-4.0, 4.0),
        "satiation_weight": st.floats(-4.0, 4.0),
        "satiation_retention": st.floats(0.0, 0.99),
        "interest_step": st.floats(0.0, 1.0),
        "match_quality": st.floats(-4.0, 4.0),
        "quality_return": st.floats(0.0, 2.0),
        "no_click_cost": st.floats(0.0, 5.0),
        "like_bias": st.floats(-4.0, 4.0),
        "like_quality": st.floats(-4.0, 4.0),
    }
    return InterestEvolutionConfig(**{name: draw(values) for name, values in names.items()})


# --- logs


@st.composite
def logged_values(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rewards [N] and values of the following observations [N], float64, and the sessions' offsets [S + 1]."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rows = sum(lengths)
    reward, value = (np.array(draw(_column(rows, -10.0, 10.0)), np.float64) for _ in range(2))
    return reward, value, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
