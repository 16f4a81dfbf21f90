"""Several policies judged by one log, on one self-contained page: what to choose, how surely, and what was right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_data.describe.figures import INK, MIDDLE, SOFT, WIDE, Chart, looks, make_axes, styled
from offline_data.describe.number_words import finite, interval_text, readable
from offline_data.describe.pages import Alarm, Page, Section, Table, write_page
from recsession.policy_tables import (
    CHOSEN,
    DOUBTS,
    ESTIMATES,
    GRADES,
    JUDGED,
    JUDGED_MEANING,
    NO_ANSWER,
    PAIRS,
    TRUTH,
    chosen_rows,
    doubt_rows,
    estimate_rows,
    is_sure,
    judged_rows,
    pair_rows,
    signed,
)

_HEIGHT = 0.24


def write_policy_page(results: Mapping[str, Any], path: Path) -> Path:
    """Write what `compared` returned, with the facts of its making, as one page, and return its path.

    Args:
        results: with `log`, `estimators` and `making` (named facts) beside what `compared` returns.
        path: the file to write.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    with_truth = results["judged"] is not None
    note = (
        "A difference is of the same users, so that what chance they brought is in neither; its interval and the "
        "chance of being better count on the estimator being right. ESS is the effective number of sessions."
    )
    table = Table([*ESTIMATES, *([TRUTH] if with_truth else [])], _alarmed(estimate_rows(results)), note=note)
    raised = doubt_rows(results)
    doubts = [Table(DOUBTS, raised, "Every doubt", folded=True)] if raised else []
    chosen = [Table(CHOSEN, rows, "By which estimator, as the log tells")] if (rows := chosen_rows(results)) else []
    seen = (
        "Marks are estimates, one line an estimator, with their 95 % intervals; hollow ones are doubtful or worse. The "
        f"dashed line is what the policy that logged has earned itself{', a cross the truth' if with_truth else ''}."
    )
    differs = (
        "By how much each policy is better than the one that logged, in the same sessions. What lies right of 0 with "
        "its whole interval, and is trusted, is better than what runs today."
    )
    sections = [
        Section("What each policy is worth", [seen, [estimates_chart(results)], table, *chosen, *doubts]),
        Section("Better than what runs?", [differs, [differences_chart(results)]]),
        *_pairs(results),
        *_truth(results),
        _making(results),
    ]
    count = len(results["policies"])
    kicker = f"ope · {count} {'policy' if count == 1 else 'policies'} · {results['num_sessions']:,} sessions"
    page = Page(f"Policies judged by {results['log']}", kicker, *_lead(results), sections=sections)
    return write_page(path, page)


def _lead(results: Mapping[str, Any]) -> tuple[str, str]:
    """Return what matters most, and what next, of numbers alone."""
    own = f"The policy that logged earned {interval_text(results['logged'])} itself."
    # Of each policy the least that one of its estimates promises: the best of several would be luck.
    least = []
    for policy in results["policies"]:
        sure = [(each["against_log"], name) for name, each in policy["estimates"].items() if is_sure(each)]
        if sure:
            least.append((*min(sure, key=lambda each: _lower(each[0])), policy["name"], len(sure)))
    if not least:
        return "No estimate that weighs these sessions is to be trusted.", own
    difference, estimator, policy, count = max(least, key=lambda each: _lower(each[0]))
    if _lower(difference) <= 0.0:
        return "No policy is shown to be better than the one that logged by all estimates that are to be trusted.", own
    of = f", the least of the {count} estimators that are to be trusted" if count > 1 else ""
    return f"{policy} is better than the policy that logged by {signed(difference)}, says {estimator}{of}.", own


def _lower(difference: Mapping[str, Any]) -> float:
    return -math.inf if difference["low"] is None else difference["low"]


def _pairs(results: Mapping[str, Any]) -> list[Section]:
    names = [name for name in results["estimators"] if pair_rows(results, name)]
    names.sort(key=lambda name: min(GRADES.index(each["verdict"]) for each in results["pairs"]
                                    if each["estimator"] == name))  # fmt: skip
    if not names:
        return []
    tables = [
        Table(PAIRS, _alarmed(pair_rows(results, name)), f"Each two policies, by {name}", folded=name != names[0])
        for name in names
    ]
    return [Section("Policies among each other", ["The one with the larger estimate stands first.", *tables])]


def _truth(results: Mapping[str, Any]) -> list[Section]:
    if results["judged"] is None:
        return []
    table = Table(JUDGED, judged_rows(results), note=JUDGED_MEANING)
    charts = [truth_chart(results, name) for name in results["estimators"] if results["judged"][name]]
    seen = "Each estimator's estimates over the policies' values in the simulator; on the line they are right."
    rows = [charts[start : start + 2] for start in range(0, len(charts), 2)]
    return [Section("What the simulator says of the estimates", [seen, *rows, table])]


def _making(results: Mapping[str, Any]) -> Section:
    told = "The same log, policies and options give the same numbers, which stand in results.json beside this page."
    warnings = [Table((), [(each["name"], Alarm(" ".join(each["warnings"]))) for each in results["policies"]
                           if each["warnings"]], "Warnings")]  # fmt: skip
    files = Table((), [(each["name"], f"{each['file']}, SHA-256 {each['sha256'][:12]}...") for each in
                       results["policies"]], "Policies")  # fmt: skip
    facts = Table((), [(name, str(value)) for name, value in results["making"].items()], "Options")
    return Section("How it was made", [told, *(warnings if warnings[0].rows else []), files, facts])


@styled
def estimates_chart(results: Mapping[str, Any]) -> Chart:
    """Return the estimates of each policy, one line an estimator, about what the log's own policy earned.

    Args:
        results: what `compared` returned.
    """
    logged, policies = results["logged"], results["policies"]
    values = [logged["low"], logged["high"]]
    for policy in policies:
        values += [
            each[end] for each in policy["estimates"].values() if "value" in each for end in ("value", "low", "high")
        ]
        values += [policy["truth"]["mean"]] if policy["truth"] else []
    axes = _rows_axes(results, values, "expected return of a session")
    axes.axvspan(logged["low"], logged["high"], color=SOFT, alpha=0.15, linewidth=0)
    axes.axvline(logged["mean"], color=INK, linewidth=1.1, dashes=(4, 3))
    for row, policy in enumerate(policies):
        if policy["truth"]:
            axes.plot(policy["truth"]["mean"], -row, "x", color=INK, markersize=8.0, zorder=4)
        for place, look, found in _lines(results, row):
            if "value" in found:
                _bar(axes, found["low"], found["value"], found["high"], place, look, is_sure(found))
    told = [
        f"{policy['name']} by {name} {readable(found['value']) if 'value' in found else NO_ANSWER}"
        for policy in policies
        for name, found in policy["estimates"].items()
    ]
    return Chart(axes, f"Estimates: {'; '.join(told)}; the log's own {readable(logged['mean'])}.")


@styled
def differences_chart(results: Mapping[str, Any]) -> Chart:
    """Return by how much each policy is better than the log's own.

    Args:
        results: what `compared` returned.
    """
    found = [
        each["against_log"]
        for policy in results["policies"]
        for each in policy["estimates"].values()
        if "value" in each
    ]
    values = [0.0, *(each[end] for each in found for end in ("value", "low", "high"))]
    axes = _rows_axes(results, values, "return of a session, less the log's own")
    axes.axvline(0.0, color=INK, linewidth=1.1, dashes=(4, 3))
    told = []
    for row, policy in enumerate(results["policies"]):
        for (place, look, each), name in zip(_lines(results, row), policy["estimates"], strict=True):
            if "value" in each:
                against = each["against_log"]
                _bar(axes, against["low"], against["value"], against["high"], place, look, is_sure(each))
                told.append(f"{policy['name']} by {name} {signed(against)}")
    return Chart(axes, f"Less the log's own return: {'; '.join(told)}.")


@styled
def truth_chart(results: Mapping[str, Any], estimator: str) -> Chart:
    """Return an estimator's estimates over the true values.

    Args:
        results: what `compared` returned, with truths.
        estimator: whose.
    """
    known = [
        (policy["truth"]["mean"], policy["estimates"][estimator], policy["name"])
        for policy in results["policies"]
        if "value" in policy["estimates"][estimator]
    ]
    ends = [end for truth, found, _ in known for end in (truth, found["value"])]
    low, high = _range([*ends, results["logged"]["mean"]])
    axes = make_axes(
        estimator, MIDDLE, xlabel="value in the simulator", ylabel="estimate", xlim=(low, high), ylim=(low, high)
    )
    axes.plot((low, high), (low, high), color=SOFT, linewidth=0.9)
    look = looks(results["estimators"])[estimator]
    for truth, found, _ in known:
        if found["low"] is not None:
            ends = (max(found["low"], low), min(found["high"], high))
            axes.vlines(truth, *ends, color=look["color"], linewidth=1.6, alpha=0.6)
        filled = look["color"] if is_sure(found) else "white"
        axes.plot(truth, found["value"], look["marker"], color=look["color"], markerfacecolor=filled, zorder=3)
    told = [f"{name} {readable(found['value'])} of {readable(truth)}" for truth, found, name in known]
    return Chart(axes, f"Estimates by {estimator} of true values: {'; '.join(told)}.")


def _rows_axes(results: Mapping[str, Any], values: Sequence[float | None], xlabel: str) -> Any:
    """Return axes with a row a policy, as wide as the values, and the estimators' legend."""
    policies, names = results["policies"], results["estimators"]
    height = 1.0 + max(_HEIGHT * len(names), 0.4) * len(policies)
    axes = make_axes("", (WIDE[0] * 0.8, height), xlabel=xlabel, xlim=_range(values), ylim=(0.6 - len(policies), 0.6))
    axes.set_yticks([-row for row in range(len(policies))], [each["name"] for each in policies])
    axes.tick_params("y", labelcolor=INK)
    axes.grid(axis="x")
    for name, look in looks(names).items():
        axes.plot([], [], look["marker"], color=look["color"], label=name)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


def _lines(results: Mapping[str, Any], row: int) -> list[tuple[float, dict[str, str], Mapping[str, Any]]]:
    """Return the upright place, the look and the estimate of each estimator in a policy's row."""
    names, look = results["estimators"], looks(results["estimators"])
    step = 0.8 / max(len(names), 1)
    found = results["policies"][row]["estimates"]
    return [(0.4 - step * (place + 0.5) - row, look[name], found[name]) for place, name in enumerate(names)]


def _bar(
    axes: Any, low: float | None, value: float, high: float | None, place: float, look: Mapping[str, str], sure: bool
) -> None:
    left, right = axes.get_xlim()
    if low is not None and high is not None:
        axes.plot((max(low, left), min(high, right)), [place] * 2, color=look["color"], linewidth=1.8, alpha=0.6)
    inside = min(max(value, left), right)
    filled = look["color"] if sure else "white"
    axes.plot(inside, place, look["marker"], color=look["color"], markerfacecolor=filled, markersize=5.0, zorder=3)


def _range(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if finite(value)]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _alarmed(rows: list[list[str]]) -> list[list[str]]:
    return [[Alarm(cell) if cell.startswith((*GRADES[1:], NO_ANSWER)) else cell for cell in row] for row in rows]
