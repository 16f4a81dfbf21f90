"""Paths as people give them: folders of parts as Spark writes them, columns that folders name, and patterns."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from offline_data.interop.readers.table import TableReader
from offline_data.interop.table_files import column_names, read_whole
from offline_data.interop.table_parts import part_names, parts_of
from offline_data.interop.tables import read_tables
from offline_data.interop.text_format import PLAIN
from recenv.errors import InvalidInput


def ids(path, column="user"):
    read = read_tables([path], {column: "id"}).values[column]
    return read.source[read.codes].tolist()


def spark(folder, **parts):
    """Write a folder as Spark does: parts, an empty one, checksums and a mark of success."""
    folder.mkdir(parents=True)
    for name, users in parts.items():
        parquet.write_table(pa.table({"user": users}), folder / f"part-{name}.c000.snappy.parquet")
        (folder / f".part-{name}.c000.snappy.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    (folder / "part-empty").touch()
    return folder


def test_a_folder_of_parquet_parts(tmp_path):
    folder = spark(tmp_path / "log", **{"2": ["b"], "10": ["c", "d"], "1": ["a"], "11": pa.array([], pa.string())})
    read = read_tables([folder], {"user": "id"})
    assert ids(folder) == ["a", "b", "c", "d"], "numbers in names are numbers"
    assert [count for _, count in read.counts] == [1, 1, 2, 0]
    assert read.remarks == [
        "4 files are read in the order of their names, part-1.c000.snappy.parquet to part-11.c000.snappy.parquet"
    ]
    assert read.place(2).endswith("part-10.c000.snappy.parquet: data row 1")
    assert read_whole(folder).column("user").to_pylist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("path", ["log", "log/*", "log/date=*", "log/**/*", "log/*/*/*.parquet"])
def test_folders_that_name_columns(tmp_path, path):
    for day, user in (("2024-05-01", "a"), ("2024-05-02", "b"), ("__HIVE_DEFAULT_PARTITION__", "c")):
        spark(tmp_path / "log" / f"date={day}" / "hour=07%3A30", **{"0": [user]})
    (tmp_path / "log" / "_temporary").mkdir()
    read = read_tables([tmp_path / path], {"user": "id", "date": "time", "hour": "text"})
    assert column_names(tmp_path / path) == ["user", "date", "hour"]
    assert ids(tmp_path / path) == ["a", "b", "c"]
    assert read.values["date"][:2].tolist() == [1714521600.0, 1714608000.0]
    assert read.values["hour"].source.tolist()[0] == "07:30"
    assert np.isnan(read.values["date"][2])
    names = part_names([file for file, _ in read.counts])
    assert names[0] == "date=2024-05-01/hour=07%3A30/part-0.c000.snappy.parquet"


def test_a_folder_of_csv_parts(tmp_path):
    for n, rows in enumerate(("1,x\n", "", "2,y\n")):
        (tmp_path / f"part-{n}.csv").write_text(f"user,item\n{rows}")
    (tmp_path / "part-9.csv").write_text("item,more,user\nz,7,3\n")
    (tmp_path / "notes.tsv").write_text("nothing")
    assert ids(tmp_path / "part-*.csv") == [1, 2, 3]
    read = read_tables([tmp_path / "*.csv"], {"user": "id", "item": "id"})
    assert read.values["item"].source.tolist() == ["x", "y", "z"]
    assert "1 of 4 files have other columns than part-0.csv (the first, part-9.csv, differs in more)" in read.remarks[1]
    with pytest.raises(InvalidInput, match=r"notes\.tsv"):
        ids(tmp_path)


def test_a_log_and_its_items_in_folders(tmp_path):
    for day in (1, 2):
        folder = tmp_path / "log" / f"date=2024-05-0{day}"
        folder.mkdir(parents=True)
        parquet.write_table(pa.table({"user": ["a"], "item": [f"i{day}"], "click": [1]}), folder / "0.parquet")
        (tmp_path / "items").mkdir(exist_ok=True)
        parquet.write_table(
            pa.table({"item": [f"i{day}"], "price": [float(day)]}), tmp_path / "items" / f"{day}.parquet"
        )
    words = ("user_id=user", "item_id=item", "timestamp=date", "feedback.click=click")
    log = TableReader(path=tmp_path / "log", map=words, items=tmp_path / "items").read(tmp_path / "out")
    assert log.rows["timestamp"][:].tolist() == [1714521600.0, 1714608000.0]
    assert log.catalog["price"].tolist() == [1.0, 2.0]
    assert sorted(log.manifest["source"]["files"]) == [
        "items/1.parquet",
        "items/2.parquet",
        "log/date=2024-05-01/0.parquet",
        "log/date=2024-05-02/0.parquet",
    ]


def test_parts_that_are_none(tmp_path):
    for folder, tables, message in (
        ("columns", [{"user": [1]}, {"uid": [2]}], "1.parquet has no column user; it has uid"),
        ("types", [{"user": [1]}, {"user": ["x"]}], "1.parquet, column user: it holds string, and in "),
        ("lists", [{"user": [1]}, {"user": [[2]]}], "1.parquet, column user: it holds list"),
    ):
        (tmp_path / folder).mkdir()
        for n, table in enumerate(tables):
            parquet.write_table(pa.table(table), tmp_path / folder / f"{n}.parquet")
        with pytest.raises(InvalidInput) as caught:
            ids(tmp_path / folder)
        assert message in str(caught.value)
        with pytest.raises(InvalidInput, match="write them alike"):
            read_whole(tmp_path / folder)


def test_parts_of_one_sort_may_differ_in_width(tmp_path):
    """A part with a missing value has floating numbers, as pandas writes it, and one with none at all no type."""
    for n, users in enumerate((pa.array([1], pa.int32()), pa.array([2.0]), pa.array([None]), pa.array([3]))):
        parquet.write_table(pa.table({"user": users, "item": [n]}), tmp_path / f"{n}.parquet")
    read = read_tables([tmp_path], {"item": "id", "user": "number"})
    assert read.values["user"].tolist()[:2] == [1.0, 2.0]
    assert ids(tmp_path / "[013].parquet") == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "path", "message"),
    [
        ([], "absent.csv", "absent.csv does not exist; give the path of a CSV or Parquet file, of a folder of such"),
        ([], "*.csv", "is the pattern of no file; mend it"),
        (["log/_SUCCESS"], "log", "is a folder without a file that holds anything"),
        (["log/2024/a.csv"], "log", "holds a folder 2024, which names no column as date=2024-01-01 does"),
        (["log/_delta_log/0.json", "log/a.csv"], "log", "is a table of Delta Lake, which may hold files"),
        (["log/metadata/v1.metadata.json", "log/data/a.csv"], "log", "is a table of Iceberg"),
        (["log/user=1/a.csv"], "log", "has a column user, and so has its folder's name"),
        (["log/day=1/day=2/a.csv"], "log", "names the column day a second time"),
    ],
)
def test_paths_that_are_refused(tmp_path, make, path, message):
    for name in make:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if name.endswith("_SUCCESS") else "user,item\n1,2\n")
    with pytest.raises(InvalidInput) as caught:
        ids(tmp_path / path)
    assert str(caught.value).startswith(str(tmp_path / path))
    assert message in str(caught.value)


def test_the_remedy_of_a_folder_in_a_folder(tmp_path):
    for name in ("2024", "2023/12"):
        (tmp_path / "log" / name).mkdir(parents=True)
        (tmp_path / "log" / name / "a.csv").write_text(f"user\n{name}\n")
    with pytest.raises(InvalidInput) as caught:
        ids(tmp_path / "log")
    pattern = str(caught.value).rpartition("'")[0].rpartition("'")[2]
    assert ids(type(tmp_path)(pattern)) == ["2023/12", "2024"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InvalidInput, match="is no regular file; give"):
            ids(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        parts_of(tmp_path / ("x" * 300))
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "a=1").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidInput, match="names the column a a second time"):
        ids(tmp_path / "loop")


def test_a_name_with_a_bracket_is_a_name(tmp_path):
    (tmp_path / "log [1].csv").write_text("user\n1\n")
    assert column_names(tmp_path / "log [1].csv", PLAIN) == ["user"]


def test_a_file_of_something_else_in_the_folder_leads_to_a_pattern(tmp_path):
    """Which works when it is followed."""
    (tmp_path / "items.txt").write_text("sku\nA\n")
    (tmp_path / "log.csv").write_text("user\nu\nv\n")
    with pytest.raises(InvalidInput, match=r"items\.txt has no column user; it has sku; .* pattern .*'.*/\*\.csv'"):
        ids(tmp_path)
    assert ids(tmp_path / "*.csv") == ["u", "v"]


def test_json_lines_of_two_kinds_name_the_column(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text('{"user": "u"}\n{"user": 7}\n')
    with pytest.raises(InvalidInput, match="column user: it is a string in one row and a number in another; write it"):
        ids(file)
    file.write_text('{"user": "u"}\n{"user": "7"}\n')
    assert ids(file) == ["u", "7"]
