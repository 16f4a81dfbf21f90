"""A logged dataset on one self-contained HTML page: what `recsession inspect` prints, and figures of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from offline_data.describe.dataset_summary import policy_name
from offline_data.describe.figures import COLORS, INK, Chart, make_axes, mark_value, styled
from offline_data.describe.number_words import bytes_text, interval_text, percent, readable, share_text
from offline_data.describe.pages import Page, Section, Table, write_page
from offline_data.describe.summary_rows import summary_rows
from offline_data.store.dataset import LoggedDataset

_QUANTILES: Final = ("p0", "p5", "p25", "p50", "p75", "p95", "p100")
_FAR: Final = 2.0  # a reference is drawn where it lies within so many ranges of the returns


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
    source = summary["source"]
    checked = ("integrity", "every checksum is right" if verified else "checksums not compared")
    sections = [
        _sessions(summary),
        *_answers(summary),
        *_propensities(summary),
        _exposure(summary["coverage"]),
        Section("In numbers", [Table((), [*summary_rows(summary), checked])]),
        _making(dataset, summary),
    ]
    kind = f"dataset · {source['reader'] or source['user_model'] or source['kind']}"
    return write_page(path, Page(source["name"], kind, lead(summary), sections=sections))


def lead(summary: Mapping[str, Any]) -> str:
    """Return what matters first, in one sentence.

    Args:
        summary: what `summarize` says about a dataset.
    """
    size, normalized = summary["size"], summary["normalized_score"]
    told = f"{size['sessions']:,} sessions, {size['steps']:,} steps: a session earns"
    told = f"{told} {interval_text(summary['session_return']['interval'])} on average"
    if normalized is None:
        return f"{told}."
    noise, expert = (policy_name(normalized["quality"][name]) for name in ("noise", "expert"))
    return f"{told}, a normalised score of {interval_text(normalized)}, where {noise} is 0 and {expert} is 1."


def session_charts(summary: Mapping[str, Any]) -> list[Chart]:
    """Return the histograms of the sessions' returns and lengths, these only where they differ.

    Args:
        summary: what `summarize` says about a dataset.
    """
    returns, lengths = summary["session_return"], summary["session_length"]
    posts = [(returns["mean"], "mean")]
    if summary["normalized_score"] is not None:
        (low, *_, high), quality = returns["edges"], summary["normalized_score"]["quality"]
        reach = _FAR * (high - low)
        named = [(quality[f"{name}_return"]["mean"], name) for name in ("noise", "expert")]
        posts += [(value, name) for value, name in named if low - reach <= value <= high + reach]
    charts = [_histogram("Return", "session return", "sessions", returns, posts)]
    if lengths["quantiles"]["p0"] < lengths["quantiles"]["p100"]:
        charts.append(_histogram("Length", "steps", "sessions", lengths, [(lengths["mean"], "mean")]))
    return charts


def _sessions(summary: Mapping[str, Any]) -> Section:
    caption = (
        "Undiscounted return of a session, and its number of steps. Look for two hills, where two kinds of policy, or "
        "of user, made the log, and for a pile at the longest session, where time was up."
    )
    each = {"return": summary["session_return"], "length, steps": summary["session_length"]}
    rows = [(name, *map(readable, (it["mean"], *map(it["quantiles"].get, _QUANTILES)))) for name, it in each.items()]
    header = ("", "mean", "smallest", "5 %", "25 %", "median", "75 %", "95 %", "largest")
    note = "The intervals of the means allow for users with several sessions."
    if summary["normalized_score"] is not None:
        quality = summary["normalized_score"]["quality"]
        note += (
            f" Normalised score 0 is the noise's return, {interval_text(quality['noise_return'])}; 1 is the expert's, "
            f"{interval_text(quality['expert_return'])}; its interval is of their sampling error, since "
            "what the log earned is known."
        )
    title = "What a session earns, and how long it lasts"
    return Section(title, [caption, session_charts(summary), Table(header, rows, note=note)])


def _answers(summary: Mapping[str, Any]) -> list[Section]:
    rates = summary["feedback"]["click_rate_by_position"]
    caption = (
        "Clicks of an item shown at each position of the slate. Look for a fall from the first position on: it mixes "
        "position bias with a policy that puts its best items first."
    )
    return [Section("What users answer", [caption, [_position_chart(rates)]])] if len(rates) > 1 else []


@styled
def _position_chart(rates: list[float]) -> Chart:
    frame: Any = {"xlim": (0.5, len(rates) + 0.5), "ylim": (0.0, 1.08 * max(*rates, 1e-3))}
    axes = make_axes("Click rate by position", xlabel="position", ylabel="clicks", **frame)
    axes.bar(range(1, len(rates) + 1), rates, 0.6, color=f"{COLORS[0]}4d", edgecolor=COLORS[0], linewidth=1.2)
    return Chart(axes, f"Click rate by position: {', '.join(map(readable, rates))}.")


def _propensities(summary: Mapping[str, Any]) -> list[Section]:
    title, propensity, latent = "How likely the logged actions were", summary["propensity"], summary["latent"]
    if not propensity["log_prob"]:
        told = (
            "The log does not say. Without propensities there are no importance weights: estimate them when the log is "
            "read in (recsession import --estimate-propensities), or evaluate by a model alone (dm)."
        )
        return [Section(title, [told])]
    slates = summary["source"]["action_kind"] == "slate"
    kind = "log-probability of the slate" if slates else "log-density of the proto-action"
    caption = (
        f"The {kind} under the policy that logged it. Look for a tail to the left: actions that it hardly ever takes, "
        "and that weigh heavily where another policy likes them. Of importance weights w, target over logging policy, "
        "the effective sample size is (Σw)²/Σw²; below 100 an estimate is not to be trusted. A session's weight is the "
        "product over its steps."
    )
    log_prob = propensity["log_prob"]
    row: list[Any] = [_histogram("Propensities", f"{kind}, nats", "steps", log_prob, [(log_prob["mean"], "mean")])]
    if latent and latent["mixing"] and propensity["known_steps"] == summary["size"]["steps"]:
        # Of a component that is drawn once a session, single steps bound nothing.
        units = {"steps": "single steps", "sessions": "whole sessions"}
        rows = [
            (f"{part['component']} alone, {told}", f"at least {part[f'{unit}_alone']:,}", f"{summary['size'][unit]:,}")
            for part in latent["components"]
            for unit, told in units.items()
            if unit == "sessions" or latent["mixing"] != "session"
        ]
        note = "A component alone has at least what it did alone, on average over logs."
        row.append(Table(("", "effective sample size", "of"), rows, "Whom this log can judge", note))
    return [Section(title, [caption, row])]


def _exposure(coverage: Mapping[str, Any]) -> Section:
    caption = (
        "Share of all that was shown that the most shown items take. Look for how far the curve bends from the "
        "diagonal, on which all items are shown alike: what is hardly shown cannot be learned about."
    )
    rows = []
    for top in coverage["top_items"]:
        own = "" if top["source_id"] in (None, str(top["item"])) else f" ({top['source_id']})"
        rows.append((f"{top['item']}{own}", share_text(top["share_of_exposure"]), share_text(top["click_rate"])))
    table = Table(("item", "share of what was shown", "click rate"), rows, "Most shown items")
    return Section("What was shown", [caption, [_exposure_chart(coverage["curve"]), table]])


@styled
def _exposure_chart(curve: list[list[float]]) -> Chart:
    ends = (0.0, 1.0)
    labels: Any = {"xlabel": "share of the items, most shown first", "ylabel": "share of what was shown"}
    axes = make_axes("Exposure", xlim=ends, ylim=(0.0, 1.02), **labels)
    axes.plot(ends, ends, color=INK, linewidth=0.8, dashes=(4, 3))
    axes.annotate("all alike", (0.62, 0.62), xytext=(6, -6), textcoords="offset points", va="top")
    items, shown = zip(*curve, strict=True)
    axes.fill_between(items, shown, color=COLORS[0], alpha=0.12, linewidth=0)
    axes.plot(items, shown, color=COLORS[0])
    tenth = min(curve, key=lambda point: abs(point[0] - 0.1))
    return Chart(axes, f"The {percent(tenth[0])} most shown items take {percent(tenth[1])} of what was shown.")


def _making(dataset: LoggedDataset, summary: Mapping[str, Any]) -> Section:
    manifest = dataset.manifest
    estimate = manifest["source"].get("propensity_estimate")
    facts = [("folder", dataset.path)] + ([("propensities", json.dumps(estimate))] if estimate else [])
    facts.append(("versions", ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())))
    columns = [
        (each["name"], f"{each['dtype']} {each['shape']}", bytes_text(each["bytes"]), each["meaning"])
        for each in summary["columns"]
    ]
    every = Table(("column", "type", "on disk", "meaning"), columns, "Every column", folded=True)
    return Section("How it was made", [Table((), facts), every])


@styled
def _histogram(
    title: str, xlabel: str, ylabel: str, distribution: Mapping[str, Any], posts: list[tuple[float, str]]
) -> Chart:
    """Return a histogram with values marked by name, as far as to those."""
    edges, counts = distribution["edges"], distribution["counts"]
    ends = [edges[0], edges[-1], *(value for value, _ in posts)]
    margin, top = 0.02 * (max(ends) - min(ends)) or 0.5, (1.08 + 0.09 * len(posts)) * max(*counts, 1)
    xlim = (min(ends) - margin, max(ends) + margin)
    axes = make_axes(title, xlabel=xlabel, ylabel=ylabel, xlim=xlim, ylim=(0.0, top))
    axes.stairs(counts, edges, fill=True, color=f"{COLORS[0]}4d")
    axes.stairs(counts, edges, color=COLORS[0], linewidth=1.2)
    for line, (value, name) in enumerate(posts):
        mark_value(axes, value, f"{name} {readable(value)}", line)
    told = ", ".join(f"{name} {readable(value)}" for value, name in posts)
    low, middle, high = (readable(distribution["quantiles"][key]) for key in ("p0", "p50", "p100"))
    return Chart(axes, f"Histogram of {xlabel} from {low} to {high}: {told}, median {middle}.")
