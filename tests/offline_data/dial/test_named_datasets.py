"""Named datasets: every name, what it stands for, and that it is collected once, with its references and its card."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from offline_data.behavior.base import expert_spec
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial import named_datasets as names
from offline_data.dial import target_score
from offline_data.dial.named_datasets import default_path, find_named, load_named, named_datasets
from offline_data.dial.quality import Reference, mixture_spec
from offline_data.families import BEHAVIORS
from offline_data.store.dataset import LoggedDataset
from recenv.envs import registration
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from recenv.statistics import Interval

NAME = "recsession/default/mixed-10-clickbait-v0"


@pytest.fixture
def small_ones(monkeypatch):
    """Named datasets of 30 sessions, on a scale that is given, not measured: near that of `default`."""
    reference = Reference(Interval(60.0, 59.9, 60.1), Interval(25.0, 24.9, 25.1))
    monkeypatch.setattr(target_score, "precise_reference", lambda *arguments, **options: reference)
    monkeypatch.setattr(names, "NUM_SESSIONS", 30)
    return reference


# --- the names


def test_there_is_a_name_for_every_variant_level_and_noise():
    known = named_datasets()
    # Of the bandits' worlds two noises are defined; every world has two scenarios.
    assert len(known) == 5 * 8 * 5 + 2 * 8 * 2 + 7 * 2
    levels = r"expert|medium|random|mixed-(50|20|10|05|01)"
    noises = r"uniform|popularity|clickbait|stale|adversarial"
    for name, named in known.items():
        assert named.name == name
        assert re.fullmatch(rf"recsession/[a-z0-9-]+/(({levels})-({noises})|medium|extreme)-v[01]", name)
        assert name.endswith("-v1") == (named.variant == "multi-behavior")
    assert set(names.NOISES) <= set(BEHAVIORS.registered())


def test_variants_are_those_that_are_registered():
    models = [options["user_model"] for options in names.VARIANTS.values()]
    assert set(models) == set(USER_MODELS.registered())
    assert models == [options.get("user_model", "interest_evolution") for options in registration.VARIANTS.values()]
    for options in names.VARIANTS.values():
        assert SessionConfig().override(**options).user_model.name == options["user_model"]
    assert find_named(NAME).config == SessionConfig()
    long_term = find_named("recsession/long-term/random-uniform-v0").config
    assert long_term == SessionConfig().override(user_model="long_term_satisfaction")
    wide = find_named("recsession/embedding-bandit-128/extreme-v0").config
    assert wide == SessionConfig().override(user_model="embedding_bandit", embedding_dim=128)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("recsession/default/mixed-10-clikbait-v0", f"did you mean {NAME!r}? `recsession datasets` lists all 246"),
        ("recsession/longterm/expert-stale-v0", "did you mean 'recsession/long-term/expert-stale-v0'?"),
        ("iris", "unknown dataset 'iris'; `recsession datasets` lists all 246"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, hint):
    with pytest.raises(InvalidInput) as refusal:
        load_named(name)
    assert hint in str(refusal.value)


@pytest.mark.parametrize(
    ("level", "meaning"),
    [
        ("expert", "the expert alone, stale at normalised score 0"),
        ("random", "stale alone"),
        ("medium", "as much expert among stale as has the normalised score 0.5"),
        ("mixed-05", "5% of the steps the expert's, the rest stale"),
    ],
)
def test_a_name_says_what_it_stands_for(level, meaning):
    assert find_named(f"recsession/boredom/{level}-stale-v0").meaning == meaning


def test_a_name_of_an_earlier_world_tells_its_successor():
    with pytest.raises(InvalidInput, match=r"mixed-10-stale-v0 is of a world that has changed .* is \S*-stale-v1$"):
        find_named("recsession/multi-behavior/mixed-10-stale-v0")
    for name in ("recsession/multi-behavior/mixed-10-stale-v2", "recsession/default/medium-v1"):
        with pytest.raises(InvalidInput, match=r"unknown dataset .*; did you mean"):
            find_named(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("embedding-bandit/mixed-10-clickbait", "no item attracts by its appeal"),
        ("embedding-bandit-128/random-stale", "interests have no yesterday"),
        ("embedding-bandit/medium-adversarial", "none has quality"),
    ],
)
def test_a_noise_that_the_world_does_not_define_is_refused(name, sentence):
    with pytest.raises(InvalidInput, match=f"'embedding_bandit': .*{sentence}.*; choose uniform or popularity$"):
        find_named(f"recsession/{name}-v0")


def test_a_dataset_lies_below_the_folder_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("RECSESSION_DATASETS", "/elsewhere")
    assert default_path(NAME) == Path("/elsewhere") / NAME
    for nothing in ("", None):
        monkeypatch.setenv("RECSESSION_DATASETS", "") if nothing == "" else monkeypatch.delenv("RECSESSION_DATASETS")
        assert default_path(NAME) == Path.home() / ".recsession" / "datasets" / NAME

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InvalidInput, match=r"no home folder for the dataset .*; set RECSESSION_DATASETS to a folder"):
        default_path(NAME)


# --- what they are


@pytest.mark.parametrize("variant", names.VARIANTS)
@pytest.mark.parametrize(
    ("level", "good_fraction"),
    [("expert", 1), ("random", 0), ("mixed-50", 0.5), ("mixed-20", 0.2), ("mixed-10", 0.1), ("mixed-05", 0.05),
     ("mixed-01", 0.01)],
)  # fmt: skip
def test_request_of_a_name(small_ones, variant, level, good_fraction):
    name = f"recsession/{variant}/{level}-popularity-v{int(variant == 'multi-behavior')}"
    request = find_named(name).request()
    assert request.config == SessionConfig().override(**names.VARIANTS[variant])
    expert = expert_spec(request.config)
    assert request.behavior == mixture_spec(good_fraction, "popularity", expert=expert)
    assert (request.action_kind, request.num_sessions, request.group_size) == ("proto", 30, 1)
    assert request.quality is not None
    assert request.quality["dataset"] == name
    assert request.quality["expert"] == expert
    assert request.quality["noise"] == {"name": "popularity"}
    assert Reference.of(request.quality) == small_ones


def test_every_name_has_a_seed_of_its_own(small_ones, monkeypatch):
    monkeypatch.setattr(names, "at_target_score", lambda log, target, noise, progress: log)
    monkeypatch.setattr(names, "at_fraction", lambda log, fraction, noise, progress: log)
    seeds = {name: named.request().dataset_seed for name, named in named_datasets().items()}
    assert len(set(seeds.values())) == 246
    assert seeds[NAME] == 6_256_022_553_943_408_772  # the name's own, for ever


@pytest.mark.parametrize("level", ["medium", "mixed-10"])
def test_a_named_dataset_is_collected_once(small_ones, tmp_path, monkeypatch, level):
    name = f"recsession/default/{level}-clickbait-v0"
    monkeypatch.setenv("RECSESSION_DATASETS", str(tmp_path))
    told: list[int] = []
    dataset = load_named(name, progress=told.append)
    assert sum(told) >= 30
    assert dataset.path == tmp_path / name
    assert dataset.num_sessions == 30
    assert dataset.manifest["quality"]["dataset"] == name
    dataset.verify()
    if level == "medium":
        score = small_ones.normalized_score_interval(float(dataset.session_returns().mean()))
        assert 0.48 <= score.low <= score.high <= 0.52
    told.clear()
    monkeypatch.setattr(names, "collect", None)
    again = load_named(name, progress=told.append)
    assert again.manifest == dataset.manifest
    assert told == []


@pytest.mark.parametrize("variant", ["embedding-bandit", "default"])
def test_a_scenario_is_three_parts_with_references_and_labels(small_ones, tmp_path, variant):
    name = f"recsession/{variant}/extreme-v0"
    dataset = load_named(name, tmp_path / "log")
    request = dataset.manifest["source"]["request"]
    assert [part["name"] for part in request["behavior"]["components"]] == ["expert", "exposure", "uniform"]
    assert request["behavior"]["weights"] == pytest.approx([0.05, 0.05, 0.9])
    quality = dataset.manifest["quality"]
    assert (quality["good_fraction"], quality["dataset"]) == (0.05, name)
    assert quality["noise"]["components"] == ["exposure", "uniform"]
    assert "5% exposure, 90% uniform" in find_named(name).meaning
    assert Reference.of(quality) == small_ones
    assert set(dataset.open_latent_labels().tolist()) <= {0, 1, 2}
    assert load_named(name, tmp_path / "log").manifest == dataset.manifest


def test_a_folder_of_something_else_is_refused(small_ones, tmp_path, small_request):
    load_named(NAME, tmp_path / "log")
    other = "recsession/default/mixed-20-clickbait-v0"
    with pytest.raises(InvalidInput, match=f"log holds {NAME}, not {other}; choose another --out"):
        load_named(other, tmp_path / "log")
    collect(tmp_path / "own", small_request)
    with pytest.raises(InvalidInput, match=f"own holds a dataset without a name, not {NAME}; choose another"):
        load_named(NAME, tmp_path / "own")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(InvalidInput, match="foreign is not a RecSession dataset"):
        load_named(NAME, tmp_path / "foreign")


def test_a_dataset_of_an_earlier_world_is_refused(tmp_path, small_world):
    """The name stands for one world; a cache from before a change of it is no dataset of that name."""
    request = LogRequest(small_world(12, 3).config, num_sessions=3, quality={"dataset": NAME})
    collect(tmp_path / "log", request)
    with pytest.raises(InvalidInput, match=f"in a world that is no longer that of {NAME}; remove it"):
        load_named(NAME, tmp_path / "log")


def test_a_dataset_of_another_request_under_the_name_is_refused(small_ones, tmp_path):
    """Name and world are right: of other sessions, another dial, another seed."""
    request = find_named(NAME).request()
    others = {
        "num_sessions": 29,
        "dataset_seed": 1,
        "behavior": mixture_spec(0.1, "clickbait", "session"),
        "action_kind": "slate",
    }
    for name, value in others.items():
        collect(tmp_path / name, dataclasses.replace(request, **{name: value}))
        with pytest.raises(InvalidInput, match=f"has the name {NAME}, and was collected otherwise; remove it"):
            load_named(NAME, tmp_path / name)


@pytest.mark.slow
def test_a_named_dataset_has_the_score_that_its_name_says(tmp_path, monkeypatch):
    """References measured, 10,000 sessions: `medium` scores 0.5 to within 0.02, with its whole interval."""
    dataset = load_named("recsession/default/medium-clickbait-v0", tmp_path / "log")
    assert dataset.num_sessions == 10_000
    reference = Reference.of(LoggedDataset.open(tmp_path / "log").manifest["quality"])
    score = reference.normalized_score_interval(float(dataset.session_returns().mean()))
    assert 0.48 <= score.low <= score.high <= 0.52
    assert score.half_width > 0.0
