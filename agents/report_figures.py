"""The report's figures as plain geometry: scales, ticks and marks in pixels, drawn as inline SVG by the template."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from statistics import fmean
from typing import Any, TypeGuard

_COLORS = {"drpo": 0, "signed_pg": 1, "awr": 2, "bc": 3}  # index of the template's Okabe-Ito colors and of the shapes
_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_ESTIMATORS = {"snips": "Self-normalised importance sampling (snips)", "dr": "Doubly robust (dr)"}
_MAX_SEED_PANELS = 6
_SCORE_FLOOR, _SCORE_CEILING = -1.0, 1.5  # a normalised score outside is cut off in the learning curves

Series = list[tuple[float, float]]
LegendEntry = tuple[str, int | str, str]


def finite(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite number, small enough (below 1e300) that sums and powers of ten stay finite."""
    return isinstance(value, Real) and abs(float(value)) < 1e300


def readable(value: float | None, infinite: str = "diverged") -> str:
    """Return a number with two or three digits that matter: `0.94`, `31.2`, `412`, `1.2e+09`; `-` for None.

    Args:
        value: the number; None when it was not measured.
        infinite: what to write for infinity and NaN.
    """
    if value is None:
        return "-"
    if not finite(value):
        return infinite
    size = abs(value)
    if size >= 9999.5 or 0 < size < 0.001:
        return f"{value:.1e}"
    digits = 3 if 0 < size < 0.00995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def percent(share: float) -> str:
    """Return a share as a percentage with at most three digits."""
    return f"{100 * share:.3g} %"


def typeset(text: str) -> str:
    """Return `text` with powers of ten as superscripts and true minus signs before numbers."""
    power = "\u00a0\N{MULTIPLICATION SIGN}\u00a010"
    text = re.sub(r"(\d)e([+-]\d+)", lambda m: f"{m[1]}{power}{str(int(m[2])).translate(_SUPERSCRIPT)}", text)
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    return re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", text)


def color_index(name: str) -> int:
    """Return the index of a method's color and marker shape; methods without their own share the last two."""
    return _COLORS.get(name, 4 + sum(name.encode()) % 2)


@dataclass(frozen=True)
class Scale:
    """A map from a quantity to pixels, linear or logarithmic; values outside are kept within one length of the axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    label: str = ""

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; on a log scale what is not positive lies on the axis's low end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = min(max((value - low) / (high - low), -1.0), 2.0)
        return round(self.start + (self.end - self.start) * share, 1)

    def clamp(self, value: float) -> float:
        """Return `value` moved onto the axis when it lies outside."""
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[tuple[float, str]]:
        """Return pixel and label of at most seven round values on the axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = 1 + (last - first) // 7
            return [(self(10.0**power), _power_label(power)) for power in range(first, last + 1, stride)]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self(index * step), typeset(_tick_label(index * step))) for index in range(first, last + 1)]


@dataclass
class Panel:
    """One pair of axes with its marks; every mark is a dict that the template knows by its `kind`."""

    title: str
    alt: str
    x: Scale
    y: Scale
    width: int
    height: int
    marks: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, **mark: Any) -> None:
        """Add a mark; `points` are values, every other position is in pixels."""
        if "points" in mark:
            mark["points"] = " ".join(f"{self.x(x):g},{self.y(y):g}" for x, y in mark["points"])
        self.marks.append({"kind": kind, **mark})

    def at(self, x: float, y: float) -> dict[str, float]:
        """Return the pixels of a point, moved onto the frame when it lies outside."""
        return {"x": self.x(self.x.clamp(x)), "y": self.y(self.y.clamp(y))}

    def spread_labels(self, gap: float = 15.0) -> None:
        """Move the labels at the right edge apart, keeping their order and the axis's range."""
        self.labels.sort(key=lambda label: label["y"])
        floor = self.y.end - gap
        for label in self.labels:
            floor = label["y"] = max(label["y"], floor + gap)
        roof = self.y.start + gap
        for label in reversed(self.labels):
            roof = label["y"] = min(label["y"], roof - gap)


@dataclass
class Figure:
    """A titled row of panels with a caption that says what to look for.

    Attributes:
        title: the heading.
        caption: what is drawn and what to look for.
        panels: the axes, drawn side by side as `layout` ("one", "two" or "many") allows.
        legend: entries (kind, color, label); kind is "dot", "hollow", "swatch" or "dash".
        narrow_legend: whether the legend shows on narrow screens only, because the lines carry their names.
    """

    title: str
    caption: str
    panels: list[Panel]
    legend: list[LegendEntry] = field(default_factory=list)
    layout: str = "one"
    narrow_legend: bool = False


def draw_figures(results: dict[str, Any], points: list[dict[str, Any]], labels: dict[str, str]) -> list[Figure]:
    """Return the report's figures, without those for which the results hold nothing.

    Args:
        results: the quickstart's results.
        points: off-policy estimates as `agents.report.ope_points` gives them.
        labels: each method's short name.
    """
    figures = [
        _learning_figure(results, labels),
        _blow_up_figure(results, labels),
        _histogram_figure(results),
        _ope_figure(points, labels),
        _dials_figure(results),
    ]
    return [figure for figure in figures if figure.panels]


def _learning_figure(results: dict[str, Any], labels: dict[str, str]) -> Figure:
    series = {name: _series(results, name, "normalized_score") for name in results["curves"]}
    ceiling = results["ceiling"]
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
    panel = _panel("", (low, high), _steps(series), (760, 400), y_label="normalised score", left=104, right=96)
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
            told = f"{labels.get(name, name)}, step {step:,.0f}: {readable(value)}"
            panel.add("dot", **panel.at(step, value), color=color_index(name), title=told)
        _end_label(panel, name, labels, mean or next((run for run in runs if run), []))
        finals += [f"{labels.get(name, name)} ends at {readable(mean[-1][1])}"] if mean else []
    panel.spread_labels()
    panel.alt = f"Normalised score over training steps. {'; '.join(finals)}; ceiling {readable(ceiling['mean'])}."
    return Figure("Learning curves", caption, [panel], _methods(series, labels), narrow_legend=True)


def _blow_up_figure(results: dict[str, Any], labels: dict[str, str]) -> Figure:
    caption = (
        "The largest surprisal (negative log-density of a logged action under the policy) and the largest norm of its "
        "gradient by the policy's output, one line a seed, on logarithmic axes. A negative example pushes the policy "
        "away; that makes it more surprising, and the next push harder. Look for a line that climbs by powers of ten "
        "beside one that stays flat; a cross marks a run that stopped or left the numbers."
    )
    panels = []
    for key, title, unit in (
        ("surprisal_max", "Largest surprisal", "nats"),
        ("score_norm_max", "Largest score norm", "norm"),
    ):
        series = {name: _series(results, name, key) for name in results["curves"]}
        positive = [v for runs in series.values() for run in runs for _, v in run if finite(v) and v > 1e-300]
        if not positive:
            continue
        panel = _panel(title, _decades(positive), _steps(series), (520, 380), y_label=unit, right=84, log=True)
        for name in sorted(series, key=lambda name: name in ("drpo", "signed_pg")):
            _draw_runs(panel, name, series[name], _stopped(results, name), thin=name not in ("drpo", "signed_pg"))
            _end_label(panel, name, labels, max(series[name], key=len, default=[]))
        panel.spread_labels()
        peaks = {name: [value for run in runs for _, value in run] for name, runs in series.items()}
        told = [f"{labels.get(name, name)} {readable(max(v, key=_size))}" for name, v in peaks.items() if v]
        panel.alt = f"{title} over training steps, log scale. Peaks: {', '.join(told)}."
        panels.append(panel)
    return Figure("Blow-up and calm", caption, panels, _methods(results["curves"], labels), "two", narrow_legend=True)


def _histogram_figure(results: dict[str, Any]) -> Figure:
    share, noise = percent(results["good_fraction"]), results["noise"]
    caption = (
        "Every logged step by its score Q - V, split by the latent label that no learner may read. Counts are on a "
        f"logarithmic axis, because the good steps are only {share} of the log. Right of the threshold is what DRPO "
        "keeps and clones. Look for how much of the noise reaches over the line, and how much good data is left behind."
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
        panel = _panel(f"seed {seed}", (0.6, _decades([1.0, top])[1]), x, size, y_label="logged steps", log=True)
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


def _ope_figure(points: list[dict[str, Any]], labels: dict[str, str]) -> Figure:
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
        panel = _panel(_ESTIMATORS.get(estimator, str(estimator)), (low, high), x, (440, 440), y_label="estimate")
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
                f"{point['label']}, seed {point['seed']}: estimate {readable(point['value'])}, "
                f"truth {readable(truth['value'])}, ESS {readable(point.get('ess'))}"
            )
            panel.add("dot", **panel.at(truth["value"], point["value"]), color=color, title=told, hollow=faint)
        hollow = sum(not point["trusted"] for point in mine)
        panel.alt = f"Estimates by {estimator} against truth: {len(mine)} points, {hollow} of them untrusted."
        panels.append(panel)
    legend = _methods(dict.fromkeys(point["method"] for point in drawn), labels)
    legend.append(("hollow", "ink", "untrusted (ESS below 100)"))
    return Figure("Off-policy estimates against the truth", caption, panels, legend, "two")


def _dials_figure(results: dict[str, Any]) -> Figure:
    caption = (
        "What DRPO turned while it learned, one line a seed: kappa, the share of the log that it keeps, lowered once "
        "the gradient's noise allows or patience ends; epsilon, the trust region's width; and KL, how far the policy "
        "moved from its slow copy. Look for kappa reaching its target (dashed) and for epsilon answering to KL."
    )
    panels = []
    for key, title, unit in (("kappa", "Kappa", "share kept"), ("epsilon", "Epsilon", "width"), ("kl", "KL", "nats")):
        runs = _series(results, "drpo", key)
        values = [value for run in runs for _, value in run if finite(value)]
        if not values:
            continue
        log = min(values) > 1e-300 and (key == "kappa" or max(values) > 20 * min(values))
        span = (min(0.0, *values), 1.1 * max(values) if max(values) > 0 else 1.0)
        if log:
            span = _decades([*values, results["kappa"]] if key == "kappa" else values)
        panel = _panel(title, span, _steps({"drpo": runs}), (340, 280), y_label=unit, log=log)
        if key == "kappa":
            panel.add("ceiling", y=panel.y(results["kappa"]))
        _draw_runs(panel, "drpo", runs, [])
        last = [readable(run[-1][1]) for run in runs if run]
        panel.alt = f"DRPO's {title} over training steps; at the end, by seed: {', '.join(last)}."
        panels.append(panel)
    return Figure("DRPO's dials", caption, panels, layout="many")


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


def _end_label(panel: Panel, name: str, labels: dict[str, str], run: Series) -> None:
    ends = [value for _, value in run if finite(value)]
    if ends:
        y = panel.y(panel.y.clamp(ends[-1]))
        panel.labels.append({"y": y, "text": labels.get(name, name), "color": color_index(name)})


def _methods(names: Iterable[str], labels: dict[str, str]) -> list[LegendEntry]:
    return [("dot", color_index(name), labels.get(name, name)) for name in names]


def _stopped(results: dict[str, Any], name: str) -> list[bool]:
    return [bool(why) for why in results["methods"].get(name, {}).get("stopped") or []]


def _size(value: float) -> float:
    return value if finite(value) else math.inf


def _steps(series: dict[str, list[Series]]) -> tuple[str, float, float]:
    steps = [step for runs in series.values() for run in runs for step, _ in run]
    low, high = min(steps), max(steps)
    return ("training steps", low, high) if high > low else ("training steps", low - 1, low + 1)


def _panel(
    title: str,
    y_range: tuple[float, float],
    x: tuple[str, float, float],
    size: tuple[int, int],
    *,
    y_label: str,
    left: int = 58,
    right: int = 18,
    log: bool = False,
) -> Panel:
    width, height = size
    return Panel(
        title=title,
        alt="",
        x=Scale(x[1], x[2], left, width - right, label=x[0]),
        y=Scale(*y_range, height - 46, 34 if title else 26, log=log, label=y_label),
        width=width,
        height=height,
    )


def _decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the powers of ten around the positive values."""
    powers = [math.log10(value) for value in values if value > 1e-300]
    low, high = math.floor(min(powers)), math.ceil(max(powers))
    return 10.0**low, 10.0 ** (high if high > low else low + 1)


def _power_label(power: int) -> str:
    return f"{10.0**power:g}" if -2 <= power <= 3 else f"10{str(power).translate(_SUPERSCRIPT)}"


def _tick_label(value: float) -> str:
    value = 0.0 if abs(value) < 1e-12 else value
    return f"{value:.0e}" if abs(value) >= 1e6 else f"{round(value, 9):,g}"
