"""Arrays of one range of sessions in one file: a line that says what they are, then their bytes, all under checksums.

NumPy's .npz would do but for its speed: collection writes and reads every row once more than it logs.
"""

from __future__ import annotations

import json
import math
import operator
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from recenv.errors import InvalidInput
from recenv.files.json_text import parse_json

_BUFFER_BYTES: Final = 1 << 19
_LONGEST_LINE: Final = 1 << 20
_GATHERED_BYTES: Final = 1 << 20  # which stay in the cache


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, read when it is wanted; its checksum is looked at then."""

    file: Path
    """The file."""
    offset: int
    """Where its bytes begin."""
    dtype: np.dtype
    """Of its elements."""
    shape: tuple[int, ...]
    """Its shape."""
    checksum: int
    """CRC-32 of its bytes."""

    @staticmethod
    def all_of(file: Path) -> dict[str, StoredArray]:
        """Return the arrays of a file by name, reading its first line alone.

        Raises:
            InvalidInput: if the file is damaged or cut.
        """
        with file.open("rb") as stream:
            line = stream.readline(_LONGEST_LINE)
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            raise _damaged(file)
        arrays, offset = {}, len(line)
        try:
            for name, (kind, shape, crc) in parse_json(text, str(file)).items():
                array = StoredArray(file, offset, np.dtype(kind), tuple(map(operator.index, shape)), crc)
                if array.dtype.kind not in "biufSU" or min(array.shape) < 0:
                    raise _damaged(file)
                arrays[name] = array
                offset += array.num_bytes
        except (InvalidInput, AttributeError, TypeError, ValueError) as error:
            raise _damaged(file) from error
        if file.stat().st_size != offset:
            raise _damaged(file)
        return arrays

    @property
    def num_bytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes, piece after piece, in one buffer: each is gone when the next is asked for.

        Raises:
            InvalidInput: at the end, if they have changed.
        """
        buffer, left, checksum = memoryview(bytearray(_BUFFER_BYTES)), self.num_bytes, 0
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.offset)
            while left:
                count = stream.readinto(buffer[: min(left, _BUFFER_BYTES)])
                if not count:
                    raise _damaged(self.file)
                checksum = zlib.crc32(buffer[:count], checksum)
                left -= count
                yield buffer[:count]
        if checksum != self.checksum:
            raise _damaged(self.file)

    def load(self) -> np.ndarray:
        """Return the array; see `chunks`."""
        return np.frombuffer(b"".join(bytes(chunk) for chunk in self.chunks()), self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class ShiftedOffsets:
    """The offsets of a part within a whole, without their first one, which is the last of the part before."""

    part: StoredArray
    """[S + 1] int64, from zero."""
    start: int
    """Where the part begins in the whole."""
    dtype: np.dtype = np.dtype(np.int64)  # noqa: RUF009 (it is immutable)
    """Of the offsets."""

    @property
    def shape(self) -> tuple[int]:
        """As of an array."""
        return (self.part.shape[0] - 1,)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes; see `StoredArray.chunks`."""
        yield as_bytes(self.part.load()[1:] + self.start)


@dataclass(frozen=True)
class KeptEntries:
    """What a column holds of some of its sessions, read when it is wanted, block by block."""

    column: np.ndarray
    """[n, ...], memory-mapped."""
    offsets: np.ndarray
    """[S + 1] int64, session s has the entries offsets[s] to offsets[s + 1]."""
    keep: np.ndarray
    """[S] bool, which sessions."""
    renamed: np.ndarray | None = None
    """[m] int64, what stands in the place of the value v, an index: renamed[v]; None leaves the values as they are."""

    @property
    def dtype(self) -> np.dtype:
        """As of an array."""
        return self.column.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (int(np.diff(self.offsets)[self.keep].sum()), *self.column.shape[1:])

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes of a block of sessions after the other."""
        each = max(self.column.nbytes // max(len(self.column), 1), 1)
        start, most = 0, max(_GATHERED_BYTES // each, 1)
        while start < len(self.keep):
            stop = int(np.searchsorted(self.offsets, self.offsets[start] + most, side="right")) - 1
            ends = self.offsets[start : max(stop, start + 1) + 1]
            kept = np.repeat(self.keep[start : start + len(ends) - 1], np.diff(ends))
            values = np.compress(kept, self.column[ends[0] : ends[-1]], axis=0)
            yield as_bytes(values if self.renamed is None else self.renamed[values])
            start += len(ends) - 1


def chained_offsets(parts: Sequence[StoredArray]) -> list[np.ndarray | ShiftedOffsets]:
    """Return the offsets of a whole, in pieces, whose parts have these, each from zero."""
    pieces: list[np.ndarray | ShiftedOffsets] = [np.zeros(1, np.int64)]
    start = 0
    for part in parts:
        pieces.append(ShiftedOffsets(part, start))
        start += int(part.load()[-1])
    return pieces


def require_alike(parts: Sequence[Mapping[str, StoredArray]], folder: Path) -> None:
    """Raise `InvalidInput` unless the parts of a whole have the same columns, of the same dtypes and shapes.

    Args:
        parts: by name.
        folder: where they lie.
    """
    kinds = [{name: (array.dtype, array.shape[1:]) for name, array in part.items()} for part in parts]
    if any(kind != kinds[0] for kind in kinds) or "sessions/event_offsets" not in kinds[0]:
        raise InvalidInput(f"{folder} holds parts of different columns; remove it and run the same command again")


def store_arrays(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of plain dtypes to an empty file.

    Args:
        stream: the file.
        arrays: by name.
    """
    flat = {name: as_bytes(values) for name, values in arrays.items()}
    facts = {name: (values.dtype.str, values.shape, zlib.crc32(flat[name])) for name, values in arrays.items()}
    text = json.dumps(facts).encode() + b"\n"
    stream.write(b"%08x " % zlib.crc32(text) + text)
    for values in flat.values():
        stream.write(values)


def as_bytes(values: np.ndarray) -> memoryview:
    """Return the bytes of an array in C order, without a copy where they lie so."""
    # memoryview's own cast knows no strings and refuses what is empty.
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data if values.size else memoryview(b"")


def _damaged(file: Path) -> InvalidInput:
    return InvalidInput(f"{file} is damaged; remove it and run the same command again")
