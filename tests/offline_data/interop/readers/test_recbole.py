"""RecBole's atomic files: logs of ratings, labels and sessions, with features of users and items."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data import ImportOptions
from offline_data.interop.readers.recbole import RecboleReader
from recenv.errors import InvalidInput

INTER = """user_id:token item_id:token rating:float timestamp:float review:token_seq
u1 b 5 1700000000 good
u1 a 2 1700000060 bad
u2 a 4 1700000000 fine
"""


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text.replace(" ", "\t").replace("|", " "))
    return folder


def read(tmp_path, path=None, **options):
    return RecboleReader(path=path or tmp_path, **options).read(tmp_path / "out")


def source_of(log):
    return log.manifest["source"]


def test_ratings(tmp_path):
    log = read(write(tmp_path, ml_inter=INTER))
    assert log.num_sessions == 2
    assert log.catalog["source_id"].tolist() == ["a", "b"]
    assert log.rows["slate"][:, 0].tolist() == [1, 0, 0]
    assert log.reward().tolist() == [5.0, 2.0, 4.0]
    assert log.rows["feedback"][:, 0, 0].tolist() == [1.0, 1.0, 1.0]
    assert log.rows["timestamp"][:].tolist() == [1700000000.0, 1700000060.0, 1700000000.0]
    assert "columns of ml.inter that are left out: review" in source_of(log)["remarks"]
    assert "items that were shown and not taken" in source_of(log)["lacking"]


def test_likes_and_labels(tmp_path):
    log = read(write(tmp_path, ml_inter=INTER), liked_from=4)
    assert log.reward().tolist() == [1.0, 0.0, 1.0]
    labelled = INTER.replace("review:token_seq", "label:float").replace("good", "1").replace("bad", "0")
    (tmp_path / "second").mkdir()
    log = read(tmp_path / "second", write(tmp_path, ml_inter=labelled.replace("fine", "1")))
    assert log.reward().tolist() == [1.0, 0.0, 1.0]
    assert log.rows["feedback"][:, 0, 0].tolist() == [1.0, 0.0, 1.0]


def test_features_of_users_are_the_context_of_their_steps(tmp_path):
    users = "user_id:token age:float city:token zip:token_seq\nu2 40 Oslo 1\nu1 20 Rome 2\nu9 99 Bonn 3\n"
    log = read(write(tmp_path, ml_inter=INTER, ml_user=users))
    assert [column.name for column in log.context] == ["age", "city"]
    assert log.context[1].values == ("Oslo", "Rome")
    mean, sd = log.context[0].mean, log.context[0].sd
    np.testing.assert_allclose(log.rows["context"][:, 0] * sd + mean, [20.0, 20.0, 40.0], rtol=1e-6)
    np.testing.assert_array_equal(log.rows["context"][:, 1:], [[0, 1, 0], [0, 1, 0], [1, 0, 0]])
    assert "columns of ml.user that are left out: zip" in source_of(log)["remarks"]


def test_a_user_without_features_has_a_missing_context(tmp_path):
    log = read(write(tmp_path, ml_inter=INTER, ml_user="user_id:token age:float city:token\nu1 20 \n"))
    np.testing.assert_array_equal(log.rows["context"][:, 1], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(log.rows["context"][:, -1], [1.0, 1.0, 1.0])
    assert "1 of 2 users are not in ml.user" in source_of(log)["remarks"]


def test_items_and_their_embeddings(tmp_path):
    items = "item_id:token year:float one:float_seq two:float_seq\nb 1995 1|2 3\na 1996 4|5 6\nc 1997 7|8 9\n"
    log = read(write(tmp_path, ml_inter=INTER, ml_item=items, ml_kg="head_id:token\n"))
    assert log.catalog["source_id"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(log.catalog["embeddings"], [[4, 5, 6], [1, 2, 3], [7, 8, 9]])
    assert "item_features" not in source_of(log)
    assert sorted(source_of(log)["files"]) == ["ml.inter", "ml.item"]
    assert "ml.kg is not read" in source_of(log)["remarks"]


def test_items_without_vectors_and_an_item_that_the_file_lacks(tmp_path):
    items = "item_id:token year:float genres:token_seq\nb 1995 Action|Drama\nc 1997 War\n"
    log = read(write(tmp_path, ml_inter=INTER, ml_item=items))
    assert log.catalog["source_id"].tolist() == ["a", "b", "c"]
    assert source_of(log)["item_features"][0]["column"] == "year"
    assert not log.catalog["embeddings"][0].any()
    np.testing.assert_allclose(np.linalg.norm(log.catalog["embeddings"][1:], axis=1), 1.0, rtol=1e-6)


def test_the_parts_of_a_split(tmp_path):
    first, second = (f"user_id:token item_id:token\nu{n} a\n" for n in (1, 2))
    write(tmp_path, ml_train_inter=first, ml_test_inter=second, ml_user="user_id:token age:float\nu1 1\nu2 2\n")
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path)
    pattern = str(caught.value).split("'")[1]
    log = read(tmp_path, type(tmp_path)(pattern))
    assert log.num_rows == 2
    assert len(log.context) == 1


def test_sessions_without_users(tmp_path):
    write(tmp_path, shop_inter="session_id:token item_id:token timestamp:float\ns1 a 1700000000\ns1 b 1700000001\n")
    with pytest.raises(InvalidInput, match="has no column user_id; it has session_id, item_id, timestamp: say --user"):
        read(tmp_path)
    assert read(tmp_path, user="session_id").num_sessions == 1


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, r"has no file \*\.inter; pass the folder"),
        ({"ml_inter": "user_id item_id\n1 2\n"}, {}, "column 'user_id' has no type token, token_seq, float"),
        ({"ml_inter": "user_id:token,item_id:token\n1,2\n"}, {}, "say --delimiter ','"),
        ({"ml_inter": "user_id:token item_id:token\n1 2\n"}, {"liked_from": 4.0}, "has no column rating; leave it out"),
        ({"ml_inter": INTER, "ml_item": "id:token\nb\n"}, {}, "ml.item has no column item_id; it has id"),
        ({"ml_inter": INTER, "ml_item": "item_id:token\nc\n"}, {}, "ml.item has no item_id=a"),
        ({"ml_inter": INTER, "ml_item": "item_id:token v:float_seq\nb 1|2\na 1\n"}, {}, "data row 2: 1 finite numbers"),
        ({"ml_inter": INTER, "ml_item": "item_id:token v:float_seq\nb 1|x\na 1\n"}, {}, "is no sequence of numbers"),
        ({"ml_inter": INTER, "ml_user": "user_id:token\nu1\nu1\n"}, {}, "ml.user names a user twice"),
        ({"ml_inter": INTER.replace("17000000", "17000000000000")}, {}, "say --time-unit microseconds"),
    ],
)
def test_what_is_refused(tmp_path, files, options, message):
    write(tmp_path, **files)
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, **options)


def test_milliseconds(tmp_path):
    write(tmp_path, ml_inter=INTER.replace("17000000", "17000000000"))
    with pytest.raises(InvalidInput, match="say --time-unit milliseconds"):
        read(tmp_path)
    log = read(tmp_path, time_unit="milliseconds", options=ImportOptions(history_length=2))
    assert log.rows["timestamp"][0] == 1700000000.0


def test_ratings_that_are_called_labels(tmp_path):
    write(tmp_path, ml_inter=INTER.replace("rating:float", "label:float"))
    with pytest.raises(
        InvalidInput, match=r"label=5 is not in \[0, 1\], as labels are; say --rating label --label none"
    ):
        read(tmp_path)
    assert read(tmp_path, rating="label", label="none").reward().tolist() == [5.0, 2.0, 4.0]


def test_dates_and_missing_values(tmp_path):
    write(tmp_path, ml_inter=INTER.replace("1700000000", "20240501").replace("1700000060", ""))
    with pytest.raises(InvalidInput, match="--missing drop"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="say --time-format %Y%m%d"):
        read(tmp_path, missing="drop")
    log = read(tmp_path, missing="drop", time_format="%Y%m%d")
    assert log.rows["timestamp"][:].tolist() == [1714521600.0] * 2
    assert "1 of 3 rows were left out: 1 without timestamp" in source_of(log)["remarks"]


@pytest.mark.parametrize("option", ["rating", "time", "label"])
def test_a_column_that_is_named_and_not_there_is_refused(tmp_path, option):
    write(tmp_path, ml_inter=INTER)
    with pytest.raises(InvalidInput, match=f"--{option} stars: .*has no such column; it has user_id, .*name one"):
        read(tmp_path, **{option: "stars"})
