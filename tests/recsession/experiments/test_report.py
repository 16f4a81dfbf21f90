"""The quickstart's table on synthetic results, healthy and broken."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from recsession.experiments.report import BEST, TABLE_WIDTH, format_table, ope_points, ope_rows
from tests.recsession.experiments.quickstart_results import SCORES, make_broken, make_results


def set_scores(results: dict[str, Any], way: str, half: float, **means: float) -> None:
    """Set methods' scores on every seed, with an interval of that half width."""
    for name, mean in means.items():
        per_seed = [mean] * len(results["seeds"])
        results["methods"][name][way] = {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": per_seed}


def test_table_has_the_numbers_within_its_width():
    results = make_results()
    results["methods"]["signed_pg"]["max_surprisal"] = [12.0, 1.23e9, 40.0]
    table = format_table(results)
    rows = {line.split("  ")[0]: line for line in table.splitlines()[:10]}
    for name, judged in (("robust_filter", results["methods"]["robust_filter"]), ("ceiling", results["ceiling"])):
        for item in (judged["normalized_score"], judged["normalized_score_sampled"]):
            assert f"{item['mean']:.2f} [{item['low']:.2f}, {item['high']:.2f}]" in rows[name]
    assert "0.95" in rows["robust_filter"]
    assert "1.2e+09" in rows["signed_pg"]
    snips = next(line for line in table.splitlines() if line.startswith("robust_filter") and "snips" in line)
    estimates = [seed[0] for seed in results["methods"]["robust_filter"]["ope"]]
    truth = np.mean([seed["value"] for seed in results["methods"]["robust_filter"]["truth"]])
    assert f"{np.mean([e['value'] for e in estimates]):.2f} [" in snips
    assert f" {truth:.2f} " in snips
    assert f" {min(e['ess'] for e in estimates):.0f} " in snips
    assert [line.split()[:2] for line in table.splitlines() if "untrusted" in line] == [
        ["signed_pg", "snips"],
        ["signed_pg", "dr"],
    ]


def test_table_width_holds_for_the_widest_numbers():
    results = make_results(scores=SCORES | {"a_method_with_a_long_name": -0.5})
    wide = {"mean": -1.23e-99, "low": -1.23e-99, "high": -1.23e-99, "per_seed": [0.0] * 3}
    results["ceiling"] = dict.fromkeys(("normalized_score", "normalized_score_sampled"), wide)
    for method in results["methods"].values():
        method |= results["ceiling"]
        method |= {"filter_precision": wide, "stopped": ["very " * 60 + "long", None, None]}
        method["truth"] = [{"value": -1.23e10, "low": -1.23e10, "high": -1.23e10}] * 3
        for seed in method["ope"]:
            seed[0] |= {"estimator": "a_long_estimator", "value": -1e10, "low": -1e10, "high": -1e10}
        method["ope"][0][0]["trusted"] = False
    table = format_table(results)
    assert "untrusted 1/3" in table
    assert max(map(len, table.splitlines())) <= TABLE_WIDTH
    assert max(map(len, format_table(make_broken()).splitlines())) <= TABLE_WIDTH


def marked(results: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the methods of the table's rows, and whether their scores by the mean and sampled are marked."""
    rows = format_table(results).split("---\n", 1)[1].splitlines()[: len(results["methods"]) + 1]
    both = [re.findall(r"\] ( ?\*)?|(diverged)", row)[:2] for row in rows]
    return [(row.split()[0], *("*" in way[0] for way in ways)) for row, ways in zip(rows, both, strict=True)]


def test_marks_are_on_the_best_and_on_what_overlaps_it_in_both_ways_of_acting():
    results = make_results()
    set_scores(results, "normalized_score", 0.025, bc=0.70, awr=0.95, signed_pg=0.93, robust_filter=0.90)
    set_scores(results, "normalized_score_sampled", 0.05, bc=0.9, awr=0.7, signed_pg=0.1, robust_filter=0.6)
    assert marked(results) == [
        ("bc", False, True),
        ("awr", True, False),
        ("signed_pg", True, False),
        ("robust_filter", True, False),  # its interval touches the best's
        ("ceiling", False, False),
    ]
    assert BEST in format_table(results)


def test_nothing_is_marked_on_one_seed_nor_where_no_score_is_finite():
    results = make_results(num_seeds=1)
    assert "*" not in format_table(results)
    results = make_results()
    set_scores(results, "normalized_score", 0.03, **dict.fromkeys(results["methods"], math.nan))
    assert not any(by_mean for _, by_mean, _ in marked(results))


def test_methods_of_any_name_have_the_same_rows():
    results = make_results(scores={"iql": 0.2, "my_own": 0.9})
    rows = [line.split()[0] for line in format_table(results).splitlines() if line.startswith(("iql", "my_own"))]
    assert rows == ["iql", "my_own", "iql", "iql", "my_own", "my_own"]  # scores, then two estimators each


def test_stopped_runs_stand_below_the_table():
    results = make_results()
    results["methods"]["signed_pg"]["stopped"] = [None, "loss=nan at step 900.", None]
    assert "signed_pg, seed 12, was stopped: loss=nan at step 900." in format_table(results)


def test_an_estimate_is_untrusted_below_its_effective_sample_size():
    results = make_results()
    results["methods"]["awr"]["ope"][0][0]["ess"] = 99.9  # declared trusted, but too small
    untrusted = [point for point in ope_points(results) if not point["trusted"]]
    assert [(point["method"], point["seed"], point["estimator"]) for point in untrusted[:1]] == [("awr", 11, "snips")]
    assert len(untrusted) == 7
    assert "untrusted 1/3" in format_table(results)


def judged_by_two_logs() -> dict[str, Any]:
    results = make_results()
    few, skewed = "effective sample size below 100", "few sessions make its spread"
    for name, method in results["methods"].items():
        for seed in method["ope"]:
            for entry in seed:
                entry |= {"log": "mixed", "logged": 5.0, "ess": 1.5, "verdict": "untrusted", "doubts": [few, "else"]}
            far, own = seed[0], {"log": "own", "logged": 5.5, "ess": 250.0, "verdict": "trusted", "doubts": []}
            seed.append({**far, **own, "trusted": True})
        for seed in method["ope"]:
            for entry in seed[:2]:
                entry["trusted"] = False
        if name == "bc":
            method["ope"][1][2] |= {"trusted": False, "verdict": "doubtful", "doubts": [skewed]}
    return results


def test_a_trusted_row_stands_beside_untrusted_ones_and_why():
    results = judged_by_two_logs()
    points = ope_points(results)
    assert {(p["log"], p["verdict"], p["trusted"]) for p in points} == {
        ("mixed", "untrusted", False),
        ("own", "trusted", True),
        ("own", "doubtful", False),
    }
    rows = {(row[0], row[1], row[2]): row[5:] for row in ope_rows(points)}
    assert rows["awr", "mixed", "dr"] == ["5.00", "1.50", "0/0", "untrusted"]
    assert rows["awr", "own", "snips"] == ["5.50", "250", "3/3", "trusted"]
    assert rows["bc", "own", "snips"] == ["5.50", "250", "2/2", "doubtful 1/3"]
    table = format_table(results)
    assert "untrusted by the mixed log: effective sample size below 100 (24 of 24)" in table
    assert "doubtful by the own log: few sessions make its spread (1 of 1)" in table
    assert max(map(len, table.splitlines())) <= TABLE_WIDTH
