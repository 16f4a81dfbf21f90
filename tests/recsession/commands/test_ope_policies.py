"""`recsession ope --policies`: several policies side by side, against what runs, and against the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agents import CriticConfig, NetworkConfig, off_policy_sessions, roll_out
from agents.policies.files import load_policy, save_policy
from offline_data import LoggedDataset, estimate, paired_difference, select
from recsession import policy_units
from tests.page_parser import PageParser
from tests.recsession.cli_cases import FIT, split


@pytest.fixture
def policies(made, tmp_path) -> list[Path]:
    """Three policies of the simulated world, whose last layers differ."""
    files = []
    for name in ("first", "second", "third"):
        policy = load_policy(made / "policy")
        rng = np.random.default_rng(len(name))
        for values in policy.parameters():
            values.data += 0.02 * len(files) * values.data.new_tensor(rng.normal(size=tuple(values.shape)))
        files.append(tmp_path / name / "policy")
        files[-1].parent.mkdir()
        save_policy(files[-1], policy)
    return files


@pytest.fixture
def compared(run, made, policies) -> Callable[..., tuple[dict, str]]:
    """Compare the policies by the simulated log into the folder `out`; return the results and what was printed."""

    def build(*words: object, files: list[Path] | None = None, out: str = "out") -> tuple[dict, str]:
        words = ("--policies", *(files or policies), "--num-bootstrap", 50, "--out", out, *words)
        code, printed, err = run("ope", "--log", made / "log", *words)
        assert code == 0, err
        return json.loads(Path(out, "results.json").read_text()), printed

    return build


def test_estimates_and_differences_are_those_of_the_arrays(compared, policies, made):
    results, printed = compared("--estimators", "snips", "pdsnips")
    log = LoggedDataset.open(made / "log")
    first, second = (off_policy_sessions(load_policy(file), log, estimators=["snips"]) for file in policies[:2])
    assert [each["name"] for each in results["policies"]] == ["first", "second", "third"]
    found = results["policies"][0]["estimates"]["snips"]
    answer = estimate("snips", first, num_bootstrap=50)
    assert (found["value"], found["low"], found["high"]) == (answer.value, answer.low, answer.high)
    assert results["logged"] == first.logged_return().as_dict()
    influences = [_snips_influence(sessions) for sessions in (first, second)]
    own = first.returns()
    assert found["against_log"] == pytest.approx(paired_difference(influences[0], own).as_dict())
    pair = next(each for each in results["pairs"] if {each["first"], each["other"]} == {"first", "second"})
    sign = 1.0 if pair["first"] == "first" else -1.0
    assert pair["value"] == pytest.approx(sign * float((influences[0] - influences[1]).mean()))
    assert pair["value"] >= 0.0, "the better stands first"
    assert len(results["pairs"]) == 6
    assert printed.startswith("the log's own ")
    assert printed.splitlines()[-1] == f"report: {Path('out', 'report.html')}"


def _snips_influence(sessions) -> np.ndarray:
    """What each session adds to V = sum w G / sum w by leaving it out, about V: S - 1 times w (G - V) / (sum w - w)."""
    log_ratios = np.add.reduceat(sessions.target_log_prob - sessions.behavior_log_prob, sessions.offsets[:-1])
    weights, returns = np.exp(log_ratios - log_ratios.max()), sessions.returns()
    value = weights @ returns / weights.sum()
    share = weights / weights.sum()
    moved = share * (returns - value) / np.maximum(1.0 - share, 1e-3)  # one that is nearly all: to a thousandth
    return value + (len(weights) - 1) * (moved - moved.mean())


def test_the_work_goes_on_where_it_stopped_and_takes_more_policies(compared, policies, monkeypatch):
    two, _ = compared("--estimators", "dm", *FIT, files=policies[:2])
    asked = []

    def columns(policy, *arguments, **options):
        asked.append(policy)
        return policy_columns(policy, *arguments, **options)

    policy_columns = policy_units.policy_columns
    monkeypatch.setattr(policy_units, "policy_columns", columns)
    three, _ = compared("--estimators", "dm", *FIT)
    assert len(asked) == 1
    assert three["policies"][:2] == two["policies"]
    whole, _ = compared("--estimators", "dm", *FIT, out="anew")
    assert whole == three


def test_a_folder_takes_estimators_that_read_another_model(compared, policies):
    """What `dm` left says nothing of features, nor of the Q of `mrdr`: they are found, and `dm` is as it was."""
    names = ("dm", "dr", "density_ratio", "mrdr")
    first, _ = compared("--estimators", "dm", *FIT, files=policies[:1])
    more, printed = compared("--estimators", *names, *FIT, files=policies[:1])
    found = more["policies"][0]["estimates"]
    assert [name for name in names if "value" in found[name]] == [*names]
    assert found["dm"]["value"] == first["policies"][0]["estimates"]["dm"]["value"]
    assert found["mrdr"]["value"] != found["dr"]["value"]
    assert "mrdr" in printed


def test_a_folder_takes_estimators_that_read_other_features(compared, policies):
    """Those of states, which `mis` left, say nothing of actions."""
    for name in ("mis", "density_ratio"):
        results, _ = compared("--estimators", name, *FIT, files=policies[:1])
        assert "value" in results["policies"][0]["estimates"][name]


def test_a_folder_takes_folds_beside_the_whole(run, made, compared, policies):
    """Each finds what it left, and the estimates of a single policy are the same."""
    names = ("--estimators", "dm", "dr", "snips", *FIT)
    whole, _ = compared(*names, files=policies[:1])
    halves, _ = compared(*names, "--num-folds", 2, files=policies[:1])
    again, _ = compared(*names, files=policies[:1])
    assert again == whole
    assert (whole["making"]["num_folds"], halves["making"]["num_folds"]) == (1, 2)
    found = [each["policies"][0]["estimates"] for each in (whole, halves)]
    assert found[0]["snips"] == found[1]["snips"]
    assert found[0]["dm"]["value"] != found[1]["dm"]["value"]
    sessions = off_policy_sessions(
        load_policy(policies[0]),
        LoggedDataset.open(made / "log"),
        estimators=("dr",),
        config=CriticConfig(NetworkConfig((16,)), num_rounds=2, steps_per_round=10, batch_size=32),
        num_folds=2,
    )
    assert found[1]["dr"]["value"] == estimate("dr", sessions).value
    code, printed, err = run("ope", "--log", made / "log", "--policy", policies[0], *names, "--num-folds", 2)
    assert code == 0, err
    assert f"{found[1]['dr']['value']:#.4g}" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("snips", "--num-folds", 2), "snips fit no model; leave out --num-folds"),
        (("dr", "--num-folds", 0), "num_folds=0"),
        (("dr", *FIT, "--num-folds", 41), "num_folds=41 exceeds the log's 40 sessions; lower it to 40"),
    ],
)
def test_folds_that_cannot_be_are_refused(run, made, words, message):
    for option in ("--policy", "--policies"):
        code, _, err = run("ope", "--log", made / "log", option, made / "policy", "--estimators", *words)
        assert code == 2
        assert message in err


@pytest.mark.slow
def test_workers_do_not_change_a_byte(compared):
    for workers in (1, 2):
        words = ("--num-folds", 2, "--workers", workers)
        compared("--truth", "--num-truth-sessions", 20, *FIT, *words, out=f"out-{workers}")
    for name in ("results.json", "report.html"):
        assert Path("out-1", name).read_bytes() == Path("out-2", name).read_bytes()


def test_the_truth_judges_the_estimators(compared, policies, made):
    results, printed = compared("--truth", "--num-truth-sessions", 30, "--estimators", "snips", "dm", *FIT)
    log = LoggedDataset.open(made / "log")
    returns = roll_out(load_policy(policies[0]), log.world, 30, 0, deterministic=False, role="truth")
    assert results["policies"][0]["truth"]["mean"] == float(returns.mean())
    truths = np.array([each["truth"]["mean"] for each in results["policies"]])
    for name in ("snips", "dm"):
        values = np.array([each["estimates"][name]["value"] for each in results["policies"]])
        judged = results["judged"][name]
        assert judged["mse"] == pytest.approx(np.mean((values - truths) ** 2))
        assert judged["regret"]["1"] == pytest.approx(truths.max() - truths[values.argmax()])
        assert judged["num_policies"] == 3
    assert "rank correlation" in printed
    page = PageParser(Path("out", "report.html").read_text())
    page.check(400_000)
    assert "What the simulator says of the estimates" in page.text


def test_the_log_chooses_for_each_policy_and_for_all(compared, made, policies):
    results, printed = compared("--estimators", "auto", "ips", "snips", "--truth", "--num-truth-sessions", 20)
    log = LoggedDataset.open(made / "log")
    sessions = [off_policy_sessions(load_policy(file), log, estimators=["snips"]) for file in policies]
    found = results["selection"]
    alone = [select(each, ["ips", "snips"]) for each in sessions]
    assert [each["estimator"] for each in found["policies"]] == [each.estimator for each in alone]
    assert results["estimators"] == ["ips", "snips"]
    lines = printed.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("policy  chosen")))
    assert [line.split()[0] for line in lines[start + 2 : start + 6]] == ["first", "second", "third", "all"]
    assert sum(", chosen" in line for line in lines) == 3
    chosen = [each["estimates"][one.estimator] for each, one in zip(results["policies"], alone, strict=True)]
    errors = [one["value"] - each["truth"]["mean"] for one, each in zip(chosen, results["policies"], strict=True)]
    assert results["judged"]["auto"]["mse"] == pytest.approx(np.mean(np.square(errors)))
    assert "By which estimator, as the log tells" in Path("out", "report.html").read_text()
    assert "selection" not in compared("--estimators", "snips")[0]


def test_the_page_warns_of_what_is_not_to_be_trusted(compared):
    compared("--estimators", "snips", "dm", *FIT)
    text = Path("out", "report.html").read_text()
    page = PageParser(text)
    assert "No estimate that weighs these sessions is to be trusted." in page.text
    assert text.count('class="alarm"') >= 3
    assert text.count("<svg") == 2
    assert "by the model alone, unchecked: it ranks policies" in page.text


def test_an_estimator_without_an_answer_says_so_beside_the_others(run, made, policies, monkeypatch):
    """The second policy never acts as the log has it: it has no estimate, and the others do."""
    columns = policy_units.policy_columns

    def never(policy, *arguments, **options):
        found = columns(policy, *arguments, **options)
        hit = np.allclose(next(policy.parameters()).detach(), next(load_policy(policies[1]).parameters()).detach())
        return {**found, "target_log_prob": np.full_like(found["target_log_prob"], -np.inf)} if hit else found

    monkeypatch.setattr(policy_units, "policy_columns", never)
    words = ("--log", made / "log", "--policies", *policies, "--num-bootstrap", 20, "--estimators", "snips")
    code, printed, err = run("ope", *words, "--truth", "--num-truth-sessions", 20)
    assert code == 0, err
    line = next(line for line in printed.splitlines() if line.startswith("second"))
    assert "no estimate" in line
    assert "untrusted: target_log_prob is -inf in each of 40 sessions" in line
    judged = printed.splitlines()[-1].split()
    assert judged[:2] == ["snips", "2"]


def refused(run, *words: object) -> str:
    code, _, err = run("ope", *words)
    assert code == 2
    return err.splitlines()[-1]


def test_what_is_refused(run, made, policies, tmp_path):
    log = ("--log", made / "log", "--estimators", "snips")
    assert "--policy is one policy and --policies are several" in refused(
        run, *log, "--policy", policies[0], "--policies", policies[1]
    )
    assert "has no --policy; give a policy file" in refused(run, *log)
    twin = tmp_path / "twin"
    twin.write_bytes(policies[0].read_bytes())
    assert f"{twin} is the same policy as {policies[0]}; leave one of them out" in refused(
        run, *log, "--policies", policies[0], twin
    )
    assert "without --truth and --user-model nothing is rolled out; leave out --num-truth-sessions" in refused(
        run, *log, "--policies", *policies, "--num-truth-sessions", 5
    )
    assert "workers=0 is outside" in refused(run, *log, "--policies", *policies, "--workers", 0)
    assert "leave it at 1, or --truth out" in refused(
        run, *log, "--policies", *policies, "--truth", "--critic.discount", 0.9
    )
    code, _, err = run("ope", *log, "--policies", *policies[:2], "--out", "one", "--num-bootstrap", 10)
    assert code == 0, err
    assert "one holds work of another request (seed 0 there, 1 here)" in refused(
        run, *log, "--policies", *policies[:2], "--out", "one", "--seed", 1
    )
    assert "slates, and the policy, gaussian, acts by" in refused(
        run, "--log", made / "slates", "--estimators", "snips", "--policies", *policies
    )
    other = refused(run, *log, "--policies", policies[0], made / "default_policy")
    assert other.startswith(f"recsession: {made / 'default_policy'} cannot be judged by this log: ")
    assert other.endswith("or leave it out")
    assert split(other)
