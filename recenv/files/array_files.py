"""Arrays from files of strangers: `.npy`, `.npz` and Parquet, where nothing is allocated before its size is checked.

A header says how large an array is, and anyone can write a header: dtype, shape and order are read from it, compared
with the file's own size, and only then read. Nothing is unpickled. What unpacks to far more than its file holds, or to
more than the machine does, is refused.
"""

from __future__ import annotations

import ast
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from recenv.errors import InvalidInput, require
from recenv.files.parquet_footer import read_footer
from recenv.memory import require_memory

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET: Final = (".parquet", ".pq")
_MAGIC: Final = b"\x93NUMPY"
_LONGEST_HEADER: Final = 10_000
_PLAIN: Final = re.compile(r"[<>|=]?[biufSU][0-9]{1,6}")
_MEMBERS: Final = 1000
# Of a zip archive, bytes before a member's name, and at most so many behind it and behind what it holds.
_LOCAL_HEADER: Final = 30
_LONGEST_EXTRA: Final = 128
# Arrays of numbers shrink little, those of a few equal items much: both are admitted, a bomb is not.
_UNPACKED: Final = 1 << 26
_UNPACKED_A_BYTE: Final = 64


@dataclass(frozen=True)
class _Header:
    """What an array file says of its array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def num_bytes(self) -> int:
        total = self.dtype.itemsize
        for size in self.shape:  # Python's integers, which do not overflow
            total *= size
        return total


def map_npy(file: str | Path) -> np.ndarray:
    """Return the array of a `.npy` file, memory-mapped and read-only: its values are read when they are used.

    Args:
        file: what `numpy.save` wrote, of booleans, numbers or text, in either order.

    Raises:
        InvalidInput: for a file that is missing, damaged, of another dtype, or of another size than its header says.
    """
    path = Path(file)
    _require_file(path)
    with path.open("rb") as stream:
        header = _read_header(stream, path.stat().st_size, str(path))
    order: Any = "F" if header.fortran else "C"
    return np.memmap(str(path), header.dtype, "r", header.offset, header.shape, order)  # a Path would be resolved


def read_arrays(file: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a `.npz` file, or the columns of a Parquet file, by name.

    Args:
        file: `.npz`, or `.parquet` or `.pq`, whose lists of numbers, one length a column, become [n, d].

    Raises:
        InvalidInput: for a file that is missing, damaged or of another kind, holds other values than booleans, numbers
            and text, names an array twice, or unpacks to far more than its size.
    """
    path = Path(file)
    _require_file(path)
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path)
    require(path.suffix.lower() == ".npz", f"{path} is none of {', '.join(('.npz', *PARQUET))}; name it by its kind")
    return _read_npz(path)


def _require_file(path: Path) -> None:
    try:
        found, regular = path.exists(), path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InvalidInput(f"{path} cannot be read ({error}); give the path of a file") from error
    require(found, f"{path} does not exist; give the path of a file")
    require(regular, f"{path} is no regular file; give the path of a file")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_names([member.filename for member in members], path)
            require_room(sum(member.file_size for member in members), path.stat().st_size, str(path))
            _require_side_by_side(members, archive.start_dir, path)
            for member in members:
                what = f"{path}, array {member.filename.removesuffix('.npy')!r}"
                require(member.filename.endswith(".npy"), f"{what} is no .npy; write the file by numpy.savez")
                with archive.open(member) as stream:
                    header = _read_header(stream, member.file_size, what)
                    content = stream.read(header.num_bytes)
                    # The end of the stream, where the checksum is compared.
                    require(
                        len(content) == header.num_bytes and not stream.read(1),
                        f"{what} is cut, or longer than it says; copy the file again",
                    )
                values = np.frombuffer(content, header.dtype)
                arrays[member.filename.removesuffix(".npy")] = values.reshape(
                    header.shape, order="F" if header.fortran else "C"
                )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InvalidInput(f"{path} is damaged or no .npz file ({error}); write it by numpy.savez") from error
    return arrays


def _require_side_by_side(members: list[zipfile.ZipInfo], end: int, path: Path) -> None:
    """Refuse an archive whose members lie one upon another, or whose list of them leaves one out."""
    members = sorted(members, key=lambda member: member.header_offset)
    starts = [*(member.header_offset for member in members), end]
    for member, start in zip(members, starts[1:], strict=True):
        gap = start - member.header_offset - _LOCAL_HEADER - len(member.filename.encode()) - member.compress_size
        require(0 <= gap <= _LONGEST_EXTRA, f"{path} is damaged: its list of arrays is not of those it holds")


def _read_header(stream: IO[bytes], size: int, what: str) -> _Header:
    """Return what the next bytes of a stream say of an array that fills a file of `size` bytes.

    Raises:
        InvalidInput: if they say what cannot be.
    """
    start = stream.read(8)
    require(start[:6] == _MAGIC and len(start) == 8, f"{what} is no .npy array; write it by numpy.save")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    remedy = "write it anew by numpy.save"
    require(start[6] in (1, 2, 3) and length <= _LONGEST_HEADER, f"{what} has a header of unknown form; {remedy}")
    try:
        said = ast.literal_eval(stream.read(length).decode("utf-8" if start[6] == 3 else "latin-1").strip())
        descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise InvalidInput(f"{what} has a damaged header; {remedy}") from error
    require(
        isinstance(descr, str) and _PLAIN.fullmatch(descr) is not None,
        f"{what} holds {descr!r:.80}, which are neither booleans, numbers nor text; convert it and {remedy}",
    )
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**48 for n in shape) and len(shape) <= 32
    require(whole and isinstance(fortran, bool), f"{what} has the shape {shape!r:.80}; {remedy}")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise InvalidInput(f"{what} holds {descr!r}, which is no dtype; {remedy}") from error
    header = _Header(dtype, shape, fortran, 8 + width + length)
    require(
        header.offset + header.num_bytes == size,
        f"{what} says {dtype} of shape {shape}, which take {header.offset + header.num_bytes:,} bytes, and has "
        f"{size:,}; it is damaged, copy it again",
    )
    return header


def check_parquet(path: Path, columns: Collection[str] | None = None) -> pa.Schema:
    """Return the schema of a Parquet file whose columns, read whole, do not outgrow it; nothing of them is read yet.

    Args:
        path: the file.
        columns: those that are to be read; None for all.

    Raises:
        InvalidInput: for a file that unpacks to far more than its size.
        pyarrow.ArrowException: for a damaged file.
    """
    from pyarrow import parquet

    footer = read_footer(path)
    chunks = [chunk for chunk in footer.chunks if columns is None or chunk[0] in columns]
    # A run of equal values takes no room in the file, and eight bytes each here.
    require_room(sum(8 * count + unpacked for _, count, unpacked in chunks), path.stat().st_size, str(path))
    return parquet.read_schema(path)


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = check_parquet(path)
        _require_names(schema.names, path)
        for field in schema:
            _require_plain(field.type, f"{path}, column {field.name!r}")
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        with parquet.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as source:
            table = source.read()
        columns = zip(table.column_names, table.columns, strict=True)
        size = path.stat().st_size
        return {name: _column(column, size, f"{path}, column {name!r}") for name, column in columns}
    except InvalidInput:
        raise
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:  # what pyarrow makes of damaged texts
        raise InvalidInput(f"{path} is damaged or no Parquet file ({error}); write it again") from error


def _require_plain(kind: pa.DataType, what: str) -> None:
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        plain = types.is_integer(kind.value_type) or types.is_floating(kind.value_type)
    else:
        tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_string, types.is_large_string)
        plain = any(test(kind) for test in tests)
    require(plain, f"{what} holds {kind}, which are neither booleans, numbers, text nor lists of numbers; convert it")


def _column(column: pa.ChunkedArray, size: int, what: str) -> np.ndarray:
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lists = column.combine_chunks()
        flat, even = lists.flatten(), pa.types.is_fixed_size_list(kind) or len(lists.value_lengths().unique()) <= 1
        require(
            even and lists.null_count == 0 and flat.null_count == 0,
            f"{what}: lists of different lengths, or an empty entry; give each row as many numbers",
        )
        return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()  # what is empty becomes NaN
    if column.null_count:
        entry = compute.index(column.is_null(), True).as_py()
        raise InvalidInput(f"{what}: row {entry + 1} is empty; give each row a text")
    if not pa.types.is_dictionary(kind):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    texts = column.dictionary.to_numpy(zero_copy_only=False)
    if texts.dtype != object:
        return texts[column.indices.to_numpy()]
    longest = max((len(text) for text in texts), default=0)
    require_room(4 * longest * len(column), size, what)
    return texts.astype(np.str_)[column.indices.to_numpy()]


def _require_names(names: list[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, f"{path} has {twice[:1]!r} twice; name each array once")
    require(len(names) <= _MEMBERS, f"{path} has {len(names):,} arrays; a file has at most {_MEMBERS:,}")


def require_room(num_bytes: int, size: int, what: str) -> None:
    """Refuse what unpacks to more than a file of its size would, or than half of the machine's memory.

    Args:
        num_bytes: what it unpacks to.
        size: of the file, bytes.
        what: the file, for messages.

    Raises:
        InvalidInput: naming both sizes.
    """
    most = _UNPACKED + _UNPACKED_A_BYTE * size
    require(
        num_bytes <= most,
        f"{what} unpacks to {num_bytes:,} bytes from {size:,}, of which no more than {most:,} are expected; write it "
        "without compression, if it is no bomb",
    )
    require_memory(num_bytes, f"unpacking {what}", "take another machine, or fewer items")
