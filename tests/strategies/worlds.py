"""Hypothesis strategies: worlds, and what is in them; arrays are numpy's, none needs torch."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from recenv.dynamics.pieces.satiation import SatiationConfig
from recenv.dynamics.pieces.satisfaction import SatisfactionConfig
from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from recenv.dynamics.user_models.interest_evolution import InterestEvolutionConfig
from recenv.dynamics.user_models.multi_behavior import MultiBehaviorConfig
from recenv.families import CHOICE_MODELS, USER_MODELS
from recenv.session_config import SECTION_PIECES, SessionConfig
from recenv.testing.ranges import Range
from recenv.testing.worlds import EVERY_PIECE, SMALL_WORLD

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


# Every numeric option of a session of the default user model by its flat name; that of a piece which is off switches it
# on.
SESSION_OPTIONS = {
    "world_seed": Range(0, 2**63 - 1, integer=True),
    "slate_size": Range(1, 1024, integer=True),
    "max_steps": Range(1, 2**31 - 1, integer=True),
    "history_length": Range(1, 4096, integer=True),
    "profile_noise": Range(0.0, 10.0),
    "num_items": Range(1, 2**31 - 1, integer=True),
    "embedding_dim": Range(2, 4096, integer=True),
    "num_topics": Range(1, 65_535, integer=True),
    "topic_spread": Range(0.0, 1e6),
    "quality_mean": Range(-3.3, 3.3),
    "quality_scale": Range(0.0, 1e6),
    "quality_noise": Range(0.0, 1e6),
    "clickbait": Range(0.0, 1.0),
    "length_mean": Range(1e-3, 1e6),
    "length_spread": Range(0.0, 10.0),
    "zipf_exponent": Range(0.0, 1e6),
    "max_age": Range(0.0, 1e6),
    "interest_scale": Range(0.0, 1.0),
    "affinity_weight": Range(-1e3, 1e3),
    "appeal_weight": Range(-1e3, 1e3),
    "satiation_weight": Range(-1e3, 1e3),
    "satiation_retention": Range(0.0, 1.0, high_open=True),
    "interest_step": Range(0.0, 1.0),
    "budget": Range(0.0, 1e6, low_open=True),
    "match_quality": Range(-1e3, 1e3),
    "quality_return": Range(0.0, 10.0),
    "no_click_cost": Range(0.0, 1e6),
    "like_bias": Range(-1e3, 1e3),
    "like_quality": Range(-1e3, 1e3),
    "click_reward": Range(-1e6, 1e6),
    "minute_reward": Range(-1e6, 1e6),
    "like_reward": Range(-1e6, 1e6),
    "no_click_utility": Range(-1e6, 1e6),
    "position_decay": Range(0.0, 1.0, low_open=True),
    "satisfaction_sensitivity": Range(0.0, 1e3),
    "satisfaction_memory": Range(0.0, 1.0),
    "satisfaction_gain": Range(-1e3, 1e3),
    "satisfaction_noise": Range(0.0, 1e3),
    "satisfaction_weight": Range(-1e3, 1e3),
    "hazard": Range(0.0, 1.0, low_open=True, high_open=True),
    "hazard_relief": Range(-1e3, 1e3),
    "return_rate": Range(0.0, 1.0, low_open=True, high_open=True),
    "return_lift": Range(-1e3, 1e3),
    "max_absence": Range(1, 10_000, integer=True),
    "max_sessions": Range(1, 10_000, integer=True),
    "return_reward": Range(-1e6, 1e6),
    "absence_reward": Range(-1e6, 1e6),
    "horizon": Range(0.0, 1e6, low_open=True),
    "freshness_weight": Range(-1e3, 1e3),
    "freshness_days": Range(0.0, 1e6, low_open=True),
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


def small_worlds() -> dict[str, SessionConfig]:
    """Return each user model's own default world made small, one with every piece, and one of items that appear."""
    worlds = {name: SessionConfig().override(user_model=name, **SMALL_WORLD) for name in USER_MODELS.registered()}
    worlds["every piece"] = SessionConfig().override(**SMALL_WORLD, **EVERY_PIECE)
    worlds["items that appear"] = SessionConfig().override(
        **SMALL_WORLD, satisfaction=True, freshness={"horizon": 120.0}
    )
    return worlds


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
