"""RecBole's atomic files: tables whose header says of each column its name and its type.

Source: Zhao et al., "RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation Algorithms"
(arXiv:2011.01731), and the documentation of its atomic files: `NAME.inter`, `NAME.item` and `NAME.user`, columns
between tabs, a header `user_id:token`, `rating:float`, `title:token_seq`, `emb:float_seq`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from offline_data.families import READERS
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.interop.item_file import ItemFile, with_items
from offline_data.interop.readers.base import LogReader
from offline_data.interop.table_files import column_names
from offline_data.interop.table_ids import alike
from offline_data.interop.table_parts import parts_of
from offline_data.interop.tables import Kind, Progress, TimeFormat, read_columns, read_tables
from offline_data.interop.text_format import TextFormat, delimiter_hint, plain_delimiter
from offline_data.interop.times import TimeUnit, require_plausible, require_time_format, require_time_unit
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range, unknown_name

_TYPES: Final = ("token", "token_seq", "float", "float_seq")
_UNREAD: Final = (".kg", ".link", ".net")


@READERS.register("recbole")
@dataclass(frozen=True, kw_only=True)
class RecboleReader(LogReader):
    """Read RecBole's atomic files: NAME.inter, and NAME.item and NAME.user if they are there.

    `path` is their folder, one `.inter` file, or a pattern of those of one split ('ml/ml.*.inter'). Slates are of one
    item. Feedback: `click` (1, or the label, where there is one), and `like` with `--liked-from`. The reward is the
    label, or the like, or else the rating, where there is one; the options' reward weights may say otherwise. Features
    of the users are the context of their steps; those of the items are as in a file of items, and a `float_seq` is
    their embeddings.
    """

    user: str = "user_id"
    """Column of the users, without its type; RecBole's USER_ID_FIELD. Logs of sessions have `session_id`."""
    item: str = "item_id"
    """Column of the items; ITEM_ID_FIELD."""
    rating: str = "rating"
    """Column of the ratings, if it is there; RATING_FIELD."""
    time: str = "timestamp"
    """Column of the times, if it is there; TIME_FIELD."""
    label: str = "label"
    """Column of labels 0 and 1, if it is there; LABEL_FIELD."""
    liked_from: float | None = None
    """The lowest rating that is a like."""
    time_unit: TimeUnit = "seconds"
    """Of times, since 1970."""
    time_format: str | None = None
    """Of times that spell a date, as `%Y%m%d`."""
    missing: Literal["refuse", "drop"] = "refuse"
    """What is done with entries that lack a user, item, time, rating or label: refused, or left out and counted."""
    delimiter: str = "\\t"
    """Between columns; RecBole's field_separator."""
    encoding: str = "utf-8"
    """Of the files."""

    def __post_init__(self) -> None:
        require_time_unit(self.time_unit)
        if self.time_format is not None:
            require_time_format(self.time_format)
        if self.missing not in ("refuse", "drop"):
            raise unknown_name("way with what is missing", self.missing, ("refuse", "drop"))
        if self.liked_from is not None:
            require_range("liked_from", self.liked_from, -1e9, 1e9)

    @classmethod
    def write_example(cls, folder: Path) -> Mapping[str, Any]:
        """See `LogReader.write_example`."""
        for name, text in (
            (
                "inter",
                "user_id:token item_id:token rating:float timestamp:float\nu1 i1 5 978300760\nu2 i1 2 978300800\n",
            ),
            ("item", "item_id:token year:float vector:float_seq\ni1 1995 0.5,1\ni2 1996 1,0\n"),
            ("user", "user_id:token age:float city:token\nu1 30 Rome\nu2 40 Oslo\n"),
        ):
            (folder / f"ml.{name}").write_text(text.replace(" ", "\t").replace(",", " "))
        return {"path": folder}

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`."""
        plain = TextFormat(plain_delimiter(self.delimiter), self.encoding)
        first, files = self._files()
        there, text = _header(first, plain)
        for file in files[1:]:
            require(_header(file, plain)[0] == there, f"{file} has another header than {first}; write them alike")
        for name in (self.user, self.item):
            option = "user" if name == self.user else "item"
            require(name in there, f"{first} has no column {name}; it has {', '.join(there)}: say --{option} COLUMN")
        kinds: dict[str, Kind] = {self.user: "id", self.item: "id"}
        optional: dict[str, Kind] = {self.rating: "number", self.time: "time", self.label: "number"}
        kinds |= {name: kind for name, kind in optional.items() if name in there}
        for option, default in (("rating", "rating"), ("time", "timestamp"), ("label", "label")):
            name = getattr(self, option)
            require(
                name in (*there, default, "none"),
                f"--{option} {name}: {first} has no such column; it has {', '.join(there)}: name one, or leave it out",
            )
        require(
            self.liked_from is None or self.rating in kinds,
            f"--liked-from {self.liked_from}, and {first} has no column {self.rating}; leave it out, or say --rating",
        )
        times = TimeFormat(self.time_unit, self.time_format)
        read = read_columns(files, kinds, text=text, times=times, progress=progress)
        require(sum(count for _, count in read.counts) > 0, f"{first} has a header and no rows; copy it again")
        read.leave_out(self.missing)
        if self.time in kinds:
            unit = None if self.time in read.dated else self.time_unit
            require_plausible(read.values[self.time], read.place, unit, counted=self.options.counted_times)
        values, remarks, counts = read.values, list(read.remarks), read.counts
        left = [name for name in there if name not in kinds]
        if left:
            remarks.append(f"columns of {first.name} that are left out: {', '.join(left)}")
        remarks += [f"{file.name} is not read" for file in _beside(first, _UNREAD)]
        item, catalog, made = values[self.item], {}, []
        for file in _beside(first, (".item",)):
            item, catalog, made, told = self._items(item, file, plain)
            remarks += told
            counts = [*counts, (file, 0)]
        context: dict[str, np.ndarray | Ids] = {}
        for file in _beside(first, (".user",)):
            context, told = self._users(values[self.user], file, plain)
            remarks += told
            counts = [*counts, (file, 0)]
        label = values.get(self.label)
        if label is not None and not ((label >= 0.0) & (label <= 1.0)).all():
            wrong = int(np.argmin((label >= 0.0) & (label <= 1.0)))
            raise InvalidInput(
                f"{read.place(wrong)}: {self.label}={label[wrong]:g} is not in [0, 1], as labels are; say --rating "
                f"{self.label} --label none"
            )
        feedback = {"click": np.ones(len(item.codes)) if label is None else label}
        item_reward: dict[str, np.ndarray] = {}
        if self.liked_from is not None:
            feedback["like"] = (values[self.rating] >= self.liked_from).astype(np.float64)
        elif self.rating in kinds and label is None:
            item_reward[self.rating] = values[self.rating]
        log = Interactions(
            files=counts,
            data_row=read.rows,
            user=values[self.user],
            item=item,
            feedback=feedback,
            timestamp=values.get(self.time),
            item_reward=item_reward or None,
            context=context,
            catalog=catalog,
            item_features=made,
        )
        return import_interactions(
            out,
            log,
            "recbole",
            options=self.options,
            default_weights={"like": 1.0} if self.liked_from is not None and label is None else None,
            lacking=[] if label is not None else ["items that were shown and not taken"],
            remarks=remarks,
            facts={"liked_from": self.liked_from, "time_unit": self.time_unit, "time_format": self.time_format},
        )

    def _files(self) -> tuple[Path, list[Path]]:
        """Return the first file of the log, beside which those of items and users lie, and all of it."""
        if not self.path.is_dir():
            parts = [part.file for part in parts_of(self.path)]
            return parts[0], parts
        found = sorted(self.path.glob("*.inter"))
        require(bool(found), f"{self.path} has no file *.inter; pass the folder of RecBole's atomic files, or the file")
        told = ", ".join(file.name for file in found[:3]) + (", ..." if len(found) > 3 else "")
        require(
            len(found) == 1,
            f"{self.path} has several logs ({told}); pass one of them, or, if they are the parts of one, a pattern as "
            f"'{self.path}/*.inter'",
        )
        return found[0], found

    def _items(self, logged: Ids, file: Path, text: TextFormat) -> ItemFile:
        """Return the items with the columns of a file, whose sequences of numbers are their embeddings."""
        there, text = _header(file, text)
        require(self.item in there, f"{file} has no column {self.item}; it has {', '.join(there)}")
        vectors = [name for name, kind in there.items() if kind == "float_seq"]
        found = with_items(logged, file, self.item, text, ("none",) if vectors else self.options.item_features)
        if vectors:
            read = read_tables([file], {self.item: "id", **{v: "text" for v in vectors}}, text=text)
            names = read.values[self.item]
            row = {str(source): n for n, source in enumerate(names.source[names.codes])}
            order = [row.get(str(source), -1) for source in found.codes.source]
            each = [_vectors(read.values[name], f"{file}, column {name}") for name in vectors]
            # Zeros of an item that is not in the file.
            found.catalog["embeddings"] = np.pad(np.concatenate(each, axis=1), ((0, 1), (0, 0)))[order]
        return found

    def _users(self, logged: Ids, file: Path, text: TextFormat) -> tuple[dict[str, np.ndarray | Ids], list[str]]:
        """Return what a file tells of the user of each entry, by name, and remarks."""
        there, text = _header(file, text)
        require(self.user in there, f"{file} has no column {self.user}; it has {', '.join(there)}")
        plain = {name: kind for name, kind in there.items() if not kind.endswith("_seq") and name != self.user}
        kinds: dict[str, Kind] = {self.user: "id"}
        kinds |= {name: "text" if kind == "token" else "number" for name, kind in plain.items()}
        read = read_tables([file], kinds, text=text)
        logged, users = alike(logged, read.values[self.user])
        require(len(users.source) == len(users.codes), f"{file} names a user twice; keep one row a user")
        row = np.full(len(users.source) + 1, -1)
        row[users.codes] = np.arange(len(users.codes))
        place = np.searchsorted(users.source, logged.source)
        known = (place < len(users.source)) & (users.source[np.minimum(place, len(users.source) - 1)] == logged.source)
        of_entry = row[np.where(known, place, -1)[logged.codes]]
        context: dict[str, np.ndarray | Ids] = {}
        for name, kind in plain.items():
            values = read.values[name]
            if kind == "float":
                context[name] = np.append(values, np.nan)[of_entry]
            else:
                codes = np.append(values.codes, len(values.source) - 1)  # the last text is the empty one
                context[name] = Ids(codes[of_entry], values.source).categories()
        left = [name for name in there if name not in plain and name != self.user]
        told = [f"columns of {file.name} that are left out: {', '.join(left)}"] if left else []
        if not known.all():
            told.append(f"{int((~known).sum()):,} of {len(known):,} users are not in {file.name}")
        return context, [*read.remarks, *told]


def _header(file: Path, text: TextFormat) -> tuple[dict[str, str], TextFormat]:
    """Return the type of each column by its name, and how a file is read with these names."""
    columns: dict[str, str] = {}
    there = column_names(file, text)
    for word in there:
        name, _, kind = word.rpartition(":")
        hint = delimiter_hint(there, text)
        if kind not in _TYPES or not name or hint:
            hint = hint or "; import it by `recsession import table`"
            raise InvalidInput(f"{file}: column {word!r} has no type {', '.join(_TYPES)}, as user_id:token has{hint}")
        require(name not in columns, f"{file} has several columns named {name}; rename them")
        columns[name] = kind
    return columns, replace(text, names=tuple(columns), skips_header=True)


def _beside(file: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of the same name with other suffixes: ml.item of ml.inter, and of ml.train.inter."""
    names = dict.fromkeys((file.stem, file.name.partition(".")[0]))
    found = [file.parent / f"{name}{suffix}" for suffix in suffixes for name in names]
    return [each for each in found if each.is_file()][: len(suffixes)]


def _vectors(texts: Ids, what: str) -> np.ndarray:
    """Return sequences of numbers, [n, d] float32."""
    lists = []
    for row, text in enumerate(texts.source[texts.codes]):
        try:
            lists.append([float(word) for word in str(text).split()])
        except ValueError as error:
            raise InvalidInput(
                f"{what}, data row {row + 1}: {str(text)!r} is no sequence of numbers; mend it"
            ) from error
        require(
            len(lists[-1]) == len(lists[0]) > 0 and bool(np.isfinite(lists[-1]).all()),
            f"{what}, data row {row + 1}: {len(lists[-1])} finite numbers are expected as in data row 1, which has "
            f"{len(lists[0])}; give each row as many",
        )
    return np.array(lists, np.float32)
