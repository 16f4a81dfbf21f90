"""The quickstart's results as a plain-text table, and as one self-contained HTML page; the same for any methods."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from offline_data.describe.charts import Scale, finite, percent, readable
from offline_data.describe.pages import write_page
from recenv.errors import require
from recsession.experiments.report_figures import color_index, draw_figures

TRUSTED_ESS = 100.0  # effective sample size below which an off-policy estimate is marked untrusted
TABLE_WIDTH = 120

BEST = "* the highest mean of its column, and what cannot be told from it: 95 % intervals over seeds that overlap"

_LABEL_WIDTH = 11
_SCORES = ("normalized_score", "normalized_score_sampled")
_REQUIRED = ("config", "world_hash", "good_fraction", "noise", "seeds", "ceiling", "methods", "curves")
_SCORE_HEADER = (
    ("", "method"),
    ("score by the mean", "[95 %]"),
    ("score if sampled", "[95 %]"),
    ("filter", "precision"),
    ("largest", "surprisal (nats)"),
    ("largest", "score norm"),
)
_OPE_HEADER = (
    ("", "method"),
    ("", "estimator"),
    ("off-policy estimate", "[95 %]"),
    ("truth", "[95 %]"),
    ("smallest", "ESS"),
    ("interval", "on truth"),
    ("", "trust"),
)


def write_report(results: dict[str, Any], path: Path) -> Path:
    """Write the results as one self-contained HTML file and return its path.

    Args:
        results: the quickstart's results. Optional keys: `reference` and `score_histogram`; `command` (str) and
            `versions` (name to version), which default to "not recorded" and to this process's versions.
        path: the file to write; its folder is made when missing.

    Returns:
        `path`.

    Raises:
        InvalidInput: if `results` lacks a required key, or if `path` cannot be written.
    """
    return write_page(path, Path(__file__).with_name("report.html.jinja"), _page_values(results))


def format_table(results: dict[str, Any]) -> str:
    """Return the plain-text table of scores and off-policy estimates, at most 120 columns wide.

    A normalised score is of the policy acting by its mean, and of the policy sampled; both have a 95 % interval over
    seeds, and the last row is the ceiling, cloning of good data only. Means are over seeds; an off-policy row averages
    the seeds' estimates and interval ends and shows the smallest effective sample size. What is not finite reads
    `diverged`, what was not measured `-`.

    Args:
        results: the quickstart's results.

    Raises:
        InvalidInput: if `results` lacks a required key.
    """
    _check(results)
    seeds = ", ".join(map(str, results["seeds"]))
    noise = f"{percent(1 - results['good_fraction'])} {results['noise']}"
    facts = f"{percent(results['good_fraction'])} good data, {noise}; seeds {seeds}"
    scores = _align(_SCORE_HEADER, _score_rows(results))
    blocks = [textwrap.fill(facts, TABLE_WIDTH), scores + (f"\n{BEST}" if len(results["seeds"]) > 1 else "")]
    if points := ope_points(results):
        blocks.append(_align(_OPE_HEADER, _ope_rows(points)))
    stops = [textwrap.fill(stop, TABLE_WIDTH, subsequent_indent="    ") for stop in _stops(results)]
    return "\n\n".join([*blocks, "\n".join(stops)]).rstrip()


def ope_points(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one dict for each off-policy estimate of each method and seed.

    Args:
        results: the quickstart's results.

    Returns:
        Dicts with `method, seed, estimator, value, low, high, ess`, `truth` (dict of value, low, high), `trusted`
        (declared so, finite, and with an effective sample size of at least 100) and `has_truth` (the estimate's
        interval contains the truth's value).
    """
    points = []
    for name, method in results["methods"].items():
        per_seed = zip(results["seeds"], method.get("ope") or [], method.get("truth") or [], strict=False)
        for seed, estimates, truth in per_seed:
            for estimate in estimates or []:
                ends = [estimate.get(key) for key in ("value", "low", "high")]
                enough = finite(estimate.get("ess")) and estimate["ess"] >= TRUSTED_ESS
                trusted = bool(estimate.get("trusted", True)) and enough and all(map(finite, ends))
                has_truth = trusted and finite(truth["value"]) and ends[1] <= truth["value"] <= ends[2]
                point = {"method": name, "seed": seed, "truth": truth, **estimate}
                points.append({**point, "trusted": trusted, "has_truth": has_truth})
    return points


def _score_rows(results: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each method's name and cells under `_SCORE_HEADER`, and last the ceiling's."""
    best = {key: _best(results, key) for key in _SCORES}
    rows = []
    for name, method in [*results["methods"].items(), ("ceiling", results["ceiling"])]:
        cells = [_label(name)]
        cells += [_interval(method[key]) + (" *" if name in best[key] else "") for key in _SCORES]
        cells.append(readable((method.get("filter_precision") or {}).get("mean")))
        cells += [readable(_largest(method.get(key))) for key in ("max_surprisal", "max_score_function_norm")]
        rows.append((name, cells))
    return rows


def _best(results: dict[str, Any], key: str) -> set[str]:
    """Return the methods that `BEST` marks in the column of that score; none where there is one seed."""
    scores = {name: method[key] for name, method in results["methods"].items()}
    scores = {
        name: score for name, score in scores.items() if all(finite(score[end]) for end in ("mean", "low", "high"))
    }
    if not scores or len(results["seeds"]) == 1:
        return set()
    highest = max(scores.values(), key=lambda score: score["mean"])
    return {
        name for name, score in scores.items() if score["low"] <= highest["high"] and score["high"] >= highest["low"]
    }


def _stops(results: dict[str, Any]) -> list[str]:
    """Return a sentence for each run that was stopped."""
    return [
        f"{name}, seed {seed}, was stopped: {why}"
        for name, method in results["methods"].items()
        for seed, why in zip(results["seeds"], method.get("stopped") or [], strict=False)
        if why
    ]


def _ope_rows(points: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each method's and estimator's name and cells under `_OPE_HEADER`."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault((point["method"], point["estimator"]), []).append(point)
    rows = []
    for (name, estimator), group in groups.items():
        doubtful = sum(not point["trusted"] for point in group)
        sizes = [point["ess"] for point in group if finite(point.get("ess"))]
        mark = f"untrusted {doubtful}/{len(group)}" if 0 < doubtful < len(group) else "untrusted" if doubtful else ""
        cells = [_label(name), estimator[:10], _interval(_average(group))]
        cells.append(_interval(_average([point["truth"] for point in group])))
        cells.append(readable(min(sizes, default=None)))
        cells.append(f"{sum(point['has_truth'] for point in group)}/{len(group) - doubtful}")
        rows.append((name, [*cells, mark]))
    return rows


def _seed_rows(results: dict[str, Any]) -> list[list[str]]:
    """Return every seed's numbers, unaveraged, for the page's folded table."""
    rows, points = [], ope_points(results)
    for name, method in results["methods"].items():
        columns = [*(method[key] for key in _SCORES), method.get("filter_precision") or {}]
        lists = [column.get("per_seed") or [] for column in columns]
        lists += [method.get("max_surprisal") or [], method.get("max_score_function_norm") or []]
        for index, seed in enumerate(results["seeds"]):
            cells = [readable(values[index] if index < len(values) else None) for values in lists]
            mine = [point for point in points if (point["method"], point["seed"]) == (name, seed)]
            told = [f"{point['estimator']} {_interval(point)}, ESS {readable(point.get('ess'))}" for point in mine]
            truth = _interval(mine[0]["truth"]) if mine else "-"
            rows.append([_label(name), str(seed), *cells, truth, "; ".join(told) or "-"])
    return rows


def _page_values(results: dict[str, Any]) -> dict[str, Any]:
    """Return what the page's template reads."""
    _check(results)
    items = [item["normalized_score"] for item in (*results["methods"].values(), results["ceiling"])]
    ends = [end for item in items for end in (item["low"], item["mean"], item["high"]) if finite(end)]
    points = ope_points(results)
    return {
        "results": results,
        "best": BEST,
        "stops": _stops(results),
        "score_header": _SCORE_HEADER,
        "score_rows": _score_rows(results),
        "strip": Scale(max(min([0.0, *ends]), -1.0), min(max([1.0, *ends]), 2.0), 4, 156),
        "ope_header": _OPE_HEADER,
        "ope_rows": _ope_rows(points),
        "seed_rows": _seed_rows(results),
        "figures": draw_figures(results, points),
        "color": color_index,
        "interval": _interval,
        "versions": results.get("versions") or _versions(),
        "config": _flatten(results["config"]),
    }


def _check(results: dict[str, Any]) -> None:
    missing = [key for key in _REQUIRED if key not in results]
    remedy = "pass what `recsession quickstart` wrote to results.json, or run it again with --fresh"
    require(not missing, f"results lack {', '.join(missing)}; {remedy}")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("recsession", "torch", "torchrl", "tensordict", "numpy", "numba", "gymnasium"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        rows += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", str(value))]
    return rows


def _align(header: Sequence[tuple[str, str]], rows: list[tuple[str, list[str]]]) -> str:
    lines = [*(list(line) for line in zip(*header, strict=True)), *(cells for _, cells in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(2, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _average(items: list[dict[str, Any]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for key in ("value", "low", "high"):
        column = [item[key] for item in items if finite(item.get(key))]
        means[key] = fmean(column) if len(column) == len(items) else float("nan")
    return means


def _interval(item: dict[str, Any]) -> str:
    middle = item["mean"] if "mean" in item else item["value"]
    low, high = item.get("low"), item.get("high")
    if not finite(middle) or not (finite(low) or finite(high)):
        return readable(middle)
    return f"{readable(middle)} [{readable(low)}, {readable(high)}]"


def _largest(values: Sequence[float | None] | None) -> float | None:
    """Return the largest value: infinity when one is not finite, None when there is none."""
    if not values:
        return None
    return max(value if value is not None and finite(value) else float("inf") for value in values)


def _label(name: str) -> str:
    return name[:_LABEL_WIDTH]
