"""`recsession ope --user-model FIT`: what policies are worth in a user model that `recsession fit` fitted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import roll_out, value_in_user_model
from agents.policies.files import load_policy
from offline_data import LoggedDataset, fit_user_model
from tests.page_parser import PageParser
from tests.recsession.cli_cases import split

SIMULATED = "a fitted user model's word, which no reward checks: it ranks policies"


@pytest.fixture
def fitted(run, made) -> Path:
    code, _, err = run("fit", "--log", made / "log", "--out", "fit.json")
    assert code == 0, err
    return Path("fit.json")


@pytest.fixture
def judged(run, made, fitted) -> Callable[..., tuple[dict[str, Any], str]]:
    """Judge a policy of the simulated world into `out`; return the results and what was printed."""

    def build(*words: object) -> tuple[dict[str, Any], str]:
        given = ("--policy", made / "policy", "--estimators", "snips", "--num-bootstrap", 20, "--out", "out")
        given += ("--user-model", fitted, "--num-truth-sessions", 20)
        code, out, err = run("ope", "--log", made / "log", *given, *words)
        assert code == 0, err
        return json.loads(Path("out", "results.json").read_text()), out

    return build


def test_the_row_is_the_value_in_the_model_with_the_fits_doubts(judged, made, fitted):
    results, printed = judged("--truth")
    policy, log = load_policy(made / "policy"), LoggedDataset.open(made / "log")
    answer = value_in_user_model(policy, log, fit=fit_user_model(log), num_sessions=20)
    row = results["policies"][0]["estimates"]["user model"]
    assert row["value"] == answer.simulated.mean
    assert (row["low"], row["high"], row["trusted"], row["verdict"]) == (None, None, False, "untrusted")
    assert row["doubts"] == [SIMULATED, *answer.doubts]
    assert len(answer.doubts) > 0
    assert row["against_log"]["value"] == pytest.approx(answer.simulated.mean - results["logged"]["mean"])
    assert row["against_log"]["low"] is row["against_log"]["chance"] is None
    truth = roll_out(policy, log.world, 20, 0, deterministic=False, role="truth").mean()
    assert results["judged"]["user model"]["bias"] == pytest.approx(answer.simulated.mean - truth)
    assert results["judged"]["user model"]["coverage"] is None
    assert results["estimators"] == ["snips", "user model"]
    assert results["making"]["user model"].startswith("fit.json, SHA-256 ")
    assert f"untrusted: {SIMULATED}, and {len(answer.doubts)} more" in printed
    page = PageParser(Path("out", "report.html").read_text())
    page.check(400_000)
    assert answer.doubts[0] in page.text


def test_another_fit_is_simulated_anew_and_other_rows_stay(judged, fitted):
    first, _ = judged()
    values = json.loads(fitted.read_text())
    values["config"]["choice"]["no_click_utility"] = 30.0  # nobody clicks
    fitted.write_text(json.dumps(values))
    second, _ = judged()
    one, two = (each["policies"][0]["estimates"] for each in (first, second))
    assert one["snips"] == two["snips"]
    assert two["user model"]["value"] < 0.1 * one["user model"]["value"]


def test_it_is_never_chosen(judged):
    """The spread of its simulation is not its error, and without one any estimate by weights would seem worse."""
    results, _ = judged("--estimators", "auto", "snips", "pdsnips")
    assert results["estimators"] == ["snips", "pdsnips", "user model"]
    assert [each["estimator"] for each in results["selection"]["candidates"]] == ["snips", "pdsnips"]


def refused(run, *words: object) -> str:
    code, _, err = run("ope", *words)
    assert code == 2
    return err.splitlines()[-1]


def test_what_is_refused(run, made, fitted):
    words = ("--log", made / "log", "--policy", made / "policy", "--estimators", "snips", "--user-model")
    remedy = f"; fit one with `recsession fit --log {made / 'log'} --out FIT.json`"
    assert refused(run, *words, "none.json") == f"recsession: none.json: No such file or directory{remedy}"
    assert refused(run, *words, made).endswith(f"Is a directory{remedy}")
    values = json.loads(fitted.read_text())

    def told(name: str, value: Any) -> str:
        Path("bad.json").write_text(json.dumps(value if name == "" else {**values, name: value}))
        return refused(run, *words, "bad.json")

    assert told("", [1]) == f"recsession: bad.json holds no fitted user model{remedy}"
    assert told("format", "recsession-world") == f"recsession: bad.json holds no fitted user model{remedy}"
    assert "bad.json was fitted to a log of another world, and " in told("training", {"world_hash": "0" * 64})
    assert "bad.json was fitted to a log of another world, and " in told("training", None)
    assert f"bad.json does not say its notes: it is no whole file of a fit{remedy}" in told("notes", "none")
    assert f"does not say how it predicts what was held out: it is no whole file of a fit{remedy}" in told(
        "held_out", {"verdict": "good"}
    )
    assert "leave it at 1, or --user-model out" in refused(run, *words, fitted, "--critic.discount", 0.9)
    of_slates = (*words[:1], made / "slates", *words[2:])
    assert refused(run, *of_slates, fitted).startswith("recsession: ")
    assert split(refused(run, *words, "none.json"))


def test_a_log_that_was_read_in_has_no_such_users(run, made, fitted, tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,click\n" + "".join(f"{u},{u % 3},{u},1\n" for u in range(30)))
    (tmp_path / "items.csv").write_text("item,embedding_0\n0,1\n1,0\n2,-1\n")
    words = ("--path", "log.csv", "--items", "items.csv", "--out", "shop", "--map")
    code, _, err = run(
        "import", "table", *words, *split("user_id=user item_id=item timestamp=time feedback.click=click")
    )
    assert code == 0, err
    told = refused(run, "--log", "shop", "--policy", made / "policy", "--estimators", "dm", "--user-model", fitted)
    assert told == "recsession: shop was read in, and has no world whose users fit.json could stand for; leave " + (
        "--user-model out, or choose dm"
    )
