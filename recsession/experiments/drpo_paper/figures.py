"""The page's tables and figures of the paper's experiments, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from offline_data.behavior.three_part import SCENARIOS
from offline_data.describe.figures import (
    COLORS,
    INK,
    MIDDLE,
    SOFT,
    WIDE,
    Chart,
    decades,
    label_ends,
    looks,
    make_axes,
    styled,
)
from offline_data.describe.number_words import interval_text, percent, readable
from offline_data.describe.pages import Alarm, Section, Table
from recsession.experiments.drpo_paper.published import ABLATION, TABLE
from recsession.experiments.drpo_paper.verdict import in_order, judged

Numbers = Mapping[str, Any]
_HOLLOW: Final = "Bars are 95 % intervals over seeds, hollow diamonds the paper's numbers, which have none."


def sections(numbers: Numbers) -> list[Section]:
    """Return a section for each experiment that was run.

    Args:
        numbers: of `DrpoStudy.numbers`.
    """
    found = []
    for scenario, each in in_order(numbers.get("table", {}), SCENARIOS):
        found.append(_table(scenario, each, numbers["behaviors"]))
    if "table" in numbers:
        found.append(_improvements(numbers["table"]))
    drawn = {"noise": _noise, "ablation": _ablation, "sensitivity": _sensitivity, "phantom": _phantom}
    return found + [draw(numbers[name]) for name, draw in drawn.items() if name in numbers]


def _table(scenario: str, found: Numbers, behaviors: Numbers) -> Section:
    methods = dict(in_order(found["methods"], TABLE[scenario]))
    rows = [
        [
            name,
            interval_text(each["by_mean"]),
            interval_text(each["sampled"]),
            readable(each["paper"]),
            each.get("chosen") or "",
            Alarm(f"{len(each['stopped'])} stopped") if "stopped" in each else "",
        ]
        for name, each in methods.items()
    ]
    rows += [[f"the {name} policy", interval_text(each), "", "", "", ""] for name, each in behaviors.items()]
    header = ["method", "reward by the mean", "if sampled", "paper", "setting", ""]
    note = (
        "Rewards without their noise. The setting of a method that has a grid is the one that was best on development "
        "seeds; the policies of the last rows are those that the log is mixed of, acting by slates."
    )
    grids = [
        [f"{name}: {label}", readable(value)]
        for name, each in methods.items()
        for label, value in each.get("grid", {}).items()
    ]
    folded = [Table(["setting", "mean reward"], grids, "The grids, on development seeds", folded=True)] if grids else []
    title = f"Table 1, the {scenario} scenario"
    return Section(title, [_HOLLOW, [_dots(title, methods)], Table(header, rows, note=note), *folded])


@styled
def _dots(title: str, rows: Mapping[str, Numbers]) -> Chart:
    axes = make_axes("", (WIDE[0] * 0.7, 0.9 + 0.32 * len(rows)), xlabel="reward", ylim=(0.5 - len(rows), 0.5))
    axes.set_yticks([-place for place in range(len(rows))], list(rows))
    axes.tick_params("y", labelcolor=INK)
    axes.grid(axis="x")
    for place, each in enumerate(rows.values()):
        ours = each["by_mean"]
        axes.plot([ours["low"], ours["high"]], [-place, -place], color=COLORS[0], linewidth=2.2, alpha=0.6)
        axes.plot(ours["mean"], -place, "o", color=COLORS[0], zorder=3)
        axes.plot(each["paper"], -place, "D", color=COLORS[1], markerfacecolor="white", zorder=2)
    told = [
        f"{name} {readable(each['by_mean']['mean'])} (paper {readable(each['paper'])})" for name, each in rows.items()
    ]
    return Chart(axes, f"{title}, rewards by the mean of each policy: {', '.join(told)}.")


def _improvements(table: Numbers) -> Section:
    rows = [
        [f"{scenario}: {each['of']} over {each['over']}", _probability(each), f"{each['paper']:+.3f}", judged(each)]
        for scenario, found in in_order(table, SCENARIOS)
        for each in found["improvements"]
    ]
    note = (
        "The probability that a run of the first returns more than one of the second, with the 95 % interval of a "
        "bootstrap over seeds. The claim holds or is reversed where the interval lies on the paper's side of one half "
        "or on the other, and is open where one half is inside."
    )
    agreement = [
        f"{scenario}: Kendall's tau with the paper's ranks {interval_text(_tau(found['rank_agreement']))}."
        for scenario, found in in_order(table, SCENARIOS)
        if found["rank_agreement"]
    ]
    header = ["comparison", "probability", "paper's difference", "the paper's claim"]
    return Section("The main comparisons", [" ".join(agreement), Table(header, rows, note=note)])


def _probability(each: Numbers) -> str:
    return interval_text({"mean": each["probability"], "low": each["low"], "high": each["high"]})


def _tau(each: Numbers) -> dict[str, float]:
    return {"mean": each["tau"], "low": each["low"], "high": each["high"]}


def _noise(noise: Numbers) -> Section:
    header = ["method", *(percent(float(share)) for share in next(iter(noise.values()))["rewards"]), "loss"]
    rows = [
        [name, *(interval_text(v) for v in each["rewards"].values()), interval_text(each["loss"])]
        for name, each in noise.items()
    ]
    caption = (
        "Reward by the mean of the policy over the share of uniform items in the log; expert and suboptimal stay as 1 "
        "to 6. The paper's figure has no numbers: in it DRPO stays flat, and AWR and AsymRe fall with the share."
    )
    return Section("Noise injected", [caption, [_noise_chart(noise)], Table(header, rows)])


@styled
def _noise_chart(noise: Numbers) -> Chart:
    shares = [float(share) for share in next(iter(noise.values()))["rewards"]]
    axes = make_axes("", WIDE, xlabel="share of random items", ylabel="reward", xlim=(shares[0], shares[-1]))
    ends, look = [], looks(noise)
    for name, each in noise.items():
        points, style = list(each["rewards"].values()), look[name]
        means = [point["mean"] for point in points]
        low, high = ([point[end] for point in points] for end in ("low", "high"))
        axes.fill_between(shares, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axes.plot(shares, means, color=style["color"], marker=style["marker"])
        ends.append((means[-1], name, style["color"]))
    label_ends(axes, ends)
    told = [f"{name} {readable(each['rewards'][max(each['rewards'])]['mean'])}" for name, each in noise.items()]
    return Chart(axes, f"Reward over the share of random items; at the highest share: {', '.join(told)}.")


def _ablation(ablation: Numbers) -> Section:
    caption = (
        "A fixed filter is Algorithm 1 with P held at one half. The soft base without a filter weighs negatives by .1; "
        f"the hard filter alone is plain policy gradient inside the filter, both signs weighed alike. {_HOLLOW}"
    )
    rows = [[row, interval_text(e["by_mean"]), readable(e["paper"])] for row, e in in_order(ablation, ABLATION)]
    table = Table(["part", "reward by the mean", "paper"], rows)
    return Section("Ablation", [caption, [_dots("Ablation", dict(in_order(ablation, ABLATION)))], table])


def _sensitivity(cells: Sequence[Numbers]) -> Section:
    caption = (
        "Algorithm 1 with the share that it keeps held. Policy noise is how far the logged actions spread in each "
        "coordinate, reward noise the standard deviation of what is added to a reward before it is clipped; the "
        "rewards here are without it."
    )
    rows = [
        [
            f"policy noise {cell['policy_noise']}, reward noise {cell['reward_noise']}, top {percent(cell['share'])}",
            interval_text(cell["by_mean"]),
            readable(cell["paper"]),
        ]
        for cell in cells
    ]
    return Section("Sensitivity", [caption, Table(["cell", "reward by the mean", "paper"], rows)])


def _phantom(phantom: Numbers) -> Section:
    caption = (
        "The policy learns from the positive advantages alone. The lines are the mean norm, over the logged rows of "
        "either sign, of the gradient of -A log pi by the mean of the policy and by the logarithm of its scale; that "
        "of the negatives is never applied."
    )
    names = {
        "growth": "negatives, last over first",
        "sigma": "negatives over positives, by sigma",
        "mu": "the same, by mu",
    }
    rows = [[words, interval_text(phantom[name]), readable(phantom[name]["paper"])] for name, words in names.items()]
    charts = [_phantom_chart(phantom["curve"], name) for name in ("mu", "sigma")]
    return Section("Phantom gradients", [caption, charts, Table(["ratio", "here", "paper"], rows)])


@styled
def _phantom_chart(curve: Sequence[Numbers], name: str) -> Chart:
    steps = [point["step"] for point in curve]
    lines = {sign: [point[f"{sign}_{name}"] for point in curve] for sign in ("positive", "negative")}
    frame = {"xlabel": "training steps", "ylabel": "norm", "xlim": (steps[0], max(steps[-1], steps[0] + 1))}
    values = [value for line in lines.values() for value in line if value > 0]
    axes = make_axes(f"Gradient by {name}", MIDDLE, log=True, ylim=decades(values), **frame)
    for color, line in zip((SOFT, COLORS[1]), lines.values(), strict=True):
        axes.plot(steps, line, color=color)
    label_ends(
        axes, [(line[-1], sign, color) for color, (sign, line) in zip((SOFT, COLORS[1]), lines.items(), strict=True)]
    )
    told = [f"{sign} from {readable(line[0])} to {readable(line[-1])}" for sign, line in lines.items()]
    return Chart(axes, f"Norm of the gradient by {name} over training steps: {', '.join(told)}.")
