"""What a Parquet file says of its columns, read by hand: pyarrow ends the process on some footers that are damaged.

Source: Apache Parquet's `parquet.thrift`, in Thrift's compact protocol; of its structures, the few fields that are
asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recenv.errors import InvalidInput, require

_MAGIC: Final = b"PAR1"
_DEEPEST: Final = 16
_LONGEST: Final = 1 << 26
_BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = 3, (4, 5, 6), 7, 8, (9, 10), 11, 12


@dataclass(frozen=True)
class Footer:
    """How much a Parquet file says that it holds."""

    num_rows: int
    """Of the whole file."""
    chunks: tuple[tuple[str, int, int], ...]
    """Of each column in each group of rows: the column's name, its numbers or texts, and its bytes uncompressed."""


def read_footer(path: Path) -> Footer:
    """Return what the end of a Parquet file says.

    Args:
        path: a regular file.

    Raises:
        InvalidInput: if it is no Parquet file, or says what cannot be.
    """
    remedy = "write it again"
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - 8, 0))
        end = stream.read()
        length = int.from_bytes(end[:4], "little")
        whole = size >= 12 and end[4:] == _MAGIC and length <= min(size - 12, _LONGEST)
        require(whole, f"{path} is damaged or no Parquet file; {remedy}")
        stream.seek(size - 8 - length)
        content = stream.read(length)
    try:
        facts = _Reader(content).structure(0)
        chunks = []
        for group in facts[4]:
            for chunk in group[1]:
                column = chunk[3]
                chunks.append((column[3][0].decode(), column[5], column[6]))
        footer = Footer(facts[3], tuple(chunks))
        counts = [footer.num_rows, *(count for _, *pair in chunks for count in pair)]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("it holds less than nothing")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(f"{path} is damaged: its footer cannot be read ({error!r}); {remedy}") from error
    return footer


class _Reader:
    """Reads values of the compact protocol: structures as dicts by field number, what is left out is not there."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def structure(self, depth: int) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("its structures are too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, _BYTE):
            return self._byte()
        if kind in _INTEGERS:
            return self._integer()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in _LISTS:
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(self._possible(count))]
        if kind == _MAP:
            count = self._possible(self._varint())
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(count)]
        if kind == _STRUCT:
            return self.structure(depth + 1)
        raise ValueError(f"it has a value of kind {kind}")

    def _possible(self, count: int) -> int:
        if count > len(self._content) - self._place:  # each takes a byte at least
            raise ValueError(f"it lists {count:,} values")
        return count

    def _byte(self) -> int:
        self._place += 1
        return self._content[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        start = self._place
        self._place += self._possible(count)
        return self._content[start : self._place]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("it has a number of more than ten bytes")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
