"""`recsession collect` and `recsession datasets`: the dial, any policy, corruption, and datasets by name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from offline_data.describe.dataset_card import card
from offline_data.dial import named_datasets, target_score
from offline_data.dial.named_datasets import load_named
from offline_data.dial.quality import Reference, mixture_spec
from offline_data.store.dataset import LoggedDataset
from recenv.statistics import Interval

NAME = "recsession/boredom/mixed-20-stale-v0"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSESSION_DATASETS", str(tmp_path / "datasets"))


@pytest.fixture
def given_scale(monkeypatch):
    """References that are given, not measured: near the tiny world's against `adversarial`."""
    reference = Reference(Interval(11.2, 11.1, 11.3), Interval(1.8, 1.7, 1.9))
    monkeypatch.setattr(target_score, "precise_reference", lambda *arguments, **options: reference)
    return reference


@pytest.mark.parametrize(
    ("words", "behavior"),
    [
        ([], mixture_spec(0.1, "clickbait", expert="expert")),
        (["--good-fraction", 0, "--noise", "stale"], mixture_spec(0.0, "stale", expert="expert")),
        (["--mixing", "session", "--expert", "greedy"], mixture_spec(0.1, "clickbait", "session", expert="greedy")),
        (
            ["--noise", '{"name":"stale","temperature":1}'],
            mixture_spec(0.1, {"name": "stale", "temperature": 1}, expert="expert"),
        ),
        (["--set", "user_model=boredom_cascade"], mixture_spec(0.1, "clickbait", expert="diversified")),
        (["--set", "user_model=embedding_bandit"], mixture_spec(0.1, "uniform", expert="expert")),
        (["--behavior", "popularity"], "popularity"),
        (["--behavior", '{"name": "expert", "quality_weight": 0.5}'], {"name": "expert", "quality_weight": 0.5}),
    ],
)  # fmt: skip
def test_options_say_who_acts(run, words, behavior):
    """Slates of a few sessions: a log of the command is that of the library, no option left behind."""
    small = ["--set", "num_items=30", "slate_size=3"]
    code, out, _ = run("collect", "--out", "log", "--num-sessions", 4, *words, *small)
    assert code == 0
    log = LoggedDataset.open("log")
    request = log.manifest["source"]["request"]
    assert request["behavior"] == behavior
    assert (request["num_sessions"], request["dataset_seed"], request["group_size"]) == (4, 0, 1)
    assert request["action_kind"] == "proto"
    assert log.manifest["quality"] is None
    assert "normalised score" not in out
    assert out.splitlines()[-1] == "look at it with `recsession inspect log`"


def test_other_options_reach_the_request(run, config, world_options):
    code, _, _ = run(
        "collect", "--out", "log", "--num-sessions", 6, "--seed", 7, "--group-size", 2, "--action-kind", "slate",
        "--mixing", "position", "--reward-noise", 0.5, "--label-flips", 0.1, "--history-limit", 2,
        "--missing-propensities", 0.3, *world_options,
    )  # fmt: skip
    assert code == 0
    spoilt = Corruption(reward_noise=0.5, label_flips=0.1, history_limit=2, missing_propensities=0.3)
    request = LogRequest(config, mixture_spec(0.1, "clickbait", "position", expert="expert"), "slate", 6, 7, 2, spoilt)
    log = LoggedDataset.open("log")
    assert log.manifest["source"]["request"] == json.loads(json.dumps(request.to_dict()))
    assert log.manifest["injected"] == spoilt.recorded()


def test_workers_do_not_change_the_log(run, world_options, tmp_path):
    for workers in (1, 2):
        words = ("collect", "--out", f"log{workers}", "--num-sessions", 2100, "--set", "num_items=20", "slate_size=2")
        assert run(*words, "max_steps=2", "--workers", workers)[0] == 0
    manifests = [(tmp_path / f"log{workers}" / "manifest.json").read_bytes() for workers in (1, 2)]
    assert manifests[0] == manifests[1]


def test_target_score_is_found_and_said(run, given_scale, world_options):
    words = ("collect", "--num-sessions", 100, "--target-score", 0.5, "--noise", "adversarial", *world_options)
    code, out, err = run(*words, "--out", "log")
    assert code == 0, err
    log = LoggedDataset.open("log")
    score = given_scale.normalized_score_interval(float(log.session_returns().mean()))
    assert 0.48 <= score.low <= score.high <= 0.52
    quality = log.manifest["quality"]
    assert quality["target_score"] == 0.5
    assert f"good fraction {quality['good_fraction']}, normalised score {score:.3f}" in out
    assert "(adversarial = 0, expert = 1)" in out
    assert run(*words, "--out", "again")[0] == 0
    again = LoggedDataset.open("again")
    assert again.manifest == log.manifest
    # And where it lies already, nothing changes.
    assert run(*words, "--out", "log")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target-score", 3, "--noise", "adversarial"], "target_score=3.0 is out of reach: this log of 20 sessions"),
        (["--target-score", 0.5, "--noise", "expert"], "does not exceed the noise's"),
    ],
)
def test_target_score_that_cannot_be_is_refused_after_the_search(run, tmp_path, words, message):
    """The error is the last line; above it a terminal has had the progress of the search."""
    code, _, err = run(
        "collect", "--out", "log", "--num-sessions", 20, "--set", "num_items=30", "slate_size=3", *map(str, words)
    )
    assert code == 2
    assert err.splitlines()[-1].startswith("recsession: ")
    assert message in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_named_dataset_is_collected_below_its_root(run, given_scale, monkeypatch, tmp_path):
    monkeypatch.setattr(named_datasets, "NUM_SESSIONS", 20)
    code, out, err = run("collect", "--dataset", NAME)
    assert code == 0, err
    assert f"{tmp_path / 'datasets' / NAME}: 20 sessions, " in out
    assert "good fraction 0.2, normalised score " in out
    assert "(stale = 0, diversified = 1)" in out
    named = load_named(NAME)
    assert named.manifest["quality"]["dataset"] == NAME
    written = named.path / "README.md"
    assert written.read_text() == card(named)
    written.unlink()  # killed between the two, say: the next time it is written
    assert run("collect", "--dataset", NAME)[0] == 0
    assert written.read_text() == card(named)
    code, out, _ = run("collect", "--dataset", NAME, "--out", "here")
    assert code == 0
    assert "here: 20 sessions, " in out
    assert LoggedDataset.open("here").manifest == load_named(NAME).manifest


def test_datasets_are_listed_by_any_words(run, given_scale, monkeypatch):
    code, out, _ = run("datasets")
    assert code == 0
    assert len(out.splitlines()) == 246
    assert re.search(rf"^{NAME} +20% of the steps the expert's, the rest stale$", out, flags=re.MULTILINE)
    monkeypatch.setattr(named_datasets, "NUM_SESSIONS", 20)
    load_named(NAME)
    found = run("datasets", "boredom", "stale")[1].splitlines()
    assert len(found) == 8
    assert [line for line in found if line.endswith(", collected")] == [line for line in found if NAME in line]


def test_evaluate_says_what_it_is_measured_against(run):
    """The expert of the world's user model, or the one that is given."""
    world = ("--set", "user_model=boredom_cascade", "num_items=40", "slate_size=4")
    code, out, err = run("evaluate", "--policy", "greedy", "--num-sessions", 100, *world)
    assert code == 0, err
    assert "(clickbait = 0, diversified = 1, as slate actions)" in out
    assert re.search(r"^diversified +\d+\.\d+ \[", out, flags=re.MULTILINE)
    spec = '{"name": "expert", "quality_weight": 0}'
    code, out, err = run(
        "evaluate", "--policy", "greedy", "--num-sessions", 100, "--noise", "adversarial", "--expert", spec, *world
    )
    assert code == 0, err
    assert "(adversarial = 0, expert(quality_weight=0) = 1, as slate actions)" in out


def test_a_dataset_without_a_world_of_its_own_is_not_overwritten(run, make_log, tmp_path):
    log = make_log("uniform", 5)
    before = np.asarray(log.rows["slate"]).copy()
    code, _, err = run("collect", "--dataset", NAME, "--out", log.path)
    assert code == 2
    assert f"{log.path} holds a dataset without a name, not {NAME}; choose another --out" in err
    np.testing.assert_array_equal(LoggedDataset.open(log.path).rows["slate"], before)
    assert collect(log.path, LogRequest(log.config, "uniform", "proto", 5, 5)).num_sessions == 5
