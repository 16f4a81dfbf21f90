"""Hypothesis strategies: worlds, and what is in them; arrays are numpy's, none needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recenv.catalog import Catalog
from recenv.dynamics.pieces.satiation import SatiationConfig
from recenv.dynamics.pieces.satisfaction import SatisfactionConfig
from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from recenv.dynamics.user_models.interest_evolution import InterestEvolutionConfig
from recenv.dynamics.user_models.multi_behavior import MultiBehaviorConfig
from recenv.families import CHOICE_MODELS, USER_MODELS
from recenv.session_config import SECTION_PIECES, SessionConfig

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
    switches = st.dictionaries(st.sampled_from(SECTION_PIECES), st.booleans())
    config = SessionConfig().override(choice=draw(st.sampled_from(CHOICE_MODELS.registered())), **draw(switches))
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


def column(size: int, low: float, high: float) -> st.SearchStrategy[list[float]]:
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
        quality=np.array(draw(column(count, -3.0, 3.0))),
        appeal=np.array(draw(column(count, -3.0, 3.0))),
        length=np.array(draw(column(count, 0.5, 20.0))),
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
def satiations(draw: st.DrawFn) -> SatiationConfig:
    """Draw parameters of satiation of a size that float32 answers can be compared at."""
    return SatiationConfig(draw(st.floats(-4.0, 4.0)), draw(st.floats(0.0, 0.99)))


@st.composite
def time_budgets(draw: st.DrawFn) -> TimeBudgetConfig:
    """Draw parameters of the time budget of a size that float32 answers can be compared at."""
    return TimeBudgetConfig(draw(st.floats(0.5, 300.0)), draw(st.floats(0.0, 2.0)), draw(st.floats(0.0, 5.0)))


@st.composite
def satisfactions(draw: st.DrawFn) -> SatisfactionConfig:
    """Draw parameters of satisfaction of a size that float32 answers can be compared at; its noise is often off."""
    return SatisfactionConfig(
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
