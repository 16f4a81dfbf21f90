"""Hypothesis strategies shared by the tests; arrays are numpy's, so that no test here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from recenv.catalog import Catalog
from recenv.choice_models import CHOICE_MODELS
from recenv.pieces import PIECES, Satiation, Satisfaction, TimeBudget
from recenv.session_config import SessionConfig
from recenv.user_models import USER_MODELS
from recenv.user_models.interest_evolution import InterestEvolutionConfig
from recenv.user_models.multi_behavior import MultiBehaviorConfig

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

# A dimension that is no multiple of four, users who leave before time is up and users who do not.
SMALL: dict[str, Any] = {
    "num_items": 40,
    "embedding_dim": 6,
    "num_topics": 5,
    "slate_size": 4,
    "max_steps": 9,
    "history_length": 3,
    "budget": 14.0,
    "no_click_utility": 0.5,
}


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


# Every numeric option of a session of the default user model by its flat name; that of a piece which is off switches it
# on.
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
    "position_decay": Interval(0.0, 1.0, low_open=True),
    "satisfaction_sensitivity": Interval(0.0, 1e3),
    "satisfaction_memory": Interval(0.0, 1.0),
    "satisfaction_gain": Interval(-1e3, 1e3),
    "satisfaction_noise": Interval(0.0, 1e3),
    "satisfaction_weight": Interval(-1e3, 1e3),
    "hazard": Interval(0.0, 1.0, low_open=True, high_open=True),
    "hazard_relief": Interval(-1e3, 1e3),
    "return_rate": Interval(0.0, 1.0, low_open=True, high_open=True),
    "return_lift": Interval(-1e3, 1e3),
    "max_absence": Interval(1, 10_000, integer=True),
    "max_sessions": Interval(1, 10_000, integer=True),
    "return_reward": Interval(-1e6, 1e6),
    "absence_reward": Interval(-1e6, 1e6),
    "horizon": Interval(0.0, 1e6, low_open=True),
    "freshness_weight": Interval(-1e3, 1e3),
    "freshness_days": Interval(0.0, 1e6, low_open=True),
}


@st.composite
def session_configs(draw: st.DrawFn) -> SessionConfig:
    """Draw any valid session config, of any choice model and pieces; its world may be too large to make."""
    switches = st.dictionaries(st.sampled_from(sorted(PIECES)), st.booleans())
    config = SessionConfig().override(choice=draw(st.sampled_from(sorted(CHOICE_MODELS))), **draw(switches))
    choice = set(vars(config.choice))
    known = sorted(set(SESSION_OPTIONS) - {"no_click_utility"} | (choice & {"no_click_utility"}))
    names = draw(st.lists(st.sampled_from(known), unique=True, max_size=8))
    options = {name: draw(SESSION_OPTIONS[name].inside()) for name in names}
    items = options.setdefault("num_items", 1000)
    options["slate_size"] = min(options.get("slate_size", 10), items)
    options["num_candidates"] = draw(st.none() | st.integers(options["slate_size"], items))
    return config.override(**options, expose_user_state=draw(st.booleans()))


EVERY_PIECE: dict[str, Any] = {
    "num_candidates": 48,
    "choice": {"name": "position_based", "relevance_midpoint": 1.0},
    "satiation": True,
    "time_budget": {"budget": 20.0},
    "satisfaction": {"satisfaction_noise": 0.3, "satisfaction_weight": 0.5},
    "leave_hazard": {"hazard": 0.1},
    "retention": {"max_sessions": 3, "return_reward": 1.0, "absence_reward": -0.1},
    # A third of the items is not there on the first day: fewer than the candidates are left.
    "freshness": {"horizon": 120.0},
}


def small_worlds() -> dict[str, SessionConfig]:
    """Return each user model's own default world made small, one with every piece, and one of items that appear."""
    small = {
        "num_items": 60,
        "embedding_dim": 6,
        "num_topics": 5,
        "slate_size": 4,
        "max_steps": 12,
        "history_length": 3,
    }
    worlds = {name: SessionConfig().override(user_model=name, **small) for name in USER_MODELS.registered()}
    worlds["every piece"] = SessionConfig().override(**small, **EVERY_PIECE)
    worlds["items that appear"] = SessionConfig().override(**small, satisfaction=True, freshness={"horizon": 120.0})
    return worlds


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
        "interest_step": st.floats(0.0, 1.0),
        "match_quality": st.floats(-4.0, 4.0),
        "like_bias": st.floats(-4.0, 4.0),
        "like_quality": st.floats(-4.0, 4.0),
    }
    return InterestEvolutionConfig(**{name: draw(values) for name, values in names.items()})


@st.composite
def satiations(draw: st.DrawFn) -> Satiation:
    """Draw parameters of satiation of a size that float32 answers can be compared at."""
    return Satiation(draw(st.floats(-4.0, 4.0)), draw(st.floats(0.0, 0.99)))


@st.composite
def time_budgets(draw: st.DrawFn) -> TimeBudget:
    """Draw parameters of the time budget of a size that float32 answers can be compared at."""
    return TimeBudget(draw(st.floats(0.5, 300.0)), draw(st.floats(0.0, 2.0)), draw(st.floats(0.0, 5.0)))


@st.composite
def satisfactions(draw: st.DrawFn) -> Satisfaction:
    """Draw parameters of satisfaction of a size that float32 answers can be compared at; its noise is often off."""
    return Satisfaction(
        satisfaction_sensitivity=draw(st.floats(0.0, 3.0)),
        satisfaction_memory=draw(st.just(1.0) | st.floats(0.0, 1.0)),
        satisfaction_gain=draw(st.floats(-2.0, 2.0)),
        satisfaction_noise=draw(st.just(0.0) | st.floats(0.0, 2.0)),
        satisfaction_weight=draw(st.floats(-4.0, 4.0)),
    )


@st.composite
def multi_behavior_configs(draw: st.DrawFn) -> MultiBehaviorConfig:
    """Draw parameters of the multi-behavior model of a size that float32 answers can be compared at."""
    names = {
        "interest_step": st.floats(0.0, 1.0),
        "match_quality": st.floats(-4.0, 4.0),
        "behavior_affinity": st.floats(-3.0, 3.0),
        "behavior_quality": st.floats(-2.0, 2.0),
        "scorer_spread": st.floats(0.0, 2.0),
        "long_view_bias": st.floats(-4.0, 4.0),
        "like_bias": st.floats(-4.0, 4.0),
        "forward_bias": st.floats(-4.0, 4.0),
        "hate_bias": st.floats(-4.0, 4.0),
        "glance_share": st.floats(0.0, 1.0),
        "temper_reference": st.floats(-1.0, 4.0),
        "temper_fall": st.floats(0.0, 4.0),
        "hate_weight": st.floats(-2.0, 6.0),
    }
    options = {name: draw(values) for name, values in names.items()}
    return MultiBehaviorConfig(**options, scorer_seed=draw(st.integers(0, 2**63 - 1)))


# --- logs


@st.composite
def logged_values(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rewards [N] and values of the following observations [N], float64, and the sessions' offsets [S + 1]."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rows = sum(lengths)
    reward, value = (np.array(draw(_column(rows, -10.0, 10.0)), np.float64) for _ in range(2))
    return reward, value, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@st.composite
def foreign_entries(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the entries of a foreign log with any of its columns, None where it has none; a step has one time."""
    count = draw(st.integers(1, 25))
    has = {name: draw(st.booleans()) for name in ("session", "step", "position", "time")}
    small = st.integers(0, 3)
    entries = []
    for index in range(count):
        entry: dict[str, Any] = {"index": index, "user": draw(small), "item": draw(small), "time": None}
        for name in ("session", "step", "position"):
            entry[name] = draw(small) if has[name] else None
        if has["time"]:
            entry["time"] = float(entry["step"]) if has["step"] else draw(st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0]))
        entries.append(entry)
    return entries


# --- semantic IDs


@dataclass(frozen=True)
class TokenProblem:
    """Coded items and what two or so users are offered of them.

    Attributes:
        codes: [N, L] int64, no two rows equal.
        level_sizes: L numbers of tokens.
        slate_size: K, at most as many as every user is offered.
        offered: [B, N] bool.
        offer: how the offer is given, a name or None; None offers everything.
    """

    codes: np.ndarray
    level_sizes: tuple[int, ...]
    slate_size: int
    offered: np.ndarray
    offer: Literal["candidates", "available"] | None

    def offer_array(self) -> np.ndarray | None:
        """Return the offer as an observation holds it, candidates shuffled and padded with -1."""
        if self.offer is None:
            return None
        if self.offer == "available":
            return self.offered.astype(np.int8)
        rows = [np.flatnonzero(row)[::-1].tolist() for row in self.offered]
        width = max(map(len, rows)) + 1
        return np.array([[-1] * (width - len(row)) + row for row in rows], np.int32)


@st.composite
def token_problems(draw: st.DrawFn, max_items: int = 5, max_slate: int = 3) -> TokenProblem:
    """Draw a small tree, a slate size and offers; levels of one token are common."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    every = np.indices(sizes).reshape(len(sizes), -1).T
    rows = draw(st.lists(st.integers(0, len(every) - 1), min_size=1, max_size=max_items, unique=True))
    codes, count = every[rows].astype(np.int64), len(rows)
    slate_size = draw(st.integers(1, min(count, max_slate)))
    offer: Any = draw(st.sampled_from([None, "candidates", "available"]))
    offered = np.ones((draw(st.integers(1, 2)), count), np.bool_)
    if offer is not None:
        for row in offered:
            hidden = draw(st.lists(st.integers(0, count - 1), max_size=count - slate_size, unique=True))
            row[hidden] = False
    return TokenProblem(codes, tuple(sizes), slate_size, offered, offer)


# --- histories


@dataclass(frozen=True)
class PaddedHistories:
    """Consumed items of B sessions that have had different numbers of events, padding in front.

    Attributes:
        items: [B, h] int32, -1 for padding.
        feedback: [B, h, F - 1] float32; where there is padding, anything.
        lengths: [B], events of each session.
    """

    items: np.ndarray
    feedback: np.ndarray
    lengths: tuple[int, ...]


@st.composite
def padded_histories(draw: st.DrawFn, num_items: int, num_channels: int, max_events: int) -> PaddedHistories:
    """Draw histories of up to `max_events` events, whose padding is longer than the longest of them needs, or not."""
    lengths = draw(st.lists(st.integers(0, max_events), min_size=1, max_size=4))
    width = max(lengths) + draw(st.integers(0, 3))
    garbage = draw(st.sampled_from([0.0, 99.0, -1e30, float("nan"), float("inf")]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = np.full((len(lengths), width), -1, np.int32)
    feedback = np.full((len(lengths), width, num_channels), garbage, np.float32)
    for row, length in enumerate(lengths):
        items[row, width - length :] = rng.integers(num_items, size=length)
        feedback[row, width - length :] = rng.random((length, num_channels))
    return PaddedHistories(items, feedback, tuple(lengths))
