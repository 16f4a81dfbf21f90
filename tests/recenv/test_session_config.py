"""Session configs: JSON round trip, overrides and pieces, every option's range, names, and the world's hash."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import Catalog, CatalogConfig, InvalidInput, SessionConfig
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
from tests.strategies.worlds import SESSION_OPTIONS, session_configs

# Every section, and what its fields are in the default world; of a piece that is off, in its class.
SECTIONS: dict[str, Any] = {
    **{section: type(getattr(SessionConfig(), section)) for section in ("catalog", "user_model", "choice")},
    **{name: PIECES.get(name).Config for name in SECTION_PIECES},
}


def home_of(option: str) -> str | None:
    """Return the section that has an option, None for the config itself."""
    homes = [section for section, kind in SECTIONS.items() if option in {f.name for f in fields(kind)}]
    assert len(homes) <= 1
    return homes[0] if homes else None


def value_of(config: SessionConfig, option: str) -> Any:
    """Return an option's value, None where its piece is off."""
    home = home_of(option)
    holder = config if home is None else getattr(config, home)
    return None if holder is None else getattr(holder, option)


def nested(option: str, value: Any) -> dict[str, Any]:
    """Return the change of one option as `from_dict` takes it, in the option's own section."""
    home = home_of(option)
    return {option: value} if home is None else {home: {option: value}}


def test_options_of_the_strategies_are_all_options():
    own = {f.name for f in fields(SessionConfig)} - {*SECTIONS, "pieces", "expose_user_state", "num_candidates"}
    in_sections = [f.name for kind in SECTIONS.values() for f in fields(kind)]
    assert sorted([*own, *in_sections]) == sorted(SESSION_OPTIONS)  # sorted lists: no flat name is ambiguous


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


# --- round trips


@given(session_configs())
def test_json_round_trip_gives_an_equal_config(config: SessionConfig):
    again = SessionConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert again.to_json() == config.to_json()
    assert again.world_hash() == config.world_hash()
    assert SessionConfig.from_dict(config.to_dict()) == config


@given(session_configs(), session_configs())
def test_worlds_have_equal_hashes_when_and_only_when_they_are_equal(first: SessionConfig, second: SessionConfig):
    shown = [config.override(expose_user_state=False) for config in (first, second)]
    assert (first.world_hash() == second.world_hash()) == (shown[0] == shown[1])


def test_json_is_canonical_plain_and_complete():
    text = SessionConfig().to_json()
    values = json.loads(text)
    assert text == json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert values["user_model"]["name"] == "interest_evolution"
    assert values["choice"]["name"] == "multinomial_logit"
    assert {section for section in SECTION_PIECES if values[section] is None} == {
        "satisfaction",
        "leave_hazard",
        "retention",
        "freshness",
    }
    assert values["num_candidates"] is None
    flat = {**values}
    for section in SECTIONS:
        flat |= values[section] or {}
    expected = {option: value_of(SessionConfig(), option) for option in SESSION_OPTIONS}
    assert {option: flat.get(option) for option in SESSION_OPTIONS} == expected


def test_absent_fields_take_their_defaults():
    assert SessionConfig.from_json("{}") == SessionConfig()
    config = SessionConfig.from_dict({"slate_size": 3, "user_model": {"like_bias": 5.0}})
    assert config == SessionConfig(slate_size=3, user_model=InterestEvolutionConfig(like_bias=5.0))


@pytest.mark.parametrize("section", SECTION_PIECES)
@pytest.mark.parametrize("switched_on", [False, True])
def test_a_piece_survives_json_on_and_off(section: str, switched_on: bool):
    config = SessionConfig().override(**{section: switched_on}, num_candidates=30)
    assert getattr(config, section) == (PIECES.get(section).Config() if switched_on else None)
    again = SessionConfig.from_json(config.to_json())
    assert again == config
    assert json.loads(config.to_json())[section] == (vars(PIECES.get(section).Config()) if switched_on else None)
    assert again.num_candidates == 30
    other = SessionConfig().override(**{section: not switched_on}, num_candidates=30)
    assert other.world_hash() != config.world_hash()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config is not JSON ("),
        ("[1]", "config is not a JSON object; pass what SessionConfig.to_json() wrote"),
        ('{"slate_siez": 3}', "unknown session option 'slate_siez'; did you mean 'slate_size'? choose one of: "),
        ('{"self": 3}', "unknown session option 'self'; "),
        ('{"profile_noise": NaN}', "profile_noise=nan is not a finite number; "),
    ],
)
def test_foreign_json_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig.from_json(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- override


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
    assert str(caught.value) == ("satisfaction=None, and user_model 'barren' needs that piece; pass satisfaction=True")
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


# --- what is refused


@pytest.mark.parametrize("option", SESSION_OPTIONS)
def test_each_option_out_of_range_is_named_with_its_value(option: str):
    for value in SESSION_OPTIONS[option].outside():
        for change in ({option: value}, nested(option, value)):
            with pytest.raises(InvalidInput) as caught:
                SessionConfig().override(**change)
            message = str(caught.value)
            assert message.startswith(f"{option}={value!r} is "), message
            assert f"; set {option} to a" in message
            assert "\n" not in message


@pytest.mark.parametrize("option", SESSION_OPTIONS)
def test_the_ends_of_each_range_are_allowed_unless_open(option: str):
    interval = SESSION_OPTIONS[option]
    for end, is_open in ((interval.low, interval.low_open), (interval.high, interval.high_open)):
        value = int(end) if interval.integer else end
        change: dict[str, Any] = {"num_items": 2**31 - 1, option: value}
        if option == "num_items":
            change["slate_size"] = 1
        if not is_open:
            assert value_of(SessionConfig().override(**change), option) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slate_size": 12, "num_items": 10}, "slate_size=12 exceeds num_items=10; lower slate_size or raise"),
        ({"expose_user_state": 1}, "expose_user_state=1 is not a bool; use True or False"),
        ({"slatesize": 3}, "unknown session option 'slatesize'; did you mean 'slate_size'? choose one of: "),
        ({"buget": 3}, "unknown session option 'buget'; did you mean 'budget'? choose one of: "),
        (
            {"user_model": {"like_bais": 3}},
            "unknown user_model option 'like_bais'; did you mean 'like_bias'? choose one of",
        ),
        ({"time_budget": {"buget": 3}}, "unknown time_budget option 'buget'; did you mean 'budget'? choose one of: "),
        ({"time_budgt": True}, "unknown session option 'time_budgt'; did you mean 'time_budget'? choose one of: "),
        ({"satiation": 3}, "satiation=3 is not a piece; pass True, None, a dict of fields or a config object"),
        ({"satiation": "on"}, "satiation='on' is not a piece; pass True, None, a dict of fields or a config object"),
        (
            {"satiation": SatiationConfig},
            f"satiation={SatiationConfig!r} is not a piece; pass True, None, a dict of fields or a",
        ),
        ({"satiation": TimeBudgetConfig()}, "satiation=TimeBudgetConfig("),
        ({"user_model": None}, "user_model=None is not a section; pass a name, a dict of fields or a config object"),
        ({"choice": {"utility": 3}}, "unknown choice option 'utility'; did you mean 'no_click_utility'? choose one of"),
        ({"catalog": {"items": 3}}, "unknown catalog option 'items'; did you mean 'num_items'? choose one of: "),
        ({"user_model": "interest_evoluton"}, "unknown user model 'interest_evoluton'; did you mean 'interest_ev"),
        (
            {"user_model": {"name": "zz"}},
            f"unknown user model 'zz'; choose one of: {', '.join(USER_MODELS.registered())}",
        ),
        ({"choice": "multinomial"}, "unknown choice model 'multinomial'; did you mean 'multinomial_logit'? choose one"),
        (
            {"choice": {"name": None}},
            "unknown choice model None; choose one of: exponential_cascade, multinomial_logit",
        ),
        ({"user_model": 3}, "user_model=3 is not a section; pass a name, a dict of fields or a config object"),
        ({"catalog": "default"}, "catalog='default' is not a section; pass a name, a dict of fields or"),
        ({"catalog": {"name": "default"}}, "unknown catalog option 'name'; "),
        (
            {"catalog": MultinomialLogit()},
            "catalog=MultinomialLogit(no_click_utility=2.0, position_decay=1.0) is not a Cat",
        ),
        ({"user_model": CatalogConfig()}, "user_model=CatalogConfig("),
        ({"user_model": MultinomialLogit()}, "user_model=MultinomialLogit("),
        ({"choice": InterestEvolutionConfig()}, "choice=InterestEvolutionConfig("),
        (
            {"user_model": InterestEvolutionConfig},
            f"user_model={InterestEvolutionConfig!r} is not a section; pass a name, a dict of fields or a config",
        ),
    ],
)
def test_bad_sections_and_names_are_refused_in_one_line(changes: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(**changes)
    assert str(caught.value).startswith(message), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["user_model", "choice"])
@pytest.mark.parametrize("value", ["interest_evolution", None, CatalogConfig()])
def test_constructor_takes_config_objects_only(section: str, value: Any):
    with pytest.raises(InvalidInput, match=rf"^{section}=.* is not a config object; pass one, or give its name"):
        SessionConfig(**{section: value})


@pytest.mark.parametrize(("section", "value"), [("user_model", InterestEvolutionConfig), ("choice", MultinomialLogit)])
def test_constructor_takes_no_class(section: str, value: Any):
    with pytest.raises(InvalidInput, match=rf"^{section}=<class .* is not a config object; pass one, or give its name"):
        SessionConfig(**{section: value})


@pytest.mark.parametrize("section", SECTION_PIECES)
@pytest.mark.parametrize("value", [True, {}, CatalogConfig()])
def test_constructor_takes_pieces_as_config_objects_only(section: str, value: Any):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig(**{section: value})
    kind = PIECES.get(section).Config.__name__
    assert (
        str(caught.value)
        == f"{section}={value!r} is not a {kind}; pass one, a dict of its fields, True, or None for off"
    )


@given(st.text(max_size=12))
def test_any_unknown_name_is_one_line(name: str):
    if name in SESSION_OPTIONS or name in (*SECTIONS, "expose_user_state", "num_candidates"):
        return
    with pytest.raises(InvalidInput, match=r"^unknown session option "):
        SessionConfig.from_dict({name: 1})


# --- the world's hash


@pytest.mark.parametrize("option", SESSION_OPTIONS)
def test_world_hash_changes_with_each_option(option: str):
    value = 11 if SESSION_OPTIONS[option].integer else 0.625
    change = {option: value, "slate_size": 11} if option == "num_items" else {option: value}
    base = SessionConfig().override(slate_size=11) if option == "num_items" else SessionConfig()
    assert base.override(**change).world_hash() != base.world_hash()


def test_world_hash_leaves_out_what_is_shown_to_tests():
    assert SessionConfig(expose_user_state=True).world_hash() == SessionConfig().world_hash()
    assert SessionConfig(expose_user_state=True) != SessionConfig()


@pytest.mark.parametrize(
    "option",
    # Between two ends that are both open there is no whole number.
    [name for name, i in SESSION_OPTIONS.items() if not i.integer and not (i.low_open and i.high_open)],
)
def test_equal_numbers_of_other_kinds_hash_alike(option: str):
    interval = SESSION_OPTIONS[option]
    pairs: list[tuple[float, float]] = [(0, 0.0), (0.0, -0.0)] if interval.high_open else [(1, 1.0)]
    if interval.low < 0.0:
        pairs.append((0.0, -0.0))
    for first, second in pairs:
        configs = [SessionConfig().override(**{option: value}) for value in (first, second)]
        assert configs[0] == configs[1]
        assert configs[0].world_hash() == configs[1].world_hash()


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


def test_own_items_are_not_a_section_of_the_config():
    with pytest.raises(InvalidInput, match="pass your own items as items="):
        SessionConfig().override(catalog=Catalog.from_arrays(np.eye(3)))


# --- pieces from outside

PATIENCE = "tests.outside_parts.patience:Patience"


def test_a_piece_from_outside_stands_in_the_config_and_in_no_other_hash():
    plain = SessionConfig()
    assert "pieces" not in plain.to_dict()
    config = plain.override(pieces={PATIENCE: {"patience": 2}}, slate_size=4)
    assert config.to_dict()["pieces"] == {
        PATIENCE: {"patience": 2, "leave_rate": 0.5, "boredom": 0.25, "idle_reward": -0.5}
    }
    again = SessionConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert config.world_hash() != plain.override(slate_size=4).world_hash()
    # A dict alters it, None and another user model switch it off, what names others leaves it.
    assert config.override(pieces={PATIENCE: {"leave_rate": 1.0}}).pieces[0].patience == 2
    assert config.override(satiation=None).pieces == config.pieces
    assert config.override(pieces={PATIENCE: None}).pieces == ()
    assert config.override(pieces=()).pieces == ()
    assert config.override(user_model="boredom_cascade").pieces == ()
    assert config.override(pieces=config.pieces) == config
    assert list(config.piece_configs())[-1] == PATIENCE


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ({PATIENCE: 3}, f"{PATIENCE}=3 is not a piece; pass True, None, a dict of fields or a config object"),
        ({PATIENCE: {"patiense": 1}}, f"unknown {PATIENCE} option 'patiense'; did you mean 'patience'?"),
        ({"patience": True}, "unknown piece 'patience'; choose one of: "),
        ("patience", "pieces='patience' is no dict of sections; pass {NAME: True} or {NAME: {FIELD: VALUE}}"),
        ({"json:dumps": True}, "piece 'json:dumps': there is no class of that name that is a Piece"),
    ],
)
def test_bad_pieces_are_refused(pieces: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(pieces=pieces)
    assert str(caught.value).startswith(message)


def test_constructor_takes_a_piece_once_and_in_its_place():
    config = SessionConfig().override(pieces={PATIENCE: True})
    for wrong in (config.pieces * 2, (SatiationConfig(),)):
        with pytest.raises(InvalidInput, match="has a piece twice, or one that is a field; give each once"):
            SessionConfig(pieces=wrong)
    with pytest.raises(InvalidInput, match="is no config of a piece"):
        SessionConfig(pieces=(CatalogConfig(),))
