"""`recsession ope` and what `train` says of it: by which sessions, and how much an estimate is worth."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from agents.policies.files import load_policy, save_policy
from agents.training import evaluation
from offline_data.store.dataset import LoggedDataset
from recsession.commands import ope
from tests.recsession.cli_cases import FIT, split

MAP = "user_id=user step=step item_id=item timestamp=time feedback.click=click"
TRAIN = split("--trainer.num-steps 40 --trainer.batch-size 32 --trainer.policy.network.hidden-sizes 16")
ITEMS = "item,embedding_0,embedding_1\n0,1,0\n1,0,1\n2,-1,0\n3,0,-1\n"


@pytest.fixture
def shop(run, tmp_path) -> Callable[..., None]:
    """Import as `shop` a log of 400 users who are shown one of four items at random, and like the first."""

    def build(propensity: float | None = 0.25, *words: str) -> None:
        rng, rows = np.random.default_rng(0), ["user,step,item,time,click,propensity"]
        for user in range(400):
            for step in range(2):
                item = rng.integers(4)
                click = int(rng.random() < (0.8 if item == 0 else 0.2))
                rows.append(f"{user},{step},{item},{1.7e9 + 100 * user + step},{click},{propensity or ''}")
        (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
        (tmp_path / "items.csv").write_text(ITEMS)
        roles = [*split(MAP), *(["propensity=propensity"] if propensity else [])]
        code, _, err = run(
            *("import", "table", "--path", "log.csv", "--items", "items.csv", "--out", "shop", "--map", *roles), *words
        )
        assert code == 0, err

    return build


@pytest.fixture
def trained(run) -> Callable[..., str]:
    """Train on a log into the folder `run`, and return the last line."""

    def build(log: str, *words: str) -> str:
        code, out, err = run("train", "bc", "--log", log, "--out", "run", *TRAIN, *words)
        assert code == 0, err
        return out.splitlines()[-1]

    return build


def commands(line: str) -> list[list[str]]:
    return [split(command.removeprefix("recsession ")) for command in re.findall("`(.*?)`", line)]


def judged(run, log: str, *words: object) -> list[str]:
    code, out, err = run("ope", "--log", log, "--policy", "run/policy", "--num-bootstrap", 100, *words)
    assert code == 0, err
    return out.splitlines()


# --- by which sessions


def test_the_last_line_of_a_training_leads_to_an_honest_estimate(run, shop, trained):
    """Followed as it stands: split, train on one part, judge by the other; nothing is warned of."""
    shop()
    first, second, third = commands(trained("shop"))
    assert first == split("split shop")
    assert run(*first)[0] == 0
    shutil.rmtree("run")
    line = trained(second[3])
    assert second == split("train OBJECTIVE --log shop-split/train --out RUN")
    assert third == split("ope --log shop-split/judge --policy RUN/policy")
    assert commands(line) == [split("ope --log shop-split/judge --policy run/policy")]
    lines = judged(run, "shop-split/judge", "--estimators", "snips")
    assert lines[0].startswith("the log     ")


@pytest.mark.parametrize(
    ("learned", "log", "share", "remedy"),
    [
        ("shop", "shop", "100", "split shop"),
        ("shop-split/train", "shop", "50", "ope --log shop-split/judge --policy run/policy"),
        ("shop-split/train", "shop-split/train", "100", "ope --log shop-split/judge --policy run/policy"),
        ("shop", "shop-split/judge", "100", "train OBJECTIVE --log shop-split/train --out RUN"),
        ("copy", "shop", "100", "split shop"),
        ("again", "shop", "100", "split shop"),
    ],
)
def test_sessions_that_a_policy_learned_from_are_warned_of(run, shop, trained, learned, log, share, remedy):
    shop()
    if "split" in learned + log:
        assert run("split", "shop")[0] == 0
    if learned == "copy":
        shutil.copytree("shop", "copy")
    elif learned == "again":
        words = ("--path", "log.csv", "--items", "items.csv", "--map", *split(MAP), "propensity=propensity")
        assert run("import", "table", *words, "--out", "again")[0] == 0
    trained(learned)
    warning, told, *rest = judged(run, log, "--estimators", "snips")
    assert warning.startswith(
        f"warning: about {share} % of the sessions of {log} are among those that the policy learned"
    )
    assert commands(told)[0] == split(remedy)
    assert len(rest) == 3


def test_what_a_policy_learned_from_is_in_its_verdict(run, shop, trained):
    shop()
    trained("shop")
    assert "untrusted: " in (line := judged(run, "shop", "--estimators", "snips")[-1])
    assert "the policy learned from 100 % of its sessions" in line


def test_of_an_older_policy_nothing_is_said(run, shop, trained, tmp_path):
    shop()
    trained("shop")
    policy = load_policy(tmp_path / "run" / "policy")
    policy.learned_from = None
    save_policy(tmp_path / "run" / "policy", policy)
    assert [line.split()[0] for line in judged(run, "shop", "--estimators", "snips")] == ["the", "mean", "snips"]


def test_a_simulated_log_is_judged_in_its_simulator(run, made, trained):
    assert commands(trained(made / "log")) == [split("evaluate --policy run/policy")]
    warning, told, *_ = judged(run, made / "log", "--estimators", "snips")
    assert warning.startswith("warning: about 100 % of the sessions of ")
    assert commands(told) == [split("evaluate --policy run/policy")]


# --- what an estimate is worth


def test_the_logs_own_return_and_the_mean_weight_come_first(run, shop, trained, tmp_path):
    shop()
    assert run("split", "shop")[0] == 0
    trained("shop-split/train")
    log = LoggedDataset.open(tmp_path / "shop-split" / "judge")
    own, weight, snips = judged(run, "shop-split/judge", "--estimators", "snips")
    mean, low, high = (float(number) for number in re.findall(r"\d+\.\d+", own))
    assert mean == pytest.approx(log.session_returns().mean(), abs=1e-3)
    assert low < mean < high
    assert own.endswith("200 sessions, as logged")
    assert "not 1" not in weight
    assert "untrusted" not in snips


def test_propensities_that_are_wrong_show_in_the_mean_weight(run, shop, trained):
    """One in four is said to be one in two: the weights of two steps are four times too small."""
    shop(0.5)
    trained("shop")
    lines = judged(run, "shop", "--estimators", "snips")
    assert re.match(r"mean weight 0\.2\d+ \[0\.2\d+, 0\.\d+\]   is not 1: ", lines[-2])
    assert "untrusted: mean weight not 1" in lines[-1]


def test_estimators_without_a_model_fit_none(run, shop, trained, monkeypatch):
    shop()
    trained("shop")
    monkeypatch.setattr(evaluation, "fit_action_value", lambda *_, **__: pytest.fail("a model was fitted"))
    lines = judged(run, "shop", "--estimators", "snips", "tests.outside_parts.capped_snips:CappedSnips")
    assert [line.split()[0] for line in lines[-2:]] == ["snips", "tests.outside_parts.capped_snips:CappedSnips"]
    judged(run, "shop", "--estimators", "snips", "--critic.discount", 0.5)  # which all of them read


def test_without_propensities_the_model_answers(run, shop, trained):
    shop(None)
    trained("shop")
    own, left, *rest = judged(run, "shop", *FIT)[2:]
    assert re.match(r"without propensities nothing can be weighed, as [a-z_, ]*\bsnips, [a-z_, ]*wdr do: ", own)
    assert "import with --estimate-propensities" in own
    assert left.startswith("the log")
    assert [line.split()[0] for line in rest] == ["density_ratio", "dm"]
    assert all("by the model alone, unchecked" in line for line in rest)
    code, _, err = run("ope", "--log", "shop", "--policy", "run/policy", "--estimators", "dm", "snips", "wdr", *FIT)
    assert code == 2
    assert err.splitlines()[-1].startswith("recsession: snips, wdr weigh by the propensity of every row of shop, and ")
    assert err.splitlines()[-1].endswith("or choose dm")


# --- which estimator


def test_the_log_chooses_an_estimator_and_says_why(run, shop, trained):
    """As it is judged by its own sessions, nothing checks anything; judged by others, each by what weighs."""
    shop()
    trained("shop")
    lines = judged(run, "shop", "--estimators", "auto", "ips", "snips", "pdsnips")
    assert [line.split()[0] for line in lines[-3:]] == ["ips", "snips", "pdsnips"]
    (line,) = (line for line in lines if "   chosen: " in line)
    assert line.startswith("pdsnips ")
    assert "the policy learned from 100 % of its sessions); what is taken cannot be checked" in line
    assert run("split", "shop")[0] == 0
    shutil.rmtree("run")
    trained("shop-split/train")
    lines = judged(run, "shop-split/judge", "--estimators", "auto", *FIT)
    assert len([line for line in lines if "   chosen: " in line]) == 1
    assert {line.split()[0] for line in lines[2:]} >= {"dm", "dr", "dr_os", "ips", "snips", "wdr"}


def test_where_none_has_an_answer_none_is_chosen(run, shop, trained, monkeypatch):
    """As of a policy that never acts as logged."""
    shop()
    trained("shop")
    sessions_of = ope.off_policy_sessions

    def never(*arguments, **options):
        found = sessions_of(*arguments, **options)
        return replace(found, target_log_prob=np.full(found.num_rows, -np.inf))

    monkeypatch.setattr(ope, "off_policy_sessions", never)
    lines = judged(run, "shop", "--estimators", "auto", "snips", "pdsnips")
    assert lines[-2].startswith("no estimator has an answer: snips: ")
    assert lines[-1].startswith("the log ")


def test_open_bandit_has_no_choice(run):
    code, _, err = run("ope", "--log", "open-bandit", "--path", ".", "--estimators", "auto")
    assert code == 2
    assert "--estimators auto chooses for the policies of a log" in err
