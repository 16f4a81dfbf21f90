"""Files as people bring them: by what they hold and not by their names, and one sentence for what cannot be read."""

from __future__ import annotations

import bz2
import gzip

import pytest

from offline_data.interop.table_files import TextFormat, column_names
from offline_data.interop.tables import read_tables
from recenv.errors import InvalidInput

TEXT = "user,item\nann,7\nbob,8\n"


def packed(content):
    """Gzip, the same at each collection."""
    return gzip.compress(content, mtime=0)


def users(file, **form):
    ids = read_tables([file], {"user": "id"}, text=TextFormat(**form)).values["user"]
    return ids.source[ids.codes].tolist()


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (packed(TEXT.encode()), {}),
        (packed(b"\xef\xbb\xbf" + TEXT.encode()), {}),
        (bz2.compress(TEXT.encode()), {}),
        (b"\xef\xbb\xbf" + TEXT.encode(), {}),
        (TEXT.replace("\n", "\r\n").encode(), {}),
        (TEXT.replace("\n", "\r").encode(), {}),
        (TEXT.replace("\n", "\n\n").encode(), {}),
        (TEXT.replace(",", ";").encode(), {"delimiter": ";"}),
        (TEXT.replace(",", "\t").encode(), {"delimiter": "\t"}),
        (TEXT.encode("utf-16"), {"encoding": "utf-16"}),
        (packed(TEXT.encode("cp1252")), {"encoding": "cp1252"}),
    ],
)
def test_what_is_read(tmp_path, content, form):
    """The name says nothing: neither .gz nor .parquet, nor their lack."""
    for name in ("log", "log.csv", "log.csv.gz", "log.txt"):
        file = tmp_path / name
        file.write_bytes(content)
        assert users(file, **form) == ["ann", "bob"]


def test_parquet_by_another_name(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"user": ["ann", "bob"]}), tmp_path / "log.csv")
    assert users(tmp_path / "log.csv") == ["ann", "bob"]


def test_encodings_and_newlines_in_values(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes('usér,item\nJosé,1\n"a\nb",2\n'.encode("latin-1"))
    assert column_names(file, TextFormat(encoding="latin-1")) == ["usér", "item"]
    ids = read_tables([file], {"usér": "id"}, text=TextFormat(encoding="latin-1")).values["usér"]
    assert ids.source.tolist() == ["José", "a\nb"]
    # A newline in a value is found wherever a block of the file ends.
    file.write_text("user,item\n" + '"a\n",1\n' * 1_000_000)
    assert read_tables([file], {"user": "id"}).counts == [(file, 1_000_000)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; copy it again"),
        (packed(b""), "is empty; copy it again"),
        (b"user,item", "has no line that ends"),
        (b"user;item;click\n1;2;0\n", "it has user;item;click; its columns stand between ';': say --delimiter ';'"),
        (b"user\titem\n1\t2\n", r"its columns stand between '\t': say --delimiter '\t'"),
        (b"user|item\n1|2\n", "say --delimiter '|'"),
        (b"name,item\n1,2\n", "has no column user; it has name, item"),
        (b"user,user\n1,2\n", "has several columns named user; rename them"),
        ("usér,user\n1,2\n".encode("latin-1"), "the header is not written in utf-8; say how it is, as in --encoding"),
        ("user,item\n1,2\né,2\n".encode("latin-1"), "data row 2 is not written in utf-8; say how it is, as in"),
        (TEXT.encode("utf-16"), "is written in UTF-16; say --encoding utf-16"),
        (b"user,item\n1\0,2\n", "holds NUL bytes, as no text does"),
        (b"user,item\n" + b"1,2\n" * 20_000 + b"1\0,2\n", "data row 20001, column user: the id holds a NUL byte"),
        (b"user,item\n" + b"x" * 1001 + b",2\n", "data row 1, column user: the id has more than 1,000 characters"),
        (b"user,item\n1,2\n1\n", "data row 2 has 1 columns and the table 2; mend the row, or its quotes"),
        (b"user,item\n1,2,3\n", "data row 1 has 3 columns and the table 2"),
        (b'{"user": 1}\n', "is JSON and no table"),
        (b' [\n{"user": 1}]', "is JSON and no table"),
        (b"PK\x03\x04rest", "is a zip archive or a workbook; unpack it, or save it as CSV"),
        (b"\xfd7zXZ\x00rest", "is packed by xz; unpack it"),
        (packed(TEXT.encode() * 99)[:-9], "is damaged or no CSV file"),
        (packed(packed(TEXT.encode())), "holds NUL bytes"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    file = tmp_path / "log.csv"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        users(file)
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_bad_formats():
    for form, message in (
        ({"delimiter": ";;"}, "--delimiter ';;' is not one character"),
        ({"delimiter": '"'}, "--delimiter"),
        ({"encoding": "utf-99"}, "--encoding 'utf-99' is unknown"),
        ({"encoding": "rot13"}, "--encoding 'rot13' is unknown"),
    ):
        with pytest.raises(InvalidInput, match=message):
            TextFormat(**form)
