"""The quickstart's figures: what stands in each chart of the report, and what to look for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from offline_data.describe.charts import Figure, LegendEntry, Panel, decades, finite, make_panel, percent, readable

# Index of the template's Okabe-Ito colors and of the shapes.
_COLORS = {"drpo": 0, "signed_pg": 1, "awr": 2, "bc": 3, "filter": 4}
_ESTIMATORS = {"snips": "Self-normalised importance sampling (snips)", "dr": "Doubly robust (dr)"}
_DIALS = {"kappa": ("Kappa", "share kept"), "epsilon": ("Epsilon", "width"), "kl": ("KL", "nats")}
_MAX_SEED_PANELS = 6
_SCORE_FLOOR, _SCORE_CEILING = -1.0, 1.5  # a normalised score outside is cut off in the learning curves

Series = list[tuple[float, float]]


def color_index(name: str) -> int:
    """Return the index of a method's color and marker shape; methods without their own share the last two."""
    return _COLORS.get(name, 4 + sum(name.encode()) % 2)


def draw_figures(results: dict[str, Any], points: list[dict[str, Any]]) -> list[Figure]:
    """Return the report's figures, without those for which the results hold nothing.

    Args:
        results: the quickstart's results.
        points: off-policy estimates as `recsession.experiments.report.ope_points` gives them.
    """
    figures = [
        _learning_figure(results),
        _blow_up_figure(results),
        _histogram_figure(results),
        _ope_figure(points),
        _dials_figure(results),
    ]
    return [figure for figure in figures if figure.panels]


def _learning_figure(results: dict[str, Any]) -> Figure:
    series = {name: _series(results, name, "normalized_score") for name in results["curves"]}
    ceiling = results["ceiling"]["normalized_score"]
    values = [value for runs in series.values() for run in runs for _, value in run if finite(value)]
    caption = (
        "The score of each policy in the simulator while it learns: 1 is the expert, who sees the hidden state, 0 the "
        "policy that made the noise. Thick lines are means over seeds, thin lines single seeds, the shade spans them; "
        "a cross marks a run that stopped or left the numbers. Look for who reaches the dashed ceiling and stays there."
    )
    if any(not _SCORE_FLOOR <= value <= _SCORE_CEILING for value in values):
        caption += f" Scores outside {_SCORE_FLOOR:g} to {_SCORE_CEILING:g} are cut off at the edge."
    if not values:
        return Figure("Learning curves", caption, [])
    low = max(min([-0.15, *values]) - 0.05, _SCORE_FLOOR)
    high = min(max([1.1, *values]) + 0.05, _SCORE_CEILING)
    panel = make_panel("", (low, high), _steps(series), (760, 400), y_label="normalised score", left=104, right=96)
    finals = []
    for value, text in ((0.0, "noise policy"), (1.0, "expert")):
        panel.add("rule", y=panel.y(value), text=text)
    if finite(ceiling["mean"]):
        if finite(ceiling["low"]) and finite(ceiling["high"]):
            panel.add("band", y=panel.y(ceiling["high"]), height=panel.y(ceiling["low"]) - panel.y(ceiling["high"]))
        panel.add("ceiling", y=panel.y(ceiling["mean"]))
        panel.labels.append({"y": panel.y(panel.y.clamp(ceiling["mean"])), "text": "ceiling", "color": "ink"})
    for name, runs in series.items():
        mean, band = _mean_and_band(runs)
        if len(runs) > 1:
            panel.add("area", points=band, color=color_index(name))
        _draw_runs(panel, name, runs, _stopped(results, name), thin=len(mean) > 0 and len(runs) > 1)
        if len(runs) > 1:
            panel.add("line", points=mean, color=color_index(name), style="thick")
        for step, value in mean if len(mean) <= 30 else mean[-1:]:
            told = f"{name}, step {step:,.0f}: {readable(value)}"
            panel.add("dot", **panel.at(step, value), color=color_index(name), title=told)
        _end_label(panel, name, mean or next((run for run in runs if run), []))
        finals += [f"{name} ends at {readable(mean[-1][1])}"] if mean else []
    panel.spread_labels()
    panel.alt = f"Normalised score over training steps. {'; '.join(finals)}; ceiling {readable(ceiling['mean'])}."
    return Figure("Learning curves", caption, [panel], _methods(series), narrow_legend=True)


def _blow_up_figure(results: dict[str, Any]) -> Figure:
    caption = (
        "The largest surprisal (negative log-density of a logged action under the policy) and the largest norm of its "
        "gradient by the policy's output, one line a seed, on logarithmic axes. A negative example pushes the policy "
        "away; that makes it more surprising, and the next push harder. Look for a line that climbs by powers of ten "
        "beside one that stays flat; a cross marks a run that stopped or left the numbers."
    )
    panels = []
    for key, title, unit in (
        ("surprisal_max", "Largest surprisal", "nats"),
        ("score_function_norm_max", "Largest score norm", "norm"),
    ):
        series = {name: _series(results, name, key) for name in results["curves"]}
        positive = [v for runs in series.values() for run in runs for _, v in run if finite(v) and v > 1e-300]
        if not positive:
            continue
        panel = make_panel(title, decades(positive), _steps(series), (520, 380), y_label=unit, right=84, log=True)
        for name, runs in series.items():
            _draw_runs(panel, name, runs, _stopped(results, name))
            _end_label(panel, name, max(runs, key=len, default=[]))
        panel.spread_labels()
        peaks = {name: [value for run in runs for _, value in run] for name, runs in series.items()}
        told = [f"{name} {readable(max(v, key=_size))}" for name, v in peaks.items() if v]
        panel.alt = f"{title} over training steps, log scale. Peaks: {', '.join(told)}."
        panels.append(panel)
    return Figure("Blow-up and calm", caption, panels, _methods(results["curves"]), "two", narrow_legend=True)


def _histogram_figure(results: dict[str, Any]) -> Figure:
    share, noise = percent(results["good_fraction"]), results["noise"]
    caption = (
        "Every logged step by its score Q - V, split by the latent label that no learner may read. Counts are on a "
        f"logarithmic axis, because the good steps are only {share} of the log. Right of the threshold lies as large a "
        "share of the log, which is what a filter retains that is told the good fraction. Look for how much of the "
        "noise reaches over the line, and how much good data is left behind."
    )
    entries = [
        (seed, entry)
        for seed, entry in zip(results["seeds"], results.get("score_histogram") or [], strict=False)
        if entry and len(entry["edges"]) > 1 and all(map(finite, entry["edges"]))
    ]
    shown = entries[:_MAX_SEED_PANELS]
    if len(entries) > len(shown):
        caption += f" The first {len(shown)} of {len(entries)} seeds are shown."
    low, high = min((e["edges"][0] for _, e in shown), default=0), max((e["edges"][-1] for _, e in shown), default=1)
    top = max((count for _, e in shown for count in (*e["good"], *e["noise"])), default=1)
    panels = []
    for seed, entry in shown:
        size = (340, 280) if len(shown) > 2 else (520, 360) if len(shown) > 1 else (820, 380)
        x = ("score Q - V", low, high)
        panel = make_panel(f"seed {seed}", (0.6, decades([1.0, top])[1]), x, size, y_label="logged steps", log=True)
        threshold = entry["threshold"]
        kept = {}
        for key, color in (("noise", 1), ("good", 0)):
            pairs = list(zip(entry["edges"][:-1], entry["edges"][1:], entry[key], strict=True))
            outline = [corner for left, right, count in pairs for corner in ((left, count), (right, count))]
            panel.add("area", points=[(pairs[0][0], 0), *outline, (pairs[-1][1], 0)], color=color, style="bars")
            middle = [((left + right) / 2, count) for left, right, count in pairs]
            kept[key] = sum(count for score, count in middle if finite(threshold) and score >= threshold)
        if finite(threshold):
            x, text = panel.x(panel.x.clamp(threshold)), f"kept from {readable(threshold)}"
            panel.add("threshold", x=x, text=text, left=2 * x > panel.x.start + panel.x.end)
        kept_told = f"about {kept['good']:,.0f} good and {kept['noise']:,.0f} noise steps lie above the threshold"
        panel.alt = f"Histogram of scores for seed {seed}: {kept_told}."
        panels.append(panel)
    legend: list[LegendEntry] = [
        ("swatch", 0, f"good (expert) steps, {share}"),
        ("swatch", 1, f"noise ({noise}) steps"),
        ("dash", "ink", "the filter's threshold"),
    ]
    layout = "many" if len(panels) > 2 else "two" if len(panels) == 2 else "one"
    return Figure("What the filter sees", caption, panels, legend, layout)


def _ope_figure(points: list[dict[str, Any]]) -> Figure:
    caption = (
        "Each policy's value estimated from a second log that other policies made, against its true value from "
        "roll-outs in the simulator; bars are 95 % intervals. On the diagonal the estimate is right. Hollow marks rest "
        "on too small an effective sample: do not trust them, wherever they lie. Marks on the frame lie outside it."
    )
    drawn = [point for point in points if finite(point["value"]) and finite(point["truth"]["value"])]
    truths = [point["truth"]["value"] for point in drawn]
    if not truths:
        return Figure("Off-policy estimates against the truth", caption, [])
    # One trusted but absurd estimate, of a fitted Q that diverged, must not squeeze the others into a point.
    reach = 2 * (max(truths) - min(truths)) or 0.5 * abs(truths[0]) or 1.0
    near = [p["value"] for p in drawn if p["trusted"] and min(truths) - reach <= p["value"] <= max(truths) + reach]
    low, high = min(truths + near), max(truths + near)
    margin = 0.2 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - margin, high + margin
    panels = []
    for estimator in dict.fromkeys(point["estimator"] for point in drawn):
        x = ("true value", low, high)
        panel = make_panel(_ESTIMATORS.get(estimator, str(estimator)), (low, high), x, (440, 440), y_label="estimate")
        panel.add("diagonal", points=[(low, low), (high, high)])
        mine = [point for point in drawn if point["estimator"] == estimator]
        for point in mine:
            truth, color, faint = point["truth"], color_index(point["method"]), not point["trusted"]
            if finite(point.get("low")) and finite(point.get("high")):
                ends = [panel.at(truth["value"], point[key]) for key in ("low", "high")]
                panel.add("bar", ends=ends, color=color, faint=faint)
            if finite(truth.get("low")) and finite(truth.get("high")):
                ends = [panel.at(truth[key], point["value"]) for key in ("low", "high")]
                panel.add("bar", ends=ends, color=color, faint=faint)
            told = (
                f"{point['method']}, seed {point['seed']}: estimate {readable(point['value'])}, "
                f"truth {readable(truth['value'])}, ESS {readable(point.get('ess'))}"
            )
            panel.add("dot", **panel.at(truth["value"], point["value"]), color=color, title=told, hollow=faint)
        hollow = sum(not point["trusted"] for point in mine)
        panel.alt = f"Estimates by {estimator} against truth: {len(mine)} points, {hollow} of them untrusted."
        panels.append(panel)
    legend = _methods(dict.fromkeys(point["method"] for point in drawn))
    legend.append(("hollow", "ink", "untrusted (ESS below 100)"))
    return Figure("Off-policy estimates against the truth", caption, panels, legend, "two")


def _dials_figure(results: dict[str, Any]) -> Figure:
    caption = (
        "What moved in the methods that adapt while they learn, one line a seed: kappa, the share of the log that is "
        "retained; epsilon, the trust region's width; and KL, how far the policy moved from its slow copy. Look for "
        "kappa reaching the good fraction (dashed) and for epsilon answering to KL."
    )
    panels = []
    for key, (title, unit) in _DIALS.items():
        moving = {name: runs for name in results["curves"] if _moves(runs := _series(results, name, key))}
        values = [value for runs in moving.values() for run in runs for _, value in run if finite(value)]
        if not values:
            continue
        log = min(values) > 1e-300 and (key == "kappa" or max(values) > 20 * min(values))
        span = (min(0.0, *values), 1.1 * max(0.0, *values))
        if log:
            span = decades([*values, results["good_fraction"]] if key == "kappa" else values)
        panel = make_panel(title, span, _steps(moving), (340, 280), y_label=unit, log=log)
        if key == "kappa":
            panel.add("ceiling", y=panel.y(results["good_fraction"]))
        told = []
        for name, runs in moving.items():
            _draw_runs(panel, name, runs, [])
            told.append(f"{name} ends at {', '.join(readable(run[-1][1]) for run in runs if run)}")
        panel.alt = f"{title} over training steps, by seed: {'; '.join(told)}."
        panels.append(panel)
    names = [name for name in results["curves"] if any(_moves(_series(results, name, key)) for key in _DIALS)]
    return Figure("Dials", caption, panels, _methods(names), layout="many")


def _moves(runs: Sequence[Series]) -> bool:
    return len({value for run in runs for _, value in run if finite(value)}) > 1


def _series(results: dict[str, Any], name: str, key: str) -> list[Series]:
    """Return each seed's (step, value) pairs; None means not measured, so it is left out, NaN and infinity stay."""
    return [
        [(point["step"], point[key]) for point in run or [] if point.get(key) is not None]
        for run in results["curves"].get(name) or []
    ]


def _mean_and_band(runs: Sequence[Series]) -> tuple[Series, Series]:
    """Return the mean at the steps that every seed measured, and the outline of the seeds' range there."""
    tables = [{step: value for step, value in run if finite(value)} for run in runs]
    steps = sorted(set.intersection(*map(set, tables))) if tables else []
    columns = [(step, [table[step] for table in tables]) for step in steps]
    top, bottom = [(s, max(column)) for s, column in columns], [(s, min(column)) for s, column in columns]
    return [(step, fmean(column)) for step, column in columns], top + bottom[::-1]


def _draw_runs(panel: Panel, name: str, runs: Sequence[Series], stopped: Sequence[bool], thin: bool = False) -> None:
    """Draw one line a seed, up to its first value that is not finite, with a cross where it broke off."""
    for index, run in enumerate(runs):
        good = next((run[:i] for i, (_, value) in enumerate(run) if not finite(value)), run)
        color = color_index(name)
        panel.add("line", points=good, color=color, style="thin" if thin else "plain")
        if len(good) == 1:
            panel.add("dot", **panel.at(*good[0]), color=color, title=name)
        if run and (len(good) < len(run) or (index < len(stopped) and stopped[index])):
            step, value = good[-1] if good else (run[0][0], panel.y.high)
            told = f"{name}, run {index + 1}: broke off after step {step:,.0f}"
            panel.add("cross", **panel.at(step, value), color=color, title=told)


def _end_label(panel: Panel, name: str, run: Series) -> None:
    ends = [value for _, value in run if finite(value)]
    if ends:
        y = panel.y(panel.y.clamp(ends[-1]))
        panel.labels.append({"y": y, "text": name, "color": color_index(name)})


def _methods(names: Iterable[str]) -> list[LegendEntry]:
    return [("dot", color_index(name), name) for name in names]


def _stopped(results: dict[str, Any], name: str) -> list[bool]:
    return [bool(why) for why in results["methods"].get(name, {}).get("stopped") or []]


def _size(value: float) -> float:
    return value if finite(value) else math.inf


def _steps(series: dict[str, list[Series]]) -> tuple[str, float, float]:
    steps = [step for runs in series.values() for run in runs for step, _ in run]
    low, high = min(steps), max(steps)
    return ("training steps", low, high) if high > low else ("training steps", low - 1, low + 1)
