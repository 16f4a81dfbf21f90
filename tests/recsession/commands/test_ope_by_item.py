"""`recsession ope --by item`: a log of slates, weighed position by position."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents import (
    PlackettLucePolicyConfig,
    SessionSpace,
    make_policy,
    off_policy_sessions,
    sessions_of_items,
    target_prefixes,
)
from agents.policies.files import save_policy
from offline_data import LoggedDataset, estimate


@pytest.fixture
def judged(made, world, tmp_path):
    """A log of slates by item for a Plackett-Luce policy, whose file is the second."""
    policy = make_policy(SessionSpace.of_world(world), PlackettLucePolicyConfig(), seed=1)
    save_policy(tmp_path / "ranker", policy)
    log = LoggedDataset.open(made / "slates")
    steps = off_policy_sessions(policy, log, estimators=["pdis"])
    return sessions_of_items(steps, log, target_prefixes(policy, log)), tmp_path / "ranker"


def test_one_policy_and_several_are_judged_by_the_items(run, made, judged):
    items, file = judged
    code, out, err = run("ope", "--log", made / "slates", "--policy", file, "--by", "item")
    assert code == 0, err
    rows = {line.split()[0]: line for line in out.splitlines()}
    for name in ("ips", "pdis", "snips", "pdsnips"):
        value = float(rows[name].split()[1].replace(",", ""))
        assert value == pytest.approx(estimate(name, items).value, rel=1e-3)
    assert "dr" not in rows
    words = ("--policies", file, "--estimators", "pdis", "--by", "item", "--out", "out")
    code, _, err = run("ope", "--log", made / "slates", *words)
    assert code == 0, err
    results = json.loads(Path("out", "results.json").read_text())
    assert results["making"]["by"] == "item"
    assert results["policies"][0]["estimates"]["pdis"]["value"] == pytest.approx(estimate("pdis", items).value)


def test_what_has_no_items_is_refused(run, made, judged):
    code, _, err = run("ope", "--log", made / "log", "--policy", made / "policy", "--by", "item")
    assert code == 2
    assert "has no propensity of each position: collect with --action-kind slate" in err
    words = ("--estimators", "dr", "pdis", "--by", "item")
    code, _, err = run("ope", "--log", made / "slates", "--policy", judged[1], *words)
    assert code == 2
    assert "dr read a fitted Q, which knows whole slates and no items; leave --by item out" in err
    for given in (("--policy", judged[1]), ("--policies", judged[1])):
        code, _, err = run("ope", "--log", made / "slates", *given, "--by", "item", "--critic.num-rounds", 3)
        assert code == 2
        assert "--by item fits no model; leave out --critic.num-rounds" in err
    code, _, err = run("ope", "--log", "open-bandit", "--path", made, "--by", "item")
    assert code == 2
    assert "leave out --by" in err
