"""CSV files without a header: their columns are named, and files that have none are told."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.readers.table import TableReader
from recenv.errors import InvalidInput

ROWS = "7,9,1,1700000000\n7,3,0,1700000060\n8,9,0,1700000000\n"
NAMES = ("user", "item", "click", "ts")
ROLES = {"user_id": "user", "item_id": "item", "feedback.click": "click", "timestamp": "ts"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ROWS)
    return path


def test_columns_are_named(file, tmp_path):
    words = tuple(f"{role}={column}" for role, column in ROLES.items())
    log = TableReader(path=file, map=words, columns=NAMES).read(tmp_path / "out")
    assert (log.num_rows, log.num_sessions) == (3, 2)
    assert log.catalog["source_id"].tolist() == [3, 9]
    np.testing.assert_array_equal(log.rows["feedback"][:, 0, 0], [1, 0, 0])
    assert log.manifest["source"]["options"]["header"] == list(NAMES)


def test_items_may_lack_a_header_too_or_have_one(file, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("9,0.5,1\n3,1,0\n")
    names = ("item", "embedding_0", "embedding_1")
    log = import_table(file, tmp_path / "a", ColumnMap.of(ROLES), header=NAMES, items=items, item_header=names)
    items.write_text("item,embedding_0,embedding_1\n9,0.5,1\n3,1,0\n")
    other = import_table(file, tmp_path / "b", ColumnMap.of(ROLES), header=NAMES, items=items)
    np.testing.assert_array_equal(log.catalog["embeddings"], other.catalog["embeddings"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:3], r"--columns gives 3 names, and .*log.csv has 4 columns; .*its first row is 7, 9, 1, 1700000000"),
        ((*NAMES, "x"), r"--columns gives 5 names, .* has 4 columns"),
        (("user", "item", "item", "ts"), r"has no column click; it has user, item, item, ts"),
        (("user", "item", "click", "ts", "ts"), r"gives 5 names"),
    ],
)
def test_names_are_one_a_column(file, tmp_path, names, message):
    with pytest.raises(InvalidInput, match=message):
        import_table(file, tmp_path / "out", ColumnMap.of(ROLES), header=names)


def test_a_header_that_is_there_is_not_a_row(file, tmp_path):
    file.write_text(",".join(NAMES) + "\n" + ROWS)
    with pytest.raises(
        InvalidInput, match=r"has the names of --columns as its first row, user, item, .*leave --columns"
    ):
        import_table(file, tmp_path / "out", ColumnMap.of(ROLES), header=NAMES)


@pytest.mark.parametrize(
    "first", ["7,9,1,1700000000", "a,b,x,2024-05-01", "9b2d5ca0-3b0e-4a4c-8f5e-1b2c3d4e5f60,i,x,y"]
)
def test_a_first_row_that_looks_like_data_leads_to_the_remedy(tmp_path, first):
    """Which works when it is followed."""
    file = tmp_path / "log.csv"
    file.write_text(f"{first}\nu,i,0,1700000000\n".replace("x,y", "0,1700000000").replace("x,2024", "0,2024"))
    with pytest.raises(
        InvalidInput, match=r"has no column user, .*that looks like a row: .*--columns NAME NAME"
    ) as told:
        import_table(file, tmp_path / "out", ColumnMap.of(ROLES))
    assert re.search("--columns NAME", str(told.value))
    roles = {role: column for role, column in ROLES.items() if role != "timestamp"}
    log = import_table(file, tmp_path / "out", ColumnMap.of(roles), header=shlex.split("user item click ts"))
    assert log.num_rows == 2


def test_parquet_names_its_columns_itself(tmp_path):
    parquet.write_table(pa.table([[1], [2], [1], [1.7e9]], names=list(NAMES)), tmp_path / "log.parquet")
    with pytest.raises(InvalidInput, match=r"--columns .*Parquet"):
        import_table(tmp_path / "log.parquet", tmp_path / "out", ColumnMap.of(ROLES), header=NAMES)


def test_spaces_around_names_lead_to_the_remedy(tmp_path):
    """Which works when it is followed, in the file and in the map."""
    file = tmp_path / "log.csv"
    file.write_text("user, item,click,ts\n" + ROWS)
    with pytest.raises(
        InvalidInput, match="has spaces around names: write them without, or between quotes, as ' item'"
    ):
        import_table(file, tmp_path / "out", ColumnMap.of(ROLES))
    log = import_table(file, tmp_path / "out", ColumnMap.of({**ROLES, "item_id": " item"}))
    file.write_text("user,item,click,ts\n" + ROWS)
    other = import_table(file, tmp_path / "second", ColumnMap.of(ROLES))
    assert log.catalog["source_id"].tolist() == other.catalog["source_id"].tolist()
