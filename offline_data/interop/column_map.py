"""Any table, through a map that says which of its columns is what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.interop.events import answers, merged
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions, Lists
from offline_data.interop.item_file import items_of_log, kept_name, with_items
from offline_data.interop.item_prices import earned, prices, require_priced
from offline_data.interop.logged_items import item_columns
from offline_data.interop.mapped_checks import item_log_probs, require_answers, require_positions
from offline_data.interop.mapped_columns import CLICKED, CONTEXTS, PROBABILITIES, read_mapped
from offline_data.interop.offers import joined
from offline_data.interop.slate_rows import spread
from offline_data.interop.table_files import column_names
from offline_data.interop.table_parts import parts_of
from offline_data.interop.tables import Kind, Missing, Progress, Table, TimeFormat
from offline_data.interop.text_format import TextFormat, plain_delimiter
from offline_data.interop.times import TimeUnit, require_plausible, require_time_format, require_time_unit
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range, unknown_name

_NAMED: Final = ("feedback", "events", *CLICKED, "reward", "item_reward", *CONTEXTS, "item")
_CLICK: Final = "click"
_MAP_ONE: Final = "map one, as in feedback.click=COLUMN, reward=COLUMN or item_reward=COLUMN"
_OWN: Final = {"source_id", "names", "topics", "topic_names", "embeddings"}
"""Columns of a dataset's items that are no numbers of theirs."""
_DEFAULTS: Final = (",", "utf-8", "refuse", ".")
"""Of a table's delimiter, encoding, way with what is missing, and decimal mark: not told again."""
_KINDS: Final[Mapping[str, Kind]] = {
    "user_id": "id",
    "item_id": "id",
    "session_id": "id",
    "step": "step",
    "position": "whole",
    "timestamp": "time",
    "candidates": "ids",
    "event": "id",
    **dict.fromkeys(PROBABILITIES, "number"),
    "terminated": "flag",
    "truncated": "flag",
}


@dataclass(frozen=True)
class ColumnMap:
    """Which column of a log is what; an entry of the log is one shown item.

    Examples:
        >>> from offline_data import ColumnMap
        >>> roles = ColumnMap.of({"user_id": "uid", "item_id": "vid", "feedback": {"click": "is_click"}})
        >>> roles.item_id, roles.feedback["click"]
        ('vid', 'is_click')
    """

    user_id: str
    """The user."""
    item_id: str
    """The shown item."""
    session_id: str | None = None
    """Tells the sessions of a user apart; without it a gap in time does."""
    step: str | None = None
    """Entries of one step of a session are a slate: whole numbers, which order the steps, or names, as of requests,
    which are in the order of time or else of appearance. Without it each entry is a step."""
    position: str | None = None
    """Where in the slate the item stood, from 0 or 1; a position without an item is empty. Without it a slate is in the
    order of the file."""
    timestamp: str | None = None
    """When, as a number since 1970 (`time_unit` of the reader) or as a date."""
    propensity: str | None = None
    """Probability of the item at its position, given those before it in the slate, in (0, 1]; or that of the whole
    slate, where the options' `propensity_of` says so."""
    log_propensity: str | None = None
    """Its logarithm, in nats."""
    prefix_log_prob: str | None = None
    """Log-probability of the slate up to the item, nats."""
    behavior_log_prob: str | None = None
    """Log-probability of the whole slate, nats, the same for each of its items."""
    terminated: str | None = None
    """Whether the user left after the step."""
    truncated: str | None = None
    """Whether the session was cut off after the step."""
    candidates: str | None = None
    """Items of which the step's slate was chosen, a list, the same for each item of a slate."""
    feedback: Mapping[str, str] = field(default_factory=dict)
    """Column of each feedback channel in [0, 1], by its name; the first is the click."""
    event: str | None = None
    """Names of events, as of views, carts and purchases: the rows of one shown item are joined, see `events`."""
    events: Mapping[str, str] = field(default_factory=dict)
    """Of each feedback channel that is an event, the event's name in the column `event`; events that are named for no
    channel show their item."""
    clicked_position: Mapping[str, str] = field(default_factory=dict)
    """Where each row is a slate: column of the position that was clicked, or of a list of them, by the channel's name;
    empty and -1 are none."""
    clicked_item: Mapping[str, str] = field(default_factory=dict)
    """Where each row is a slate: column of the items that were clicked, one or a list, by the channel's name."""
    reward: Mapping[str, str] = field(default_factory=dict)
    """Column of each component of the step's reward, by its name, the same for each item of a slate."""
    item_reward: Mapping[str, str] = field(default_factory=dict)
    """Column of each reward of the item itself, as revenue is, by its name, without bounds; a step's is the sum over
    its slate. Kept by item in `rows/item_reward`. COLUMN@CHANNEL is the column times the channel's feedback, as a price
    of what was bought; it may be a column of the file of items."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Column of each part of the step's context, by its name: what is known of user and moment before the slate is
    chosen, the same for each item of a slate. Numbers and truths are standardised, texts are categories, one-hot."""
    category: Mapping[str, str] = field(default_factory=dict)
    """The same for columns whose values are labels though they may be numbers, as codes of cities are."""
    item: Mapping[str, str] = field(default_factory=dict)
    """Columns of the item, by name, the same wherever it stands, as its brand or price: they are read as those of the
    file of items are."""

    def __post_init__(self) -> None:
        channels = self.channels
        require(self.event is not None or not self.events, "the column map has no event=COLUMN for its event.CHANNEL")
        shows = [name for name in ("step", "position", "candidates", *PROBABILITIES) if getattr(self, name) is not None]
        require(
            self.has_answers or not shows,
            f"the column map has {', '.join(shows)}, as of what was shown, and no feedback and no reward; {_MAP_ONE}",
        )
        double = sorted({name for name in channels if channels.count(name) > 1})
        require(not double, f"the column map has {', '.join(double)} as feedback twice; leave one of them out")
        given = [name for name in PROBABILITIES[:-1] if getattr(self, name) is not None]  # of items, but not of slates
        require(len(given) < 2, f"the column map has both {' and '.join(given)}; leave one of them out")
        own = sorted(self.item.keys() & _OWN)
        require(not own, f"item.{', '.join(own)} is a name of the dataset's own; write another, as item.category")
        twice = sorted(self.context.keys() & self.category.keys())
        require(not twice, f"the column map has {', '.join(twice)} as context and as category; leave one of them out")

    @property
    def has_answers(self) -> bool:
        """Whether a column says what the user made of an item; without any, each entry is taken for a click."""
        return bool(self.channels or self.event or self.reward or self.item_reward)

    @property
    def channels(self) -> list[str]:
        """Names of the feedback channels, in order."""
        return [*self.clicked_position, *self.clicked_item, *self.events, *self.feedback]

    @staticmethod
    def of(roles: Mapping[str, Any]) -> ColumnMap:
        """Return the map that roles mean: `{"user_id": COLUMN, "feedback": {"click": COLUMN}, "reward": COLUMN, ...}`.

        Args:
            roles: by name; `feedback.NAME` and `reward.NAME` may stand flat, and a lone `reward` is named so. Several
                columns, one a position, are a list, or one text with commas.

        Raises:
            InvalidInput: for an unknown role, or one that is missing or no column's name.
        """
        known = {each.name for each in fields(ColumnMap)}
        values: dict[str, Any] = {role: {} for role in _NAMED}
        for name, column in roles.items():
            role, dot, channel = name.partition(".")
            role = "events" if (role, dot) == ("event", ".") else role
            if role not in known or (dot and role not in values):
                raise unknown_name(
                    "role of a column", name, [*known, "event.NAME", *(f"{each}.NAME" for each in _NAMED)]
                )
            if isinstance(column, list) and all(isinstance(each, str) for each in column):
                column = ",".join(column)
            if role not in _NAMED:
                values[role] = column
            elif isinstance(column, Mapping):
                values[role] |= column
            elif channel == "" and role in (*CONTEXTS, "item"):
                raise InvalidInput(f"{role}={column!r} in the column map has no name; write {role}.NAME={column}")
            else:
                values[role][channel or (_CLICK if role in CLICKED else role)] = column
        for role in ("user_id", "item_id"):
            require(role in values, f"the column map has no {role}; map it, as in {role}=COLUMN")
        flat = [values[role] for role in values if role not in _NAMED]
        for column in [*flat, *(column for role in _NAMED for column in values[role].values())]:
            require(
                isinstance(column, str) and column != "", f"{column!r} in the column map is no column's name; give text"
            )
        return ColumnMap(**values)

    def kinds(self) -> dict[str, tuple[str, Kind]]:
        """Return the column and the kind of each mapped role; one column may be of several kinds."""
        kinds: dict[str, tuple[str, Kind]] = {
            role: (getattr(self, role), kind) for role, kind in _KINDS.items() if getattr(self, role)
        }
        if self.step is not None and self.step == self.timestamp:
            kinds["step"] = kinds["timestamp"]
        # A reward is not rounded.
        rewards = {*self.reward.values(), *self.item_reward.values()}
        for name, column in self.feedback.items():
            kinds[f"feedback.{name}"] = column, "number" if column in rewards else "single"
        kinds |= {f"clicked_position.{name}": (column, "numbers") for name, column in self.clicked_position.items()}
        kinds |= {f"clicked_item.{name}": (column, "ids") for name, column in self.clicked_item.items()}
        kinds |= {f"reward.{name}": (column, "number") for name, column in self.reward.items()}
        kinds |= {f"item_reward.{name}": (column, "number") for name, column in self.item_reward.items()}
        kinds |= {f"context.{name}": (column, "value") for name, column in self.context.items()}
        kinds |= {f"item.{name}": (column, "value") for name, column in self.item.items()}
        kinds |= {f"category.{name}": (column, "id") for name, column in self.category.items()}
        return kinds


def import_table(
    path: str | Path,
    out: str | Path,
    columns: ColumnMap,
    *,
    items: str | Path | None = None,
    time_unit: TimeUnit = "seconds",
    time_format: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    missing: Missing = "refuse",
    first_position: int | None = None,
    list_delimiter: str | None = None,
    header: Sequence[str] | None = None,
    item_header: Sequence[str] | None = None,
    item_delimiter: str | None = None,
    item_encoding: str | None = None,
    decimal: str = ".",
    options: ImportOptions | None = None,
    progress: Progress | None = None,
) -> LoggedDataset:
    """Read a table of CSV, JSON lines or Parquet and return it as a dataset.

    Ids are text unless every one of a column comes back the same from a whole number: 00123 is not 123. An empty value,
    NULL, NaN, None, NA and the like are missing. How a file is written is told by what it holds and not by its name.

    Args:
        path: a file, plain or packed, a folder of parts, whose folders `date=2024-05-01` are a column, or a pattern.
        out: the dataset's folder, which is not there yet.
        columns: which column is what.
        items: table of the items, a row each: the column of their ids is named as in the log, or `item_id`; its
            further columns of numbers, and of lists of them, become those of the dataset's items. A list column
            `embeddings`, or the columns embedding_0, embedding_1, ... together, is what policies tell items apart by;
            without, embeddings are made of the columns, see the options' `item_features`.
        time_unit: of timestamps that are numbers.
        time_format: of timestamps that are text, or numbers that spell a date, as `datetime.strptime` takes it; None
            for ISO 8601. Times without a zone are UTC.
        delimiter: between the columns of CSV files.
        encoding: of CSV files, as Python names it.
        missing: what is done with rows that lack what the map names, but for propensities: refused, or left out and
            counted ("drop").
        first_position: what the first position is called; None for 0 where the log has a 0, and else 1.
        list_delimiter: between the values of a list that text writes without brackets, as a slate or candidates.
        header: names of the columns, of CSV files that have none.
        item_header: the same of the file of items.
        item_delimiter: of the file of items; None for that of the log.
        item_encoding: likewise.
        decimal: before the fractions of numbers in CSV files, a point or a comma.
        options: how sessions and rewards are made.
        progress: called with the number of rows of each batch.

    Raises:
        InvalidInput: for a file, column or value that cannot be read; the message names it.
    """
    delimiter, options = plain_delimiter(delimiter), options or ImportOptions()
    text = TextFormat(delimiter, encoding, header or None, list_delimiter=list_delimiter, decimal=decimal)
    item_text = text.of_items(item_header, item_delimiter, item_encoding)
    require_time_unit(time_unit)
    if time_format is not None:
        require_time_format(time_format)
    if missing not in ("refuse", "drop"):
        raise unknown_name("way with what is missing", missing, ("refuse", "drop"))
    if first_position is not None:
        require_range("first_position", first_position, 0, 1_000_000, integer=True)
    if items is not None:
        column_names(Path(items), item_text)  # before the log is read, which may take long
    of_items = None if items is None else (Path(items), item_text)
    products = prices(columns.item_reward, columns.channels, (Path(path), text), of_items)
    kinds = {role: kind for role, kind in columns.kinds().items() if role.removeprefix("item_reward.") not in products}
    kinds |= {f"price.{name}": (price.column, "number") for name, price in products.items() if price.in_log}
    read = read_mapped(Path(path), kinds, text, TimeFormat(time_unit, time_format), missing, progress)
    require(sum(count for _, count in read.counts) > 0, f"{path} has a header and no rows; copy it again")
    if columns.timestamp is not None:
        unit = None if columns.timestamp in read.dated else time_unit
        _check_times(read.values["timestamp"], read, unit, options)
    if isinstance(read.values["item_id"], Lists):
        require(
            columns.has_answers, f"{columns.item_id} holds slates, and no feedback and no reward is mapped; {_MAP_ONE}"
        )
        read, of = spread(read, {role: column for role, (column, _) in kinds.items()}, first_position)
        first_position = 0 if columns.position is None else first_position
        options = replace(options, propensity_of=options.propensity_of or of)
    if columns.event is not None:
        read = answers(read, columns.event, columns.events)
    for name, price in products.items():
        if price.in_log:
            value, feedback = read.values.pop(f"price.{name}"), read.values[f"feedback.{price.channel}"]
            read.values[f"item_reward.{name}"] = earned(value, feedback)
    if columns.event is not None:
        read = merged(read, options.session_gap * 60.0)
    values, remarks, mapped = read.values, read.remarks, read.values.get
    item, session, position = values["item_id"], mapped("session_id"), mapped("position")
    own = item_columns(read, columns.item)
    files, catalog, made, offered = read.counts, {}, [], mapped("candidates")
    count = len(item.codes)
    if offered is not None:
        item, offered, own = joined(item, offered, own)
    if items is None and own:
        item, catalog, made, told = items_of_log(item, own, options.item_features)
        remarks += told
    elif items is not None:
        name, asked_for = columns.item_id, options.item_features
        item, catalog, made, told = with_items(item, Path(items), name, item_text, asked_for, own)
        remarks += told
        files = [*files, *((part.file, 0) for part in parts_of(Path(items)))]
    if offered is not None:
        item, offered = Ids(item.codes[:count], item.source), replace(offered, values=item.codes[count:])
    if position is not None:
        first = first_position
        if first is None:
            first = 0 if position.min() <= 0 else 1
            remarks.append(f"positions count from {first}")
        require_positions(position, first, str(columns.position), read.place)
        position = position - first
    for name, (column, channel, in_log) in products.items():
        if not in_log:
            value = catalog.get(kept_name(column), np.empty((0, 0)))
            require(value.ndim == 1, f"{items}, column {column}: it holds no numbers; mend it, or name another")
            reward = earned(value[item.codes], values[f"feedback.{channel}"])
            require_priced(reward, item, str(items), column, read.place)
            values[f"item_reward.{name}"] = reward
    feedback = {name: values[f"feedback.{name}"] for name in columns.channels}
    require_answers(feedback, columns.feedback, read.place)
    flat = {role: column for role, (column, _) in kinds.items()}
    reward, item_reward = (
        {name: values[f"{kind}.{name}"] for name in getattr(columns, kind)} for kind in ("reward", "item_reward")
    )
    lacking = []
    if not columns.has_answers:
        feedback = {"click": np.ones(count)}
        lacking = ["feedback"]
        remarks.append(f"warning: no feedback and no reward is mapped, and each row is taken for a click; {_MAP_ONE}")
    elif not feedback:
        name, value = next(iter({**item_reward, **reward}.items()))
        feedback = {"click": (value > 0.0).astype(np.float64)}
        lacking = [f"feedback: a click is {name} > 0"]
    log = Interactions(
        files=files,
        data_row=read.rows,
        user=values["user_id"],
        item=item,
        feedback=feedback,
        session=None if session is None else session.codes,
        step=mapped("step"),
        position=position,
        timestamp=mapped("timestamp"),
        reward=reward or None,
        item_reward=item_reward or None,
        item_log_prob=item_log_probs(values, flat, read.place),
        prefix_log_prob=mapped("prefix_log_prob"),
        step_log_prob=mapped("behavior_log_prob"),
        terminated=mapped("terminated"),
        truncated=mapped("truncated"),
        candidates=offered,
        context={name: values[f"{kind}.{name}"] for kind in CONTEXTS for name in getattr(columns, kind)},
        catalog=catalog,
        item_features=made,
    )
    plain = {each.name: getattr(columns, each.name) for each in fields(columns) if getattr(columns, each.name)}
    facts = {
        "columns": {k: dict(v) if isinstance(v, Mapping) else v for k, v in plain.items()},
        "time_unit": time_unit,
    }
    asked = {"time_format": time_format, "delimiter": delimiter, "encoding": encoding, "missing": missing}
    asked |= {"header": [*(header or ())] or None, "item_header": [*(item_header or ())] or None}
    asked |= {"item_delimiter": item_delimiter, "item_encoding": item_encoding, "decimal": decimal}
    asked |= {"list_delimiter": list_delimiter, "first_position": first_position, "left_out": read.left_out}
    facts |= {name: value for name, value in asked.items() if value not in (None, *_DEFAULTS, {})}
    return import_interactions(out, log, "table", options=options, lacking=lacking, remarks=remarks, facts=facts)


def _check_times(seconds: np.ndarray, read: Table, unit: TimeUnit | None, options: ImportOptions) -> None:
    if len(seconds) and np.isfinite(seconds).all():
        require_plausible(seconds, read.place, unit, counted=options.counted_times)
