"""What `recsession ope` says of several policies, as rows: estimates, differences, and what the truth says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from offline_data.describe.number_words import interval_text, percent, readable

ESTIMATES: Final = ("policy", "estimator", "estimate [95 %]", "less the log's own", "chance better", "ESS", "trust")
TRUTH: Final = "truth [95 %]"
DOUBTS: Final = ("policy", "doubt", "estimators")
CHOSEN: Final = ("policy", "chosen", "RMSE, at least", "why")
AUTO: Final = "auto"
"""The name by which the log's choice of an estimator is asked for, and told."""
PAIRS: Final = ("policy", "less", "by", "difference [95 %]", "chance better", "trust")
JUDGED: Final = (
    *("estimator", "policies", "RMSE", "bias", "rank correlation", "on truth", "type I", "type II"),
    *("regret@1", "regret@2", "Sharpe@2", "Sharpe@3"),
)
JUDGED_MEANING: Final = (
    "Each estimator's word on the policies, by their values in the simulator: root mean squared error, bias and "
    "Spearman's rank correlation; the share of intervals on the truth; type I, the policies no better than the log's "
    "own that were called better, by an interval of the difference above 0, and type II, the better ones that were "
    "not; regret, by how much the best of the first k is worth less than the best of all; and Sharpe, its gain over "
    "the log's own by the spread of the first k."
)
NO_ANSWER: Final = "no estimate"
GRADES: Final = ("trusted", "doubtful", "untrusted")
"""Of a verdict, by falling worth."""


def estimate_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of each policy and estimator under `ESTIMATES`, and of its truth where it is known.

    Of each policy, what is worth more stands first.

    Args:
        results: what `compared` returned.
    """
    rows = []
    for policy, chosen in zip(results["policies"], _chosen(results), strict=True):
        for name, found in sorted(policy["estimates"].items(), key=lambda each: _grade(each[1])):
            cells = [policy["name"], f"{name}, chosen" if name == chosen else name]
            if "refused" in found:
                cells += [NO_ANSWER, "-", "-", "-", f"{GRADES[-1]}: {found['refused']}"]
            else:
                against = found["against_log"]
                cells += [interval_text(found), signed(against), chance_text(against["chance"])]
                cells += [readable(found["ess"]) if found["mean_weight"] else "-", trust_words(found)]
            if policy["truth"]:
                cells.append(interval_text(policy["truth"]))
            rows.append(cells)
    return rows


def chosen_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of each policy's choice of an estimator, and of all policies', under `CHOSEN`; none unasked.

    Args:
        results: what `compared` returned.
    """
    if "selection" not in results:
        return []
    whole = results["selection"]
    each = whole["policies"] or (whole,)
    named = [*zip((policy["name"] for policy in results["policies"]), each, strict=True)]
    rows = []
    for name, found in [*named, *([("all", whole)] if whole["policies"] else [])]:
        errors = {candidate["estimator"]: candidate["mse"] for candidate in found["candidates"]}
        error = errors.get(found["estimator"])
        rows.append(
            [name, found["estimator"] or "none", "-" if error is None else readable(error**0.5), found["reason"]]
        )
    return rows


def _chosen(results: Mapping[str, Any]) -> list[str | None]:
    """Return the estimator that is chosen for each policy alone, by name; None where none is."""
    if "selection" not in results:
        return [None] * len(results["policies"])
    whole = results["selection"]
    return [each["estimator"] for each in whole["policies"] or (whole,)]


def pair_rows(results: Mapping[str, Any], estimator: str | None = None) -> list[list[str]]:
    """Return the cells of each two policies under `PAIRS`, the better first.

    Args:
        results: what `compared` returned.
        estimator: whose; None for all.
    """
    return [
        [
            *(pair["first"], pair["other"], pair["estimator"], signed(pair), chance_text(pair["chance"])),
            pair["verdict"],
        ]
        for pair in results["pairs"]
        if estimator in (None, pair["estimator"])
    ]


def judged_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Return what the truth says of each estimator under `JUDGED`; none where it is not known.

    Args:
        results: what `compared` returned.
    """
    rows = []
    for name, found in (results["judged"] or {}).items():
        if found is None:
            rows.append([name, "0", *["-"] * (len(JUDGED) - 2)])
            continue
        shares = [_share(found[key]) for key in ("coverage", "type_one", "type_two")]
        numbers = [found["mse"] ** 0.5, found["bias"], found["rank_correlation"]]
        by_k = [found[key].get(k) for key, k in (("regret", "1"), ("regret", "2"), ("sharpe_ratio", "2"),
                                                 ("sharpe_ratio", "3"))]  # fmt: skip
        rows.append([name, str(found["num_policies"]), *map(readable, numbers), *shares, *map(readable, by_k)])
    return rows


def comparison_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results as lines of a terminal.

    Args:
        results: what `compared` returned.
    """
    yield f"the log's own {interval_text(results['logged'])}   {results['num_sessions']:,} sessions, as logged"
    with_truth = results["judged"] is not None
    yield from ("", *_aligned([*ESTIMATES, *([TRUTH] if with_truth else [])], estimate_rows(results)))
    if chosen := chosen_rows(results):
        yield from ("", *_aligned(CHOSEN, chosen))
    if pairs := pair_rows(results):
        yield from ("", *_aligned(PAIRS, pairs))
    if judged := judged_rows(results):
        yield from ("", *_aligned(JUDGED, judged))


def trust_words(found: Mapping[str, Any]) -> str:
    """Return what an estimate is worth, its gravest doubt, and how many more there are."""
    doubts = found["doubts"]
    more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
    return f"{found['verdict']}: {doubts[0]}{more}" if doubts else found["verdict"]


def doubt_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Return under `DOUBTS`, policy by policy, every doubt and the estimates that it is of.

    Args:
        results: what `compared` returned.
    """
    rows = []
    for policy in results["policies"]:
        raised: dict[str, list[str]] = {}
        for name, found in policy["estimates"].items():
            for doubt in found.get("doubts", ()):
                raised.setdefault(doubt, []).append(name)
        rows += [[policy["name"], doubt, ", ".join(names)] for doubt, names in raised.items()]
    return rows


def is_sure(found: Mapping[str, Any]) -> bool:
    """Return whether an estimate is to be trusted."""
    return "value" in found and bool(found["trusted"])


def signed(difference: Mapping[str, Any]) -> str:
    """Return a difference with its interval and its sign; ends that nothing is known of are left out."""
    text = interval_text(difference)
    return f"+{text}" if difference["value"] > 0.0 else text


def chance_text(chance: float | None) -> str:
    """Return a chance as a percentage that is neither nothing nor all."""
    if chance is None:
        return "-"
    return "> 99.9 %" if chance > 0.999 else "< 0.1 %" if chance < 0.001 else f"{100.0 * chance:.1f} %"


def _grade(found: Mapping[str, Any]) -> int:
    return GRADES.index(found["verdict"]) if "verdict" in found else len(GRADES)


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines; the last column, which may be a sentence, is as long as it is."""
    widths = [max(len(line[place]) for line in (header, *rows)) for place in range(len(header) - 1)]
    for line in (header, ["-" * width for width in (*widths, len(header[-1]))], *rows):
        yield "  ".join([*map(str.ljust, line, widths), line[-1]]).rstrip()
