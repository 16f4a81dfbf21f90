"""Rows of events with names, as of a view, a cart and a purchase, made into shown items with feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from offline_data.interop.arrangement import visits
from offline_data.interop.interactions import Ids, entries_of, joint_codes
from offline_data.interop.tables import Table
from recenv.errors import require

_SHOWN: Final = {"view", "views", "impression", "impressions", "imp", "show", "shown", "exposure", "pv", "display"}
"""Events that are likely to be no answer, for the remedy of a message."""
_TOLD: Final = 20


def answers(table: Table, column: str, channels: Mapping[str, str]) -> Table:
    """Return a table with the feedback of each row by channel, 1 where its event is the channel's.

    Args:
        table: with the role `event`.
        column: of the events.
        channels: the event of each channel, by its name.

    Raises:
        InvalidInput: if no event is a channel, or one is none of the column's.
    """
    event: Ids = table.values["event"]
    names = [str(name) for name in event.source]
    counts = np.bincount(event.codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:_TOLD]
    held = ", ".join(f"{names[n]} ({counts[n]:,})" for n in order) + (", ..." if len(names) > _TOLD else "")
    likely = [names[n] for n in order if names[n].lower() not in _SHOWN] or [names[n] for n in order]
    remedy = " ".join(f"event.{name}={name}" for name in likely[:3])
    require(
        len(channels) > 0,
        f"{table.counts[0][0]}: {column} has the events {held}; map those that are answers, the click first, as in "
        f"{remedy}, and the others show their item alone",
    )
    for channel, name in channels.items():
        require(
            name in names,
            f"event.{channel}={name}: {column} has no such event, it has {held}; map one of these, as in {remedy}",
        )
    code = {name: names.index(name) for name in channels.values()}
    feedback = {
        f"feedback.{channel}": (event.codes == code[name]).astype(np.float32) for channel, name in channels.items()
    }
    of = {name: channel for channel, name in channels.items()}
    told = ", ".join(f"{names[n]} ({counts[n]:,}) {'is ' + of[names[n]] if names[n] in of else 'shows'}" for n in order)
    remarks = [*table.remarks, f"events: {told}"]
    alone = ~np.isin(event.codes, list(code.values()))
    for role, held in table.values.items():
        if role.partition(".")[0] == "item_reward" and np.any(held[alone]):
            shows = names[event.codes[alone][np.argmax(held[alone] != 0.0)]]
            remarks.append(
                f"{role} is the sum over all events, {shows} too; if a channel alone earns it, map "
                f"{role}=COLUMN@CHANNEL"
            )
    return replace(table, values=table.values | feedback, remarks=remarks)


def merged(table: Table, gap: float) -> Table:
    """Return a table in which the events of one shown item are one row, the first of them in time.

    Those of one user, item and step are; in a log without steps, those of one user, item and visit: the first event of
    each name, then the second of each, and so on. Feedback is the largest of its rows', rewards are the sum.

    Args:
        table: with the role `event`.
        gap: seconds without an event after which a visit has ended, where the log has no sessions of its own.
    """
    values = table.values
    time, step = values.get("timestamp"), values.get("step")
    count = len(values["item_id"].codes)
    visit = values["user_id"].codes
    if "session_id" in values:
        visit = joint_codes(visit, values["session_id"])
    elif time is not None:
        order, new = visits(visit, time, gap, None)
        visit = np.empty(count, np.int64)
        visit[order] = np.cumsum(np.append(0, new))
    key = joint_codes(visit, values["item_id"])
    order = np.arange(count) if time is None else np.argsort(time, kind="stable")
    if step is None:
        key = joint_codes(key, _occurrence(joint_codes(key, values["event"]), order))
    else:
        key = joint_codes(key, step)
    ranked = order[np.argsort(key[order], kind="stable")]
    starts = np.flatnonzero(np.append(True, np.diff(key[ranked]) != 0))
    first = ranked[starts]
    kept = np.sort(first)
    out: dict[str, Any] = {}
    for role, held in values.items():
        kind = role.partition(".")[0]
        if role == "event":
            continue
        if kind in ("terminated", "truncated"):
            out[role] = np.logical_or.reduceat(held[ranked], starts)[np.argsort(first)]
        elif kind == "feedback" or (kind in ("reward", "item_reward") and (step is None or kind == "item_reward")):
            joined = (np.maximum if kind == "feedback" else np.add).reduceat(held[ranked], starts)
            out[role] = joined[np.argsort(first)]
        else:
            out[role] = entries_of(held, kept)
    rows = kept if table.rows is None else table.rows[kept]
    what = "visit: of each event the first, then the second" if step is None else "step"
    told = f"{count:,} events are {len(kept):,} shown items: those of one user, item and {what}"
    return replace(table, values=out, rows=rows, remarks=[*table.remarks, told])


def _occurrence(group: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return how many entries of its group come before each one, [n].

    Args:
        group: [n] codes.
        order: [n] the entries in order.
    """
    ranked = order[np.argsort(group[order], kind="stable")]
    starts = np.append(True, np.diff(group[ranked]) != 0)
    number = np.arange(len(group))
    out = np.empty(len(group), np.int64)
    out[ranked] = number - np.maximum.accumulate(np.where(starts, number, 0))
    return out
