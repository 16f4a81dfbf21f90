"""The page of the study: a sweep, the interventions and the tapers of each setting, as figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from offline_data.describe.figures import COLORS, INK, MIDDLE, SOFT, Chart, label_ends, make_axes, styled
from offline_data.describe.number_words import interval_text, readable
from offline_data.describe.pages import Alarm, Section, Table
from recsession.experiments.remoteness.verdict import FAILURES, group, of_setting

Numbers = Mapping[str, Any]
_HEADER = (
    "arm",
    "reward",
    "less positives alone",
    "if sampled",
    "shift",
    "scale",
    "local push left",
    "others' left",
    "seeds that fail",
)


def sections(numbers: Numbers) -> list[Section]:
    """Return a section for each setting.

    Args:
        numbers: of `RemotenessStudy.numbers`.
    """
    return [_section(setting) for setting in numbers["settings"]]


def _section(setting: Numbers) -> Section:
    charts = [_sweep(setting), _interventions(setting), _tapers(setting)]
    tables = [
        _table("Strength of the local negative", group(setting, "local")),
        _table("Strength of all negatives", group(setting, "all")[1:]),
        _table("Interventions", group(setting, "interventions")),
        _table("Tapers", group(setting, "tapers")),
    ]
    return Section(setting["title"], [" ".join(of_setting(setting)), charts, *tables])


def _table(caption: str, arms: Sequence[Numbers]) -> Table:
    rows = [
        [
            arm["name"],
            interval_text(arm["reward"]),
            interval_text(arm["gain"]),
            readable(arm["reward_sampled"]),
            readable(arm["shift"]),
            readable(arm["scale"]),
            readable(arm["kept_local"]),
            readable(arm["kept_others"]),
            _failures(arm),
        ]
        for arm in arms
    ]
    return Table(_HEADER, rows, caption, folded=caption not in ("Interventions",))


def _failures(arm: Numbers) -> str:
    told = [f"{arm[name]} {word}" for name, word in FAILURES.items() if arm[name]]
    return Alarm(", ".join(told)) if told else ""


@styled
def _sweep(setting: Numbers) -> Chart:
    """Return the reward over q / p, local and all, beside the closed form where there is one."""
    lines = {name: group(setting, name) for name in ("local", "all")}
    right = max(arm["strength"] for arms in lines.values() for arm in arms)
    axes = make_axes("Strength of the negatives", MIDDLE, xlabel="q / p", ylabel="reward", xlim=(0.0, right))
    positive = lines["local"][0]["reward"]["mean"]
    axes.axhline(positive, color=SOFT, linewidth=0.9)
    ends = []
    for (name, arms), color in zip(lines.items(), COLORS, strict=False):
        strengths = [arm["strength"] for arm in arms]
        means, low, high = ([arm["reward"][key] for arm in arms] for key in ("mean", "low", "high"))
        axes.fill_between(strengths, low, high, color=color, alpha=0.15, linewidth=0)
        known = [(q, arm["closed_form"]) for q, arm in zip(strengths, arms, strict=True)]
        exact = all(value is not None for _, value in known)
        axes.plot(strengths, means, "o", color=color, markersize=4, linestyle="" if exact else "-")
        if exact:
            axes.plot(*zip(*known, strict=True), color=color, linewidth=1.2)
        ends.append((means[-1], name, color))
    label_ends(axes, ends)
    told = []
    for name, arms in lines.items():
        points = (f"{readable(arm['reward']['mean'])} at {arm['strength']:g}" for arm in arms)
        told.append(f"{name} {', '.join(points)}")
    return Chart(axes, f"Reward over q / p: {'; '.join(told)}. Lines without marks are the closed form.")


@styled
def _interventions(setting: Numbers) -> Chart:
    """Return the reward along training, arm by arm."""
    arms = group(setting, "interventions")
    count = len(arms[0]["curve"])
    axes = make_axes("Who is to blame", MIDDLE, xlabel="share of the training", ylabel="reward", xlim=(0.0, 1.0))
    colors = [INK, *COLORS]
    shares = [(place + 1) / count for place in range(count)]
    names = ["positives alone", *(f"{arm['rule'].replace('_', ' ')}{', even' * arm['even']}" for arm in arms[1:])]
    for arm, color in zip(arms, colors, strict=False):
        axes.plot(shares, arm["curve"], marker=".", color=color)
    label_ends(axes, [(arm["curve"][-1], name, color) for arm, name, color in zip(arms, names, colors, strict=False)])
    told = [f"{name} ends at {readable(arm['curve'][-1])}" for arm, name in zip(arms, names, strict=True)]
    return Chart(axes, f"Reward along training by what is done to near and far negatives: {'; '.join(told)}.")


@styled
def _tapers(setting: Numbers) -> Chart:
    """Return the reward over q / p of each shape, and dashed of a global alpha of the same total push."""
    arms = group(setting, "tapers")
    strengths = sorted({arm["strength"] for arm in arms})
    axes = make_axes(
        "Tapers at equal near-field retention",
        MIDDLE,
        xlabel="q / p",
        ylabel="reward",
        xlim=(0.0, strengths[-1]),
    )
    axes.axhline(group(setting, "local")[0]["reward"]["mean"], color=SOFT, linewidth=0.9)
    shapes, ends, told = list(dict.fromkeys(arm["rule"] for arm in arms)), [], []
    for shape, color in zip(shapes, COLORS, strict=False):
        for even in (False, True):
            found = [arm for arm in arms if arm["rule"] == shape and arm["even"] == even]
            if not found:
                continue
            means = [arm["reward"]["mean"] for arm in found]
            axes.plot(
                [arm["strength"] for arm in found], means, color=color, marker=".", linestyle="--" if even else "-"
            )
            if not even:
                low, high = ([arm["reward"][key] for arm in found] for key in ("low", "high"))
                axes.fill_between([arm["strength"] for arm in found], low, high, color=color, alpha=0.15, linewidth=0)
                ends.append((means[-1], shape.replace("_", " "), color))
                told.append(f"{shape} {', '.join(map(readable, means))}")
    label_ends(axes, ends)
    return Chart(
        axes, f"Reward over q / p {', '.join(f'{q:g}' for q in strengths)}: {'; '.join(told)}. Dashed: an even alpha."
    )
