"""What the values of mapped columns may be, and how the map is mended where they are something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput, require

Place = Callable[[int], str]

_LOGARITHMS: Final = {
    "log_propensity": "map propensity={}",
    "prefix_log_prob": "and of the item, map propensity={}",
    "behavior_log_prob": "map propensity={}, and say --propensity-of slate",
}
"""Of each role that holds logarithms: what it is to be if it holds probabilities."""


def item_log_probs(values: Mapping[str, Any], columns: Mapping[str, str], place: Place) -> np.ndarray | None:
    """Return the log-probabilities of the shown items [n], nats, NaN where missing; None where none are mapped.

    Args:
        values: by role.
        columns: what the role's column is called.
        place: where an entry stands, for a message.

    Raises:
        InvalidInput: for a propensity outside (0, 1], or a logarithm above 0.
    """
    for role, remedy in _LOGARITHMS.items():
        if role in values:
            _require_logarithms(values[role], columns[role], remedy, place)
    propensity = values.get("propensity")
    if propensity is None:
        return values.get("log_propensity")
    known, column = propensity[~np.isnan(propensity)], columns["propensity"]
    wrong = ~(np.isnan(propensity) | ((propensity > 0.0) & (propensity <= 1.0)))
    if not wrong.any():
        return np.log(propensity)
    entry = int(np.argmax(wrong))
    remedy = "leave it empty if it is unknown"
    if (known <= 0.0).all() and (known < 0.0).any():
        remedy = f"if these are logarithms, map log_propensity={column}"
    elif known.min() > 0.0 and known.max() <= 100.0:
        remedy = "if these are percent, divide them by 100; leave empty what is unknown"
    raise InvalidInput(f"{place(entry)}: {column}={propensity[entry]:g} is not in (0, 1]; {remedy}")


def require_answers(feedback: Mapping[str, np.ndarray], columns: Mapping[str, str], place: Place) -> None:
    """Refuse feedback that is outside [0, 1].

    Args:
        feedback: [n] by channel.
        columns: what the channel's column is called; a channel that has none is not looked at.
        place: where an entry stands, for a message.

    Raises:
        InvalidInput: naming the roles in which it may be mapped.
    """
    for name, column in columns.items():
        wrong = ~((feedback[name] >= 0.0) & (feedback[name] <= 1.0))
        if wrong.any():
            entry = int(np.argmax(wrong))
            require(
                not np.isnan(feedback[name][entry]),
                f"{place(entry)}: {column} says nothing of an item that its slate shows; give each a number in [0, 1], "
                "as 0 for no answer, or leave the row out",
            )
            raise InvalidInput(
                f"{place(entry)}: {column}={feedback[name][entry]:g} is not in [0, 1], as feedback.{name} is; if it is "
                f"a reward, map item_reward={column} of the item, or reward={column} of the step, and else scale it"
            )


def require_positions(position: np.ndarray, first: int, column: str, place: Place) -> None:
    """Refuse positions before the first.

    Args:
        position: [n] as they are written.
        first: what the first is called.
        column: theirs.
        place: where an entry stands, for a message.

    Raises:
        InvalidInput: naming the first wrong one.
    """
    if position.min() >= first:
        return
    entry = int(np.argmin(position))
    if position[entry] >= 0:
        remedy = f"say --first-position {position[entry]}"
    else:
        remedy = "if the item was not shown leave out the row, or leave the position empty and say --missing drop"
    raise InvalidInput(f"{place(entry)}: {column}={position[entry]} comes before the first position, {first}; {remedy}")


def _require_logarithms(values: np.ndarray, column: str, remedy: str, place: Place) -> None:
    wrong = ~(np.isnan(values) | ((values <= 0.0) & (values > -np.inf)))
    if not wrong.any():
        return
    entry, known = int(np.argmax(wrong)), values[~np.isnan(values)]
    probable = bool(((known > 0.0) & (known <= 1.0)).all())
    told = f"if these are probabilities, {remedy.format(column)}" if probable else "leave it empty if it is unknown"
    what = "is no logarithm of a probability, which is finite and at most 0"
    raise InvalidInput(f"{place(entry)}: {column}={values[entry]:g} {what}; {told}")
