"""The quickstart's results in words, as a plain-text table, and as one self-contained HTML page."""

from __future__ import annotations

import platform
import textwrap
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from agents.charts import Scale, finite, percent, readable
from agents.pages import write_page
from agents.report_figures import color_index, draw_figures
from recenv.errors import require

TRUSTED_ESS = 100.0  # effective sample size below which an off-policy estimate is marked untrusted
DIVERGED = 1e6  # a surprisal (nats) or score norm above this counts as diverged, whether or not the run was stopped
EQUAL = 0.02  # AWR "equals" DRPO when their mean normalised scores differ by no more than this
TABLE_WIDTH = 120

_SHORT = {"bc": "cloning", "awr": "AWR", "signed_pg": "signed PG", "drpo": "DRPO"}
_FULL = {"bc": "behavior cloning", "awr": "AWR", "signed_pg": "signed policy gradient", "drpo": "DRPO"}
_REQUIRED = ("config", "world_hash", "good_fraction", "noise", "kappa", "seeds", "ceiling", "methods", "curves")
_SCORE_HEADER = (
    ("", "method"),
    ("normalised score", "[95 %]"),
    ("ceiling", "[95 %]"),
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
    return write_page(path, "report.html.jinja", _page_values(results))


def format_table(results: dict[str, Any]) -> str:
    """Return the plain-text table of scores and off-policy estimates, at most 120 columns wide.

    Means are over seeds; an off-policy row averages the seeds' estimates and interval ends and shows the smallest
    effective sample size. What is not finite reads `diverged`, what was not measured `-`.

    Args:
        results: the quickstart's results.

    Raises:
        InvalidInput: if `results` lacks a required key.
    """
    _check(results)
    seeds = ", ".join(map(str, results["seeds"]))
    noise = f"{percent(1 - results['good_fraction'])} {results['noise']}"
    facts = f"{percent(results['good_fraction'])} good data, {noise}; kappa {results['kappa']:g}; seeds {seeds}"
    blocks = [textwrap.fill(facts, TABLE_WIDTH), _align(_SCORE_HEADER, _score_rows(results))]
    if points := ope_points(results):
        blocks.append(_align(_OPE_HEADER, _ope_rows(points)))
    stops = [
        textwrap.fill(f"{_short(name)}, seed {seed}, was stopped: {why}", TABLE_WIDTH, subsequent_indent="    ")
        for name, method in results["methods"].items()
        for seed, why in zip(results["seeds"], method.get("stopped") or [], strict=False)
        if why
    ]
    return "\n\n".join([*blocks, "\n".join(stops)]).rstrip()


def verdict(results: dict[str, Any]) -> list[str]:
    """Return the verdict in plain sentences: winner, AWR beside DRPO, ceiling, filter, divergence, off-policy trust.

    Intervals are compared by overlap, which is stricter than a paired test: "no clear winner" is not "equal".

    Args:
        results: the quickstart's results.

    Raises:
        InvalidInput: if `results` lacks a required key.
    """
    _check(results)
    scores = {name: method["normalized_score"] for name, method in results["methods"].items()}
    ranked = sorted(
        (name for name in scores if finite(scores[name]["mean"])), key=lambda name: scores[name]["mean"], reverse=True
    )
    if not ranked:
        return ["No method reached a finite score.", *_divergence_sentences(results), *_ope_sentences(results)]
    sentences = [_winner_sentence(scores, ranked, len(results["seeds"])), *_drpo_sentences(scores, ranked)]
    best, ceiling = ranked[0], results["ceiling"]
    if finite(ceiling["mean"]):
        gap = ceiling["mean"] - scores[best]["mean"]
        reach = f"falls {readable(gap)} short of it" if gap > 0 else f"is {readable(-gap)} above it"
        if finite(ceiling["low"]) and finite(scores[best]["low"]) and not _separated(scores[best], ceiling):
            reach = "cannot be told apart from it"
        where = f"The ceiling, cloning on 100 % good data, is {_interval(ceiling)}"
        sentences.append(f"{where}: {_full(best)} {reach}.")
    precision = (results["methods"].get("drpo", {}).get("filter_precision") or {}).get("mean")
    if finite(precision):
        base = percent(results["good_fraction"])
        sentences.append(f"Of what DRPO's filter kept, {percent(precision)} is truly good, against {base} of the log.")
    return [*sentences, *_divergence_sentences(results), *_ope_sentences(results)]


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
                point = {"method": name, "label": _short(name), "seed": seed, "truth": truth, **estimate}
                points.append({**point, "trusted": trusted, "has_truth": has_truth})
    return points


def _winner_sentence(scores: dict[str, Any], ranked: Sequence[str], num_seeds: int) -> str:
    told = {name: f"{_full(name)} ({_interval(scores[name])})" for name in ranked}
    best = ranked[0]
    if len(ranked) == 1:
        return f"{_capital(told[best])} is the only method with a finite score."
    second = ranked[1]
    if num_seeds == 1:
        order = f"{told[best]} came first and {told[second]} next"
        return f"On the one seed that was run, {order}: a lead to verify, not a result."
    pairs = zip(scores[best].get("per_seed") or [], scores[second].get("per_seed") or [], strict=False)
    count = sum(finite(ours) and (not finite(theirs) or ours > theirs) for ours, theirs in pairs)
    ahead = f"ahead on {count} of {num_seeds} seeds"
    close = [told[name] for name in ranked[1:] if not _separated(scores[best], scores[name])]
    if close:
        overlap = f"its 95 % interval overlaps that of {_listed(close)}"
        lead = f"{told[best]} has the highest mean score and was {ahead} against {_full(second)}"
        return f"No clear winner: {lead}, but {overlap}."
    gap = readable(scores[best]["mean"] - scores[second]["mean"])
    return (
        f"{_capital(_full(best))} won with a normalised score of {_interval(scores[best])}, {gap} above the next best, "
        f"{told[second]}; the 95 % intervals do not overlap, and it was {ahead}."
    )


def _drpo_sentences(scores: dict[str, Any], ranked: Sequence[str]) -> list[str]:
    if "drpo" not in ranked:
        return ["DRPO has no finite score."] if "drpo" in scores else []
    sentences = []
    if ranked[0] != "drpo":
        sentences.append(f"DRPO came {ranked.index('drpo') + 1} of {len(scores)}, with {_interval(scores['drpo'])}.")
    if "awr" in ranked:
        gap = abs(scores["awr"]["mean"] - scores["drpo"]["mean"])
        if gap <= EQUAL:
            equal = f"AWR equals DRPO here: their means differ by {gap:.3f}"
            sentences.append(f"{equal}, so this log gives no reason to filter rather than to weight.")
        elif finite(scores["awr"]["low"]) and not _separated(scores["awr"], scores["drpo"]):
            sentences.append("AWR and DRPO cannot be told apart on this log: their intervals overlap.")
    return sentences


def _divergence_sentences(results: dict[str, Any]) -> list[str]:
    methods, num_seeds = results["methods"], len(results["seeds"])
    surprisal = {name: _largest(method.get("max_surprisal")) for name, method in methods.items()}
    calm, sentences = surprisal.get("drpo"), []
    for name, method in methods.items():
        peaks = zip(method.get("max_surprisal") or [], method.get("max_score_norm") or [], strict=False)
        diverged = sum(not all(finite(peak) and peak <= DIVERGED for peak in pair) for pair in peaks)
        stopped = [why for why in method.get("stopped") or [] if why]
        if diverged:
            norm = readable(_largest(method.get("max_score_norm")), infinite="infinity")
            peak = readable(surprisal[name], infinite="infinity")
            size = f"its surprisal (nats) reached {peak}, its score norm {norm}"
            beside = f"; DRPO's surprisal peaked at {readable(calm)}" if name != "drpo" and finite(calm) else ""
            sentences.append(f"{_capital(_full(name))} diverged{_share(diverged, num_seeds)}: {size}{beside}.")
        if stopped:
            why = f"was stopped{_share(len(stopped), num_seeds)} ({stopped[0].rstrip('.')})"
            sentences.append(f"{_capital(_full(name))} {why}.")
    measured = [name for name in methods if finite(surprisal[name])]
    if not sentences and measured:
        worst = max(measured, key=lambda name: surprisal[name] or 0.0)
        beside = f"; DRPO's was {readable(calm)}" if worst != "drpo" and finite(calm) else ""
        largest = f"the largest surprisal was {readable(surprisal[worst])} nats, by {_full(worst)}"
        sentences.append(f"No run diverged: {largest}{beside}.")
    return sentences


def _ope_sentences(results: dict[str, Any]) -> list[str]:
    points = ope_points(results)
    trusted = [point for point in points if point["trusted"]]
    if not points:
        return []
    bar = f"an effective sample size of at least {TRUSTED_ESS:.0f}"
    if not trusted:
        return [f"None of the {len(points)} off-policy estimates can be trusted: none has {bar}."]
    inside = sum(point["has_truth"] for point in trusted)
    total = f"all {len(points)}" if len(trusted) == len(points) else f"{len(trusted)} of {len(points)}"
    told = f"Off-policy, {total} estimates have {bar}, and {inside} of those intervals hold the true value"
    counts = Counter(point["method"] for point in points)
    doubts = Counter(point["method"] for point in points if not point["trusted"])
    named = [f"{_full(name)} ({count} of {counts[name]})" for name, count in doubts.items()]
    return [f"{told}; do not trust the others: {_listed(named)}." if named else f"{told}."]


def _score_rows(results: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each method's name and cells under `_SCORE_HEADER`."""
    rows = []
    for name, method in results["methods"].items():
        cells = [_short(name), _interval(method["normalized_score"]), _interval(results["ceiling"])]
        cells.append(readable((method.get("filter_precision") or {}).get("mean")))
        cells += [readable(_largest(method.get(key))) for key in ("max_surprisal", "max_score_norm")]
        rows.append((name, cells))
    return rows


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
        cells = [_short(name), estimator[:10], _interval(_average(group))]
        cells.append(_interval(_average([point["truth"] for point in group])))
        cells.append(readable(min(sizes, default=None)))
        cells.append(f"{sum(point['has_truth'] for point in group)}/{len(group) - doubtful}")
        rows.append((name, [*cells, mark]))
    return rows


def _seed_rows(results: dict[str, Any]) -> list[list[str]]:
    """Return every seed's numbers, unaveraged, for the page's folded table."""
    rows, points = [], ope_points(results)
    for name, method in results["methods"].items():
        columns = [method["normalized_score"], method.get("filter_precision") or {}]
        lists = [column.get("per_seed") or [] for column in columns]
        lists += [method.get("max_surprisal") or [], method.get("max_score_norm") or []]
        for index, seed in enumerate(results["seeds"]):
            cells = [readable(values[index] if index < len(values) else None) for values in lists]
            mine = [point for point in points if (point["method"], point["seed"]) == (name, seed)]
            told = [f"{point['estimator']} {_interval(point)}, ESS {readable(point.get('ess'))}" for point in mine]
            truth = _interval(mine[0]["truth"]) if mine else "-"
            rows.append([_short(name), str(seed), *cells, truth, "; ".join(told) or "-"])
    return rows


def _page_values(results: dict[str, Any]) -> dict[str, Any]:
    """Return what the page's template reads."""
    _check(results)
    means = [method["normalized_score"] for method in results["methods"].values()] + [results["ceiling"]]
    ends = [end for item in means for end in (item["low"], item["mean"], item["high"]) if finite(end)]
    points = ope_points(results)
    return {
        "results": results,
        "sentences": verdict(results),
        "score_header": _SCORE_HEADER,
        "score_rows": _score_rows(results),
        "strip": Scale(max(min([0.0, *ends]), -1.0), min(max([1.0, *ends]), 2.0), 4, 156),
        "ope_header": _OPE_HEADER,
        "ope_rows": _ope_rows(points),
        "seed_rows": _seed_rows(results),
        "figures": draw_figures(results, points, {name: _short(name) for name in results["methods"]}),
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


def _separated(left: dict[str, Any], right: dict[str, Any]) -> bool:
    ends = [item.get(key) for item in (left, right) for key in ("low", "high")]
    return all(map(finite, ends)) and (left["low"] > right["high"] or right["low"] > left["high"])


def _largest(values: Sequence[float | None] | None) -> float | None:
    """Return the largest value: infinity when one is not finite, None when there is none."""
    if not values:
        return None
    return max(value if value is not None and finite(value) else float("inf") for value in values)


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def _share(count: int, num_seeds: int) -> str:
    return f" on {count} of {num_seeds} seeds" if num_seeds > 1 else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(name: str) -> str:
    return _SHORT.get(name, name[:9])


def _full(name: str) -> str:
    return _FULL.get(name, name)
