"""The report's page and figures on synthetic results, healthy and broken."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.describe.figures import INK
from offline_data.describe.number_words import readable, typeset
from recenv.errors import InvalidInput
from recsession.experiments.report import BEST, format_table, ope_points
from recsession.experiments.report_figures import draw_figures, normalized_score_chart
from recsession.experiments.report_page import write_report
from tests.page_parser import PageParser
from tests.recsession.experiments.quickstart_results import make_broken, make_results


def render(results: dict[str, Any], folder: Path) -> PageParser:
    return PageParser(write_report(results, folder / "report.html").read_text(encoding="utf-8"))


def draw(results: dict[str, Any]) -> dict[str, Any]:
    """Return the charts by their section's title."""
    sections = draw_figures(results, ope_points(results))
    return {section.title: section.parts[1] for section in sections}


def title(chart: Any) -> str:
    return chart.axes.get_figure(root=True).get_suptitle()


def lines(axes: Any, **looks: Any) -> list[Any]:
    """Return lines of two points or more that look so, but those over the whole axis."""
    found = [line for line in axes.lines if len(np.atleast_1d(line.get_xdata())) > 1]
    return [
        line
        for line in found
        if all(getattr(line, f"get_{key}")() == value for key, value in looks.items())
        if line.get_transform() == axes.transData
    ]


def crosses(results: dict[str, Any]) -> list[tuple[float, float]]:
    """Return where a run broke off, in any figure."""
    found = [line for charts in draw(results).values() for chart in charts for line in chart.axes.lines]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in found if line.get_marker() == "x"]


def test_page_says_and_draws_it_all(tmp_path):
    results = make_results()
    parser = render(results, tmp_path)
    parser.check(300_000)
    assert len(parser.alts) == 1 + 1 + 2 + 3 + 2 + 1
    assert parser.text.count("Look for") == 4
    for method in results["methods"].values():
        ways = [method[way] for way in ("normalized_score", "normalized_score_sampled")]
        numbers = [score[key] for score in ways for key in ("mean", "low", "high")]
        numbers += [max(method["max_surprisal"]), max(method["max_score_function_norm"])]
        numbers += [min(seed[0]["ess"] for seed in method["ope"])]
        numbers += [np.mean([seed[which]["value"] for seed in method["ope"]]) for which in (0, 1)]
        for number in numbers:
            assert typeset(readable(number)) in parser.text
    for fact in ("9f2c41d07be35a8816cd", "recsession quickstart --seed 11", "11, 12, 13", "'num_items': 1000", "20000"):
        assert fact in parser.text


def test_broken_results_give_a_page_that_says_diverged(tmp_path):
    parser = render(make_broken(), tmp_path)
    parser.check(200_000)
    for text in ("diverged", "not recorded", "<halt>"):
        assert text in parser.text
    for absent in ("Share kept", "What the filter sees", "] *", BEST):
        assert absent not in parser.text
    assert len(crosses(make_broken())) == 3


def test_page_is_the_same_after_a_json_round_trip(tmp_path):
    results = make_broken()
    first = write_report(results, tmp_path / "a.html").read_bytes()
    assert write_report(json.loads(json.dumps(results)), tmp_path / "b.html").read_bytes() == first


@pytest.mark.parametrize("reader", [format_table, lambda results: write_report(results, Path("unused.html"))])
def test_a_missing_key_is_named(reader):
    results = make_results()
    del results["ceiling"], results["seeds"]
    with pytest.raises(InvalidInput, match=r"results lack seeds, ceiling; .*--fresh"):
        reader(results)


def test_a_cross_marks_the_last_finite_point_of_a_stopped_run():
    results = make_results()
    assert crosses(results) == []
    results["methods"]["signed_pg"]["stopped"][1] = "loss=nan at step 900"
    found = crosses(results)
    last = results["curves"]["signed_pg"][1][-1]
    keys = ("normalized_score", "surprisal_max", "score_function_norm_max")
    assert found == [(last["step"], pytest.approx(last[key])) for key in keys]


def test_curves_of_one_point_and_of_no_score():
    results = make_results(num_seeds=1, num_points=1)
    assert "Learning curves" in draw(results)
    for runs in results["curves"].values():
        runs[0][0]["normalized_score"] = None
    assert "Learning curves" not in draw(results)


def test_numbers_at_the_end_of_the_floating_point_range(tmp_path):
    results = make_results()
    for run in results["curves"]["signed_pg"]:
        run[-1] |= {"normalized_score": 1.7e308, "surprisal_max": 1.7e308, "score_function_norm_max": 9e299}
    results["methods"]["signed_pg"]["normalized_score"] |= {"mean": -9e299, "low": -9.1e299, "high": 1e299}
    assert len(crosses(results)) == 3 + 3  # score and surprisal break off, the norm does not
    render(results, tmp_path).check(300_000)


def test_scores_stand_in_both_ways_of_acting_in_one_color_a_method():
    results = make_results(scores={"robust_filter": 0.5, "awr": 0.1})
    axes: Any = normalized_score_chart(results).axes
    judged = [*results["methods"].values(), results["ceiling"]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["robust_filter", "awr", "ceiling"]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    ways = ("normalized_score", "normalized_score_sampled")
    assert [mark.get_xdata()[0] for mark in marks] == [each[way]["mean"] for each in judged for way in ways]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True] * 3
    assert [mark.get_color() for mark in marks[4:]] == [INK, INK]
    assert len({mark.get_color() for mark in marks}) == 3
    assert [list(bar.get_xdata()) for bar in lines(axes, alpha=0.6)] == [
        [each[way]["low"], each[way]["high"]] for each in judged for way in ways
    ]


def test_learning_curve_has_ceiling_mean_and_band():
    results = make_results(scores={"robust_filter": 0.5})
    for seed, run in enumerate(results["curves"]["robust_filter"]):
        for point in run:
            point["normalized_score"] = {0: 0.0, 1000: 0.1 * (seed + 1), 2000: 0.7}.get(point["step"])
    del results["curves"]["robust_filter"][2][20]  # one seed lacks step 2000: no mean there
    results["ceiling"]["normalized_score"] = {"mean": 1.0, "low": 0.75, "high": 1.05, "per_seed": [1.0] * 3}
    (chart,) = draw(results)["Learning curves"]
    axes = chart.axes
    (ceiling,) = [line for line in axes.lines if line.get_color() == INK]
    assert list(ceiling.get_ydata()) == [1.0, 1.0]
    (span,) = axes.patches
    assert (span.get_y(), span.get_height()) == pytest.approx((0.75, 0.3))
    (mean,) = lines(axes, linewidth=2.4)
    np.testing.assert_allclose(mean.get_xydata(), [(0, 0), (1000, 0.2)])
    outline = np.asarray(axes.collections[0].get_paths()[0].vertices)
    there = outline[outline[:, 0] == 1000, 1]
    assert (there.min(), there.max()) == pytest.approx((0.1, 0.3))
    assert len(lines(axes, linewidth=0.9)) == 3
    assert {text.get_text() for text in axes.texts} == {"robust_filter", "ceiling"}
    assert chart.alt.endswith("ceiling 1.00; robust_filter ends at 0.20.")


def test_histogram_marks_the_threshold_and_counts_what_lies_above():
    results = make_results(num_seeds=1)
    entry = {"edges": [0.0, 1.0, 2.0, 3.0], "good": [1, 0, 40], "noise": [900, 70, 6], "threshold": 1.2}
    results["score_histogram"] = [entry]
    (chart,) = draw(results)["What the filter sees"]
    assert "about 40 good and 76 noise steps" in chart.alt
    assert chart.axes.get_yscale() == "log"
    assert [list(line.get_xdata()) for line in chart.axes.lines] == [[1.2, 1.2]]
    steps = [patch.get_data() for patch in chart.axes.patches[:4]]
    assert [list(values) for values, *_ in steps[::2]] == [[1, 0.1, 40], [900, 70, 6]]
    assert [text.get_text() for text in chart.axes.texts] == ["expert", "clickbait", "kept from 1.20"]
    entry["threshold"] = math.nan
    assert not draw(results)["What the filter sees"][0].axes.lines


def test_estimates_lie_at_their_truth_with_both_intervals():
    results = make_results(num_seeds=1, scores={"robust_filter": 0.5, "awr": 0.1})
    for name, truth in (("robust_filter", 6.0), ("awr", 4.0)):
        results["methods"][name]["truth"] = [{"value": truth, "low": truth - 0.5, "high": truth + 0.5}]
        estimate = {"estimator": "dr", "value": truth + 1, "low": truth, "high": truth + 1.2, "ess": 200.0}
        results["methods"][name]["ope"] = [[estimate]]
    (chart,) = draw(results)["Off-policy estimates against the truth"]
    dots = [line for line in chart.axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots] == [(6.0, 7.0), (4.0, 5.0)]
    vertical, horizontal = lines(chart.axes, alpha=0.7)[:2]
    np.testing.assert_allclose(vertical.get_xydata(), [(6.0, 6.0), (6.0, 7.2)])
    np.testing.assert_allclose(horizontal.get_xydata(), [(5.5, 7.0), (6.5, 7.0)])
    assert [text.get_text() for text in chart.axes.get_legend().get_texts()] == ["robust_filter", "awr"]
    results["methods"]["awr"]["ope"][0][0] |= {"value": 1e9, "low": 0.0, "high": 2e9}  # a fitted Q that diverged
    (chart,) = draw(results)["Off-policy estimates against the truth"]
    high = chart.axes.get_ylim()[1]
    assert high < 20
    dots = [line for line in chart.axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert dots[1].get_ydata()[0] == high


def test_hollow_marks_are_the_untrusted_estimates():
    results = make_results()
    results["methods"]["awr"]["ope"][0][0]["ess"] = 99.9
    charts = draw(results)["Off-policy estimates against the truth"]
    hollow = [line for chart in charts for line in chart.axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == sum(not point["trusted"] for point in ope_points(results)) == 7
    assert [chart.alt.split(": ")[1] for chart in charts] == [
        "12 points, 4 of them not trusted.",
        "12 points, 3 of them not trusted.",
    ]


def test_kappa_is_drawn_where_it_moves():
    results = make_results()
    for run in results["curves"]["awr"]:
        for point in run:
            point["kappa"] = 0.02  # a filter that keeps what it is told
    (chart,) = draw(results)["Share kept"]
    assert (title(chart), chart.axes.get_yscale()) == ("Kappa", "log")
    assert len(lines(chart.axes, linewidth=1.5)) == 3
    assert [line.get_ydata()[0] for line in chart.axes.lines if line.get_color() == INK] == [0.02]
    for run in results["curves"]["robust_filter"]:
        for point in run:
            point["kappa"] = 0.02
    assert "Share kept" not in draw(results)
