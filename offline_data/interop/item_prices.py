"""Rewards of items that are a column times an answer, `price@click`: of the log, or of the file of its items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from offline_data.interop.interactions import Ids
from offline_data.interop.table_files import column_names
from offline_data.interop.text_format import TextFormat
from recenv.errors import InvalidInput, require


class Price(NamedTuple):
    """What an answer earns."""

    column: str
    """Where it stands."""
    channel: str
    """Of the answer."""
    in_log: bool
    """Whether the log has the column, and else the file of items."""


def prices(
    rewards: Mapping[str, str],
    channels: Sequence[str],
    log: tuple[Path, TextFormat],
    items: tuple[Path, TextFormat] | None,
) -> dict[str, Price]:
    """Return the rewards of the item that are written COLUMN@CHANNEL, by name.

    Args:
        rewards: the map's words, by name.
        channels: names of the feedback.
        log: the table, and how it is written.
        items: the same of the file of items; None without one.

    Raises:
        InvalidInput: for a channel or a column that is not there.
    """
    if not any("@" in word for word in rewards.values()):
        return {}
    there, found = column_names(*log), {}
    for name, word in rewards.items():
        column, at, channel = word.rpartition("@")
        if at == "" or word in there:
            continue
        require(
            channel in channels,
            f"item_reward.{name}={word}: {channel!r} is no channel of feedback; choose of "
            f"{', '.join(channels) or 'none: map one, as in feedback.click=COLUMN'}",
        )
        others = "; if the items' file has it, say it by --items" if items is None else f", and neither has {items[0]}"
        require(
            column in there or (items is not None and column in column_names(*items)),
            f"item_reward.{name}={word}: {log[0]} has no column {column}{others}",
        )
        found[name] = Price(column, channel, column in there)
    return found


def require_priced(value: np.ndarray, item: Ids, file: str | Path, column: str, place: Callable[[int], str]) -> None:
    """Refuse rewards of items of which their file tells no price.

    Args:
        value: [n] the rewards.
        item: of each entry.
        file: of the items.
        column: of the price.
        place: where an entry was read.

    Raises:
        InvalidInput: naming the first such entry and its item.
    """
    lacking = np.isnan(value)
    if lacking.any():
        at, count = int(np.argmax(lacking)), len(np.unique(item.codes[lacking]))
        raise InvalidInput(
            f"{place(at)}: item {item.source[item.codes[at]]} earned something, and {file} has no {column} of it (of "
            f"{count:,} items in {int(lacking.sum()):,} rows); add them to the file, or map a column of the log"
        )


def earned(price: np.ndarray, feedback: np.ndarray) -> np.ndarray:
    """Return the price times the answer, [n]; 0 where there was none, whatever stands there."""
    return np.where(feedback > 0.0, price * feedback, 0.0)
