"""Overrides: flat and nested options, names, pieces, and the worlds that user models bring."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import pytest

from recenv import CatalogConfig, InvalidInput, SessionConfig
from recenv.dynamics.choice_models.exponential_cascade import ExponentialCascade
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.dynamics.choice_models.position_based import PositionBased
from recenv.dynamics.pieces.leave_hazard import LeaveHazardConfig
from recenv.dynamics.pieces.satiation import SatiationConfig
from recenv.dynamics.pieces.satisfaction import SatisfactionConfig
from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
from recenv.families import PIECES, USER_MODELS
from recenv.session_config import SECTION_PIECES
from tests.recenv.config_cases import home_of, nested, value_of
from tests.strategies.worlds import SESSION_OPTIONS

# --- override


@dataclass(frozen=True)
class BarrenConfig:
    """Of a user model with a world of its own."""

    name: ClassVar[str] = "barren"
    depth: int = 3


class Barren(InterestEvolution):
    """A user model that brings a choice model and two pieces, and needs one of them."""

    Config = BarrenConfig
    defaults: ClassVar[dict[str, Any]] = {
        "choice": PositionBased(relevance_slope=3.0),
        "satisfaction": SatisfactionConfig(satisfaction_gain=0.7),
        "leave_hazard": LeaveHazardConfig(0.2),
        "profile_noise": 1.0,
    }
    requires = ("satisfaction",)


@pytest.fixture
def barren(monkeypatch) -> str:
    USER_MODELS.registered()
    monkeypatch.setitem(USER_MODELS._parts, "barren", Barren)
    return "barren"


@pytest.mark.parametrize("option", SESSION_OPTIONS)
def test_each_option_is_overridden_flat_and_nested(option: str):
    value = {"integer": 11, "real": 0.625}["integer" if SESSION_OPTIONS[option].integer else "real"]
    default = SessionConfig()
    assert value_of(default, option) != value
    flat = default.override(**{option: value}, **({"slate_size": 4} if option == "num_items" else {}))
    assert value_of(flat, option) == value
    others = set(SESSION_OPTIONS) - {option, "slate_size"}
    expected = {name: value_of(default, name) for name in others}
    home = home_of(option)
    if home in SECTION_PIECES and value_of(default, option) is None:
        # The piece was off, and is on now with its other defaults.
        expected |= {name: held for name, held in vars(PIECES.get(home).Config()).items() if name != option}
    assert {name: value_of(flat, name) for name in others} == expected
    if option != "num_items":
        assert SessionConfig.from_dict(nested(option, value)) == flat
    assert value_of(default, option) != value


def test_sections_are_given_as_name_dict_or_object():
    base = SessionConfig().override(interest_step=0.5, no_click_utility=1.0)
    assert base.override(user_model="interest_evolution") == base
    assert base.override(user_model={"interest_step": 0.25}).user_model == InterestEvolutionConfig(interest_step=0.25)
    assert base.override(user_model={"match_quality": 1.0}).user_model.interest_step == 0.5
    assert base.override(user_model=InterestEvolutionConfig(like_bias=0.0)).user_model.interest_step == 0.3
    assert base.override(choice="multinomial_logit", catalog={"num_items": 50}).choice == MultinomialLogit(1.0)
    assert base.override(catalog=CatalogConfig(num_items=50)).catalog == CatalogConfig(num_items=50)


def test_a_flat_option_goes_on_top_of_its_section():
    config = SessionConfig().override(
        interest_step=0.75,
        user_model={"interest_step": 0.5, "like_bias": 0.0},
        num_items=12,
        budget=3.0,
        time_budget={"budget": 5.0, "no_click_cost": 1.0},
    )
    assert config.user_model == InterestEvolutionConfig(interest_step=0.75, like_bias=0.0)
    assert config.catalog.num_items == 12
    assert config.time_budget == TimeBudgetConfig(budget=3.0, no_click_cost=1.0)


def test_a_piece_is_given_as_true_none_dict_object_or_flat():
    base = SessionConfig()
    assert (base.satiation, base.time_budget, base.satisfaction) == (SatiationConfig(), TimeBudgetConfig(), None)
    for off in (None, False):
        assert base.override(satiation=off).satiation is None
    on = base.override(satisfaction=True)
    assert on.satisfaction == SatisfactionConfig()
    assert base.override(satisfaction={}) == on
    assert base.override(satisfaction=SatisfactionConfig()) == on
    assert base.override(satisfaction={"satisfaction_gain": 0.5}) == base.override(satisfaction_gain=0.5)
    assert base.override(satisfaction_gain=0.5).satisfaction == SatisfactionConfig(satisfaction_gain=0.5)
    # What is on already keeps its other fields; True changes nothing in it, a config object everything.
    tuned = base.override(budget=9.0)
    assert tuned.override(time_budget=True) == tuned
    assert tuned.override(time_budget={"no_click_cost": 2.0}).time_budget == TimeBudgetConfig(9.0, no_click_cost=2.0)
    assert tuned.override(no_click_cost=2.0).time_budget == TimeBudgetConfig(9.0, no_click_cost=2.0)
    assert tuned.override(time_budget=TimeBudgetConfig(no_click_cost=2.0)).time_budget == TimeBudgetConfig(
        no_click_cost=2.0
    )
    with pytest.raises(
        InvalidInput, match=r"^time_budget=None switches off the piece of budget; leave one of them out"
    ):
        tuned.override(time_budget=None, budget=3.0)


def test_another_choice_model_takes_its_own_flat_fields():
    config = SessionConfig().override(choice="exponential_cascade", attention=0.5)
    assert config.choice == ExponentialCascade(attention=0.5)
    assert config.override(choice={"name": "position_based", "position_decay": 0.5}).choice == PositionBased(
        position_decay=0.5
    )
    with pytest.raises(InvalidInput, match=r"^unknown session option 'no_click_utility'"):
        config.override(no_click_utility=1.0)


def test_another_user_model_brings_its_own_world(barren: str):
    base = SessionConfig().override(slate_size=4, budget=9.0, no_click_utility=0.0, num_items=50)
    config = base.override(user_model=barren)
    assert config.user_model == BarrenConfig()
    assert config.choice == PositionBased(relevance_slope=3.0)
    on = {section: getattr(config, section) for section in SECTION_PIECES if getattr(config, section) is not None}
    assert on == {"satisfaction": SatisfactionConfig(satisfaction_gain=0.7), "leave_hazard": LeaveHazardConfig(0.2)}
    # What does not belong to a model stays as it was.
    assert (config.slate_size, config.catalog.num_items, config.profile_noise) == (4, 50, 1.0)
    for value in ({"name": barren}, BarrenConfig()):
        assert base.override(user_model=value) == config
    # The same model again brings nothing.
    assert config.override(hazard=0.5, user_model=barren).leave_hazard == LeaveHazardConfig(0.5)


def test_other_changes_alter_the_world_that_a_user_model_brings(barren: str):
    config = SessionConfig().override(
        hazard=0.5, user_model=barren, satiation=True, position_decay=0.5, satisfaction={"satisfaction_memory": 0.0}
    )
    assert config.leave_hazard == LeaveHazardConfig(0.5)
    assert config.satiation == SatiationConfig()
    assert config.choice == PositionBased(relevance_slope=3.0, position_decay=0.5)
    assert config.satisfaction == SatisfactionConfig(satisfaction_gain=0.7, satisfaction_memory=0.0)
    assert config.override(leave_hazard=None).leave_hazard is None
    assert SessionConfig.from_dict(
        {"user_model": {"name": barren, "depth": 7}, "choice": "multinomial_logit"}
    ).choice == (MultinomialLogit())
    assert SessionConfig.from_json(config.to_json()) == config


def test_a_user_model_that_leaves_takes_its_world_with_it(barren: str):
    base = SessionConfig().override(slate_size=4)
    assert base.override(user_model=barren).override(user_model="interest_evolution") == base


@pytest.mark.parametrize("off", [{"satisfaction": None}, {"satisfaction": False}])
def test_a_piece_that_the_user_model_needs_stays_on(barren: str, off: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(user_model=barren, **off)
    assert str(caught.value) == (
        f"satisfaction=None, and user_model '{USER_MODELS.name_of(Barren)}' needs that piece; pass satisfaction=True"
    )
    with pytest.raises(InvalidInput, match="needs that piece"):
        SessionConfig(user_model=BarrenConfig())


@pytest.mark.parametrize("value", [10, 11, 1000, None])
def test_number_of_candidates_lies_between_the_slate_and_the_catalogue(value: int | None):
    assert SessionConfig().override(num_candidates=value).num_candidates == value


@pytest.mark.parametrize("value", [9, 1001, 0, -1, 10.0, "10", True])
def test_other_numbers_of_candidates_are_refused(value: Any):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(num_candidates=value)
    message = str(caught.value)
    assert message.startswith(f"num_candidates={value!r} is ")
    assert message.endswith("; set num_candidates to an integer in [10, 1000]")


def test_override_leaves_the_original_as_it_was_and_frozen():
    config = SessionConfig()
    assert config.override() == config
    config.override(slate_size=3, budget=1.0)
    assert config == SessionConfig()
    with pytest.raises(FrozenInstanceError):
        config.slate_size = 3  # type: ignore[misc]


def test_another_user_model_keeps_what_it_does_not_bring():
    # Interest exploration brings two fields of the catalogue; the caller's others stay, on the way in and out.
    base = SessionConfig().override(num_items=3000, num_candidates=2000, slate_size=4)
    there = base.override(user_model="interest_exploration")
    assert (there.catalog.num_items, there.num_candidates, there.slate_size) == (3000, 2000, 4)
    assert (there.catalog.embedding_dim, there.profile_noise) == (32, 10.0)
    assert there.override(user_model="interest_evolution") == base
    # A dict alters the choice model that the user model brings, not the one before it.
    assert base.override(user_model="interest_exploration", choice={"position_decay": 0.5}).choice == MultinomialLogit(
        5.5, 0.5
    )
    # Whole numbers give the same JSON.
    weights = [1] * 19
    assert there.override(type_weights=weights).world_hash() == there.world_hash()
