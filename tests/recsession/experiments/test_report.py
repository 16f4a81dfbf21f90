"""The report's page and table on synthetic results, healthy and broken."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.describe.charts import Figure, Panel, Scale, readable, typeset
from recenv.errors import InvalidInput
from recsession.experiments.report import BEST, TABLE_WIDTH, format_table, ope_points, write_report
from recsession.experiments.report_figures import draw_figures
from tests.page_parser import PageParser

SCORES = {"bc": -0.08, "awr": 0.11, "signed_pg": -0.62, "drpo": 0.96}
STEPS = 4000


def _summary(per_seed: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(per_seed)), 1.96 * float(np.std(per_seed)) + 0.02
    return {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": per_seed}


def _curve(rng: np.random.Generator, name: str, final: float, num_points: int) -> list[dict[str, Any]]:
    points, kappa, epsilon = [], 1.0, 0.2
    for index, step in enumerate(np.linspace(0, STEPS, num_points).astype(int).tolist()):
        done = step / STEPS
        calm = 24.0 * np.exp(-1.5 * done) + 9 + rng.normal(0, 0.6)
        blown = 30.0 * np.exp(20.0 * max(done - 0.15, 0.0))
        surprisal = blown if name == "signed_pg" else calm
        point = {
            "step": step,
            "loss": float(rng.normal()),
            "surprisal_mean": float(surprisal / 3),
            "surprisal_max": float(surprisal),
            "score_function_norm_max": float(3.5 * surprisal**0.5 if name == "signed_pg" else 11 + rng.normal(0, 0.5)),
            "normalized_score": None,
        }
        if index % 4 == 0 or index == num_points - 1:
            rise = 1 - np.exp(-5 * done) if name != "signed_pg" else done
            point["normalized_score"] = float(final * rise + rng.normal(0, 0.012) * (step > 0))
        if name == "drpo":
            kappa = max(0.02, kappa * (0.7 if index % 2 else 1.0)) if index > 5 else 1.0
            epsilon = float(np.clip(epsilon * rng.choice([1 / 1.5, 1.0, 1.5]), 0.02, 0.5))
            point |= {"kappa": kappa, "epsilon": epsilon, "kl": float(0.02 * np.exp(rng.normal(0, 0.5)))}
        points.append(point)
    return points


def _estimates(rng: np.random.Generator, truth: float, ess: float) -> list[dict[str, Any]]:
    made = []
    for estimator, noise in (("snips", 0.5), ("dr", 0.25)):
        spread = noise * (1.0 if ess >= 100 else 4.0)
        value = truth + float(rng.normal(0, spread / 2))
        made.append({"estimator": estimator, "value": value, "low": value - spread, "high": value + spread})
        made[-1] |= {"ess": ess, "trusted": ess >= 100}
    return made


def make_results(num_seeds: int = 3, num_points: int = 41, scores: dict[str, float] | None = None) -> dict[str, Any]:
    """Return results as a healthy quickstart would write them: DRPO wins, signed policy gradient blows up."""
    rng = np.random.default_rng(7)
    seeds, scores = list(range(11, 11 + num_seeds)), scores or SCORES
    methods, curves = {}, {}
    for name, score in scores.items():
        per_seed = [score + 0.03 * float(rng.uniform(-1, 1)) for _ in seeds]
        curves[name] = [_curve(rng, name, value, num_points) for value in per_seed]
        ess = {"bc": 640.0, "awr": 310.0, "signed_pg": 3.2, "drpo": 190.0}.get(name, 150.0)
        truth = [5.0 + 4 * value for value in per_seed]
        methods[name] = {
            "normalized_score": _summary(per_seed),
            "normalized_score_sampled": _summary([value - 0.3 for value in per_seed]),
            "filter_precision": _summary([0.94 + 0.01 * i for i in range(num_seeds)]) if name == "drpo" else None,
            "max_surprisal": [max(p["surprisal_max"] for p in curve) for curve in curves[name]],
            "max_score_function_norm": [max(p["score_function_norm_max"] for p in curve) for curve in curves[name]],
            "stopped": [None] * num_seeds,
            "ope": [_estimates(rng, value, ess * rng.uniform(0.5, 1.5)) for value in truth],
            "truth": [{"value": value, "low": value - 0.12, "high": value + 0.12} for value in truth],
        }
    edges = np.linspace(-4, 4, 61)
    histograms = [
        {
            "edges": edges.tolist(),
            "good": np.histogram(rng.normal(2.2, 0.45, 3_200), edges)[0].tolist(),
            "noise": np.histogram(rng.normal(-0.4, 0.62, 156_800), edges)[0].tolist(),
            "threshold": 1.42 + 0.05 * float(rng.uniform(-1, 1)),
        }
        for _ in seeds
    ]
    return {
        "config": {"num_sessions": 20_000, "good_fraction": 0.02, "world": {"num_items": 1000, "slate_size": 5}},
        "world_hash": "9f2c41d07be35a8816cd",
        "good_fraction": 0.02,
        "noise": "clickbait",
        "seeds": seeds,
        "reference": {
            "expert_return": {"mean": 9.04, "low": 8.97, "high": 9.11},
            "noise_return": {"mean": 5.02, "low": 4.96, "high": 5.08},
        },
        "ceiling": {
            "normalized_score": _summary([0.97 + 0.01 * i for i in range(num_seeds)]),
            "normalized_score_sampled": _summary([0.87 + 0.01 * i for i in range(num_seeds)]),
        },
        "methods": methods,
        "curves": curves,
        "score_histogram": histograms,
        "command": "recsession quickstart --seed 11",
    }


def render(results: dict[str, Any], folder: Path) -> PageParser:
    return PageParser(write_report(results, folder / "report.html").read_text(encoding="utf-8"))


def set_score(
    results: dict[str, Any], name: str, mean: float, half: float = 0.03, way: str = "normalized_score"
) -> None:
    """Set a method's score on every seed to `mean`, with an interval of that half width."""
    per_seed = [mean] * len(results["seeds"])
    summary = {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": per_seed}
    results["methods"][name][way] = summary


def make_broken() -> dict[str, Any]:
    """Return one seed, few points, no dials, no precision, and a signed policy gradient that left the numbers."""
    results = make_results(num_seeds=1, num_points=3)
    signed, curves = results["methods"]["signed_pg"], results["curves"]
    signed |= {
        "max_surprisal": [math.inf],
        "max_score_function_norm": [1e30],
        "stopped": ["loss=nan at step 2000 <halt>"],
    }
    signed["normalized_score"] = {"mean": math.nan, "low": None, "high": None, "per_seed": [math.nan]}
    signed["truth"] = [{"value": -1e30, "low": -math.inf, "high": math.nan}]
    signed["ope"] = [[{"estimator": "dr", "value": 1e308, "low": -1e308, "high": math.inf, "ess": math.nan}]]
    results["methods"]["drpo"]["filter_precision"] = None
    for point in curves["drpo"][0]:
        for key in ("kappa", "epsilon", "kl"):
            del point[key]
    curves["signed_pg"][0][1] |= {"surprisal_max": 1e30, "score_function_norm_max": math.inf, "normalized_score": -1e30}
    curves["signed_pg"][0][2] |= {
        "surprisal_max": math.nan,
        "score_function_norm_max": 1e307,
        "normalized_score": math.nan,
    }
    curves["awr"][0] = curves["awr"][0][:1]
    curves["bc"][0] = []
    results["score_histogram"] = [None]
    del results["reference"], results["command"]
    return results


def test_page_is_self_contained(tmp_path):
    page = write_report(make_results(), tmp_path / "report.html").read_text(encoding="utf-8")
    parser = PageParser(page)
    assert parser.addresses == []
    assert not {"script", "link", "iframe", "img", "object", "embed"} & {tag for tag, _ in parser.tags}
    for loader in ("http:", "https:", "url(", "@import"):
        assert loader not in page
    assert "default-src 'none'" in page
    assert len(page.encode()) < 300_000


def test_numbers_of_the_input_stand_in_the_page(tmp_path):
    results = make_results()
    text = render(results, tmp_path).text
    for method in results["methods"].values():
        ways = [method[way] for way in ("normalized_score", "normalized_score_sampled")]
        numbers = [score[key] for score in ways for key in ("mean", "low", "high")]
        numbers += [
            max(method["max_surprisal"]),
            max(method["max_score_function_norm"]),
            *method["normalized_score"]["per_seed"],
        ]
        numbers += [estimate[key] for seed in method["ope"] for estimate in seed for key in ("value", "low", "ess")]
        for number in numbers:
            assert typeset(readable(number)) in text
    for fact in ("9f2c41d07be35a8816cd", "recsession quickstart --seed 11", "11, 12, 13", "world.num_items", "20000"):
        assert fact in text


def test_every_chart_has_an_alternative_text_and_a_caption(tmp_path):
    parser = render(make_results(), tmp_path)
    charts = [attrs for tag, attrs in parser.tags if tag == "svg" and attrs.get("class") == "chart"]
    assert len(charts) == 1 + 2 + 3 + 2 + 3
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 30 for attrs in charts)
    assert parser.count("p", "caption") == 5
    assert parser.text.count("Look for") == 4


def test_hollow_marks_are_the_untrusted_estimates(tmp_path):
    results = make_results()
    results["methods"]["awr"]["ope"][0][0]["ess"] = 99.9  # declared trusted, but too small
    untrusted = [point for point in ope_points(results) if not point["trusted"]]
    assert [(point["method"], point["seed"], point["estimator"]) for point in untrusted[:1]] == [("awr", 11, "snips")]
    legend = 1
    assert render(results, tmp_path).count("path", "hollow") == len(untrusted) + legend == 8
    assert "untrusted 1/3" in format_table(results)


def test_broken_results_give_a_page_that_says_diverged(tmp_path):
    parser = render(make_broken(), tmp_path)
    assert "diverged" in parser.text
    assert "Dials" not in parser.text
    assert "What the filter sees" not in parser.text
    assert "not recorded" in parser.text
    assert "<halt>" in parser.text  # as text: escaped in the page, or the parser would have seen a tag
    assert parser.count("path", "cross") == 3
    for bad in ("nan", "inf"):
        drawn = [
            value for tag, attrs in parser.tags for name, value in attrs.items() if name in {"points", "d", "x", "y"}
        ]
        assert not any(bad in value for value in drawn)


def test_a_cross_marks_the_last_finite_point_of_a_stopped_run(tmp_path):
    results = make_results()
    assert render(results, tmp_path).count("path", "cross") == 0
    results["methods"]["signed_pg"]["stopped"][1] = "loss=nan at step 900"
    assert render(results, tmp_path).count("path", "cross") == 3  # score, surprisal, score norm


def test_curves_of_one_point_and_of_no_score(tmp_path):
    results = make_results(num_seeds=1, num_points=1)
    assert "Learning curves" in render(results, tmp_path).text
    for runs in results["curves"].values():
        runs[0][0]["normalized_score"] = None
    assert "Learning curves" not in render(results, tmp_path).text


def test_numbers_at_the_end_of_the_floating_point_range(tmp_path):
    results = make_results()
    for run in results["curves"]["signed_pg"]:
        run[-1] |= {"normalized_score": 1.7e308, "surprisal_max": 1.7e308, "score_function_norm_max": 9e299}
    assert render(results, tmp_path).count("path", "cross") == 3 + 3  # score and surprisal break off, the norm does not


def draw(results: dict[str, Any]) -> dict[str, Figure]:
    figures = draw_figures(results, ope_points(results))
    return {figure.title: figure for figure in figures}


def marks_of(panel: Panel, kind: str) -> list[dict[str, Any]]:
    return [mark for mark in panel.marks if mark["kind"] == kind]


def test_learning_curve_has_ceiling_mean_and_band():
    results = make_results(scores={"drpo": 0.5})
    for seed, run in enumerate(results["curves"]["drpo"]):
        for point in run:
            point["normalized_score"] = {0: 0.0, 1000: 0.1 * (seed + 1), 2000: 0.7}.get(point["step"])
    del results["curves"]["drpo"][2][20]  # one seed lacks step 2000: no mean there
    results["ceiling"]["normalized_score"] = {"mean": 1.0, "low": 0.75, "high": 1.05, "per_seed": [1.0] * 3}
    panel = draw(results)["Learning curves"].panels[0]
    x, y = panel.x, panel.y
    assert marks_of(panel, "ceiling") == [{"kind": "ceiling", "y": y(1.0)}]
    band = marks_of(panel, "band")[0]
    assert (band["y"], band["y"] + band["height"]) == (y(1.05), y(0.75))
    mean = next(mark for mark in marks_of(panel, "line") if mark["style"] == "thick")
    assert mean["points"] == f"{x(0):g},{y(0):g} {x(1000):g},{y(0.2):g}"
    spread = marks_of(panel, "area")[0]["points"].split()
    assert spread[1:3] == [f"{x(1000):g},{y(0.3):g}", f"{x(1000):g},{y(0.1):g}"]
    assert len([mark for mark in marks_of(panel, "line") if mark["style"] == "thin"]) == 3


def test_histogram_marks_the_threshold_and_counts_what_lies_above():
    results = make_results(num_seeds=1)
    entry = {"edges": [0.0, 1.0, 2.0, 3.0], "good": [1, 0, 40], "noise": [900, 70, 6], "threshold": 1.2}
    results["score_histogram"] = [entry]
    panel = draw(results)["What the filter sees"].panels[0]
    assert [mark["x"] for mark in marks_of(panel, "threshold")] == [panel.x(1.2)]
    assert "about 40 good and 76 noise steps" in panel.alt
    assert panel.y.log
    assert f"{panel.x(1.0):g},{panel.y(900):g}" in marks_of(panel, "area")[0]["points"].split()
    entry["threshold"] = math.nan
    assert not marks_of(draw(results)["What the filter sees"].panels[0], "threshold")


def test_estimates_lie_at_their_truth_with_both_intervals():
    results = make_results(num_seeds=1, scores={"drpo": 0.5, "awr": 0.1})
    for name, truth in (("drpo", 6.0), ("awr", 4.0)):
        results["methods"][name]["truth"] = [{"value": truth, "low": truth - 0.5, "high": truth + 0.5}]
        estimate = {
            "estimator": "dr",
            "value": truth + 1,
            "low": truth,
            "high": truth + 2,
            "ess": 200.0,
            "trusted": True,
        }
        results["methods"][name]["ope"] = [[estimate]]
    panel = draw(results)["Off-policy estimates against the truth"].panels[0]
    dot = marks_of(panel, "dot")[0]
    assert (dot["x"], dot["y"]) == (panel.x(6.0), panel.y(7.0))
    vertical, horizontal = marks_of(panel, "bar")[:2]
    assert [end["y"] for end in vertical["ends"]] == [panel.y(6.0), panel.y(panel.y.clamp(8.0))]
    assert [end["x"] for end in horizontal["ends"]] == [panel.x(5.5), panel.x(6.5)]
    results["methods"]["awr"]["ope"][0][0] |= {"value": 1e9, "low": 0.0, "high": 2e9}  # a fitted Q that diverged
    panel = draw(results)["Off-policy estimates against the truth"].panels[0]
    assert panel.y.high < 20
    assert marks_of(panel, "dot")[1]["y"] == panel.y.end


def test_dials_show_what_was_logged():
    results = make_results()
    for run in results["curves"]["awr"]:
        for point in run:
            point |= {"kappa": 0.02, "epsilon": 0.2, "kl": 0.0}  # a filter without the parts that move
    panels = draw(results)["Dials"].panels
    assert [panel.title for panel in panels] == ["Kappa", "Epsilon", "KL"]
    assert all(len(marks_of(panel, "line")) == 3 for panel in panels)
    assert [mark["y"] for mark in marks_of(panels[0], "ceiling")] == [panels[0].y(0.02)]
    for run in results["curves"]["drpo"]:
        for point in run:
            point["kl"] = 0.0
            del point["epsilon"]
    results["curves"]["drpo"][0][-1]["kl"] = 0.05  # zeros have no place on a log axis
    panels = draw(results)["Dials"].panels
    assert [(panel.title, panel.y.log) for panel in panels] == [("Kappa", True), ("KL", False)]
    results["curves"]["drpo"][0][-1]["kl"] = 0.0
    assert [panel.title for panel in draw(results)["Dials"].panels] == ["Kappa"]


def test_text_of_the_input_is_escaped(tmp_path):
    results = make_results()
    results["config"]["note"] = results["noise"] = "<script>alert(1)</script>"
    parser = render(results, tmp_path)
    assert "script" not in {tag for tag, _ in parser.tags}
    assert "<script>" in parser.text


def test_page_is_the_same_after_a_json_round_trip(tmp_path):
    results = make_broken()
    first = write_report(results, tmp_path / "a.html").read_bytes()
    assert write_report(json.loads(json.dumps(results)), tmp_path / "b.html").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_an_unwritable_folder_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InvalidInput, match=r"cannot write .*report.html: .*choose"):
        write_report(make_results(), tmp_path / "file" / "report.html")
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(InvalidInput, match="cannot write"):
        write_report(make_results(), tmp_path / "taken.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.html"]


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failed_write_keeps_the_old_page(tmp_path, monkeypatch, step):
    path = tmp_path / "report.html"
    path.write_text("old")

    def half_write(self, *_, **__):
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    if step == "replace":
        monkeypatch.setattr(os, "replace", refuse)
    else:
        monkeypatch.setattr(Path, "write_text", half_write)
    with pytest.raises(InvalidInput, match="cannot write"):
        write_report(make_results(), path)
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("reader", [format_table, lambda results: write_report(results, Path("unused.html"))])
def test_a_missing_key_is_named(reader):
    results = make_results()
    del results["ceiling"], results["seeds"]
    with pytest.raises(InvalidInput, match=r"results lack seeds, ceiling; .*--fresh"):
        reader(results)


def test_table_has_the_numbers_within_its_width():
    results = make_results()
    results["methods"]["signed_pg"]["max_surprisal"] = [12.0, 1.23e9, 40.0]
    table = format_table(results)
    rows = {line.split("  ")[0]: line for line in table.splitlines()[:10]}
    for name, judged in (("drpo", results["methods"]["drpo"]), ("ceiling", results["ceiling"])):
        for item in (judged["normalized_score"], judged["normalized_score_sampled"]):
            assert f"{item['mean']:.2f} [{item['low']:.2f}, {item['high']:.2f}]" in rows[name]
    assert "0.95" in rows["drpo"]
    assert "1.2e+09" in rows["signed_pg"]
    snips = next(line for line in table.splitlines() if line.startswith("drpo") and "snips" in line)
    estimates = [seed[0] for seed in results["methods"]["drpo"]["ope"]]
    truth = np.mean([seed["value"] for seed in results["methods"]["drpo"]["truth"]])
    assert f"{np.mean([e['value'] for e in estimates]):.2f} [" in snips
    assert f"{truth:.2f} [" in snips
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


def marked(results: dict[str, Any]) -> list[tuple[str, bool, bool]]:
    """Return the methods of the table's rows, and whether their scores by the mean and sampled are marked."""
    rows = format_table(results).split("---\n", 1)[1].splitlines()[: len(results["methods"]) + 1]
    both = [re.findall(r"\] ( ?\*)?|(diverged)", row)[:2] for row in rows]
    return [(row.split()[0], *("*" in way[0] for way in ways)) for row, ways in zip(rows, both, strict=True)]


def test_marks_are_on_the_best_and_on_what_overlaps_it_in_both_ways_of_acting():
    results = make_results()
    for name, by_mean, sampled in (
        ("bc", 0.70, 0.9),
        ("awr", 0.95, 0.7),
        ("signed_pg", 0.93, 0.1),
        ("drpo", 0.90, 0.6),
    ):
        set_score(results, name, by_mean, half=0.025)
        set_score(results, name, sampled, half=0.05, way="normalized_score_sampled")
    assert marked(results) == [
        ("bc", False, True),
        ("awr", True, False),
        ("signed_pg", True, False),
        ("drpo", True, False),  # its interval touches the best's
        ("ceiling", False, False),
    ]
    assert BEST in format_table(results)


def test_nothing_is_marked_on_one_seed_nor_where_no_score_is_finite(tmp_path):
    results = make_results(num_seeds=1)
    assert not any(mark for _, *marks in marked(results) for mark in marks)
    assert not any(
        "*" in text for text in (format_table(results), render(results, tmp_path).text.split("method", 1)[1])
    )
    results = make_results()
    for name in results["methods"]:
        set_score(results, name, math.nan)
    assert not any(by_mean for _, by_mean, _ in marked(results))


def test_methods_of_any_name_have_the_same_rows():
    results = make_results(scores={"iql": 0.2, "my_own": 0.9})
    rows = [line.split()[0] for line in format_table(results).splitlines() if line.startswith(("iql", "my_own"))]
    assert rows == ["iql", "my_own", "iql", "iql", "my_own", "my_own"]  # scores, then two estimators each


def test_stopped_runs_stand_below_the_table():
    results = make_results()
    results["methods"]["signed_pg"]["stopped"] = [None, "loss=nan at step 900.", None]
    assert "signed_pg, seed 12, was stopped: loss=nan at step 900." in format_table(results)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "diverged"),
        (-math.inf, "diverged"),
        (1.23e9, "1.2e+09"),
        (-1e30, "-1.0e+30"),
        (9999.0, "9999"),
        (412.4, "412"),
        (99.96, "100"),
        (31.24, "31.2"),
        (0.944, "0.94"),
        (0.053, "0.05"),
        (0.0042, "0.004"),
        (2e-7, "2.0e-07"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (np.float32(0.5), "0.50"),
    ],
)
def test_readable(value, text):
    assert readable(value) == text


def test_typeset():
    minus, times, space = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{NO-BREAK SPACE}"
    assert typeset("-0.06 [-0.10, 1.2e-04] self-made") == (
        f"{minus}0.06 [{minus}0.10, 1.2{space}{times}{space}10\u207b\u2074] self-made"
    )
    assert typeset("2 % of 9") == f"2{space}% of 9"


def test_scale_by_hand():
    linear = Scale(-1.0, 1.0, 100.0, 0.0)
    assert [linear(value) for value in (-1.0, 0.0, 0.5, 1.0)] == [100.0, 50.0, 25.0, 0.0]
    assert linear(1e30) == -100.0  # kept within one length, so that a browser can draw it
    assert linear.ticks() == [(100.0, "\u22121"), (75.0, "\u22120.5"), (50.0, "0"), (25.0, "0.5"), (0.0, "1")]
    log = Scale(0.1, 1000.0, 0.0, 400.0, log=True)
    assert [log(value) for value in (0.0, 0.1, 1.0, 1000.0)] == [0.0, 0.0, 100.0, 400.0]
    assert [label for _, label in log.ticks()] == ["0.1", "1", "10", "100", "1000"]
    assert len(Scale(10.0, 1e30, 0.0, 400.0, log=True).ticks()) <= 7


def test_spread_labels_apart_but_within_the_axis():
    panel = Panel("", "", Scale(0, 1, 0, 100), Scale(0, 1, 100, 0), 120, 120)
    panel.labels = [{"y": y, "text": str(y)} for y in (2.0, 1.0, -9.0)]
    panel.spread_labels(gap=15.0)
    assert [(label["text"], label["y"]) for label in panel.labels] == [("-9.0", 0.0), ("1.0", 15.0), ("2.0", 30.0)]
    panel.labels = [{"y": y, "text": str(y)} for y in (98.0, 20.0, 99.0, 100.0)]
    panel.spread_labels(gap=15.0)
    assert [(label["text"], label["y"]) for label in panel.labels] == [
        ("20.0", 20.0), ("98.0", 70.0), ("99.0", 85.0), ("100.0", 100.0),
    ]  # fmt: skip
