"""Ids are text, unless every one of a column comes back the same from a whole number; CSV and Parquet alike."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.interactions import Ids
from offline_data.interop.table_files import MISSING
from offline_data.interop.table_ids import alike
from offline_data.interop.tables import read_tables
from recenv.errors import InvalidInput


@pytest.fixture(params=["csv", "parquet"])
def read(request, tmp_path):
    """Reads a column of texts as ids, from either format."""

    def read_ids(*texts):
        import pyarrow as pa
        from pyarrow import parquet

        file = tmp_path / f"log.{request.param}"
        if request.param == "csv":
            file.write_text("".join(f"{text},0\n" for text in ("id", *texts)))
        else:
            parquet.write_table(pa.table({"id": texts}), file)
        return read_tables([file], {"id": "id"})

    return read_ids


def ids_of(table):
    ids = table.values["id"]
    return ids.source[ids.codes].tolist()


@pytest.mark.parametrize(
    "text",
    ["00123", " 12", "12 ", "0x10", "123.0", "+1", "1e3", "9223372036854775808", "١٢", "-0", "1_000", "12L", "1.5"],
)
def test_one_id_that_is_no_whole_number_makes_all_text(read, text):
    assert ids_of(read(text, "123", "12")) == [text, "123", "12"]


def test_whole_numbers(read):
    largest, least = str(2**63 - 1), str(-(2**63))
    assert ids_of(read("12", largest, least, "0", "-7", "12")) == [12, 2**63 - 1, -(2**63), 0, -7, 12]


def test_whole_numbers_as_pandas_writes_them_beside_missing_ones(read):
    table = read("1.0", "20.0", "-3.0")
    assert ids_of(table) == [1, 20, -3]
    assert table.remarks == [
        "id has whole numbers with .0, as pandas writes them beside missing values: they are read as whole"
    ]


def test_ids_that_have_lost_digits_are_remarked(read):
    assert "have lost digits" in read("1.23457E+12", "7").remarks[0]


@pytest.mark.parametrize("text", [*MISSING, "  ", " NULL "])
def test_what_is_missing(read, text):
    with pytest.raises(InvalidInput, match="data row 2 has no id, which is missing in 2 of 4 rows"):
        read("a", text, "b", text)


def test_numbers_of_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    for values, expected in (
        (pa.array([2**64 - 1, 5], pa.uint64()), [str(2**64 - 1), "5"]),
        (pa.array([3.0, 1.0]), [3, 1]),
        (pa.array([3.5, 1.0]), ["3.5", "1"]),
        (pa.array([3, 1], pa.int8()), [3, 1]),
    ):
        parquet.write_table(pa.table({"id": values}), file)
        assert ids_of(read_tables([file], {"id": "id"})) == expected
    parquet.write_table(pa.table({"id": [1.7e18, 1.0]}), file)
    with pytest.raises(InvalidInput, match="column id: 1700000000000000000 as a floating number has lost digits"):
        read_tables([file], {"id": "id"})
    for values, message in (
        ([[1], [2, 3]], "it holds "),
        ([{"a": 1}, {"a": 2}], "it holds "),
        ([b"\xff", b"b"], "Invalid UTF8"),
        (pa.array([b"ab", b"cd"], pa.binary(2)), "it holds "),
    ):
        parquet.write_table(pa.table({"id": values}), file)
        with pytest.raises(InvalidInput, match=f"column id: {message}"):
            read_tables([file], {"id": "id"})


def test_ids_of_two_files_alike():
    whole, text = Ids.of(np.array([9, 10])), Ids.of(np.array(["9", "x"]))
    first, second = alike(whole, text)
    assert (first.source[first.codes].tolist(), second.source.tolist()) == (["9", "10"], ["9", "x"])
    assert alike(whole, whole)[0] is whole


def test_spaces_around_ids_are_said(tmp_path):
    """They tell ids apart, which looks like the same item twice."""
    file = tmp_path / "log.csv"
    file.write_text("id,other\nA,x\nA ,y\n")
    table = read_tables([file], {"id": "id", "other": "id"})
    assert table.remarks == ["id has values with spaces around them, such as 'A ': they are part of it"]
    assert table.values["id"].source.tolist() == ["A", "A "]
