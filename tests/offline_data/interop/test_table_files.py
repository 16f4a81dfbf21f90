"""Files as people bring them: by what they hold and not by their names, and one sentence for what cannot be read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from typing import Any

import pytest

from offline_data.interop.table_files import column_names
from offline_data.interop.tables import read_tables
from offline_data.interop.text_format import TextFormat
from recenv.errors import InvalidInput

TEXT = "user,item\nann,7\nbob,8\n"


def packed(content):
    """Gzip, the same at each collection."""
    return gzip.compress(content, mtime=0)


def archive(**members):
    """A zip archive of these files."""
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as into:
            for name, content in members.items():
                into.writestr(zipfile.ZipInfo(name), content)
        return out.getvalue()


JSON = '{"user": "ann", "item": 7, "when": "2024-05-01"}\n{"user": "bob", "tags": [1], "item": 8}\n'


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
        (lzma.compress(TEXT.encode()), {}),
        (packed(TEXT.encode()[:9]) + packed(TEXT.encode()[9:]), {}),
        (archive(**{"log.csv": TEXT, "__MACOSX/._log.csv": "x", ".hidden": "y"}), {}),
        (TEXT.encode("utf-16"), {}),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), {}),
        (TEXT.encode("utf-32"), {}),
        (packed(TEXT.encode("utf-16")), {}),
        (TEXT.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        (JSON.encode(), {}),
        (packed(JSON.encode()), {}),
        (JSON.encode("utf-16"), {}),
        (
            TEXT.replace("item", "PARENT")
            .replace("user,", "PARE,user,")
            .replace("\na", "\n1,a")
            .replace("\nb", "\n1,b")
            .encode(),
            {},
        ),
    ],
)
def test_what_is_read(tmp_path, content, form):
    """The name says nothing: neither .gz nor .parquet, nor their lack."""
    for name in ("log", "log.csv", "log.csv.gz", "log.txt"):
        file = tmp_path / name
        file.write_bytes(content)
        assert users(file, **form) == ["ann", "bob"]


def test_json_in_another_encoding(tmp_path):
    (tmp_path / "log.json").write_bytes(JSON.replace("bob", "böb").encode("latin-1"))
    assert users(tmp_path / "log.json", encoding="latin-1") == ["ann", "böb"]


def test_parquet_whose_texts_are_none(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"user": ["ann", "bob"]}), file, compression="none", use_dictionary=False)
    file.write_bytes(file.read_bytes().replace(b"bob", b"b\xffb"))
    with pytest.raises(InvalidInput, match="is damaged or no Parquet file"):
        users(file)


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
        (TEXT.encode("utf-16-le"), "is written in UTF-16 without a mark of it; say --encoding utf-16-le"),
        (TEXT.encode("utf-16-be"), "is written in UTF-16 without a mark of it; say --encoding utf-16-be"),
        (b"user,item\n1\0,2\n", "holds NUL bytes, as no text does"),
        (b"user,item\n" + b"1,2\n" * 20_000 + b"1\0,2\n", "data row 20001, column user: the id holds a NUL byte"),
        (b"user,item\n" + b"x" * 1001 + b",2\n", "data row 1, column user: the id has more than 1,000 characters"),
        (b"user,item\n1,2\n1\n", "data row 2 has 1 columns and the table 2; mend the row, or its quotes"),
        (b"user,item\n1,2,3\n", "data row 1 has 3 columns and the table 2"),
        (
            JSON.replace("bob", "böb").encode("latin-1"),
            "is not written in utf-8; say how it is, as in --encoding latin-1",
        ),
        (b'{"name": 1}\n', "has no column user; it has name"),
        (b'{"user": 1}\n{"user": "x"}\n', "column user: it is a number in one row and a string in another"),
        (b'{"user": 1\n', "is damaged or no JSON lines file"),
        (b' [\n{"user": 1}]', "is a list of JSON and no table; write one object a line (JSON lines), CSV or Parquet"),
        (b"PK\x03\x04rest", "is damaged (File is not a zip file); copy it again"),
        (archive(**{"a.csv": TEXT, "b.csv": TEXT}), "is a zip archive of 2 files (a.csv, b.csv); unpack it"),
        (archive(**{"[Content_Types].xml": "", "xl/workbook.xml": ""}), "is a workbook; save it as CSV"),
        (archive(**{"a.npy": ""}), "holds arrays of NumPy; write it as CSV"),
        (archive(), "is a zip archive without files; copy it again"),
        (archive(**{"log.csv": TEXT})[:60], "is damaged"),
        (b"\xfd7zXZ\x00rest", "is damaged (Compressed file ended"),
        (packed(TEXT.encode() * 99)[:-9], "is damaged (Truncated compressed stream); copy it again"),
        (packed(packed(TEXT.encode())), "is packed twice, by gzip and within it by gzip; unpack it once"),
        (packed(b"PAR1\0\0"), "is Parquet packed by gzip; unpack it"),
        (b"\n<!DOCTYPE html>\n<html>", "is a page of HTML or XML and no table"),
        (b"\xd0\xcf\x11\xe0", "is a workbook; save it as CSV"),
        (b"ORC\x0a\0", "is ORC; write it as CSV or Parquet"),
        (b"Obj\x01\x04", "is Avro; write it as CSV or Parquet"),
        (b"ARROW1\0\0", "is Arrow IPC (Feather); write it as CSV or Parquet"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS and not the file itself"),
        (packed(b"log.csv".ljust(257, b"\0") + b"ustar"), "is packed by gzip, a tar archive; unpack it"),
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
    forms: list[tuple[dict[str, Any], str]] = [
        ({"delimiter": ";;"}, "--delimiter ';;' is not one character"),
        ({"delimiter": '"'}, "--delimiter"),
        ({"encoding": "utf-99"}, "--encoding 'utf-99' is unknown"),
        ({"encoding": "rot13"}, "--encoding 'rot13' is unknown"),
        ({"decimal": ";"}, "--decimal ';' is neither"),
        ({"decimal": ","}, "--decimal ',' .* stands between columns; say --decimal , and --delimiter ';'"),
    ]
    for form, message in forms:
        with pytest.raises(InvalidInput, match=message):
            TextFormat(**form)


def test_what_unpacks_to_more_than_memory_holds_is_refused_as_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "log.csv.gz"
    file.write_bytes(packed(b"user,item\n" + b"123456789,1\n" * 3_000_000))
    monkeypatch.setattr("recenv.memory.os.sysconf", lambda name: 4096)
    read = []
    with pytest.raises(InvalidInput, match="half of the memory is 8,388,608; map fewer columns, or read the log in"):
        read_tables([file], {"user": "id"}, progress=read.append)
    assert 0 < sum(read) < 3_000_000
