"""What a file of a table is and what packs it, by what it holds and not by its name; the others are refused by name."""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, Final, Literal

from offline_data.interop.text_format import TextFormat
from recenv.errors import InvalidInput, require

_PACKED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
_OTHERS: Final = {
    b"PK\x05\x06": "a zip archive without files; copy it again",
    b"\xd0\xcf\x11\xe0": "a workbook; save it as CSV",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\xff\x06\x00\x00sNaPpY": "packed by snappy; unpack it",
    b"\x89HDF": "HDF5; write it as CSV or Parquet",
    b"ARROW1": "Arrow IPC (Feather); write it as CSV or Parquet",
    b"FEA1": "Feather; write it as CSV or Parquet",
    b"\xff\xff\xff\xff": "a stream of Arrow IPC; write it as CSV or Parquet",
    b"PARE": "encrypted Parquet; write it without encryption",
    b"ORC": "ORC; write it as CSV or Parquet",
    b"Obj\x01": "Avro; write it as CSV or Parquet",
    b"SQLite format 3": "a database of SQLite; write its table as CSV or Parquet",
    b"\x93NUMPY": "an array of NumPy; write it as CSV or Parquet",
    b"\x80\x02": "a pickle; write it as CSV or Parquet",
    b"\x80\x03": "a pickle; write it as CSV or Parquet",
    b"\x80\x04": "a pickle; write it as CSV or Parquet",
    b"\x80\x05": "a pickle; write it as CSV or Parquet",
    b"RDX": "data of R; write it as CSV or Parquet",
    b"%PDF": "a PDF; save its table as CSV",
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself; fetch that with git lfs pull",
}
"""What files of other kinds begin with, what they are, and the remedy; letters alone may be those of a header."""
_MARKS: Final = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""What a text in more than one byte a letter begins with."""
_PAGE: Final = re.compile(rb"\s*<(!doctype\s|html|\?xml|head|body)", re.IGNORECASE)
_OBJECT: Final = re.compile(r"\s*(\[\s*)?\{\s*(\"|\}\s*$)")
_LOOKED_AT: Final = 1 << 16
_TAR: Final = 257
_REMEDY: Final = "give the path of a CSV or Parquet file, of a folder of such, or a pattern as 'shop/*.csv'"

DAMAGED: Final = (OSError, EOFError, LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError)
"""What unpacking a damaged file raises, beside pyarrow's own."""
FileKind = Literal["csv", "parquet", "json"]


@dataclass(frozen=True)
class FileForm:
    """How a file is written."""

    kind: FileKind
    """Of CSV, Parquet, or JSON, one object a line."""
    packing: str | None = None
    """What packs it: gzip, bz2, zstd, lz4, xz, zip; Parquet packs itself."""
    encoding: str = "utf-8"
    """Of a text: that of its mark, where it begins with one, and else that which was said."""
    remark: str | None = None
    """How it is read, where nobody said so, in words."""


def form_of(file: Path, text: TextFormat) -> FileForm:
    """Return how a file is written.

    Args:
        file: of any kind.
        text: how a text is written that does not tell by its first bytes.

    Raises:
        InvalidInput: for a file that is missing, empty, damaged, or no table that can be read; the message says what
            it is.
    """
    encoding, head = text.encoding, _first_bytes(file)
    require(len(head) > 0, f"{file} is empty; copy it again")
    packing = _packing(head)
    remark = f"is a zip archive, and its {_only_member(file)} is read" if packing == "zip" else None
    if packing is not None:
        with unpacking(file), opened(file, packing) as stream:
            head = stream.read(_LOOKED_AT)
        require(len(head) > 0, f"{file} is empty; copy it again")
        within = _packing(head)
        require(within is None, f"{file} is packed twice, by {packing} and within it by {within}; unpack it once")
    packed = f"packed by {packing}, " if packing else ""
    for magic, what in _OTHERS.items():
        known = head.startswith(magic) and (b"\0" in head or not magic.isalnum())
        require(not known, f"{file} is {packed}{what}")
    require(head[_TAR : _TAR + 5] != b"ustar", f"{file} is {packed}a tar archive; unpack it")
    require(_PAGE.match(head) is None, f"{file} is a page of HTML or XML and no table; get the file itself, as CSV")
    is_parquet = head.startswith(b"PAR1")
    named = file.suffix in (".parquet", ".pq")
    require(is_parquet or not named, f"{file} is no Parquet file, though it is named so; copy it again")
    if is_parquet:
        require(packing is None, f"{file} is Parquet packed by {packing}; unpack it")
        return FileForm("parquet")
    mark = next((name for magic, name in _MARKS.items() if head.startswith(magic)), None)
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if mark is not None and not wide:
        encoding, wide, remark = mark, True, f"is written in {mark.upper()}, and is read so"
    require(wide or b"\0" not in head, f"{file} {_nul(head, text.of)}")
    try:
        start = head.decode(encoding, "ignore").removeprefix("\ufeff")
    except UnicodeError:  # of a text without the mark that its encoding asks for
        start = ""
    found = _OBJECT.match(start)
    require(
        found is None or found[1] is None,
        f"{file} is a list of JSON and no table; write one object a line (JSON lines), CSV or Parquet",
    )
    return FileForm("csv" if found is None else "json", packing, encoding, remark)


def opened(file: Path, packing: str | None) -> Any:
    """Return a stream of bytes of a file, unpacked as it is read.

    Args:
        file: to read.
        packing: as in `FileForm`.
    """
    import lzma

    import pyarrow as pa

    if packing == "xz":
        return pa.PythonFile(lzma.open(file), "r")
    if packing == "zip":
        # The archive's file is closed with its member's.
        return pa.PythonFile(zipfile.ZipFile(file).open(_only_member(file)), "r")
    return pa.input_stream(str(file), compression=packing)


@contextmanager
def unpacking(file: Path) -> Iterator[None]:
    """Turn what a damaged file raises when it is unpacked into one sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, *DAMAGED) as error:
        raise InvalidInput(f"{file} is damaged ({str(error) or 'it ends too early'}); copy it again") from error


def _packing(head: bytes) -> str | None:
    return next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)


def _first_bytes(file: Path) -> bytes:
    try:
        there, regular = file.exists(), file.is_file()
        head = b""
        if regular:
            with file.open("rb") as stream:
                head = stream.read(_LOOKED_AT)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}); give a file that can") from error
    except ValueError as error:  # a name that no file can have
        raise InvalidInput(f"{str(file)!r} is no path ({error}); {_REMEDY}") from error
    require(there, f"{file} does not exist; {_REMEDY}")
    require(regular, f"{file} is no regular file; {_REMEDY}")
    return head


def _only_member(file: Path) -> str:
    """Return the name of the one file in a zip archive."""
    with unpacking(file), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    names = [each.filename for each in members if not each.is_dir() and not _is_hidden(each.filename)]
    require("[Content_Types].xml" not in names, f"{file} is a workbook; save it as CSV")
    require(not any(name.endswith(".npy") for name in names), f"{file} holds arrays of NumPy; write it as CSV")
    told = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    require(len(names) > 0, f"{file} is a zip archive without files; copy it again")
    require(
        len(names) == 1,
        f"{file} is a zip archive of {len(names):,} files ({told}); unpack it, and give one of them, or their folder",
    )
    encrypted = any(each.flag_bits & 1 for each in members)
    require(not encrypted, f"{file} is a zip archive with a password; unpack it")
    return names[0]


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _nul(head: bytes, of: str) -> str:
    """Return what is wrong with a text in which there are NUL bytes, and the remedy."""
    for name, every in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if every.count(0) > 0.9 * len(every):
            return f"is written in UTF-16 without a mark of it; say --{of}encoding {name}"
    return "holds NUL bytes, as no text does; copy or write it again"
