"""What `--set`, `--config` and `recsession options` mean by the options of a session."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.store.dataset import LoggedDataset
from recenv.families import CHOICE_MODELS, PIECES, USER_MODELS
from recenv.items.catalog import Catalog
from recenv.items.synthetic_items import CatalogConfig
from recenv.plain_config import field_meanings
from recenv.registry import config_of
from recenv.session_config import SessionConfig
from recsession.inputs import given_config, world_options

# --- --set


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("a=1 b=2.5 c=x", {"a": 1, "b": 2.5, "c": "x"}),
        ("a=None b=True c=False", {"a": None, "b": True, "c": False}),
        ("a=null b=true c=false", {"a": None, "b": True, "c": False}),
        ('a={"b":1} c=d=e', {"a": {"b": 1}, "c": "d=e"}),
        ("choice.a=0.5 satiation.b=1 choice.c=None", {"choice": {"a": 0.5, "c": None}, "satiation": {"b": 1}}),
        ("choice.a=1 choice=position_based", {"choice": {"name": "position_based", "a": 1}}),
        ("satiation=True satiation.a=1", {"satiation": {"a": 1}}),
        ('satiation={"b":2} satiation.a=1', {"satiation": {"a": 1, "b": 2}}),
    ],
)
def test_words_are_options(words: str, options: dict[str, Any]):
    assert world_options((tuple(words.split()),)) == options
    assert world_options(tuple((word,) for word in words.split())) == options


def test_each_set_adds_to_those_before_it(run):
    words = ("collect", "--out", "log", "--num-sessions", 2, "--set", "num_items=20", "slate_size=2")
    code, _, err = run(*words, "--set", "choice=position_based", "choice.position_decay=0.5", "satiation=None")
    assert code == 0, err
    config = LoggedDataset.open("log").config
    assert (config.catalog.num_items, config.slate_size, config.satiation) == (20, 2, None)
    assert config.choice == CHOICE_MODELS.get("position_based")(position_decay=0.5)  # type: ignore[call-arg]


# --- --config


def test_file_of_a_config_is_the_world_and_set_alters_it(run, config, tmp_path):
    plain, fitted = tmp_path / "plain.json", tmp_path / "fitted.json"
    plain.write_text(config.to_json())
    fitted.write_text(json.dumps({"format": "recsession-user-model", "config": config.to_dict()}))
    for file in (plain, fitted):
        assert given_config(file, ()) == config
        assert given_config(file, (("slate_size=4",),)) == config.override(slate_size=4)
    assert given_config(None, (("slate_size=4",),), config) == config.override(slate_size=4)
    assert given_config(None, ()) == SessionConfig()

    assert run("collect", "--out", "log", "--num-sessions", 2, "--config", "fitted.json")[0] == 0
    assert LoggedDataset.open("log").config == config
    code, out, _ = run("simulate", "--config", "fitted.json", "--set", "max_steps=7", "--render", "ansi")
    assert code == 0
    assert out.startswith("step 0 of 7 ")


def test_own_policy_is_evaluated_in_the_given_config(run, world_options, config, tmp_path):
    words = ("evaluate", "--num-sessions", 20, "--noise", "uniform", "--policy")
    code, out, _ = run(*words, "offline_data.behavior.expert:ExpertPolicy", *world_options)
    assert code == 0
    assert out != run(*words, "offline_data.behavior.expert:ExpertPolicy")[1]
    (tmp_path / "config.json").write_text(config.to_json())
    for policy in ("expert", '{"name": "expert"}'):
        assert run(*words, policy, "--config", "config.json")[1] == out


def test_items_of_a_file_are_those_that_are_shown(run, tmp_path):
    items = Catalog.from_arrays(np.eye(7), appeal=np.arange(7.0), quality=-np.arange(7.0))
    np.savez(tmp_path / "fit.items.npz", **items.arrays())  # type: ignore[arg-type]
    config = SessionConfig(slate_size=2, catalog=CatalogConfig(num_items=7, embedding_dim=7), max_steps=2)
    Path("fit.json").write_text(json.dumps({"config": config.to_dict(), "items": "fit.items.npz"}))
    assert given_config(Path("fit.json"), ()) == config.override(items=items)

    words = ("simulate", "--render", "none", "--policy", "clickbait", "--num-sessions", 20)
    code, out, _ = run(*words, "--config", "fit.json")
    assert code == 0
    assert out != run(*words, "--set", "slate_size=2", "num_items=7", "embedding_dim=7", "max_steps=2")[1]
    words = ("evaluate", "--policy", "expert", "--noise", "uniform")
    code, out, _ = run(*words, "--config", "fit.json")
    assert code == 0
    assert out != run(*words, "--set", "slate_size=2", "num_items=7", "embedding_dim=7", "max_steps=2")[1]
    assert run("collect", "--out", "log", "--config", "fit.json", "--num-sessions", 2)[0] == 0
    assert LoggedDataset.open("log").config == config.override(items=items)


# --- recsession options


def described() -> list[type]:
    families = (USER_MODELS, CHOICE_MODELS, PIECES)
    parts = [config_of(family.get(name)) for family in families for name in family.registered()]
    return [SessionConfig, CatalogConfig, *parts]


@pytest.mark.parametrize("config", described(), ids=lambda config: config.__name__)
def test_every_option_has_its_meaning(config):
    meanings = field_meanings(config)
    for field in fields(config):
        assert meanings[field.name].endswith("."), field.name
    assert not any("\n" in text or "  " in text for text in meanings.values())


@pytest.mark.parametrize("model", USER_MODELS.registered())
def test_every_option_is_listed_with_the_default_of_the_users_world(run, model):
    code, out, _ = run("options", "--user-model", model)
    assert code == 0
    config = SessionConfig().override(user_model=model)
    lines = out.splitlines()
    for name, part in (("catalog", config.catalog), ("user_model", config.user_model), ("choice", config.choice)):
        start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}: "))
        for line, field in zip(lines[start + 1 :], fields(part), strict=False):
            default = getattr(part, field.name)
            wanted = f"{len(default)} values" if isinstance(default, tuple) else str(default)
            found, shown = line.split()[:2]
            assert found == field.name
            assert wanted.startswith(shown)
    for name in PIECES.registered():
        state = "off; " if config.piece_configs().get(name) is None else "on"
        assert any(line.startswith(f"{name}: {state}") for line in lines), name


def test_one_option_or_section_is_looked_up(run):
    assert run("options", "budget")[1].splitlines() == [
        "time_budget: on",
        "  budget                    30.0        Initial minutes (RecSim: 200).",
    ]
    out = run("options", "choice", "--choice", "position_based")[1]
    assert out.startswith(f"choice: position_based (one of {', '.join(CHOICE_MODELS.registered())})\n")
    assert len(out.splitlines()) == 1 + len(fields(CHOICE_MODELS.get("position_based")))  # type: ignore[arg-type]
    assert "off; freshness=True or any" in run("options", "horizon")[1]
