"""`recsession check`: a good part passes, a bad one of any family fails with the sentence that it breaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recenv.registry import Registry
from recenv.testing.contract import contract_of
from recsession.commands.check import families

SHOP = "recsession_check_probe"
PARTS = """
import numpy as np
from dataclasses import dataclass, replace
from agents import Objective
from offline_data.ope.estimators.base import Estimator
from tests.outside_parts.capped_snips import CappedSnips, CappedSnipsConfig
from tests.outside_parts.good_enough import GoodEnough
from tests.outside_parts.latest_item import LatestItemConfig, LatestItemEncoder
from tests.outside_parts.longest_first import LongestFirst
from tests.outside_parts.rank_weighted import RankWeightedConfig, RankWeightedObjective
from tests.outside_parts.window_shopper import WindowShopper, WindowShopperConfig

class Liar(LongestFirst):
    "A behavior policy that says it is likelier than it is."
    def log_prob(self, view, action, memory):
        log_prob, prefix = super().log_prob(view, action, memory)
        return log_prob + 0.1, prefix

@dataclass(frozen=True)
class LaxConfig:
    "A config that takes anything."
    cap: float = 10.0
    '''Largest weight.'''

class Lax(CappedSnips):
    "An estimator whose config is not checked."
    Config = LaxConfig

class Scribbler(RankWeightedObjective):
    "An objective that writes into the batch."
    def terms(self, tensordict):
        tensordict["rank"] = self.column(tensordict, "session_rank")
        return super().terms(tensordict)

@dataclass(frozen=True)
class HauntedConfig(WindowShopperConfig):
    "As its parent's."
    name = "haunted"

class Haunted(WindowShopper):
    "A user model that answers for who has left."
    Config = HauntedConfig
    def respond(self, state, response):
        super().respond(state, response)
        state["mood"] *= 0.5

class Blind(GoodEnough):
    "A choice model that clicks empty positions."
    def choose(self, utilities, draws, clicked):
        clicked[:, 0] = 0

class Stranger:
    "Of no family."
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / f"{SHOP}.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    return SHOP


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("longest_first:LongestFirst", "behavior policy"),
        ("capped_snips:CappedSnips", "estimator"),
        ("good_enough:GoodEnough", "choice model"),
    ],
)
def test_a_good_part_keeps_every_promise(run, part, kind):
    code, out, err = run("check", f"tests.outside_parts.{part}")
    assert code == 0, out
    *lines, last = out.splitlines()
    contract = contract_of(next(family for family in families() if family.kind == kind))
    assert re.findall(r"^(?:ok|skipped) +(\w+): \S", out, re.MULTILINE) == list(contract.checks)
    assert last == f"tests.outside_parts.{part} as {kind}: keeps all {len(lines)} promises"
    assert "\n" not in err.strip()


def test_a_registered_name_is_checked_too(run):
    code, out, _ = run("check", "snips", "--family", "estimator")
    assert code == 0
    assert re.search(r"^snips as estimator: keeps all \d+ promises$", out, re.MULTILINE)


def test_a_bad_part_breaks_some_with_a_sentence_each(run, shop):
    code, out, _ = run("check", f"{shop}:Liar")
    assert code == 1
    failed = dict(re.findall(r"^failed +(\w+): (.+)$", out, re.MULTILINE))
    assert set(failed) == {
        "log_prob_of_an_action_is_what_the_decision_said",
        "masses_of_all_slates_sum_to_one",
        "what_is_not_offered_is_never_shown",
    }
    sentence = failed["masses_of_all_slates_sum_to_one"]
    assert sentence.startswith("The probabilities of all slates of four items sum to one, and so do those of their")
    assert "slate" in sentence
    assert out.splitlines()[-1] == f"{shop}:Liar as behavior policy: breaks 3 of {out.count(chr(10)) - 1} promises"


@pytest.mark.parametrize(
    ("name", "check", "fragments"),
    [
        ("Lax", "config_refuses_what_is_no_number", ["An option that is a number refuses NaN", "cap=nan"]),
        ("Lax", "config_refuses_values_outside_its_ranges", ["no range is named for ['cap']; validate them"]),
        ("Scribbler", "input_is_left_as_it_was", ["Neither the loss nor `after_step` writes into the batch: "]),
        ("Haunted", "leaves_alone_who_is_not_there", ["A session that is not active stays as it is"]),
        ("Blind", "a_slate_of_empty_positions_gets_no_click", ["Where nothing is shown, nothing is clicked: "]),
    ],
)
def test_what_is_broken_is_said(shop, name, check, fragments):
    part = getattr(__import__(shop), name)
    family: Registry = next(family for family in families() if issubclass(part, family.base))
    outcome = contract_of(family).checks[check].outcome(f"{shop}:{name}")
    assert outcome.state == "failed"
    for fragment in fragments:
        assert fragment in outcome.sentence
    assert "\n" not in outcome.sentence


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((f"{SHOP}:Stranger",), r"Stranger is of no family: its class has no base out of UserModel, ChoiceModel, "),
        ((f"{SHOP}:Missing",), "Missing is of no family"),
        (("no_such_module:Part",), "part 'no_such_module:Part': cannot import 'no_such_module'"),
        (("drop",), "no family has a part 'drop'; pass MODULE:CLASS"),
        (("gaussian",), "gaussian may be a behavior_policy or policy; say which by --family"),
        (("snips", "--family", "estimater"), "unknown family 'estimater'; did you mean 'estimator'"),
        (("snips", "--family", "encoder"), "unknown encoder 'snips'"),
        ((), "required"),
    ],
)
def test_bad_input_is_one_line(run, shop, words, message):
    code, out, err = run("check", *words)
    assert code == 2
    assert out == ""
    assert re.fullmatch(rf"recsession: .*{message}.*\n", err), err
