"""MovieLens in the layouts of its releases: tiny files of each say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offline_data.interop.import_options import ImportOptions
from offline_data.interop.readers.movielens import MovielensReader
from recenv.errors import InvalidInput

# (user, film, rating, time): user 5's second visit is a day later.
RATINGS = [(5, 10, 5, 1000), (2, 30, 3, 1200), (5, 30, 4, 1060), (5, 20, 2, 90000), (2, 10, 4, 1100)]
FILMS = {10: ("Å ::Night:: (1995)", "Drama|Comedy"), 20: ("Heat, Extra", "Action"), 30: ("X", "Comedy"), 40: ("Y", "")}
GENRES = ["unknown", "Action", "Comedy", "Drama"]


def write_100k(folder: Path) -> None:
    (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in RATINGS))
    (folder / "u.genre").write_text("".join(f"{name}|{index}\n" for index, name in enumerate(GENRES)) + "\n")
    lines = []
    for film, (title, genres) in FILMS.items():
        flags = "|".join(str(int(name in genres.split("|"))) for name in GENRES)
        lines.append(f"{film}|{title}|01-Jan-1995||http://x|{flags}\n")
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))


def write_1m(folder: Path) -> None:
    (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in RATINGS))
    rows = [f"{film}::{title}::{genres}\n" for film, (title, genres) in FILMS.items()]
    (folder / "movies.dat").write_bytes("".join(rows).encode())


def write_25m(folder: Path) -> None:
    rows = [f"{user},{film},{rating}.0,{time}\n" for user, film, rating, time in RATINGS]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows))
    films = [f'{film},"{title}",{genres or "(no genres listed)"}\n' for film, (title, genres) in FILMS.items()]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(films))


WRITERS = {"100K": write_100k, "1M": write_1m, "25M": write_25m}


@pytest.mark.parametrize("release", WRITERS)
def test_every_layout_says_the_same(tmp_path, release):
    folder = tmp_path / "ml"
    folder.mkdir()
    WRITERS[release](folder)
    log = MovielensReader(path=folder).read(tmp_path / "out")
    assert log.sessions["source_user_id"].tolist() == [2, 5, 5]
    assert log.catalog["source_id"].tolist() == [10, 20, 30, 40]
    assert log.catalog["source_id"][log.rows["slate"][:, 0]].tolist() == [10, 30, 10, 30, 20]
    assert log.manifest["feedback_names"] == ["click", "like", "rating"]
    feedback = [[1, 1, 0.8], [1, 0, 0.6], [1, 1, 1], [1, 1, 0.8], [1, 0, 0.4]]
    np.testing.assert_allclose(log.rows["feedback"][:, 0], feedback, rtol=1e-6)
    np.testing.assert_array_equal(log.reward(), [1, 0, 1, 1, 0])
    np.testing.assert_array_equal(log.rows["timestamp"], [1100, 1200, 1000, 1060, 90000])
    np.testing.assert_array_equal(log.rows["consumed"], [0, 1, 0, 1, 0])
    half = np.float32(np.sqrt(0.5))
    # Action, Comedy, Drama, none; no coordinate is of "unknown", which no film is.
    np.testing.assert_allclose(
        log.catalog["embeddings"], [[0, half, half, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], rtol=1e-6
    )
    source = log.manifest["source"]
    assert source["item_features"] == [{"column": "genres", "as": "labels"}]
    assert source["reader"] == "movielens"
    assert len(source["files"]) == 2
    assert "films that were shown and not rated" in source["lacking"]
    assert "embeddings of the items" not in source["lacking"]
    assert log.propensities == "missing"


def test_options(tmp_path):
    write_25m(tmp_path)
    options = ImportOptions(session_gap=1.0, reward_weights={"rating": 5.0}, history_length=7)
    log = MovielensReader(path=tmp_path, liked_from=3.0, options=options).read(tmp_path / "out")
    np.testing.assert_array_equal(log.rows["feedback"][:, 0, 1], [1, 1, 1, 1, 0])
    np.testing.assert_allclose(log.reward(), [4, 3, 5, 4, 2], rtol=1e-6)
    assert (log.num_sessions, log.history_length) == (4, 7)
    with pytest.raises(InvalidInput, match=r"liked_from=6\.0"):
        MovielensReader(path=tmp_path, liked_from=6.0).read(tmp_path / "other")


def spoil_rating(folder):
    file = folder / "ratings.csv"
    file.write_text(file.read_text() + "9,10,7.0,1\n")


def spoil_movies(folder):
    (folder / "movies.csv").write_text("movieId,title,genres\n10,x,Drama\n")


def repeat_movie(folder):
    file = folder / "movies.csv"
    file.write_text(file.read_text() + "10,x,Drama\n")


def break_movies(folder):
    (folder / "movies.csv").write_text("movieId,title\nten,x\n")


def name_a_film(folder):
    file = folder / "ratings.csv"
    file.write_text(file.read_text() + "9,ten,4.0,1\n")


def cut_movies(folder):
    (folder / "movies.csv").write_text("movieId,title,genres\n10,x,Drama\n20,y\n")


def test_a_file_of_genres_that_is_not_there_is_named(tmp_path):
    write_100k(tmp_path)
    (tmp_path / "u.genre").unlink()
    with pytest.raises(InvalidInput, match=r"u\.genre does not exist"):
        MovielensReader(path=tmp_path).read(tmp_path / "out")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    write_25m(tmp_path)
    for name in ("ratings.csv", "movies.csv"):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-8-sig")
    assert MovielensReader(path=tmp_path).read(tmp_path / "out").num_rows == 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "ratings.csv").unlink(), "has no file ratings.csv or ratings.dat or u.data"),
        (lambda folder: (folder / "movies.csv").unlink(), "movies.csv does not exist"),
        (spoil_rating, "ratings.csv: data row 6: rating=7.0 is not a rating in [0, 5]"),
        (name_a_film, "have a film ['ten'], which is no number"),
        (cut_movies, "movies.csv is damaged (ValueError('film 20 has no genres'))"),
        (spoil_movies, "movies.csv has no film [20], which is rated"),
        (repeat_movie, "movies.csv names a film twice"),
        (break_movies, "movies.csv is damaged"),
    ],
)
def test_damage_is_named(tmp_path, spoil, message):
    folder = tmp_path / "ml"
    folder.mkdir()
    write_25m(folder)
    spoil(folder)
    with pytest.raises(InvalidInput) as caught:
        MovielensReader(path=folder).read(tmp_path / "out")
    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["ml"]
