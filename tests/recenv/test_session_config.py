"""Session configs: JSON round trip, overrides and pieces, every option's range, names, and the world's hash."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import Catalog, CatalogConfig, InvalidInput, SessionConfig
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.dynamics.pieces.satiation import SatiationConfig
from recenv.dynamics.pieces.time_budget import TimeBudgetConfig
from recenv.dynamics.user_models.interest_evolution import InterestEvolutionConfig
from recenv.families import PIECES, USER_MODELS
from recenv.session_config import SECTION_PIECES
from tests.recenv.config_cases import SECTIONS, nested, value_of
from tests.strategies.worlds import SESSION_OPTIONS, session_configs


def test_options_of_the_strategies_are_all_options():
    own = {f.name for f in fields(SessionConfig)} - {
        *SECTIONS,
        "pieces",
        "items",
        "expose_user_state",
        "num_candidates",
    }
    in_sections = [f.name for kind in SECTIONS.values() for f in fields(kind)]
    assert sorted([*own, *in_sections]) == sorted(SESSION_OPTIONS)  # sorted lists: no flat name is ambiguous


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
        ("[1]", "config is not a JSON object; pass what SessionConfig.to_json() or `recsession fit` wrote"),
        ('{"slate_siez": 3}', "unknown session option 'slate_siez'; did you mean 'slate_size'? choose one of: "),
        ('{"self": 3}', "unknown session option 'self'; "),
        ('{"profile_noise": NaN}', "config is not JSON that is read here (NaN is no number); "),
    ],
)
def test_foreign_json_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig.from_json(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


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
    if name in SESSION_OPTIONS or name in (*SECTIONS, "expose_user_state", "num_candidates", "pieces", "items"):
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


def test_own_items_are_not_a_section_of_the_config():
    with pytest.raises(InvalidInput, match="pass your own items as items="):
        SessionConfig().override(catalog=Catalog.from_arrays(np.eye(3)))
