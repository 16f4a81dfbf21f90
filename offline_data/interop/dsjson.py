"""Decisions as Vowpal Wabbit's dsjson writes them, one JSON object a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Feature = str | int | float
Kind = Literal["bandit", "slots", "slates"]
"""One choice with its cost; a choice for each slot, without repetition, with a cost each; and with one cost for all."""

_ROUNDING: Final = 1e-3
"""By so much probabilities in single precision, some of them rounded, may differ from what they should be."""
_DEEPEST: Final = 8


class Unread(Exception):
    """A line that is no decision with an outcome; the text says what it is."""


class Broken(Exception):
    """A decision that contradicts itself; the text says how."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision and its outcome."""

    kind: Kind
    """What is decided."""
    time: str | None
    """When, as it is written."""
    shared: Mapping[str, Feature]
    """Features of user and moment, by namespace and name."""
    names: Sequence[str]
    """What tells each action from the others of the log."""
    features: Sequence[Mapping[str, Feature]]
    """Of each action."""
    chosen: Sequence[int]
    """The actions that were taken, one a slot."""
    probability: Sequence[float]
    """Of each of these, given those before it; NaN where the line does not say."""
    cost: Sequence[float]
    """Of each of these, or one of them together."""
    kept: float
    """Probability with which the decision was kept in the log."""


def decision_of(event: Any, name: str | None) -> Decision:
    """Return what a line of dsjson tells.

    Args:
        event: the line's object.
        name: the feature that names an action; None for its `_tag`, its feature `id`, or else all of its features.

    Raises:
        Unread: for a line that is no decision, has no cost, or is not to be learned from.
        Broken: for a decision that contradicts itself.
    """
    if not isinstance(event, dict):
        raise Broken("it is no object")
    context = event.get("c")
    if not isinstance(context, dict):
        raise Unread("tell of no decision (c), as dangling outcomes do")
    if event.get("_skipLearn") is True:
        raise Unread("are not to be learned from (_skipLearn)")
    if "_label_ca" in event or "_labelca" in event:
        raise Broken("its action is a number (_label_ca), and no item")
    actions = context.get("_multi")
    if not isinstance(actions, list) or not actions or not all(isinstance(each, dict) for each in actions):
        raise Broken("it has no list of actions (c._multi)")
    outcomes = event.get("_outcomes")
    if outcomes is None:
        kind: Kind = "bandit"
        chosen, probability, cost = _choice(event, len(actions))
    else:
        kind, chosen, probability, cost = _slots(event, outcomes, actions)
    features = [_features(each) for each in actions]
    names = [_name(action, each, name) for action, each in zip(actions, features, strict=True)]
    if len(set(names)) < len(names):
        probability = [_of_copies(event, names, chosen, kind)]
    time = event.get("Timestamp")
    return Decision(
        kind,
        time if isinstance(time, str) else None,
        _features(context),
        names,
        features,
        chosen,
        probability,
        cost,
        1.0 - _number(event.get("pdrop", 0.0), "pdrop", 0.0, 1.0 - 1e-6),
    )


def _of_copies(event: Mapping[str, Any], names: Sequence[str], chosen: Sequence[int], kind: Kind) -> float:
    """Return the probability of any of the actions that have the name of the chosen one."""
    copies = {place for place, each in enumerate(names) if each == names[chosen[0]]}
    if kind != "bandit" or not isinstance(event.get("a"), list) or not isinstance(event.get("p"), list):
        again = next(each for each in names if names.count(each) > 1)
        raise Broken(f"two of its actions are {again!r}; say which feature names them, by --item NAMESPACE.FEATURE")
    return _probability(sum(p for place, p in zip(_places(event["a"]), event["p"], strict=True) if place in copies))


def _places(order: Sequence[Any]) -> list[int]:
    """Return the actions that a list names, from 0: it counts from 1, unless it has a 0."""
    places = [_whole(each, "a") for each in order]
    return places if 0 in places else [place - 1 for place in places]


def _choice(event: Mapping[str, Any], count: int) -> tuple[list[int], list[float], list[float]]:
    if "_label_cost" not in event:
        raise Unread("have no cost (_label_cost)")
    cost = _number(event["_label_cost"], "_label_cost")
    order, probabilities = event.get("a"), event.get("p")
    said = [event["_labelIndex"]] if "_labelIndex" in event else []
    said += [_whole(event["_label_Action"], "_label_Action") - 1] if "_label_Action" in event else []
    if not said and isinstance(order, list) and order:
        said = _places(order)[:1]
    if not said:
        raise Broken("it does not say which action was taken (_labelIndex)")
    chosen = _whole(said[0], "_labelIndex")
    if said[-1] != chosen:
        raise Broken(f"_labelIndex={chosen} and _label_Action={said[-1] + 1} are two actions")
    if not 0 <= chosen < count:
        raise Broken(f"_labelIndex={chosen} is none of its {count} actions")
    probability = math.nan
    if "_label_probability" in event:
        probability = _number(event["_label_probability"], "_label_probability", 1e-30, 1.0 + _ROUNDING)
    if isinstance(order, list) and isinstance(probabilities, list):
        order = _places(order)
        _require_distribution(order, probabilities, count, "p")
        if chosen not in order:
            raise Broken(f"_labelIndex={chosen} is not among the actions in a")
        own = float(probabilities[order.index(chosen)])
        if abs(own - probability) > _ROUNDING:
            raise Broken(f"_label_probability={probability} is not that of the action in p, {own}")
        probability = own if math.isnan(probability) else probability
    return [chosen], [_probability(probability)], [cost]


def _slots(
    event: Mapping[str, Any], outcomes: Any, actions: Sequence[Mapping[str, Any]]
) -> tuple[Kind, list[int], list[float], list[float]]:
    if not isinstance(outcomes, list) or not outcomes or not all(isinstance(each, dict) for each in outcomes):
        raise Broken("_outcomes is no list of objects")
    together = "_label_cost" in event
    costs = [event] if together else [each for each in outcomes if "_label_cost" in each]
    if len(costs) < (1 if together else len(outcomes)):
        raise Unread("have a slot without a cost (_label_cost)")
    chosen, probability = [], []
    for slot, outcome in enumerate(outcomes):
        if "_a" not in outcome or "_p" not in outcome:
            raise Unread("have a slot without an action and its probability (_a, _p)")
        taken, given = (each if isinstance(each, list) else [each] for each in (outcome["_a"], outcome["_p"]))
        own = [index for index, action in enumerate(actions) if action.get("_slot_id") == slot] if together else None
        pool = range(len(actions)) if own is None else own
        places = [_whole(each, "_a") for each in taken]
        if len(taken) != len(given) or not places or not all(0 <= place < len(pool) for place in places):
            raise Broken(f"_a={taken} and _p={given} of slot {slot} are not of its {len(pool)} actions")
        if len(places) > 1:
            _require_distribution(places, given, len(pool), f"_p of slot {slot}")
        chosen.append(pool[places[0]])
        probability.append(_probability(_number(given[0], "_p", 1e-30, 1.0 + _ROUNDING)))
    if len(set(chosen)) < len(chosen):
        raise Broken("it takes one action for two slots")
    return (
        "slates" if together else "slots",
        chosen,
        probability,
        [_number(each["_label_cost"], "_label_cost") for each in costs],
    )


def _require_distribution(order: Sequence[int], given: Sequence[Any], count: int, what: str) -> None:
    values = [_number(each, what, 0.0, 1.0 + _ROUNDING) for each in given]
    if len(values) != len(order) or len(set(order)) < len(order) or not all(0 <= each < count for each in order):
        raise Broken(f"{what} has {len(values)} probabilities of {len(order)} actions, of which there are {count}")
    if abs(sum(values) - 1.0) > _ROUNDING:
        raise Broken(f"{what} sums to {sum(values):.6g} in place of 1")


def _probability(value: float) -> float:
    return min(value, 1.0)


def _number(value: Any, what: str, low: float = -1e30, high: float = 1e30) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Broken(f"{what}={value!r:.40} is no number from {low:g} to {high:g}")
    return float(value)


def _whole(value: Any, what: str) -> int:
    if type(value) is not int:
        raise Broken(f"{what}={value!r:.40} is no whole number")
    return value


def _name(action: Mapping[str, Any], features: Mapping[str, Feature], name: str | None) -> str:
    if name is not None:
        if name not in features:
            raise Broken(f"an action has no feature {name}; it has {', '.join(features) or 'none'}: say another --item")
        return feature_text(features[name])
    if isinstance(action.get("_tag"), str):
        return action["_tag"]
    own = next((value for feature, value in features.items() if feature == "id" or feature.endswith(".id")), None)
    return (
        str(own) if own is not None else ", ".join(f"{feature}={value}" for feature, value in sorted(features.items()))
    )


def feature_text(value: Feature) -> str:
    """Return a feature as text; a floating number that is whole as a whole one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _features(values: Mapping[str, Any]) -> dict[str, Feature]:
    """Return features by the path to them; what begins with an underscore is none."""
    out: dict[str, Feature] = {}

    def take(path: str, value: Any, depth: int) -> None:
        if depth > _DEEPEST:
            raise Broken(f"its feature {path} is nested deeper than {_DEEPEST}")
        if isinstance(value, dict):
            for name, each in value.items():
                if not name.startswith("_"):
                    take(f"{path}.{name}" if path else name, each, depth + 1)
        elif isinstance(value, list):
            for index, each in enumerate(value):
                take(path if isinstance(each, dict) else f"{path}[{index}]", each, depth + 1)
        elif isinstance(value, str | int | float):
            out[path] = int(value) if isinstance(value, bool) else value

    take("", values, 0)
    return out
