"""Session configs: JSON round trip, flat and nested overrides, every option's range, names, and the world's hash."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import CatalogConfig, InvalidInput, SessionConfig
from recenv.choice_models import MultinomialLogit
from recenv.user_models.interest_evolution import InterestEvolutionConfig
from tests.strategies import SESSION_OPTIONS, session_configs

SECTIONS = ("catalog", "user_model", "choice")


def value_of(config: SessionConfig, option: str) -> Any:
    holders = [config, *(getattr(config, section) for section in SECTIONS)]
    (value,) = [getattr(holder, option) for holder in holders if option in {f.name for f in fields(holder)}]
    return value


def nested(option: str, value: Any) -> dict[str, Any]:
    """Return the change of one option as `from_dict` takes it, in the option's own section."""
    for section in SECTIONS:
        if option in {f.name for f in fields(getattr(SessionConfig(), section))}:
            return {section: {option: value}}
    return {option: value}


def test_options_of_the_strategies_are_all_options():
    own = {f.name for f in fields(SessionConfig)} - {*SECTIONS, "expose_user_state"}
    in_sections = [f.name for section in SECTIONS for f in fields(getattr(SessionConfig(), section))]
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
    flat = {**values, **values["catalog"], **values["user_model"], **values["choice"]}
    assert {option: flat[option] for option in SESSION_OPTIONS} == {
        option: value_of(SessionConfig(), option) for option in SESSION_OPTIONS
    }


def test_absent_fields_take_their_defaults():
    assert SessionConfig.from_json("{}") == SessionConfig()
    config = SessionConfig.from_dict({"slate_size": 3, "user_model": {"budget": 5.0}})
    assert config == SessionConfig(slate_size=3, user_model=InterestEvolutionConfig(budget=5.0))


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
    assert {name: value_of(flat, name) for name in others} == {name: value_of(default, name) for name in others}
    if option != "num_items":
        assert SessionConfig.from_dict(nested(option, value)) == flat
    assert value_of(default, option) != value


def test_sections_are_given_as_name_dict_or_object():
    base = SessionConfig().override(budget=9.0, no_click_utility=1.0)
    assert base.override(user_model="interest_evolution") == base
    assert base.override(user_model={"budget": 5.0}).user_model == InterestEvolutionConfig(budget=5.0)
    assert base.override(user_model={"match_quality": 1.0}).user_model.budget == 9.0
    assert base.override(user_model=InterestEvolutionConfig(like_bias=0.0)).user_model.budget == 30.0
    assert base.override(choice="multinomial_logit", catalog={"num_items": 50}).choice == MultinomialLogit(1.0)
    assert base.override(catalog=CatalogConfig(num_items=50)).catalog == CatalogConfig(num_items=50)


def test_a_flat_option_goes_on_top_of_its_section():
    config = SessionConfig().override(budget=3.0, user_model={"budget": 5.0, "like_bias": 0.0}, num_items=12)
    assert config.user_model == InterestEvolutionConfig(budget=3.0, like_bias=0.0)
    assert config.catalog.num_items == 12


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
        ({"user_model": {"buget": 3}}, "unknown user_model option 'buget'; did you mean 'budget'? choose one of: "),
        ({"choice": {"utility": 3}}, "unknown choice option 'utility'; did you mean 'no_click_utility'? choose one of"),
        ({"catalog": {"items": 3}}, "unknown catalog option 'items'; did you mean 'num_items'? choose one of: "),
        ({"user_model": "interest_evoluton"}, "unknown user model 'interest_evoluton'; did you mean 'interest_ev"),
        ({"user_model": {"name": "zz"}}, "unknown user model 'zz'; choose one of: interest_evolution"),
        ({"choice": "multinomial"}, "unknown choice model 'multinomial'; did you mean 'multinomial_logit'? choose one"),
        ({"choice": {"name": None}}, "unknown choice model None; choose one of: multinomial_logit"),
        ({"user_model": 3}, "user_model=3 is not a section; pass a name, a dict of fields or a config object"),
        ({"catalog": "default"}, "catalog='default' is not a section; pass a name, a dict of fields or"),
        ({"catalog": {"name": "default"}}, "unknown catalog option 'name'; "),
        ({"catalog": MultinomialLogit()}, "catalog=MultinomialLogit(no_click_utility=2.0) is not a CatalogConfig; "),
        ({"user_model": CatalogConfig()}, "user_model=CatalogConfig("),
        ({"user_model": MultinomialLogit()}, "unknown user model 'multinomial_logit'; "),
        ({"choice": InterestEvolutionConfig()}, "unknown choice model 'interest_evolution'; "),
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
    with pytest.raises(InvalidInput, match=rf"^{section}=.* is not a config; pass a registered name"):
        SessionConfig(**{section: value})


@pytest.mark.parametrize(("section", "value"), [("user_model", InterestEvolutionConfig), ("choice", MultinomialLogit)])
def test_constructor_takes_no_class(section: str, value: Any):
    with pytest.raises(InvalidInput, match=rf"^{section}=<class .* is not a config; pass a registered name"):
        SessionConfig(**{section: value})


@given(st.text(max_size=12))
def test_any_unknown_name_is_one_line(name: str):
    if name in SESSION_OPTIONS or name in (*SECTIONS, "expose_user_state"):
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


@pytest.mark.parametrize("option", [name for name, interval in SESSION_OPTIONS.items() if not interval.integer])
def test_equal_numbers_of_other_kinds_hash_alike(option: str):
    interval = SESSION_OPTIONS[option]
    pairs: list[tuple[float, float]] = [(0, 0.0), (0.0, -0.0)] if interval.high_open else [(1, 1.0)]
    if interval.low < 0.0:
        pairs.append((0.0, -0.0))
    for first, second in pairs:
        configs = [SessionConfig().override(**{option: value}) for value in (first, second)]
        assert configs[0] == configs[1]
        assert configs[0].world_hash() == configs[1].world_hash()
