"""The quickstart's figures: what stands in each chart of the report, and what to look for; the same for any methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, Final, TypeAlias

from matplotlib.axes import Axes

from offline_data.describe.figures import (
    COLORS,
    INK,
    MIDDLE,
    SMALL,
    SOFT,
    WIDE,
    Chart,
    decades,
    label_ends,
    looks,
    make_axes,
    mark_value,
    styled,
    within,
)
from offline_data.describe.number_words import finite, percent, readable
from offline_data.describe.pages import Section

Results: TypeAlias = Mapping[str, Any]
Series: TypeAlias = list[tuple[float, float]]
Curves: TypeAlias = dict[str, list[Series]]

_WAYS: Final = {"normalized_score": 0.14, "normalized_score_sampled": -0.14}
_PEAKS: Final = {
    "surprisal_max": ("Largest surprisal", "nats"),
    "score_function_norm_max": ("Largest score-function norm", "norm"),
}
_DASHED: Final = {"color": INK, "linewidth": 1.2, "dashes": (4, 3)}
_MAX_SEED_CHARTS: Final = 6
_FLOOR, _CEILING = -1.0, 1.5  # a normalised score outside is cut off in the figures


def draw_figures(results: Results, points: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the report's figures with their captions, without those for which the results hold nothing.

    Args:
        results: the quickstart's results.
        points: off-policy estimates as `recsession.experiments.report.ope_points` gives them.
    """
    drawn = [_learning(results), _blow_up(results), _filter(results), _estimates(results, points), _kept(results)]
    return [Section(title, [caption, charts]) for title, caption, charts in drawn if charts]


@styled
def normalized_score_chart(results: Results) -> Chart:
    """Return the normalised scores of every method in both ways of acting, beside the ceiling.

    Args:
        results: the quickstart's results.
    """
    judged, look = {**results["methods"], "ceiling": results["ceiling"]}, looks(results["methods"])
    ends = [each[way][end] for each in judged.values() for way in _WAYS for end in ("low", "mean", "high")]
    x_range, size = _span([0.0, 1.0, *filter(finite, ends)]), (WIDE[0] * 0.7, 0.9 + 0.34 * len(judged))
    axes = make_axes("", size, xlabel="normalised score", xlim=x_range, ylim=(0.5 - len(judged), 0.5))
    axes.set_yticks([-row for row in range(len(judged))], list(judged))
    axes.tick_params("y", labelcolor=INK)
    axes.grid(axis="x")
    for value in (0.0, 1.0):
        axes.axvline(value, color=SOFT, linewidth=0.8)
    for row, (name, each) in enumerate(judged.items()):
        color = look[name]["color"] if name in look else INK
        for way, shift in _WAYS.items():
            mean, *span = (each[way][end] for end in ("mean", "low", "high"))
            if finite(mean):
                _draw_bar(axes, span, [shift - row] * 2, color=color, linewidth=2.2, alpha=0.6)
                filled = color if way == "normalized_score" else "white"
                axes.plot(mean, shift - row, "o", color=color, markerfacecolor=filled, zorder=3)
    told = [f"{name} {readable(each['normalized_score']['mean'])}" for name, each in judged.items()]
    return Chart(axes, f"Normalised scores by the mean of each policy: {', '.join(told)}.")


def _learning(results: Results) -> tuple[str, str, list[Chart]]:
    curves = _curves(results, "normalized_score")
    values = _values(curves)
    caption = (
        "The normalised score of each policy in the simulator while it learns: 1 is the expert, who sees the hidden "
        "state, 0 the "
        "policy that made the noise. Thick lines are means over seeds, thin lines single seeds, the shade spans them; "
        "a cross marks a run that stopped or left the numbers. Look for who reaches the dashed ceiling and stays there."
    )
    if any(not _FLOOR <= value <= _CEILING for value in values):
        caption += f" Values outside {_FLOOR:g} to {_CEILING:g} are cut off at the edge."
    return "Learning curves", caption, [_learning_chart(results, curves)] if values else []


@styled
def _learning_chart(results: Results, curves: Curves) -> Chart:
    look, ceiling = looks(results["methods"]), results["ceiling"]["normalized_score"]
    y_range = _span([-0.1, 1.1, *_values(curves)])
    axes = make_axes("", WIDE, xlabel="training steps", ylabel="normalised score", xlim=_steps(curves), ylim=y_range)
    for value in (0.0, 1.0):
        axes.axhline(value, color=SOFT, linewidth=0.8)
    ends, told = [], [f"ceiling {readable(ceiling['mean'])}"]
    if finite(ceiling["mean"]):
        if finite(ceiling["low"]) and finite(ceiling["high"]):
            axes.axhspan(ceiling["low"], ceiling["high"], color=INK, alpha=0.08, linewidth=0)
        axes.axhline(ceiling["mean"], **_DASHED)
        ends.append((ceiling["mean"], "ceiling", INK))
    for name, runs in curves.items():
        color, several = look[name]["color"], len(runs) > 1
        _draw_runs(axes, results, name, runs, linewidth=0.9 if several else 1.5, alpha=0.5 if several else 1.0)
        if several and (band := _band(runs)):
            steps, low, mean, high = zip(*band, strict=True)
            axes.fill_between(steps, within(axes, low), within(axes, high), color=color, alpha=0.13, linewidth=0)
            marker = look[name]["marker"] if len(steps) <= 30 else ""
            axes.plot(steps, within(axes, mean), marker=marker, color=color, linewidth=2.4)
            told.append(f"{name} ends at {readable(mean[-1])}")
        ends += _end(name, runs, color)
    label_ends(axes, ends)
    return Chart(axes, f"Normalised score over training steps: {'; '.join(told)}.")


def _blow_up(results: Results) -> tuple[str, str, list[Chart]]:
    caption = (
        "The largest surprisal (negative log-density of a logged action under the policy) and the largest norm of its "
        "gradient by the policy's output, one line a seed, on logarithmic axes. A negative example pushes the policy "
        "away; that makes it more surprising, and the next push harder. Look for a line that climbs by powers of ten "
        "beside one that stays flat; a cross marks a run that stopped or left the numbers."
    )
    charts = []
    for key, (title, unit) in _PEAKS.items():
        curves = _curves(results, key)
        if positive := [value for value in _values(curves) if value > 0.0]:
            axes = _seed_axes(results, curves, title, unit, size=MIDDLE, ylim=decades(positive), log=True)
            peaks = {name: [value for run in runs for _, value in run] for name, runs in curves.items()}
            told = [f"{name} {readable(max(v, key=_size))}" for name, v in peaks.items() if v]
            charts.append(Chart(axes, f"{title} over training steps, log scale. Peaks: {', '.join(told)}."))
    return "Blow-up and calm", caption, charts


def _filter(results: Results) -> tuple[str, str, list[Chart]]:
    caption = (
        "Every logged step by its score Q - V, split by the latent label that no learner may read. Counts are on a "
        f"logarithmic axis, because the good steps are only {percent(results['good_fraction'])} of the log. Right of "
        "the threshold lies as large a share of the log, which is what a filter retains that is told the good "
        "fraction. Look for how much of the noise reaches over the line, and how much good data is left behind."
    )
    entries = [
        (seed, entry)
        for seed, entry in zip(results["seeds"], results.get("score_histogram") or [], strict=False)
        if entry and len(entry["edges"]) > 1 and all(map(finite, entry["edges"]))
    ]
    shown = entries[:_MAX_SEED_CHARTS]
    if len(entries) > len(shown):
        caption += f" The first {len(shown)} of {len(entries)} seeds are shown."
    ends = [end for _, entry in shown for end in (entry["edges"][0], entry["edges"][-1])]
    top = max((count for _, entry in shown for count in (*entry["good"], *entry["noise"])), default=1)
    frame = {"size": SMALL if len(shown) > 2 else MIDDLE, "ylim": (0.6, 8 * decades([1.0, top])[1]), "log": True}
    names, x_range = {"good": "expert", "noise": results["noise"]}, (min(ends, default=0), max(ends, default=1))
    charts = [_filter_chart(f"seed {seed}", entry, names, xlim=x_range, **frame) for seed, entry in shown]
    return "What the filter sees", caption, charts


@styled
def _filter_chart(title: str, entry: Mapping[str, Any], names: Mapping[str, str], **frame: Any) -> Chart:
    axes = make_axes(title, xlabel="score Q \N{MINUS SIGN} V", ylabel="logged steps", **frame)
    edges, threshold, kept = entry["edges"], entry["threshold"], {}
    middles = [(left + right) / 2 for left, right in pairwise(edges)]
    for (key, name), color in zip(names.items(), COLORS, strict=False):
        # A count of 0 has no place on a logarithmic axis; its bar ends below it.
        counts = [max(count, 0.1) for count in entry[key]]
        axes.stairs(counts, edges, baseline=0.1, fill=True, color=f"{color}4d")
        axes.stairs(counts, edges, baseline=0.1, color=color, linewidth=1.2)
        peak, place = counts.index(max(counts)), {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
        axes.annotate(name, (middles[peak], counts[peak]), color=color, weight="bold", **place)
        kept[key] = sum(n for at, n in zip(middles, entry[key], strict=True) if finite(threshold) and at >= threshold)
    if finite(threshold):
        low, high = axes.get_xlim()
        axes.axvspan(min(max(threshold, low), high), high, color=INK, alpha=0.06, linewidth=0)
        mark_value(axes, min(max(threshold, low), high), f"kept from {readable(threshold)}")
    told = f"about {kept['good']:,.0f} good and {kept['noise']:,.0f} noise steps lie above the threshold"
    return Chart(axes, f"Histogram of scores for {title}: {told}.")


def _estimates(results: Results, points: Sequence[Mapping[str, Any]]) -> tuple[str, str, list[Chart]]:
    caption = (
        "Each policy's value estimated from a log, against its true value from roll-outs in the simulator; bars are 95 "
        "% intervals. On the diagonal the estimate is right. Hollow marks are not trusted, wherever they lie. Marks on "
        "the frame lie outside it."
    )
    drawn = [point for point in points if finite(point["value"]) and finite(point["truth"]["value"])]
    charts = []
    if truths := [point["truth"]["value"] for point in drawn]:
        # One trusted but absurd estimate, of a fitted Q that diverged, must not squeeze the others into a point.
        reach = 2 * (max(truths) - min(truths)) or 0.5 * abs(truths[0]) or 1.0
        near = [p["value"] for p in drawn if p["trusted"] and min(truths) - reach <= p["value"] <= max(truths) + reach]
        low, high = min(truths + near), max(truths + near)
        margin = 0.2 * (high - low) or 0.1 * abs(high) or 1.0
        for log, estimator in dict.fromkeys((point["log"], point["estimator"]) for point in drawn):
            mine = [point for point in drawn if (point["log"], point["estimator"]) == (log, estimator)]
            title = f"{estimator}, {log} log" if log else str(estimator)
            charts.append(_estimate_chart(results, title, mine, (low - margin, high + margin)))
    return "Off-policy estimates against the truth", caption, charts


@styled
def _estimate_chart(results: Results, title: str, points: list[Mapping[str, Any]], ends: tuple[float, float]) -> Chart:
    axes = make_axes(title, (4.6, 4.6), xlabel="true value", ylabel="estimate", xlim=ends, ylim=ends)
    look: dict[str, Any] = {}
    axes.plot(ends, ends, color=SOFT, linewidth=0.9)
    for point in points:
        like: Any = looks(results["methods"])[point["method"]]
        look[point["method"]] = like
        truth, color, trusted = point["truth"], like["color"], point["trusted"]
        x, y = truth["value"], min(max(point["value"], ends[0]), ends[1])
        bar = {"color": color, "linewidth": 1.2, "alpha": 0.7 if trusted else 0.3}
        _draw_bar(axes, [x, x], [point.get("low"), point.get("high")], **bar)
        _draw_bar(axes, [truth.get("low"), truth.get("high")], [y, y], **bar)
        axes.plot(x, y, linestyle="", markerfacecolor=color if trusted else "white", zorder=3, clip_on=False, **like)
    for name, like in look.items():
        axes.plot([], [], linestyle="", label=name, **like)
    axes.legend(loc="best", handletextpad=0.2)
    hollow = sum(not point["trusted"] for point in points)
    return Chart(axes, f"Estimates by {title} against truth: {len(points)} points, {hollow} of them not trusted.")


def _kept(results: Results) -> tuple[str, str, list[Chart]]:
    caption = (
        "kappa, the share of a batch that is kept, in the methods that move it while they learn, one line a seed. Look "
        "for it reaching the good fraction (dashed)."
    )
    moving = {name: runs for name, runs in _curves(results, "kappa").items() if len(set(_values({name: runs}))) > 1}
    if not moving:
        return "Share kept", caption, []
    good = results["good_fraction"]
    y_range = decades([*_values(moving), good])
    axes = _seed_axes(results, moving, "Kappa", "share kept", size=SMALL, ylim=y_range, log=True)
    axes.axhline(good, **_DASHED)
    told = [f"{name} ends at {', '.join(readable(r[-1][1]) for r in runs if r)}" for name, runs in moving.items()]
    return "Share kept", caption, [Chart(axes, f"Kappa over training steps, by seed: {'; '.join(told)}.")]


@styled
def _seed_axes(results: Results, curves: Curves, title: str, unit: str, **frame: Any) -> Axes:
    """Return axes with one line a seed of each method, its name at the end."""
    axes = make_axes(title, xlabel="training steps", ylabel=unit, xlim=_steps(curves), **frame)
    look = looks(results["methods"])
    for name, runs in curves.items():
        _draw_runs(axes, results, name, runs, linewidth=1.5)
    label_ends(axes, [end for name, runs in curves.items() for end in _end(name, runs, look[name]["color"])])
    return axes


def _draw_runs(axes: Axes, results: Results, name: str, runs: list[Series], **style: Any) -> None:
    """Draw one line a seed, up to its first value that is not finite, with a cross where it broke off."""
    (low, high), color = axes.get_ylim(), looks(results["methods"])[name]["color"]
    stopped = results["methods"][name].get("stopped") or []
    for index, run in enumerate(runs):
        good = next((run[:i] for i, (_, value) in enumerate(run) if not finite(value)), run)
        heights = within(axes, (value for _, value in good))
        axes.plot([step for step, _ in good], heights, marker="o" if len(good) == 1 else "", color=color, **style)
        if run and (len(good) < len(run) or any(stopped[index : index + 1])):
            step, value = good[-1] if good else (run[0][0], high)
            axes.plot(step, min(max(value, low), high), "x", color=color, markersize=8, mew=2.4, clip_on=False)


def _draw_bar(axes: Axes, x: Sequence[float | None], y: Sequence[float | None], **style: Any) -> None:
    """Draw an interval, if it has two ends that are finite."""
    if all(map(finite, [*x, *y])):
        axes.plot(x, within(axes, y), solid_capstyle="butt", **style)  # type: ignore[arg-type]


def _curves(results: Results, key: str) -> Curves:
    """Return each method's (step, value) pairs by seed; None means not measured, so it is left out, NaN stays."""
    return {
        name: [[(p["step"], p[key]) for p in run or [] if p.get(key) is not None] for run in runs or []]
        for name, runs in results["curves"].items()
    }


def _values(curves: Curves) -> list[float]:
    return [value for runs in curves.values() for run in runs for _, value in run if finite(value)]


def _band(runs: Sequence[Series]) -> list[tuple[float, float, float, float]]:
    """Return step, lowest, mean and highest value wherever every seed measured."""
    tables = [{step: value for step, value in run if finite(value)} for run in runs]
    columns = [(step, [table[step] for table in tables]) for step in sorted(set.intersection(*map(set, tables)))]
    return [(step, min(column), fmean(column), max(column)) for step, column in columns]


def _end(name: str, runs: Sequence[Series], color: str) -> list[tuple[float, str, str]]:
    """Return what `label_ends` writes beside the mean of the last values of a method's runs."""
    lasts = [values[-1] for run in runs if (values := _values({name: [run]}))]
    return [(fmean(lasts), name, color)] if lasts else []


def _size(value: float) -> float:
    return value if finite(value) else math.inf


def _span(values: Sequence[float]) -> tuple[float, float]:
    return max(min(values) - 0.05, _FLOOR), min(max(values) + 0.05, _CEILING)


def _steps(curves: Curves) -> tuple[float, float]:
    steps = [step for runs in curves.values() for run in runs for step, _ in run]
    low, high = min(steps), max(steps)
    return (low, high) if high > low else (low - 1, low + 1)
