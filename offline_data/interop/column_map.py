"""Any CSV or Parquet log, through a map that says which of its columns is what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from offline_data.interop.foreign_log import ImportOptions, import_interactions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.interop.tables import Kind, Progress, read_tables, read_whole
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, unknown_name

TimeUnit = Literal["seconds", "milliseconds"]

_COORDINATE: Final = re.compile(r"embeddings?[_.]?(\d+)")
_FILE_NAME: Final = re.compile(r"\w[\w .:%()+-]{0,99}")
_KINDS: Final[Mapping[str, Kind]] = {
    "user_id": "id",
    "item_id": "id",
    "session_id": "id",
    "step": "whole",
    "position": "whole",
    "timestamp": "time",
    "propensity": "number",
    "prefix_log_prob": "number",
    "behavior_log_prob": "number",
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
    """Orders the steps of a session; entries of one step are a slate. Without it each entry is a step."""
    position: str | None = None
    """Orders a slate."""
    timestamp: str | None = None
    """When, as a number since 1970 (`time_unit` of the reader) or as ISO 8601."""
    propensity: str | None = None
    """Probability of the item at its position, given those before it in the slate, in (0, 1]."""
    prefix_log_prob: str | None = None
    """Log-probability of the slate up to the item, nats."""
    behavior_log_prob: str | None = None
    """Log-probability of the whole slate, nats, the same for each of its items."""
    terminated: str | None = None
    """Whether the user left after the step."""
    truncated: str | None = None
    """Whether the session was cut off after the step."""
    feedback: Mapping[str, str] = field(default_factory=dict)
    """Column of each feedback channel in [0, 1], by its name; the first is the click."""
    reward: Mapping[str, str] = field(default_factory=dict)
    """Column of each component of the step's reward, by its name, the same for each item of a slate."""

    def __post_init__(self) -> None:
        require(
            bool(self.feedback or self.reward),
            "the column map has no feedback and no reward; map one, as in feedback.click=COLUMN or reward=COLUMN",
        )
        given = [name for name in ("propensity", "prefix_log_prob") if getattr(self, name) is not None]
        require(len(given) < 2, f"the column map has both {' and '.join(given)}; leave one of them out")

    @staticmethod
    def of(roles: Mapping[str, Any]) -> ColumnMap:
        """Return the map that roles mean: `{"user_id": COLUMN, "feedback": {"click": COLUMN}, "reward": COLUMN, ...}`.

        Args:
            roles: by name; `feedback.NAME` and `reward.NAME` may stand flat, and a lone `reward` is named so.

        Raises:
            InvalidInput: for an unknown role, or one that is missing or no column's name.
        """
        known = {each.name for each in fields(ColumnMap)}
        values: dict[str, Any] = {"feedback": {}, "reward": {}}
        for name, column in roles.items():
            role, dot, channel = name.partition(".")
            if role not in known or (dot and role not in values):
                raise unknown_name("role of a column", name, [*known, "feedback.NAME", "reward.NAME"])
            if role not in ("feedback", "reward"):
                values[role] = column
            elif isinstance(column, Mapping):
                values[role] |= column
            else:
                values[role][channel or role] = column
        for role in ("user_id", "item_id"):
            require(role in values, f"the column map has no {role}; map it, as in {role}=COLUMN")
        flat = [*(v for k, v in values.items() if k not in ("feedback", "reward")), *values["feedback"].values()]
        for column in [*flat, *values["reward"].values()]:
            require(
                isinstance(column, str) and column != "", f"{column!r} in the column map is no column's name; give text"
            )
        return ColumnMap(**values)

    def kinds(self, time_unit: TimeUnit = "seconds") -> dict[str, tuple[str, Kind]]:
        """Return the column and the kind of each mapped role; one column may be of several kinds."""
        kinds: dict[str, tuple[str, Kind]] = {
            role: (getattr(self, role), kind) for role, kind in _KINDS.items() if getattr(self, role)
        }
        if self.timestamp is not None:
            kinds["timestamp"] = self.timestamp, "time_ms" if time_unit == "milliseconds" else "time"
            if self.step == self.timestamp:
                kinds["step"] = kinds["timestamp"]
        # A reward is not rounded.
        rewards = set(self.reward.values())
        for name, column in self.feedback.items():
            kinds[f"feedback.{name}"] = column, "number" if column in rewards else "single"
        for name, column in self.reward.items():
            kinds[f"reward.{name}"] = column, "number"
        return kinds


def import_table(
    path: str | Path,
    out: str | Path,
    columns: ColumnMap,
    *,
    items: str | Path | None = None,
    time_unit: TimeUnit = "seconds",
    options: ImportOptions | None = None,
    progress: Progress | None = None,
) -> LoggedDataset:
    """Read a CSV or Parquet log and return it as a dataset.

    Args:
        path: the file, plain or compressed; a name that ends in .parquet or .pq is Parquet.
        out: the dataset's folder, which is not there yet.
        columns: which column is what.
        items: CSV or Parquet file of the items: the column of their ids is named as in the log, or `item_id`; its
            further columns of numbers, and of lists of them, become those of the dataset's items. A list column
            `embeddings`, or the columns embedding_0, embedding_1, ... together, is what policies tell items apart by.
        time_unit: of timestamps that are numbers.
        options: how sessions and rewards are made.
        progress: called with the number of rows of each batch.

    Raises:
        InvalidInput: for a file, column or value that cannot be read; the message names it.
    """
    file = Path(path)
    if time_unit not in ("seconds", "milliseconds"):
        raise unknown_name("time unit", time_unit, ("seconds", "milliseconds"))
    values, counts = _read(file, columns.kinds(time_unit), progress)
    files = counts
    mapped = values.get
    user, item, session = values["user_id"], values["item_id"], mapped("session_id")
    catalog: dict[str, np.ndarray] = {}
    if items is not None:
        item, catalog = _with_items(item, Path(items), columns.item_id)
        files = [*counts, (Path(items), 0)]
    feedback = {name: values[f"feedback.{name}"] for name in columns.feedback}
    reward = {name: values[f"reward.{name}"] for name in columns.reward}
    lacking = []
    if not feedback:
        name, value = next(iter(reward.items()))
        feedback = {"click": (value > 0.0).astype(np.float64)}
        lacking = [f"feedback: a click is {name} > 0"]
    propensity = mapped("propensity")
    with np.errstate(divide="ignore", invalid="ignore"):
        item_log_prob = None if propensity is None else np.log(propensity)
    if propensity is not None:
        fine = np.isnan(propensity) | ((propensity > 0.0) & (propensity <= 1.0))
        if not fine.all():
            wrong = int(np.argmin(fine))
            raise InvalidInput(
                f"{file}: data row {wrong + 1}: {columns.propensity}={propensity[wrong]} is not in (0, 1]; leave it "
                "empty if it is unknown"
            )
    log = Interactions(
        files=files,
        user=user,
        item=item,
        feedback=feedback,
        session=None if session is None else session.codes,
        step=mapped("step"),
        position=mapped("position"),
        timestamp=mapped("timestamp"),
        reward=reward or None,
        item_log_prob=item_log_prob,
        prefix_log_prob=mapped("prefix_log_prob"),
        step_log_prob=mapped("behavior_log_prob"),
        terminated=mapped("terminated"),
        truncated=mapped("truncated"),
        catalog=catalog,
    )
    plain = {each.name: getattr(columns, each.name) for each in fields(columns) if getattr(columns, each.name)}
    facts = {"columns": {k: dict(v) if isinstance(v, Mapping) else v for k, v in plain.items()}, "time_unit": time_unit}
    return import_interactions(out, log, "table", options=options or ImportOptions(), lacking=lacking, facts=facts)


def _read(
    file: Path, roles: Mapping[str, tuple[str, Kind]], progress: Progress | None
) -> tuple[dict[str, Any], list[tuple[Path, int]]]:
    """Return the values of each role, and the number of rows; a column of several kinds is read once a kind."""
    readings: list[dict[str, Kind]] = [{}]
    for column, kind in dict.fromkeys(roles.values()):
        free = [reading for reading in readings if column not in reading]
        if not free:
            free = [{}]
            readings += free
        free[0][column] = kind
    read: dict[tuple[str, Kind], Any] = {}
    counts: list[tuple[Path, int]] = []
    for reading in readings:
        values, counts = read_tables([file], reading, progress=None if read else progress)
        read |= {(column, kind): values[column] for column, kind in reading.items()}
    return {role: read[pair] for role, pair in roles.items()}, counts


def _with_items(logged: Ids, file: Path, id_column: str) -> tuple[Ids, dict[str, np.ndarray]]:
    """Return the logged items as codes into the file's, and the file's columns.

    Raises:
        InvalidInput: if the file lacks a logged item, or names one twice.
    """
    table = read_whole(file)
    name = id_column if id_column in table else "item_id"
    require(name in table, f"{file} has no column {name}; it has {', '.join(table)}")
    given = table[name]
    require(len(given) > 0, f"{file} has a header and no rows; copy it again")
    missing = np.isnan(given) if given.dtype.kind == "f" else given == "" if given.dtype.kind == "U" else given != given
    require(not missing.any(), f"{file}: data row {int(np.argmax(missing)) + 1} has no {name}; leave out the row")
    ids = Ids.of(given)
    require(len(ids.source) == len(ids.codes), f"{file} names an item twice in {name}; keep one row an item")
    kinds = {source.dtype.kind for source in (ids.source, logged.source)}
    here, there = ("text" if kind == "U" else "numbers" for kind in (ids.source.dtype.kind, logged.source.dtype.kind))
    require(len(kinds) == 1, f"{file}, column {name}: its ids are {here}, and the log's {there}; write them alike")
    place = np.searchsorted(ids.source, logged.source)
    known = (place < len(ids.source)) & (ids.source[np.minimum(place, len(ids.source) - 1)] == logged.source)
    require(
        bool(known.all()),
        f"{file} has no {name}={logged.source[int(np.argmin(known))]}, which the log shows; add it, or leave the "
        "items out",
    )
    order = np.argsort(ids.codes)
    table = _joined_embeddings(table, file)
    columns = {column: values[order] for column, values in table.items() if column not in (name, "source_id")}
    columns = {column: values for column, values in columns.items() if values.dtype.kind in "if"}
    for column in columns:
        require(_FILE_NAME.fullmatch(column) is not None, f"{file}: column {column!r} makes no file name; rename it")
    if "embeddings" in columns:
        fine = columns["embeddings"].ndim == 2 and bool(np.isfinite(columns["embeddings"]).all())
        require(fine, f"{file}, column embeddings: it holds no lists of finite numbers; mend or rename it")
    return Ids(place[logged.codes], ids.source), columns


def _joined_embeddings(table: dict[str, np.ndarray], file: Path) -> dict[str, np.ndarray]:
    """Return the columns, with embedding_0, embedding_1, ... as one of lists, as a CSV file cannot write it.

    Raises:
        InvalidInput: for a number that is left out, or both forms.
    """
    parts = {int(found[1]): name for name in table if (found := _COORDINATE.fullmatch(name))}
    if not parts:
        return table
    require(
        sorted(parts) == list(range(len(parts))) and "embeddings" not in table,
        f"{file} has the columns {', '.join(parts.values())}; number them from 0 without a gap, and leave out a column "
        "`embeddings`",
    )
    rest = {name: values for name, values in table.items() if name not in parts.values()}
    return {**rest, "embeddings": np.stack([table[parts[n]].astype(np.float32) for n in range(len(parts))], axis=1)}
