"""What the numbers of the paper's experiments say, in words that are derived from them, whichever way they fall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from offline_data.behavior.three_part import SCENARIOS
from offline_data.describe.number_words import interval_text, percent, readable
from recsession.experiments.drpo_paper.published import ABLATION

Numbers = Mapping[str, Any]


def sentences(numbers: Numbers) -> list[str]:
    """Return a sentence or two for each experiment that was run.

    Args:
        numbers: of `DrpoStudy.numbers`.
    """
    told = {
        "table": _table,
        "noise": _noise,
        "ablation": _ablation,
        "sensitivity": _sensitivity,
        "phantom": _phantom,
    }
    return [sentence for name, tell in told.items() if name in numbers for sentence in tell(numbers[name])] or [
        "Nothing was compared."
    ]


def in_order(found: Numbers, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Return the items of a mapping in the order of names that it may have; a file has them in another."""
    return [(name, found[name]) for name in names if name in found]


def judged(comparison: Numbers) -> str:
    """Return `holds`, `reversed` or `open`: what a probability of improvement says of the paper's difference.

    Args:
        comparison: with `low`, `high`, and `paper`, the difference that is printed there.
    """
    above, below = comparison["low"] > 0.5, comparison["high"] < 0.5
    if not above and not below:
        return "open"
    return "holds" if above == (comparison["paper"] > 0) else "reversed"


def best_of(intervals: Mapping[Any, Numbers]) -> list[Any]:
    """Return the names whose intervals reach that of the highest mean, the highest first.

    Args:
        intervals: `mean`, `low` and `high` by name.
    """
    ordered = sorted(intervals, key=lambda name: -intervals[name]["mean"])
    return [name for name in ordered if intervals[name]["high"] >= intervals[ordered[0]]["low"]]


def _table(table: Numbers) -> Sequence[str]:
    told, all_of = [], []
    for scenario, found in in_order(table, SCENARIOS):
        by_mean = {name: each["by_mean"] for name, each in found["methods"].items()}
        agreement, (best, *near) = found["rank_agreement"], best_of(by_mean)
        ranks = ""
        if agreement:
            text = interval_text({"mean": agreement["tau"], "low": agreement["low"], "high": agreement["high"]})
            ranks = f"Kendall's tau of the {len(by_mean)} methods with the paper's ranks is {text}; "
        cannot = f", and {', '.join(near)} cannot be told from it" if near else ""
        told.append(
            f"In the {scenario} scenario {ranks}the best is {best} with {interval_text(by_mean[best])}{cannot}."
        )
        all_of += found["improvements"]
    if all_of:
        words = [judged(each) for each in all_of]
        counts = ", ".join(f"{words.count(word)} {word}" for word in ("holds", "reversed", "open"))
        lead = (
            f"Of {len(all_of)} comparisons of DRPO and DRPO-Exp with the other methods, what the paper says: {counts}."
        )
        told.insert(0, lead)
    return told


def _noise(noise: Numbers) -> Sequence[str]:
    losses = ", ".join(f"{name} {interval_text(each['loss'])}" for name, each in noise.items())
    shares = list(next(iter(noise.values()))["rewards"])
    return [
        f"From {percent(float(shares[0]))} to {percent(float(shares[-1]))} of random items the rewards fall by: "
        f"{losses} (the paper: DRPO stays flat, AWR and AsymRe fall with the share)."
    ]


def _ablation(ablation: Numbers) -> Sequence[str]:
    rows = [f"{row} {interval_text(ablation[row]['by_mean'])} ({readable(ablation[row]['paper'])})" for row in ABLATION]
    steps = [ablation[row]["by_mean"]["mean"] for row in ABLATION]
    rising = all(low < high for low, high in pairwise(steps))
    order = (
        "rises from row to row, as in the paper" if rising else "does not rise from row to row, as it does in the paper"
    )
    return [f"Ablation, with the paper's rewards in brackets: {', '.join(rows)}; the mean {order}."]


def _sensitivity(cells: Sequence[Numbers]) -> Sequence[str]:
    groups: dict[tuple[float, float], list[Numbers]] = {}
    for cell in cells:
        groups.setdefault((cell["policy_noise"], cell["reward_noise"]), []).append(cell)
    agreeing = []
    for (policy, reward), group in groups.items():
        ours = best_of({cell["share"]: cell["by_mean"] for cell in group})
        top = max(cell["paper"] for cell in group)
        if set(ours) & {cell["share"] for cell in group if cell["paper"] == top}:
            agreeing.append(f"{policy:g}/{reward:g}")
    where = f" ({', '.join(agreeing)})" if agreeing else ""
    return [
        f"The share to keep that is best in the paper is among the best here in {len(agreeing)} of {len(groups)} pairs "
        f"of policy and reward noise{where}."
    ]


def _phantom(phantom: Numbers) -> Sequence[str]:
    names = {"growth": "the negatives' gradient grows by a factor of", "sigma": "by sigma it is", "mu": "and by mu"}
    told = [f"{words} {interval_text(phantom[n])} ({readable(phantom[n]['paper'])})" for n, words in names.items()]
    return [f"Phantom gradients, with the paper's in brackets: {told[0]}; {told[1]} {told[2]} times the positives'."]
