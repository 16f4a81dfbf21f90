"""The study of the follow-up at a tiny size, end to end, and that its words follow its numbers."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recenv.errors import InvalidInput
from recsession.cli import main
from recsession.experiments.remoteness.arms import POSITIVE_ONLY, SHAPES, Arm
from recsession.experiments.remoteness.equilibria import settled_reward
from recsession.experiments.remoteness.figures import sections
from recsession.experiments.remoteness.learning import Budget
from recsession.experiments.remoteness.protocol import SMALL, Protocol, Setting
from recsession.experiments.remoteness.verdict import beside_one_alpha, of_setting, ranked, sentences
from recsession.experiments.reproduce.remoteness import RemotenessStudy
from recsession.experiments.reproduction import Reproduction, run_reproduction
from tests.filled_guide import told_of
from tests.page_parser import PageParser

BUDGET = Budget(start_steps=6, steps=6, batch_size=16, evaluations=2)
TINY = {"local": (0.5, 1.2), "every": (0.3,), "intervened": 0.8, "tapered": (0.5,)}


def tiny() -> Protocol:
    return Protocol(BUDGET, **{name: replace(each, **TINY) for name, each in SMALL.settings().items()})  # type: ignore[arg-type]


def run(out: Path, **changes: Any) -> dict[str, Any]:
    options = {"first_seed": 100, "num_seeds": 2, "workers": 1, **changes}
    return run_reproduction(RemotenessStudy, Reproduction(out, **options), tiny())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("remoteness") / "one"
    run(out)
    return out


@pytest.fixture
def numbers(finished) -> dict[str, Any]:
    return json.loads((finished / "results.json").read_text())["numbers"]


def test_every_arm_of_every_setting_is_there(numbers):
    assert [setting["title"] for setting in numbers["settings"]] == [
        "C-U1, sigma fixed",
        "C-U1, a learned scale",
        "D-U1, kappa fixed",
        "D-U1, a learned concentration",
    ]
    for setting, asked in zip(numbers["settings"], tiny().settings().values(), strict=True):
        arms = {arm["name"]: arm for arm in setting["arms"]}
        assert list(arms) == [arm.name for arm in asked.arms()]
        assert all(set(names) <= set(arms) for names in setting["groups"].values())
        assert all(len(arm["reward"]["per_seed"]) == 2 for arm in arms.values())
        positive = arms[POSITIVE_ONLY.name]
        assert positive["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        for arm in arms.values():
            differences = [
                a - b for a, b in zip(arm["reward"]["per_seed"], positive["reward"]["per_seed"], strict=True)
            ]
            assert arm["gain"]["mean"] == pytest.approx(sum(differences) / 2, abs=2e-5)
        for shape in SHAPES:  # of an untrained policy; a hard cut keeps what is nearest to the share
            kept = arms[f"q/p 0.5 all {shape}"]["kept_local"]
            assert kept == pytest.approx(0.75, abs=0.02)
        exact = setting["title"] == "C-U1, sigma fixed"
        assert (positive["closed_form"] is not None) == exact
        assert (arms["q/p 0.5 local"]["closed_form"] == pytest.approx(settled_reward(Arm(0.5, "local")))) == exact


def test_workers_and_a_stop_change_no_byte(finished, tmp_path):
    run(tmp_path / "two", workers=2)
    (tmp_path / "two" / "seed-101" / "continuous_learned.json").unlink()
    (tmp_path / "two" / "results.json").unlink()
    run(tmp_path / "two")
    for name in ("results.json", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (finished / name).read_bytes()


def test_page_shows_every_setting_and_loads_nothing(finished):
    parser = PageParser((finished / "report.html").read_text())
    parser.check(400_000)
    assert len(parser.alts) == 12
    assert {"C-U1, sigma fixed", "D-U1, a learned concentration"} <= {line.strip() for line in parser.text.split("\n")}


def test_the_guide_says_what_the_numbers_say(finished, numbers, tmp_path):
    told = told_of(finished, tmp_path)
    for sentence in sentences(numbers):
        assert f"\n* {sentence}\n" in told
    for setting in numbers["settings"]:
        assert f"**{setting['title']}: Interventions**\n\n| " in told


def test_help_and_bad_words_are_one_sentence_each(capsys, tmp_path):
    assert main(["reproduce"]) == 0
    assert "remoteness" in capsys.readouterr().out
    assert main(["reproduce", "remoteness", "--out", str(tmp_path / "x"), "--form", "tiny"]) == 2
    with pytest.raises(InvalidInput, match=r"share=1\.0"):
        Protocol(share=1.0)


# --- words that follow numbers


def interval(*values: float) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "per_seed": list(values)}


def setting_of(rewards: dict[str, float]) -> dict[str, Any]:
    """A setting whose arms earn what is given by name, .6 otherwise, in two seeds."""
    asked = Setting("cu1", False, (0.5, 0.9), (0.3,), 0.8, (0.5,))
    arms = []
    for arm in asked.arms():
        value = rewards.get(arm.name, 0.6)
        each = {"name": arm.name, "strength": arm.strength, "rule": arm.rule, "even": arm.even}
        each |= {"reward": interval(value, value), "gain": interval(value - 0.6), "closed_form": None, "curve": [value]}
        each |= {"collapsed": 2 if value < 0.27 else 0, "at_boundary": 0, "left_the_numbers": 0, "shift": 0.0}
        each |= {"reward_sampled": value, "scale": 0.6, "kept_local": 1.0, "kept_others": 1.0}
        arms.append(each)
    groups = {"local": asked.sweep("local"), "all": asked.sweep("all")}
    groups |= {"interventions": asked.interventions(), "tapers": asked.tapers()}
    names = {name: [arm.name for arm in found] for name, found in groups.items()}
    return {"name": "x", "title": asked.title, "arms": arms, "groups": names}


AS_PUBLISHED = {
    "q/p 0.5 local": 0.9,
    "q/p 0.9 local": 0.1,
    "q/p 0.3 all": 0.5,
    "q/p 0.8 all": 0.0,
    "q/p 0.8 all without_near": 0.0,
    "q/p 0.8 all far_capped": 0.3,
    "q/p 0.5 all exponential": 0.8,
    "q/p 0.5 all global": 0.2,
    "q/p 0.5 all hard as one alpha": 0.7,
}


def test_the_published_picture_is_told_as_such():
    local, every, blame, shapes = of_setting(setting_of(AS_PUBLISHED))
    assert local.endswith(
        "repulsion from the local negative raises the reward from 0.60 to 0.90 at q/p 0.5; it is below positives alone "
        "from 0.9 and begins to collapse at 0.9."
    )
    assert every.endswith("raises the reward at no strength; it is below positives alone from 0.3.")
    assert "rescued by removing the far ones, capping them at a twentieth" in blame
    assert "not by removing the near ones and capping the far ones at a near one's push" in blame
    assert blame.endswith("the far negatives are to blame, as published.")
    assert "at q/p 0.5 exponential > " in shapes
    assert shapes.endswith(
        "earns more than a global alpha of the same total push in 1 of 4 comparisons, and less in 1."
    )
    summary = sentences({"settings": [setting_of(AS_PUBLISHED)]})[0]
    assert "from the local negative in 1 and from all negatives, averaged, in 0" in summary
    assert "the far ones are to blame in 1 and the near ones in 0" in summary
    assert "exponential is the best of those that do not fail in 1 of 1" in summary
    assert "in 1 of 4, and loses to it in 1." in summary


@pytest.mark.parametrize(
    ("near", "far", "words"),
    [
        (0.6, 0.1, "the near negatives are to blame, the reverse of what is published."),
        (0.6, 0.6, "either half is harmless alone."),
        (0.1, 0.1, "either half alone is enough to fail."),
    ],
)
def test_who_is_to_blame_follows_the_numbers(near, far, words):
    changed = {"q/p 0.8 all without_near": near, "q/p 0.8 all without_far": far}
    assert of_setting(setting_of(AS_PUBLISHED | changed))[2].endswith(words)


def test_where_nothing_fails_there_is_nothing_to_rescue():
    told = of_setting(setting_of(AS_PUBLISHED | {"q/p 0.8 all": 0.58}))[2]
    assert told.endswith("leave a reward of 0.58, and there is nothing to rescue.")
    failing = setting_of(AS_PUBLISHED | {"q/p 0.8 all": 0.58})
    next(arm for arm in failing["arms"] if arm["name"] == "q/p 0.8 all")["at_boundary"] = 1
    assert "all negatives make it lose scale or support, at a reward of 0.58; rescued by" in of_setting(failing)[2]


def test_ranks_and_pairs_worked_by_hand():
    setting = setting_of(AS_PUBLISHED)
    order = ["exponential", "reciprocal_quadratic", "reciprocal_linear", "hard"]
    assert ranked(setting) == {0.5: (order, ["global"])}
    assert (
        "exponential > reciprocal quadratic > reciprocal linear > hard (global alpha fails)" in of_setting(setting)[3]
    )
    for arm in setting["arms"]:
        arm["at_boundary"] = 1
    assert ranked(setting)[0.5][0] == []
    assert "at q/p 0.5 nothing holds" in of_setting(setting)[3]
    assert "nothing is the best of those that do not fail in 0 of 1" in sentences({"settings": [setting]})[0]
    setting = setting_of(AS_PUBLISHED)
    gains = [round(gain["mean"], 9) for gain in beside_one_alpha(setting)]
    assert gains == [0.2, 0.0, 0.0, -0.1]
    noisy = copy.deepcopy(setting)
    next(a for a in noisy["arms"] if a["name"] == "q/p 0.5 all exponential")["reward"] = interval(0.5, 1.1)
    assert beside_one_alpha(noisy)[0]["low"] < 0  # paired over two seeds


def test_figures_are_drawn_of_any_numbers():
    assert [len(section.parts) for section in sections({"settings": [setting_of(AS_PUBLISHED)]})] == [6]
