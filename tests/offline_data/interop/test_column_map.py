"""A log through a column map: every role, what it refuses, and nothing left behind by a failure."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from recenv.errors import InvalidInput

ROLES = {"user_id": "uid", "item_id": "vid", "timestamp": "ts", "feedback": {"click": "clicked", "watch": "share"}}
TABLE = """uid,vid,ts,clicked,share,p,page,rank,visit
ann,7,1000,1,0.5,0.25,0,0,5
ann,9,1000,0,0,0.5,0,1,5
bob,7,1000,1,0.25,0.5,3,0,2
ann,9,99000,0,0,0.5,1,0,6
bob,8,1010,1,1,0.125,4,0,2
"""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text(TABLE)
    return file


def test_sessions_by_a_gap_and_one_item_slates(table, tmp_path):
    log = import_table(table, tmp_path / "out", ColumnMap.of(ROLES))
    assert (log.num_sessions, log.num_rows, log.slate_size, log.num_items) == (3, 5, 1, 3)
    assert log.sessions["source_user_id"].tolist() == ["ann", "ann", "bob"]
    assert log.catalog["source_id"][log.rows["slate"][:, 0]].tolist() == [7, 9, 9, 7, 8]
    np.testing.assert_array_equal(log.rows["timestamp"], [1000, 1000, 99000, 1000, 1010])
    # ann's second session ends with the log: it may go on.
    np.testing.assert_array_equal(log.rows["truncated"], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(log.rows["terminated"], [0, 1, 0, 0, 1])
    assert (log.propensities, log.manifest["feedback_names"]) == ("missing", ["click", "watch"])
    source = log.manifest["source"]
    assert source["options"]["columns"] == ROLES
    assert (source["reader"], list(source["files"])) == ("table", ["log.csv"])


def test_slates_by_step_and_position_with_propensities(table, tmp_path):
    roles = {**ROLES, "session_id": "visit", "step": "page", "position": "rank", "propensity": "p"}
    log = import_table(table, tmp_path / "out", ColumnMap.of(roles))
    assert (log.num_sessions, log.num_rows, log.slate_size, log.propensities) == (3, 4, 2, "exact")
    np.testing.assert_array_equal(log.rows["slate"], [[0, 2], [2, 2], [0, 0], [1, 1]])
    np.testing.assert_array_equal(log.rows["shown"], [[1, 1], [1, 0], [1, 0], [1, 0]])
    np.testing.assert_allclose(np.exp(log.rows["prefix_log_prob"]), [[0.25, 0.125], [0.5] * 2, [0.5] * 2, [0.125] * 2])
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.125, 0.5, 0.5, 0.125])


def test_milliseconds(table, tmp_path):
    log = import_table(table, tmp_path / "out", ColumnMap.of(ROLES), time_unit="milliseconds")
    np.testing.assert_array_equal(log.rows["timestamp"], [1.0, 1.0, 99.0, 1.0, 1.01])
    assert log.num_sessions == 2


def test_without_feedback_a_click_is_a_positive_reward(table, tmp_path):
    roles = {"user_id": "uid", "item_id": "vid", "reward.minutes": "share"}
    log = import_table(table, tmp_path / "out", ColumnMap.of(roles))
    assert log.manifest["reward_weights"] == {"minutes": 1.0}
    np.testing.assert_array_equal(log.rows["feedback"][:, 0, 0], [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(log.reward(), [0.5, 0.0, 0.0, 0.25, 1.0])
    assert "feedback: a click is minutes > 0" in log.manifest["source"]["lacking"]


def test_one_column_may_have_several_roles(table, tmp_path):
    roles = {"user_id": "uid", "item_id": "vid", "step": "ts", "timestamp": "ts", "session_id": "uid"}
    log = import_table(
        table, tmp_path / "out", ColumnMap.of({**roles, "feedback.click": "clicked", "terminated": "clicked"})
    )
    np.testing.assert_array_equal(log.rows["slate"], [[0, 2], [2, 2], [0, 0], [1, 1]])
    np.testing.assert_array_equal(log.rows["timestamp"], [1000, 99000, 1000, 1010])
    np.testing.assert_array_equal(log.rows["feedback"][:, :, 0], [[1, 0], [0, 0], [1, 0], [1, 0]])
    np.testing.assert_array_equal(log.rows["terminated"], [0, 0, 0, 1])
    np.testing.assert_array_equal(log.rows["truncated"], [0, 1, 0, 0])


def test_items_of_a_file(table, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("vid,price,name,stars\n9,2.5,b,1\n3,0.5,z,2\n7,1.5,a,3\n8,,c,4\n")
    log = import_table(table, tmp_path / "out", ColumnMap.of(ROLES), items=items)
    assert log.num_items == 4
    assert log.catalog["source_id"].tolist() == [3, 7, 8, 9]
    np.testing.assert_array_equal(log.catalog["price"], [0.5, 1.5, np.nan, 2.5])
    np.testing.assert_array_equal(log.catalog["stars"], [2, 3, 4, 1])
    assert "name" not in log.catalog
    assert log.catalog["source_id"][log.rows["slate"][:, 0]].tolist() == [7, 9, 9, 7, 8]
    assert sorted(log.manifest["source"]["files"]) == ["items.csv", "log.csv"]


@pytest.mark.parametrize("name", ["embedding_", "embeddings_", "embedding.", "embedding"])
def test_numbered_columns_are_one_embedding(table, tmp_path, name):
    items = tmp_path / "items.csv"
    # Eleven coordinates: the tenth comes after the second.
    header = ",".join(f"{name}{n}" for n in (10, *range(10)))
    rows = "".join(f"{vid},{','.join(str(vid + n) for n in (10, *range(10)))}\n" for vid in (9, 3, 7, 8))
    items.write_text(f"vid,{header}\n{rows}")
    log = import_table(table, tmp_path / "out", ColumnMap.of(ROLES), items=items)
    expected = np.array([3, 7, 8, 9])[:, None] + np.arange(11)
    np.testing.assert_array_equal(log.catalog["embeddings"], expected.astype(np.float32))
    assert log.catalog["embeddings"].dtype == np.float32
    assert "embeddings of the items" not in log.manifest["source"]["lacking"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vid,embedding_0,embedding_2\n7,1,1\n8,2,1\n9,1,1\n", "number them from 0 without a gap"),
        ("vid,embedding_0,embedding_1\n7,1,1\n8,,1\n9,1,1\n", "row 2: coordinate 0 of its embeddings is nan"),
        ("vid,price\n7,1\n7,2\n8,1\n9,1\n", "names an item twice in vid"),
        ("other,price\n7,1\n", "has no column item_id; it has other, price"),
        ("vid,price\n7,1\n,2\n", "items.csv: data row 2 has no vid"),
        ("vid,price\n", "items.csv has a header and no rows"),
        ("vid,../../price\n7,1\n8,2\n9,1\n", "column '../../price' makes no file name; rename it"),
        ("vid,price/EUR\n7,1\n8,2\n9,1\n", "column 'price/EUR' makes no file name; rename it"),
        ("vid,embeddings\n7,1\n8,2\n9,1\n", "column embeddings: it holds no lists of finite numbers"),
        (
            "item_id,price\na,1\n",
            "has no item_id=7, which the log shows (3 of 3 items are lacking); write the ids alike",
        ),
    ],
)
def test_bad_files_of_items(table, tmp_path, text, message):
    items = tmp_path / "items.csv"
    items.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        import_table(table, tmp_path / "out", ColumnMap.of(ROLES), items=items)
    assert message in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["items.csv", "log.csv"]


def test_roles_may_stand_flat():
    flat = {"user_id": "u", "item_id": "i", "feedback.click": "c", "feedback.like": "l", "reward": "r"}
    nested = {"user_id": "u", "item_id": "i", "feedback": {"click": "c", "like": "l"}, "reward": {"reward": "r"}}
    assert ColumnMap.of(flat) == ColumnMap.of(nested)


def test_rows_of_ids_alone_are_clicks_and_rows_of_slates_are_not(tmp_path):
    """What a user did is all that such a log tells; what was shown is no answer."""
    table = tmp_path / "log.csv"
    table.write_text("user,item,ts\nu,a,1700000000\nu,b,1700000060\nv,a,1700000000\n")
    log = import_table(table, tmp_path / "ids", ColumnMap.of({"user_id": "user", "item_id": "item", "timestamp": "ts"}))
    assert (log.rows["feedback"] == 1.0).all()
    assert log.session_returns().tolist() == [2.0, 1.0]
    assert log.manifest["source"]["lacking"][-1] == "feedback"
    remark = "warning: no feedback and no reward is mapped, and each row is taken for a click; map one, as in feedback."
    assert [each.startswith(remark) for each in log.manifest["source"]["remarks"]] == [True]
    table.write_text("user,item\nu,a|b\n")
    with pytest.raises(InvalidInput, match=r"item holds slates, and no feedback and no reward is mapped; map one"):
        import_table(table, tmp_path / "rows", ColumnMap.of({"user_id": "user", "item_id": "item"}), list_delimiter="|")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"user_id": "u", "item_id": "i", "position": "p"}, "position, as of what was shown, and no feedback and no"),
        ({"user_id": "u", "reward": "r"}, "has no item_id; map it, as in item_id=COLUMN"),
        ({**ROLES, "userid": "u"}, "unknown role of a column 'userid'; did you mean 'user_id'"),
        ({**ROLES, "step.x": "u"}, "unknown role of a column 'step.x'"),
        ({**ROLES, "step": 3}, "3 in the column map is no column's name"),
        ({**ROLES, "propensity": "p", "prefix_log_prob": "q"}, "both propensity and prefix_log_prob"),
    ],
)
def test_bad_maps(roles, message):
    with pytest.raises(InvalidInput) as caught:
        ColumnMap.of(roles)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.125", "0", "data row 5: p=0 is not in (0, 1]"),
        ("0.125", "1.5", "data row 5: p=1.5 is not in (0, 1]"),
        ("ann,9,99000,0", "ann,9,99000,7", "data row 4: clicked=7 is not in [0, 1]"),
        ("ann,9,99000,0", "ann,9,99000,maybe", "data row 4, column clicked: invalid value 'maybe'"),
        ("bob,7", "bob,", "data row 3 has no vid"),
        ("3,0,2", "3.5,0,2", "data row 3, column page: '3.5' is no whole number"),
        (",99000,", ",,", "data row 4 has no ts, which is missing in 1 of 5 rows"),
    ],
)
def test_bad_values_name_file_row_and_column_and_leave_nothing(table, tmp_path, old, new, message):
    assert old in TABLE
    table.write_text(TABLE.replace(old, new, 1))
    roles = {**ROLES, "propensity": "p", "step": "page"}
    with pytest.raises(InvalidInput) as caught:
        import_table(table, tmp_path / "out", ColumnMap.of(roles))
    assert str(table) in str(caught.value)
    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("items", [False, True])
def test_a_header_without_rows(tmp_path, items):
    roles = {**ROLES, "step": "page", "position": "rank", "propensity": "p"}
    for name in ("log.csv", "items.csv"):
        (tmp_path / name).write_text(TABLE.partition("\n")[0] + "\n")
    with pytest.raises(InvalidInput, match=r"log\.csv has a header and no rows; copy it again"):
        import_table(
            tmp_path / "log.csv", tmp_path / "out", ColumnMap.of(roles), items=tmp_path / "items.csv" if items else None
        )


def test_unknown_unit_and_column(table, tmp_path):
    with pytest.raises(InvalidInput, match="unknown time unit 'second'; did you mean 'seconds'"):
        import_table(table, tmp_path / "out", ColumnMap.of(ROLES), time_unit="second")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="has no column when; it has uid, vid"):
        import_table(table, tmp_path / "out", ColumnMap.of({**ROLES, "timestamp": "when"}))


def test_an_import_is_a_function_of_its_files(table, tmp_path, compared_bytes):
    for name in ("one", "two"):
        import_table(table, tmp_path / name, ColumnMap.of(ROLES), options=ImportOptions(session_gap=5.0))
    assert compared_bytes(tmp_path / "one") == compared_bytes(tmp_path / "two")
