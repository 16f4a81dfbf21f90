"""A logged dataset on one self-contained HTML page: verdict, figures and tables of `dataset_summary`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_data.describe.charts import Figure, Panel, make_panel, percent, readable
from offline_data.describe.dataset_summary import policy_name
from offline_data.describe.log_checks import CHECKS
from offline_data.describe.pages import write_page
from offline_data.store.dataset import LoggedDataset

_QUANTILES = {
    "p0": "smallest",
    "p5": "5 %",
    "p25": "25 %",
    "p50": "median",
    "p75": "75 %",
    "p95": "95 %",
    "p100": "largest",
}
_ROOM = 70.0  # pixels that the name of a marked value takes
_FAR = 2.0  # a reference is drawn where it lies within so many ranges of the returns


def write_dataset_page(dataset: LoggedDataset, summary: Mapping[str, Any], path: Path, *, verified: bool) -> Path:
    """Write the page and return its path.

    Args:
        dataset: the log.
        summary: what `summarize` says about it.
        path: the file to write.
        verified: whether every file was compared with its checksum.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    values = {
        "summary": summary,
        "sentences": verdict(summary),
        "figures": draw_figures(summary),
        "quantiles": _QUANTILES,
        "checks": CHECKS,
        "facts": _facts(dataset, summary),
        "verified": verified,
        "size_of": bytes_text,
        "interval": interval_text,
        "share": share_text,
        "count": count_text,
    }
    return write_page(path, Path(__file__).with_name("dataset_page.html.jinja"), values)


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Return what matters first, in plain sentences: quality, off-policy evaluation, coverage, noise.

    Args:
        summary: what `summarize` says about a dataset.
    """
    return [_earned(summary), _comparable(summary), _covered(summary), *_noisy(summary)]


def interval_text(item: Mapping[str, float]) -> str:
    """Return a mean with its interval."""
    return f"{readable(item['mean'])} [{readable(item['low'])}, {readable(item['high'])}]"


def count_text(count: float) -> str:
    """Return an effective number of samples: whole where it is large."""
    return f"{count:,.0f}" if count >= 100.0 else readable(count)


def share_text(share: float) -> str:
    """Return a share as a percentage, aligned with others of a column."""
    return f"{100.0 * share:.{2 if 0.0 < share < 0.01 else 1}f} %"


def bytes_text(count: int) -> str:
    """Return a number of bytes in the largest unit that leaves at least one of it."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024.0 and len(units) > 1:
        size, units = size / 1024.0, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def draw_figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the page's figures by name, without those for which the log holds nothing.

    Args:
        summary: what `summarize` says about a dataset.
    """
    figures = {"sessions": _sessions_figure(summary)}
    if summary["size"]["slate_size"] > 1:
        figures["answers"] = _answers_figure(summary)
    if summary["propensity"]["log_prob"]:
        figures["propensities"] = _propensity_figure(summary)
    return {**figures, "exposure": _exposure_figure(summary)}


def _earned(summary: Mapping[str, Any]) -> str:
    size, score = summary["size"], summary["score"]
    told = f"{size['sessions']:,} sessions, {size['steps']:,} steps: a session earns"
    told = f"{told} {interval_text(summary['session_return']['interval'])} on average"
    if score is None:
        return f"{told}."
    noise, expert = (policy_name(score["quality"][name]) for name in ("noise", "expert"))
    return f"{told}, a normalised score of {interval_text(score)}, where {noise} is 0 and {expert} is 1."


def _comparable(summary: Mapping[str, Any]) -> str:
    overlap, propensity = summary["overlap"], summary["propensity"]
    if overlap is None:
        return (
            "The log does not know how likely its actions were: no importance weights, so that off-policy evaluation "
            "rests on a model alone, unless propensities are estimated."
        )
    kinds = {"estimated": "estimated, not known", "partial": "missing in some sessions"}
    told = f"Propensities are {kinds.get(propensity['kind'], propensity['kind'])}"
    if overlap["reach"] == 0.0:
        return (
            f"{told}; with {propensity['known_sessions']:,} sessions that have them, no estimate by whole sessions can "
            "have an effective sample size of 100."
        )
    return (
        f"{told}; off-policy, whole sessions keep an effective sample size of 100 for policies within "
        f"{readable(overlap['reach'])} nats a step of the one that logged."
    )


def _covered(summary: Mapping[str, Any]) -> str:
    coverage, items = summary["coverage"], summary["size"]["items"]
    told = f"{coverage['items_shown']:,} of {items:,} items were shown"
    return f"{told}, as evenly as if {readable(coverage['effective_items'])} of them took turns."


def _noisy(summary: Mapping[str, Any]) -> list[str]:
    sentences = []
    if summary["source"]["kind"] == "simulator":
        told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in summary["injected"].items())
        sentences.append(f"Injected on purpose: {told}." if told else "Nothing was injected.")
    wrong = {name: count for name, count in summary["checks"].items() if count}
    told = "; ".join(f"{count:,} {CHECKS[name]}" for name, count in wrong.items())
    return [*sentences, f"The log contradicts itself: {told}." if wrong else "The log nowhere contradicts itself."]


def _sessions_figure(summary: Mapping[str, Any]) -> Figure:
    returns, lengths = summary["session_return"], summary["session_length"]
    caption = (
        "Undiscounted return of a session, and its number of steps. Look for two hills, where two kinds of policy, or "
        "of user, made the log, and for a pile at the longest session, where time was up."
    )
    low, high = returns["edges"][0], returns["edges"][-1]
    posts = [(returns["mean"], "mean")]
    if summary["score"] is not None:
        quality, reach = summary["score"]["quality"], _FAR * (high - low)
        for value, text in ((quality["noise_return"]["mean"], "noise"), (quality["expert_return"]["mean"], "expert")):
            if low - reach <= value <= high + reach:
                posts.append((value, text))
                low, high = min(low, value), max(high, value)
        caption += " The noise policy and the expert, that the score is measured against, are marked."
    panels = [_histogram("Return", "session return", returns, (low, high), posts, "sessions")]
    if lengths["quantiles"]["p0"] < lengths["quantiles"]["p100"]:
        panels.append(_histogram("Length", "steps", lengths, None, [(lengths["mean"], "mean")], "sessions"))
    return Figure("What a session earns, and how long it lasts", caption, panels, layout="two")


def _answers_figure(summary: Mapping[str, Any]) -> Figure:
    rates = summary["feedback"]["click_rate_by_position"]
    caption = (
        "Clicks of an item shown at each position of the slate. Look for a fall from the first position on: it mixes "
        "position bias with a policy that puts its best items first."
    )
    x = ("position", 0.5, len(rates) + 0.5)
    panel = make_panel("Click rate by position", (0.0, 1.08 * max(*rates, 1e-3)), x, (520, 300), y_label="clicks")
    for index, rate in enumerate(rates):
        left, right = index + 0.7, index + 1.3
        panel.add("area", points=[(left, 0), (left, rate), (right, rate), (right, 0)], color=0, style="bars")
    panel.alt = f"Click rate by position: {', '.join(map(readable, rates))}."
    return Figure("What users answer", caption, [panel], layout="two")


def _propensity_figure(summary: Mapping[str, Any]) -> Figure:
    slates = summary["source"]["action_kind"] == "slate"
    kind = "log-probability of the slate" if slates else "log-density of the proto-action"
    caption = (
        f"The {kind} under the policy that logged it. Look for a tail to the left: actions that it "
        "hardly ever takes, and that weigh heavily where another policy likes them."
    )
    log_prob = summary["propensity"]["log_prob"]
    panel = _histogram("Propensities", f"{kind}, nats", log_prob, None, [(log_prob["mean"], "mean")], "steps")
    return Figure("How likely the logged actions were", caption, [panel], layout="two")


def _exposure_figure(summary: Mapping[str, Any]) -> Figure:
    coverage = summary["coverage"]
    caption = (
        "Share of all that was shown that the most shown items take. Look for how far the curve bends from the "
        "diagonal, on which all items are shown alike: what is hardly shown cannot be learned about."
    )
    x = ("share of the items, most shown first", 0.0, 1.0)
    panel = make_panel("Exposure", (0.0, 1.0), x, (520, 360), y_label="share of what was shown")
    panel.add("diagonal", points=[(0, 0), (1, 1)])
    panel.add("area", points=[(0, 0), *coverage["curve"], (1, 0)], color=0)
    panel.add("line", points=coverage["curve"], color=0, style="plain")
    tenth = min(coverage["curve"], key=lambda point: abs(point[0] - 0.1))
    panel.alt = f"The {percent(tenth[0])} most shown items take {percent(tenth[1])} of what was shown."
    return Figure("What was shown", caption, [panel], layout="two")


def _histogram(
    title: str,
    x_label: str,
    distribution: Mapping[str, Any],
    reach: tuple[float, float] | None,
    posts: Sequence[tuple[float, str]],
    y_label: str,
) -> Panel:
    edges, counts = distribution["edges"], distribution["counts"]
    low, high = reach or (edges[0], edges[-1])
    margin = 0.02 * (high - low)
    x = (x_label, low - margin, high + margin)
    panel = make_panel(title, (0.0, 1.25 * max(counts)), x, (520, 320), y_label=y_label, left=66)
    corners = [
        corner
        for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
        for corner in ((left, count), (right, count))
    ]
    panel.add("area", points=[(edges[0], 0), *corners, (edges[-1], 0)], color=0, style="bars")
    for line, (value, text) in enumerate(posts):
        at = panel.x(value)
        left = at - panel.x.start > _ROOM and (value < posts[0][0] or panel.x.end - at < _ROOM)
        panel.add("post", x=at, y=panel.y.end + 12 + 15 * line, text=f"{text} {readable(value)}", left=left)
    told = ", ".join(f"{text} {readable(value)}" for value, text in posts)
    ends = f"from {readable(distribution['quantiles']['p0'])} to {readable(distribution['quantiles']['p100'])}"
    panel.alt = f"Histogram of {x_label} {ends}: {told}, median {readable(distribution['quantiles']['p50'])}."
    return panel


def _facts(dataset: LoggedDataset, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the log was made."""
    source, manifest = summary["source"], dataset.manifest
    estimate = manifest["source"].get("propensity_estimate")
    facts = {
        "folder": str(dataset.path),
        "source": source["kind"] if source["reader"] is None else f"{source['kind']}, by {source['reader']}",
        "estimate": None if estimate is None else json.dumps(estimate),
        "lacking": "; ".join(source["lacking"]) or None,
        "user model": source["user_model"],
        "world hash": source["world_hash"],
        "behavior": None if source["behavior"] is None else json.dumps(source["behavior"]),
        "action kind": source["action_kind"],
        "versions": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
    }
    return [(name, text) for name, text in facts.items() if text is not None]
