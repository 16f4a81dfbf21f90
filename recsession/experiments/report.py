"""The quickstart's results as rows, and as a plain-text table; the same for any methods."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from offline_data.describe.number_words import finite, interval_text, percent, readable
from offline_data.ope.trust import TRUSTED_SAMPLE_SIZE, Grade
from recenv.errors import require

TABLE_WIDTH = 120

BEST = "* the highest mean of its column, and what cannot be told from it: 95 % intervals over seeds that overlap"

_LABEL_WIDTH = 13
_NORMALIZED_SCORES = ("normalized_score", "normalized_score_sampled")
_REQUIRED = ("config", "world_hash", "good_fraction", "noise", "seeds", "ceiling", "methods", "curves")
METHOD_HEADER = (
    ("", "method"),
    ("normalised score", "by the mean [95 %]"),
    ("normalised score", "if sampled [95 %]"),
    ("filter", "precision"),
    ("largest", "surprisal, nats"),
    ("largest", "grad log pi"),
)
OPE_HEADER = (
    ("", "method"),
    ("by the", "log"),
    ("", "estimator"),
    ("off-policy estimate", "[95 %]"),
    ("", "truth"),
    ("log", "earned"),
    ("least", "ESS"),
    ("interval", "on truth"),
    ("", "verdict"),
)
OPE_MEANING = (
    "Truth is what the sampled policy earns in the simulator. The mixed log is of expert and noise, and hardly one of "
    "its sessions could be a policy's; a policy's own log is of what it does itself, but for a random step in some: "
    "there an estimate can be trusted."
)


def format_table(results: dict[str, Any]) -> str:
    """Return the plain-text table of normalised scores and off-policy estimates, at most 120 columns wide.

    A normalised score is of the policy acting by its mean, and of the policy sampled; both have a 95 % interval over
    seeds, and the last row is the ceiling, cloning of good data only. Means are over seeds; an off-policy row averages
    the seeds' estimates and interval ends and shows the smallest effective sample size. What is not finite reads
    `diverged`, what was not measured `-`.

    Args:
        results: the quickstart's results.

    Raises:
        InvalidInput: if `results` lacks a required key.
    """
    check_results(results)
    seeds = ", ".join(map(str, results["seeds"]))
    noise = f"{percent(1 - results['good_fraction'])} {results['noise']}"
    facts = f"{percent(results['good_fraction'])} good data, {noise}; seeds {seeds}"
    methods = _align(METHOD_HEADER, method_rows(results))
    blocks = [textwrap.fill(facts, TABLE_WIDTH), methods + (f"\n{BEST}" if len(results["seeds"]) > 1 else "")]
    if points := ope_points(results):
        blocks.append(_align(OPE_HEADER, ope_rows(points)))
        told = (OPE_MEANING, *doubt_sentences(points))
        blocks.append("\n".join(textwrap.fill(line, TABLE_WIDTH) for line in told))
    stops = [textwrap.fill(stop, TABLE_WIDTH, subsequent_indent="    ") for stop in stop_sentences(results)]
    return "\n\n".join([*blocks, "\n".join(stops)]).rstrip()


def ope_points(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one dict for each off-policy estimate of each method and seed.

    Args:
        results: the quickstart's results.

    Returns:
        Dicts with `method, seed, estimator, value, low, high, ess`, `log` (which log it is from, empty where there is
        one) and `logged` (what that has earned), `truth` (dict of value, low, high), `trusted` (declared so, finite,
        and with an effective sample size of at least 100), `verdict` (its grade) and `has_truth` (the estimate's
        interval contains the truth's value).
    """
    points = []
    for name, method in results["methods"].items():
        per_seed = zip(results["seeds"], method.get("ope") or [], method.get("truth") or [], strict=False)
        for seed, estimates, truth in per_seed:
            for estimate in estimates or []:
                ends = [estimate.get(key) for key in ("value", "low", "high")]
                enough = finite(estimate.get("ess")) and estimate["ess"] >= TRUSTED_SAMPLE_SIZE
                trusted = bool(estimate.get("trusted", True)) and enough and all(map(finite, ends))
                has_truth = trusted and finite(truth["value"]) and ends[1] <= truth["value"] <= ends[2]
                light = estimate.get("verdict") == "doubtful" and enough
                grade: Grade = "trusted" if trusted else "doubtful" if light else "untrusted"
                point = {"method": name, "seed": seed, "truth": truth, "log": "", "logged": None, **estimate}
                points.append({**point, "trusted": trusted, "verdict": grade, "has_truth": has_truth})
    return points


def method_rows(results: dict[str, Any]) -> list[list[str]]:
    """Return each method's cells under `METHOD_HEADER`, and last the ceiling's.

    Args:
        results: the quickstart's results.
    """
    best = {key: _best(results, key) for key in _NORMALIZED_SCORES}
    rows = []
    for name, method in [*results["methods"].items(), ("ceiling", results["ceiling"])]:
        cells = [name]
        cells += [interval_text(method[key]) + (" *" if name in best[key] else "") for key in _NORMALIZED_SCORES]
        cells.append(readable((method.get("filter_precision") or {}).get("mean")))
        cells += [readable(_largest(method.get(key))) for key in ("max_surprisal", "max_score_function_norm")]
        rows.append(cells)
    return rows


def _best(results: dict[str, Any], key: str) -> set[str]:
    """Return the methods that `BEST` marks in the column of that normalised score; none where there is one seed."""
    intervals = {name: method[key] for name, method in results["methods"].items()}
    intervals = {
        name: each for name, each in intervals.items() if all(finite(each[end]) for end in ("mean", "low", "high"))
    }
    if not intervals or len(results["seeds"]) == 1:
        return set()
    highest = max(intervals.values(), key=lambda each: each["mean"])
    return {
        name for name, each in intervals.items() if each["low"] <= highest["high"] and each["high"] >= highest["low"]
    }


def stop_sentences(results: dict[str, Any]) -> list[str]:
    """Return a sentence for each run that was stopped.

    Args:
        results: the quickstart's results.
    """
    return [
        f"{name}, seed {seed}, was stopped: {why}"
        for name, method in results["methods"].items()
        for seed, why in zip(results["seeds"], method.get("stopped") or [], strict=False)
        if why
    ]


def ope_rows(points: list[dict[str, Any]]) -> list[list[str]]:
    """Return each method's and estimator's cells under `OPE_HEADER`.

    Args:
        points: what `ope_points` returned.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault((point["method"], point["log"], point["estimator"]), []).append(point)
    rows = []
    for (name, log, estimator), group in groups.items():
        sure = sum(point["trusted"] for point in group)
        sizes = [point["ess"] for point in group if finite(point.get("ess"))]
        earned = [point["logged"] for point in group if finite(point["logged"])]
        cells = [name, log, estimator[:10], interval_text(_average(group))]
        cells.append(readable(_average([point["truth"] for point in group])["value"]))
        cells += [readable(fmean(earned) if earned else None), readable(min(sizes, default=None))]
        cells.append(f"{sum(point['has_truth'] for point in group)}/{sure}")
        rows.append([*cells, _grades([point["verdict"] for point in group])])
    return rows


def _grades(grades: list[str]) -> str:
    """Return the one verdict of all seeds, or the worst with how many of them have it."""
    worst = next(grade for grade in ("untrusted", "doubtful", "trusted") if grade in grades)
    return worst if len(set(grades)) == 1 else f"{worst} {grades.count(worst)}/{len(grades)}"


def doubt_sentences(points: list[dict[str, Any]]) -> list[str]:
    """Return for each log and grade why estimates from it are not trusted: the gravest doubt of each.

    Args:
        points: what `ope_points` returned.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for point in points:
        if not point["trusted"] and point.get("doubts"):
            counts.setdefault((point["verdict"], point["log"]), Counter())[point["doubts"][0]] += 1
    return [
        f"{grade} by the {log or 'second'} log: "
        + ", ".join(f"{doubt} ({count} of {sum(found.values())})" for doubt, count in found.most_common())
        for (grade, log), found in counts.items()
    ]


def check_results(results: dict[str, Any]) -> None:
    """Refuse results that lack what a report needs.

    Args:
        results: the quickstart's results.

    Raises:
        InvalidInput: if a required key is missing.
    """
    missing = [key for key in _REQUIRED if key not in results]
    remedy = "pass what `recsession quickstart` wrote to results.json, or run it again with --fresh"
    require(not missing, f"results lack {', '.join(missing)}; {remedy}")


def _align(header: Sequence[tuple[str, str]], rows: list[list[str]]) -> str:
    lines = [*map(list, zip(*header, strict=True)), *([row[0][:_LABEL_WIDTH], *row[1:]] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(2, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _average(items: list[dict[str, Any]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for key in ("value", "low", "high"):
        column = [item[key] for item in items if finite(item.get(key))]
        means[key] = fmean(column) if len(column) == len(items) else float("nan")
    return means


def _largest(values: Sequence[float | None] | None) -> float | None:
    """Return the largest value: infinity when one is not finite, None when there is none."""
    if not values:
        return None
    return max(value if value is not None and finite(value) else float("inf") for value in values)
