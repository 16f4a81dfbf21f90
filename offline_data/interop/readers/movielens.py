"""MovieLens: ratings of films, in the layouts of 100K, 1M, 10M, 20M, 25M, 32M and the latest releases.

Source: Harper and Konstan, "The MovieLens Datasets: History and Context" (ACM TiiS 5(4), 2015), and the README of each
release. A rating is a film that the user has seen, so that every entry is consumed; what was shown and not rated is
nowhere.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.families import READERS
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.interactions import Ids, Interactions, label_columns
from offline_data.interop.readers.base import LogReader
from offline_data.interop.tables import Progress, read_tables
from offline_data.interop.text_format import TextFormat
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range

_LARGEST: Final = 5.0
_GENRES_100K: Final = 5
_NO_GENRES: Final = "(no genres listed)"


@dataclass(frozen=True)
class _Layout:
    """A release's files."""

    ratings: str
    """File of the ratings."""
    movies: str
    """File of the films."""
    delimiter: str
    """Of the ratings."""
    names: Sequence[str] | None
    """Of all columns of the ratings where the file has no header."""
    columns: tuple[str, str, str, str]
    """Names of user, film, rating and time among them."""
    genres: Callable[[Path], list[tuple[int, str]]]
    """Film ids and genres joined by `|` of the films' file."""


@READERS.register("movielens")
@dataclass(frozen=True, kw_only=True)
class MovielensReader(LogReader):
    """Read MovieLens (100K, 1M, 10M, 20M, 25M, 32M, latest): films rated one by one.

    `path` is the release's folder, with `u.data`, `ratings.dat` or `ratings.csv` in it. Slates are of one item.
    Feedback: `click` (1: the film was rated, hence seen), `like`, `rating` (over 5). The reward is the like, unless the
    options' reward weights say otherwise. Embeddings of the films are their genres, see `label_columns`; films that
    nobody rated are in the catalogue too.
    """

    liked_from: float = 4.0
    """The lowest rating that is a like, in [0.5, 5]."""

    def __post_init__(self) -> None:
        require_range("liked_from", self.liked_from, 0.5, _LARGEST)

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`."""
        layout = next((each for each in _LAYOUTS if (self.path / each.ratings).is_file()), None)
        if layout is None:
            wanted = " or ".join(each.ratings for each in _LAYOUTS)
            raise InvalidInput(f"{self.path} has no file {wanted}; pass the folder of a MovieLens release")
        ratings, movies = self.path / layout.ratings, self.path / layout.movies
        user, film, rated, time = layout.columns
        read = read_tables(
            [ratings],
            {user: "id", film: "id", rated: "single", time: "time"},
            text=TextFormat(layout.delimiter, names=layout.names),
            progress=progress,
        )
        values, rating = read.values, read.values[rated]
        item, genres = _films(values[film], _read(movies, layout.genres), movies)
        log = Interactions(
            files=[*read.counts, (movies, 0)],
            user=values[user],
            item=item,
            feedback={
                "click": np.ones(len(rating)),
                "like": (rating >= self.liked_from).astype(np.float64),
                "rating": rating / _LARGEST,
            },
            timestamp=values[time],
            catalog=label_columns(genres, "|"),
            item_features=[{"column": "genres", "as": "labels"}],
        )
        log.require_all(
            rated,
            rating,
            (rating >= 0.0) & (rating <= _LARGEST),
            "a rating in [0, 5]; copy it from the published dataset",
        )
        return import_interactions(
            out,
            log,
            "movielens",
            options=self.options,
            default_weights={"like": 1.0},
            lacking=["films that were shown and not rated"],
            remarks=read.remarks,
            facts={"liked_from": self.liked_from},
        )


def _films(rated: Ids, films: list[tuple[int, str]], file: Path) -> tuple[Ids, Ids]:
    """Return the rated films as codes into all films, and the genres of each, joined."""
    genres = dict(films)
    require(len(genres) == len(films), f"{file} names a film twice; copy it from the published dataset")
    if rated.source.dtype.kind == "U":  # one of them is no whole number as that is written
        odd = [str(film) for film in rated.source if not re.fullmatch(r"0|-?[1-9]\d*", film)]
        raise InvalidInput(f"the ratings beside {file} have a film {odd[:1]}, which is no number; copy them again")
    unknown = [int(film) for film in rated.source if int(film) not in genres]
    require(not unknown, f"{file} has no film {unknown[:1]}, which is rated; copy it from the published dataset")
    source = np.array(sorted(genres), np.int64)
    labels = Ids.of(np.array(["" if genres[i] == _NO_GENRES else genres[i] for i in source]))
    return Ids(np.searchsorted(source, rated.source)[rated.codes], source), labels


def _read(file: Path, reader: Callable[[Path], list[tuple[int, str]]]) -> list[tuple[int, str]]:
    try:
        return reader(file)
    except FileNotFoundError as error:
        raise InvalidInput(f"{error.filename} does not exist; copy it from the published dataset") from error
    except (ValueError, IndexError, KeyError, OSError, csv.Error) as error:
        raise InvalidInput(f"{file} is damaged ({error!r}); copy it from the published dataset") from error


def _u_item(file: Path) -> list[tuple[int, str]]:
    # id | title | date | video date | URL | 19 flags, in the order of u.genre
    names = [line.split("|")[0].strip() for line in (file.parent / "u.genre").read_text("latin-1").split("\n") if line]
    rows = [line.split("|") for line in file.read_text("latin-1").split("\n") if line]
    return [
        (int(row[0]), "|".join(name for name, flag in zip(names, row[_GENRES_100K:], strict=True) if int(flag)))
        for row in rows
    ]


def _movies_dat(file: Path) -> list[tuple[int, str]]:
    rows: Iterable[list[str]] = (line.split("::") for line in file.read_text("latin-1").split("\n") if line)
    return [(int(row[0]), row[-1]) for row in rows]


def _movies_csv(file: Path) -> list[tuple[int, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        films = [(int(row["movieId"]), row["genres"]) for row in csv.DictReader(stream)]
    short = [film for film, genres in films if genres is None]
    if short:
        raise ValueError(f"film {short[0]} has no genres")
    return films


_CSV_COLUMNS: Final[Any] = ("userId", "movieId", "rating", "timestamp")
_LAYOUTS: Final = (
    _Layout("ratings.csv", "movies.csv", ",", None, _CSV_COLUMNS, _movies_csv),
    # `::` to a reader of `:` is an empty column between.
    _Layout(
        "ratings.dat",
        "movies.dat",
        ":",
        ("userId", "_1", "movieId", "_2", "rating", "_3", "timestamp"),
        _CSV_COLUMNS,
        _movies_dat,
    ),
    _Layout("u.data", "u.item", "\t", _CSV_COLUMNS, _CSV_COLUMNS, _u_item),
)
