"""What is read of a foreign log: its shown items, one entry each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recenv.errors import require


class Ids(NamedTuple):
    """Ids of a source, made dense.

    Examples:
        >>> import numpy as np
        >>> from offline_data import Ids
        >>> Ids.of(np.array(["b", "a", "b"]))
        Ids(codes=array([1, 0, 1]), source=array(['a', 'b'], dtype='<U1'))
    """

    codes: np.ndarray
    """[n] int64, indices into `source`."""
    source: np.ndarray
    """[u] the different ids, integers or strings, in increasing order."""

    @staticmethod
    def of(values: np.ndarray) -> Ids:
        """Return the ids [n] as codes, and what they stand for."""
        source, codes = np.unique(values, return_inverse=True)
        return Ids(codes.reshape(-1).astype(np.int64), source)

    def only(self, keep: np.ndarray) -> Ids:
        """Return the ids of some entries: [n] bool, or their numbers."""
        return Ids(self.codes[keep], self.source)

    def categories(self) -> Ids:
        """Return texts without those that no entry has, and with a code of -1 for an empty one."""
        places = np.where(self.source == "", -1, np.arange(len(self.source)))
        used, codes = np.unique(places[self.codes], return_inverse=True)
        empty = int(len(used) > 0 and used[0] < 0)
        return Ids(codes.reshape(-1) - empty, self.source[used[empty:]])


@dataclass(frozen=True, eq=False)
class Lists:
    """A list in each entry; equal ones may be held once.

    Examples:
        >>> import numpy as np
        >>> from offline_data import Lists
        >>> lists = Lists(np.array([0, 1, 0]), np.array([0, 2, 3]), np.array([5, 6, 7]))
        >>> lists.lengths().tolist(), lists.flat().tolist()
        ([2, 1, 2], [5, 6, 7, 5, 6])
    """

    index: np.ndarray
    """[n] int64, which list is each entry's; -1 where it has none."""
    offsets: np.ndarray
    """[L + 1] int64: list l holds the values offsets[l] to offsets[l + 1]."""
    values: Any
    """[m] `Ids`, codes of them, or numbers; a code of -1 and NaN are missing."""

    def only(self, keep: np.ndarray) -> Lists:
        """Return the lists of some entries: [n] bool, or their numbers."""
        return Lists(self.index[keep], self.offsets, self.values)

    def lengths(self) -> np.ndarray:
        """Return how long each entry's list is, [n]."""
        return np.append(np.diff(self.offsets), 0)[self.index]

    def places(self) -> np.ndarray:
        """Return where the entries' values stand among `values`, entry by entry, [sum of lengths]."""
        lengths = self.lengths()
        starts = np.append(self.offsets[:-1], 0)[self.index]
        return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())

    def flat(self) -> Any:
        """Return the entries' values one after the other, `Ids` or numbers."""
        return entries_of(self.values, self.places())


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """The n shown items of a log, in the order of its files; an absent column is None.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from offline_data import Ids, ImportOptions, Interactions, import_interactions
        >>> Path("clicks.csv").touch()
        >>> users, items, clicks = Ids.of(np.array([7, 7, 9])), Ids.of(np.array([1, 2, 1])), np.array([1.0, 0.0, 1.0])
        >>> told = Interactions(
        ...     files=[(Path("clicks.csv"), 3)],
        ...     user=users,
        ...     item=items,
        ...     feedback={"click": clicks},
        ...     timestamp=np.arange(3.0),
        ... )
        >>> log = import_interactions("log", told, "clicks", options=ImportOptions())
        >>> log.num_sessions, log.num_rows
        (2, 3)
    """

    files: Sequence[tuple[Path, int]]
    """Files that they were read from, in order, and how many entries each holds."""
    data_row: np.ndarray | None = None
    """[n] the row of each entry over all files, from 0, where the files have rows that are no entries."""
    user: Ids
    """Of each entry."""
    item: Ids
    """Of each entry."""
    feedback: Mapping[str, np.ndarray]
    """[n] in [0, 1] by channel; the first is the click, and an item is consumed where it is above zero."""
    session: np.ndarray | None = None
    """[n] integers that tell a user's sessions apart, in order; None: a gap in time does."""
    step: np.ndarray | Ids | None = None
    """[n] integers that order the steps of a session, or names that tell them apart, which are in the order of time,
    or else of appearance; entries of one step are a slate. None: each is a step."""
    position: np.ndarray | None = None
    """[n] integers from 0, where in the slate the item stood; positions without an item are empty."""
    timestamp: np.ndarray | None = None
    """[n] seconds since 1970."""
    reward: Mapping[str, np.ndarray] | None = None
    """[n] of the step by component, the same for each of its items; None: the weighted feedback."""
    item_reward: Mapping[str, np.ndarray] | None = None
    """[n] of the item by component; a step's is the sum over its slate."""
    item_log_prob: np.ndarray | None = None
    """[n] nats, of the item given those before it in the slate; NaN where missing."""
    prefix_log_prob: np.ndarray | None = None
    """[n] nats, of the slate up to the item."""
    step_log_prob: np.ndarray | None = None
    """[n] nats, of the whole slate."""
    terminated: np.ndarray | None = None
    """[n] bool of the step: the user left, and else the session was cut off; only its last step counts."""
    truncated: np.ndarray | None = None
    """[n] bool of the step: the session was cut off, and else the user left."""
    candidates: Lists | None = None
    """Of which items each step's slate was chosen, codes into `item.source`, the same for each item of a step."""
    context: Mapping[str, np.ndarray | Ids] = field(default_factory=dict)
    """[n] what is known of user and moment, by name, the same for each item of a step: numbers, NaN where missing, or
    categories, with a code of -1 where missing."""
    row_columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further [n] columns that are kept, by name; a step takes its first item's."""
    catalog: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Columns of the items, one row each of `item.source`."""
    item_features: Sequence[Mapping[str, Any]] = ()
    """How `embeddings` among them were made of the items' columns, each with `column` and `as`; nothing where the
    source gave them."""

    def place(self, entry: int) -> str:
        """Return where an entry was read, for a message."""
        return place_of(self.files, entry if self.data_row is None else int(self.data_row[entry]))

    def only(self, keep: np.ndarray) -> Interactions:
        """Return the entries that are kept, [n] bool; places in the files stay what they were."""
        data_row = np.flatnonzero(keep) if self.data_row is None else self.data_row[keep]

        def part(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: part(each) for name, each in value.items()}
            return None if value is None else entries_of(value, keep)

        names = {each.name for each in fields(self)} - {"files", "catalog", "item_features", "data_row"}
        parts = {name: part(getattr(self, name)) for name in names}
        kept = {name: getattr(self, name) for name in ("files", "catalog", "item_features")}
        return Interactions(data_row=data_row, **kept, **parts)

    def require_all(self, name: str, values: np.ndarray, allowed: np.ndarray, meaning: str) -> None:
        """Refuse the log if a value [n] is not `allowed` [n]; the message says where it stands."""
        if not allowed.all():
            wrong = int(np.argmin(allowed))
            require(False, f"{self.place(wrong)}: {name}={values[wrong]!s} is not {meaning}")


def entries_of(values: Any, keep: np.ndarray) -> Any:
    """Return some entries of `Ids`, `Lists` or an array [n]: [n] bool, or their numbers."""
    return values[keep] if isinstance(values, np.ndarray) else values.only(keep)


def joint_codes(first: np.ndarray | Ids, *others: np.ndarray | Ids) -> np.ndarray:
    """Return codes of what several codes [n], or ids, tell apart together, [n]."""
    together, *further = (each.codes if isinstance(each, Ids) else each for each in (first, *others))
    for each in further:
        values = Ids.of(each)
        together = Ids.of(together * len(values.source) + values.codes).codes
    return together


def place_of(files: Sequence[tuple[Path, int]], row: int) -> str:
    """Return where a row of files that follow one another stands, for a message.

    Args:
        files: and how many rows each holds.
        row: over all of them, from 0.
    """
    for file, count in files:
        if row < count:
            return f"{file}: data row {row + 1}"
        row -= count
    raise IndexError(row)


def label_columns(labels: Ids, separator: str) -> dict[str, np.ndarray]:
    """Return the columns of items that labels give: genres, tags, categories.

    Args:
        labels: [n] of each item, its labels joined.
        separator: between them.

    Returns:
        `embeddings` [n, L + 1] float32 unit rows: each of the item's labels alike, over the L labels in the order of
        their names; the last coordinate stands for none. `topics` [n] int32: the item's first label, L for none.
    """
    sets = [[label.strip() for label in str(text).split(separator) if label.strip()] for text in labels.source]
    place = {name: index for index, name in enumerate(sorted({label for each in sets for label in each}))}
    table = np.zeros((len(sets), len(place) + 1), np.float32)
    topics = np.full(len(sets), len(place), np.int32)
    for row, each in enumerate(sets):
        mine = [place[label] for label in each] or [len(place)]
        table[row, mine] = 1.0
        topics[row] = mine[0]
    table /= np.sqrt(np.sum(table, axis=1, keepdims=True))
    return {"embeddings": table[labels.codes], "topics": topics[labels.codes]}
