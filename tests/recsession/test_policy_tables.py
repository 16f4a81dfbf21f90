"""The rows of several policies' estimates, from results made by hand."""

from __future__ import annotations

from typing import Any

from recsession.policy_tables import chosen_rows, doubt_rows, estimate_rows


def estimate(verdict: str, *doubts: str) -> dict[str, Any]:
    difference = {"value": 1.0, "low": 0.5, "high": 1.5, "chance": 0.99}
    numbers = {"value": 2.0, "low": 1.0, "high": 3.0, "ess": 50.0, "mean_weight": {"mean": 1.0}}
    return {**numbers, "against_log": difference, "verdict": verdict, "doubts": list(doubts)}


RESULTS = {
    "policies": [
        {
            "name": "a",
            "truth": None,
            "estimates": {
                "ips": estimate("untrusted", "few sessions", "heavy weights", "mean weight not 1"),
                "dr": estimate("trusted"),
                "mis": {"refused": "no states"},
                "snips": estimate("doubtful", "heavy weights"),
            },
        }
    ]
}


def test_what_is_worth_more_stands_first_with_its_gravest_doubt():
    rows = estimate_rows(RESULTS)
    assert [row[1] for row in rows] == ["dr", "snips", "ips", "mis"]
    assert [row[6] for row in rows] == [
        "trusted",
        "doubtful: heavy weights",
        "untrusted: few sessions, and 2 more",
        "untrusted: no states",
    ]


def test_every_doubt_names_the_estimators_that_it_is_of():
    assert doubt_rows(RESULTS) == [
        ["a", "few sessions", "ips"],
        ["a", "heavy weights", "ips, snips"],
        ["a", "mean weight not 1", "ips"],
    ]


def selection(estimator: str | None, reason: str, mse: float | None, *policies: dict[str, Any]) -> dict[str, Any]:
    candidates = [{"estimator": "dr", "mse": mse}, {"estimator": "ips", "mse": None}]
    return {"estimator": estimator, "reason": reason, "candidates": candidates, "policies": policies}


def test_the_choice_of_one_policy_and_of_several():
    assert chosen_rows(RESULTS) == []
    one = {**RESULTS, "selection": selection("dr", "near", 0.25)}
    assert chosen_rows(one) == [["a", "dr", "0.50", "near"]]
    assert [row[1] for row in estimate_rows(one)] == ["dr, chosen", "snips", "ips", "mis"]
    several = selection("ips", "unchecked", None, selection(None, "nobody", None), selection("dr", "near", 4.0))
    two = {"policies": [*RESULTS["policies"], {**RESULTS["policies"][0], "name": "b"}], "selection": several}
    assert chosen_rows(two) == [
        ["a", "none", "-", "nobody"],
        ["b", "dr", "2.00", "near"],
        ["all", "ips", "-", "unchecked"],
    ]
