"""Columns of CSV and Parquet files: every kind in every way it is written, and errors that say where."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.interop.table_files import column_names, read_whole
from offline_data.interop.tables import TimeFormat, read_tables
from offline_data.interop.text_format import TextFormat
from recenv.errors import InvalidInput

KINDS: dict[str, Any] = {"user": "id", "item": "id", "score": "number", "when": "time"}
HEADER = "user,item,score,when,other\n"
ROWS = "3,b,0.5,10,x\n1,a,,20,y\n3,b,1,30.5,z\n"


def write(path: Path, text: str, name: str = "log.csv") -> Path:
    file = path / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_kinds_of_csv(tmp_path, name):
    seen: list[int] = []
    read = read_tables([write(tmp_path, HEADER + ROWS, name)], KINDS, progress=seen.append)
    values = read.values
    assert (read.counts, seen) == ([(tmp_path / name, 3)], [3])
    np.testing.assert_array_equal(values["user"].codes, [1, 0, 1])
    np.testing.assert_array_equal(values["user"].source, [1, 3])
    assert values["item"].source.tolist() == ["a", "b"]
    np.testing.assert_array_equal(values["score"], [0.5, np.nan, 1.0])
    np.testing.assert_array_equal(values["when"], [10.0, 20.0, 30.5])


@pytest.mark.parametrize(
    "texts",
    [("2020-01-01T00:00:00", "2020-01-01 00:00:02"), ("2020-01-01T00:00:00Z", "2020-01-01 01:00:02+01:00")],
)
def test_times_in_words(tmp_path, texts):
    values = read_tables(
        [write(tmp_path, "when\n" + "\n".join(texts))], {"when": "time"}, times=TimeFormat("milliseconds")
    ).values
    np.testing.assert_array_equal(values["when"], [1577836800.0, 1577836802.0])


def test_times_in_milliseconds(tmp_path):
    values = read_tables(
        [write(tmp_path, "when\n1500\n2000\n")], {"when": "time"}, times=TimeFormat("milliseconds")
    ).values
    np.testing.assert_array_equal(values["when"], [1.5, 2.0])


def test_truths_may_be_numbers_and_flags(tmp_path):
    file = write(tmp_path, "click,left\nTrue,0\nfalse,1\n")
    values = read_tables([file], {"click": "number", "left": "flag"}).values
    np.testing.assert_array_equal(values["click"], [1.0, 0.0])
    np.testing.assert_array_equal(values["left"], [False, True])


def test_text_may_be_empty(tmp_path):
    values = read_tables([write(tmp_path, 'id,tag\n1,"12,65"\n2,\n')], {"id": "id", "tag": "text"}).values
    assert values["tag"].source[values["tag"].codes].tolist() == ["12,65", ""]


def test_ids_become_text_where_a_later_file_has_text(tmp_path):
    """Over the files together: what begins as integers is read again as text."""
    first, second = write(tmp_path, "id\n10\n9\n", "a.csv"), write(tmp_path, "id\nx\n", "b.csv")
    read = read_tables([first, second], {"id": "id"})
    ids = read.values["id"]
    assert ids.source[ids.codes].tolist() == ["10", "9", "x"]
    assert [count for _, count in read.counts] == [2, 1]


def test_a_delimiter_and_names_of_a_file_without_a_header(tmp_path):
    file = write(tmp_path, "1::7::5\n2::8::3\n")
    values = read_tables(
        [file], {"c": "number", "a": "id"}, text=TextFormat(":", names=["a", "_1", "b", "_2", "c"])
    ).values
    np.testing.assert_array_equal(values["a"].source, [1, 2])
    np.testing.assert_array_equal(values["c"], [5.0, 3.0])


def test_parquet_gives_the_same_as_csv(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    columns = {
        "user": pa.array([3, 1, 3], pa.int32()),
        "item": pa.array(["b", "a", "b"]).dictionary_encode(),
        "score": pa.array([0.5, None, 1.0], pa.float32()),
        "when": pa.array([10_000, 20_000, 30_500], pa.timestamp("ms")),
    }
    parquet.write_table(pa.table(columns), file, row_group_size=2)
    values = read_tables([file], KINDS).values
    wanted = read_tables([write(tmp_path, HEADER + ROWS)], KINDS).values
    for name in ("user", "item"):
        for part in (0, 1):
            np.testing.assert_array_equal(values[name][part], wanted[name][part])
    for name in ("score", "when"):
        np.testing.assert_array_equal(values[name], wanted[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,a,x,0,\n", "data row 1, column score: invalid value 'x'"),
        (
            HEADER + "1,a,1,0,\n2,a,1,noon,\n",
            "data row 2: 'noon' is no time; mend it, or leave it empty and say --missing drop; times are",
        ),
        (HEADER + "1,a,1,0,\n,a,1,0,\n", "data row 2 has no user"),
        (HEADER + "1,a,1,0\n", "data row 1 has 4 columns and the table 5; mend the row"),
        ("user,item,score,other\n", "has no column when; it has user, item, score, other"),
        ("", "log.csv is empty; copy it again"),
    ],
)
def test_what_is_wrong_with_a_csv_file_and_where(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        read_tables([file], KINDS)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_are_named_though_only_some_are_read(tmp_path):
    with pytest.raises(InvalidInput, match=r"data row 1: 'noon' is no time; .*; times are numbers"):
        read_tables([write(tmp_path, HEADER + "1,a,1,noon,\n")], {"when": "time", "user": "id"})


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        column_names(tmp_path / "absent.csv")
    file = write(tmp_path, HEADER + ROWS * 1000, "log.csv.gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match=r"log\.csv\.gz is damaged"):
        read_tables([file], KINDS)
    with pytest.raises(InvalidInput, match="no Parquet file"):
        read_tables([write(tmp_path, "not parquet", "log.parquet")], KINDS)


def test_parquet_columns_of_another_kind(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    for values, kind, message in [
        (["x"], "number", "column a: "),
        ([0.5], "whole", "column a: "),
        ([None], "whole", "has no a"),
        ([2], "time", None),
    ]:
        parquet.write_table(pa.table({"a": values}), file)
        if message is None:
            assert read_tables([file], {"a": kind}).values["a"].tolist() == [2.0]
            continue
        with pytest.raises(InvalidInput, match=message):
            read_tables([file], {"a": kind})


def test_parquet_times_as_others_write_them(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    for values in (
        pa.array([1_577_836_800_000_000_123, 1_577_836_802_000_000_000], pa.timestamp("ns")),
        pa.array([1_577_836_800, 1_577_836_802], pa.timestamp("s", "Europe/Berlin")),
        pa.array(["2020-01-01T00:00:00", "2020-01-01 00:00:02"]),
        pa.array(["2020-01-01T00:00:00Z", "2020-01-01T01:00:02+01:00"]).dictionary_encode(),
    ):
        parquet.write_table(pa.table({"when": values}), file)
        np.testing.assert_array_equal(read_tables([file], {"when": "time"}).values["when"], [1577836800, 1577836802])


@pytest.mark.parametrize("ids", [[1.0, float("nan")], ["a", ""]])
def test_an_id_that_is_none_is_missing(tmp_path, ids):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"a": pa.array(ids, from_pandas=False)}), file)
    with pytest.raises(InvalidInput, match="data row 2 has no a"):
        read_tables([file], {"a": "id"})


@pytest.mark.parametrize("flags", [[0, 2], [0.5, 1.0]])
def test_a_number_is_no_flag_unless_it_is_0_or_1(tmp_path, flags):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"a": flags, "b": [0.0, 1.0]}), file)
    np.testing.assert_array_equal(read_tables([file], {"b": "flag"}).values["b"], [False, True])
    with pytest.raises(InvalidInput, match="column a: it holds other numbers than 0 and 1"):
        read_tables([file], {"a": "flag"})


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="several columns named a; rename them"):
        read_tables([write(tmp_path, "a,b,a\n1,2,3\n")], {"a": "id"})


def test_a_table_that_outgrows_its_file_is_refused_before_it_is_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"a": np.zeros(20_000_000, np.int8), "b": np.zeros(20_000_000, np.int8)}), file)
    with pytest.raises(InvalidInput, match=r"log.parquet unpacks to 160,"):
        read_tables([file], {"a": "whole"})
    with pytest.raises(InvalidInput, match=r"log.parquet unpacks to 320,"):
        read_whole(file)


def test_parquet_as_other_tools_write_it(tmp_path):
    """Times with a zone, decimal numbers, texts without their mark, and UUIDs."""
    import uuid
    from datetime import UTC, datetime, timedelta, timezone
    from decimal import Decimal

    import pyarrow as pa
    from pyarrow import parquet

    noon = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    names = [uuid.UUID(int=2), uuid.UUID(int=1)]
    table = {
        "berlin": pa.array([noon, None], pa.timestamp("ns", "Europe/Berlin")),
        "id": pa.array([Decimal(7), Decimal(9)], pa.decimal128(18, 0)),
        "price": pa.array([Decimal("19.99"), None], pa.decimal128(9, 2)),
        "bytes": pa.array([b"ann", b"bob"], pa.binary()),
        "uuid": pa.array([name.bytes for name in names], pa.uuid()),
    }
    parquet.write_table(pa.table(table), tmp_path / "log.parquet")
    kinds: dict[str, Any] = {"berlin": "time", "id": "id", "price": "number", "bytes": "id", "uuid": "id"}
    values = read_tables([tmp_path / "log.parquet"], kinds).values
    assert values["berlin"][0] == datetime(2024, 5, 1, 10, tzinfo=UTC).timestamp()
    assert values["id"].source.tolist() == [7, 9]
    assert values["price"][0] == 19.99
    assert values["bytes"].source.tolist() == ["ann", "bob"]
    assert values["uuid"].source.tolist() == sorted(map(str, names))
    parquet.write_table(pa.table({"berlin": pa.array([noon], pa.timestamp("us"))}), tmp_path / "other.parquet")
    with pytest.raises(InvalidInput, match=r"other\.parquet, column berlin: it holds timestamp\[us\], and in "):
        read_tables([tmp_path / "log.parquet", tmp_path / "other.parquet"], {"berlin": "time"})
