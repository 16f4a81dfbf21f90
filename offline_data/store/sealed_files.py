"""Files that tell whether they are whole: the last line of each is a seal, with the SHA-256 of all that is before it.

The seal stands at the end, so that what NumPy or PyTorch wrote is still what they read: they overlook it. It tells of
what has changed by chance, not of who wrote it: what a sealed file says is checked all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from recenv.errors import InvalidInput, require
from recenv.files.atomic_files import replacing, write_json
from recenv.files.json_text import read_json

_DIGITS: Final = 64


class _Hashing:
    """A stream that keeps the SHA-256 of what it writes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._stream.write(data)


@contextmanager
def sealing(path: Path, kind: str) -> Iterator[_Hashing]:
    """Yield a stream whose bytes become the file, under a seal, on leaving without an error.

    Args:
        path: the file, which is written beside and renamed.
        kind: what it is, one word.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        stream = _Hashing(file)
        yield stream
        file.write(_seal(kind, stream.digest.hexdigest()))


def read_sealed(path: Path, kind: str, remedy: str) -> memoryview:
    """Return the bytes that were written to a sealed file, in memory of their own.

    Args:
        path: the file.
        kind: what it must be.
        remedy: ends the refusal's sentence.

    Raises:
        InvalidInput: if it is missing, of another kind, without a seal, or has changed in any bit.
    """
    require(path.is_file(), f"{path} is missing, or is no file; {remedy}")
    length = len(_seal(kind, "0" * _DIGITS))
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - length, 0))
            seal = file.read(length)
            found = seal[-_DIGITS - 1 : -1].decode("ascii", "replace")
            require(
                seal == _seal(kind, found),
                f"{path} is not a {kind} file, is one of an older RecSession, or was cut or added to: it does not end "
                f"with the seal of a {kind} file; {remedy}",
            )
            contents = bytearray(size - length)
            file.seek(0)
            require(file.readinto(contents) == len(contents), f"{path} is being written; {remedy}")
    except (OSError, MemoryError) as error:
        raise InvalidInput(f"{path} cannot be read ({error or 'out of memory'}); {remedy}") from error
    digest = hashlib.sha256(contents).hexdigest()
    require(
        digest == found,
        f"{path} has the SHA-256 {digest[:12]}..., and its seal says {found[:12]}...: it has changed; {remedy}",
    )
    return memoryview(contents)


def json_checksum(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what an object says besides its own checksum, 64 hex digits."""
    said = {name: value for name, value in values.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def write_sealed_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object as JSON, with its `checksum` in it, atomically.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    write_json(path, {**values, "checksum": json_checksum(values)})


def read_sealed_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object that `write_sealed_json` wrote.

    Args:
        path: the file.
        remedy: ends the refusal's sentence.

    Raises:
        InvalidInput: if the file is missing or damaged, or says something else than it did.
    """
    require(path.is_file(), f"{path} is missing, or is no file; {remedy}")
    values = read_json(path, remedy=remedy, non_finite=True)
    require(isinstance(values, dict) and "checksum" in values, f"{path} has no checksum of its own; {remedy}")
    said = values.pop("checksum")
    require(json_checksum(values) == said, f"{path} has changed since it was written; {remedy}")
    return values


def _seal(kind: str, digest: str) -> bytes:
    return f"\nrecsession {kind} {digest}\n".encode()
