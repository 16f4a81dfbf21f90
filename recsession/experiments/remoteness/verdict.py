"""What the study's numbers say, in words that are derived from them, whichever way they fall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from offline_data.describe.number_words import readable
from recsession.experiments.seed_statistics import seed_interval

Numbers = Mapping[str, Any]

RESCUED: Final = 0.9
"""An arm is rescued that earns at least this share of what positives alone do, and fails in no seed."""
FAILURES: Final = {
    "collapsed": "collapse",
    "at_boundary": "lose scale or support",
    "left_the_numbers": "leave the numbers",
}


def sentences(numbers: Numbers) -> list[str]:
    """Return what all settings show together, and then each.

    Args:
        numbers: of `RemotenessStudy.numbers`.
    """
    settings = numbers["settings"]
    return [_summary(settings), *(sentence for setting in settings for sentence in of_setting(setting))]


def of_setting(setting: Numbers) -> list[str]:
    """Return a setting's sentences: on the strength of negatives, on who is to blame, on shapes.

    Args:
        setting: one of the numbers' settings.
    """
    told = [_strength(setting, "local"), _strength(setting, "all"), _blame(setting), _shapes(setting)]
    return [f"{setting['title']}: {sentence}" for sentence in told]


def group(setting: Numbers, name: str) -> list[Numbers]:
    """Return the arms of a group, in order.

    Args:
        setting: one of the numbers' settings.
        name: of the group.
    """
    arms = {arm["name"]: arm for arm in setting["arms"]}
    return [arms[each] for each in setting["groups"][name]]


def failed(arm: Numbers) -> bool:
    """Return whether an arm fails in any seed.

    Args:
        arm: its numbers.
    """
    return any(arm[name] for name in FAILURES)


def is_rescued(arm: Numbers, positive: Numbers) -> bool:
    """Return whether an arm does about as well as positives alone; see `RESCUED`.

    Args:
        arm: its numbers.
        positive: those of positives alone.
    """
    return not failed(arm) and arm["reward"]["mean"] >= RESCUED * positive["reward"]["mean"]


def paired(arm: Numbers, other: Numbers) -> Numbers:
    """Return the interval over seeds of an arm's reward less that of another on the same seeds.

    Args:
        arm: its numbers.
        other: those of the other.
    """
    pairs = zip(arm["reward"]["per_seed"], other["reward"]["per_seed"], strict=True)
    return seed_interval([one - two for one, two in pairs])


def beside_one_alpha(setting: Numbers) -> list[Numbers]:
    """Return the interval of each taper's reward less that of a global alpha of the same total push.

    Args:
        setting: one of the numbers' settings.
    """
    arms = group(setting, "tapers")
    even = {(arm["strength"], arm["rule"]): arm for arm in arms if arm["even"]}
    tapers = [arm for arm in arms if not arm["even"] and (arm["strength"], arm["rule"]) in even]
    return [paired(arm, even[arm["strength"], arm["rule"]]) for arm in tapers]


def ranked(setting: Numbers) -> dict[float, tuple[list[str], list[str]]]:
    """Return at each strength the shapes that fail in no seed, by reward, the best first, and those that fail.

    Args:
        setting: one of the numbers' settings.
    """
    found: dict[float, tuple[list[str], list[str]]] = {}
    arms = [arm for arm in group(setting, "tapers") if not arm["even"]]
    for arm in sorted(arms, key=lambda arm: (arm["strength"], -arm["reward"]["mean"])):
        found.setdefault(arm["strength"], ([], []))[failed(arm)].append(arm["rule"])
    return found


def _summary(settings: Sequence[Numbers]) -> str:
    useful = {
        name: sum(any(arm["gain"]["low"] > 0.0 for arm in group(s, name)) for s in settings)
        for name in ("local", "all")
    }
    blamed = Counter(_blamed(setting) for setting in settings)
    orders = [order for setting in settings for order, _ in ranked(setting).values()]
    firsts = Counter(order[0] for order in orders if order)
    gains = [gain for setting in settings for gain in beside_one_alpha(setting)]
    best, count = firsts.most_common(1)[0] if firsts else ("nothing", 0)
    wins, losses = sum(gain["low"] > 0.0 for gain in gains), sum(gain["high"] < 0.0 for gain in gains)
    return (
        f"In {len(settings)} settings a little repulsion is useful from the local negative in {useful['local']} and "
        f"from all negatives, averaged, in {useful['all']}; where all together fail, the far ones are to blame in "
        f"{blamed['far']} and the near ones in {blamed['near']}; at equal near-field retention {_shape(best)} is the "
        f"best of those that do not fail in {count} of {len(orders)} comparisons; and by reward a taper beats a global "
        f"alpha of the same total push in {wins} of {len(gains)}, and loses to it in {losses}."
    )


def _blamed(setting: Numbers) -> str:
    """Return who is to blame where all negatives together fail: far, near, both, neither, or nobody where none do."""
    positive, none, *others = group(setting, "interventions")
    if is_rescued(none, positive):
        return "nobody"
    far, near = (
        is_rescued(next(arm for arm in others if arm["rule"] == rule), positive)
        for rule in ("without_far", "without_near")
    )
    return {(True, False): "far", (False, True): "near", (True, True): "neither", (False, False): "both"}[far, near]


def _strength(setting: Numbers, negatives: str) -> str:
    positive, *arms = group(setting, negatives)
    who = "repulsion from the local negative" if negatives == "local" else "repulsion from all negatives, averaged,"
    best = max(arms, key=lambda arm: arm["reward"]["mean"])
    above = [arm for arm in arms if arm["gain"]["low"] > 0.0]
    if above:
        start = readable(positive["reward"]["mean"])
        told = f"{who} raises the reward from {start} to {readable(best['reward']['mean'])} at q/p {best['strength']:g}"
    else:
        told = f"{who} raises the reward at no strength"
    # Of the strengths beyond the best, or of all where none is better.
    later = [arm for arm in arms if not above or arm["strength"] > best["strength"]]
    below = next((arm for arm in later if arm["gain"]["high"] < 0.0), None)
    ends = [f"is below positives alone from {below['strength']:g}"] if below else []
    for name, word in FAILURES.items():
        first = next((arm for arm in arms if arm[name]), None)
        ends += [f"begins to {word} at {first['strength']:g}"] if first else []
    return told + (f"; it {_listed(ends)}." if ends else ".")


def _blame(setting: Numbers) -> str:
    positive, none, *others = group(setting, "interventions")
    if is_rescued(none, positive):
        end = readable(none["reward"]["mean"])
        return f"at q/p {none['strength']:g} all negatives leave a reward of {end}, and there is nothing to rescue."
    rescued = [_words(arm) for arm in others if is_rescued(arm, positive)]
    rest = [_words(arm) for arm in others if not is_rescued(arm, positive)]
    judged = {
        "far": "the far negatives are to blame, as published",
        "near": "the near negatives are to blame, the reverse of what is published",
        "neither": "either half is harmless alone",
        "both": "either half alone is enough to fail",
    }[_blamed(setting)]
    told = f"rescued by {_listed(rescued)}" if rescued else "rescued by nothing that was tried"
    how = [word for name, word in FAILURES.items() if none[name]] or ["earn too little"]
    start = f"at q/p {none['strength']:g} all negatives make it {_listed(how)}, at a reward of"
    return f"{start} {readable(none['reward']['mean'])}; {told}{f', not by {_listed(rest)}' if rest else ''}: {judged}."


def _shapes(setting: Numbers) -> str:
    told = []
    for strength, (order, fail) in ranked(setting).items():
        best = " > ".join(map(_shape, order)) or "nothing holds"
        verb = "fails" if len(fail) == 1 else "fail"
        told.append(f"at q/p {strength:g} {best}" + (f" ({_listed(list(map(_shape, fail)))} {verb})" if fail else ""))
    gains = beside_one_alpha(setting)
    wins, losses = sum(gain["low"] > 0.0 for gain in gains), sum(gain["high"] < 0.0 for gain in gains)
    return (
        f"by reward, at equal near-field retention, {'; '.join(told)}. A taper earns more than a global alpha of the "
        f"same total push in {wins} of {len(gains)} comparisons, and less in {losses}."
    )


def _words(arm: Numbers) -> str:
    words = {
        "without_near": "removing the near ones",
        "without_far": "removing the far ones",
        "far_capped": "capping the far ones at a near one's push",
        "far_cut": "capping them at a twentieth of it",
    }[arm["rule"]]
    return f"one alpha with the push of {words}" if arm["even"] else words


def _shape(rule: str) -> str:
    return {"global": "global alpha"}.get(rule, rule.replace("_", " "))


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
