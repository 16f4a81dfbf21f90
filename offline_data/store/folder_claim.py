"""One folder, one purpose, one writer: what unfinished work lies in is another run's only if that asks for the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recenv.errors import InvalidInput, require
from recenv.files.atomic_files import check_output, folder_made, kind_at, locked, write_json
from recenv.files.json_text import read_json

REQUEST: Final = "request.json"
LOCK: Final = "lock"


@dataclass(frozen=True)
class FolderClaim:
    """A run's claim to a folder, in which `request.json` tells what it is for."""

    folder: Path
    """What is claimed; made if need be."""
    request: Mapping[str, Any]
    """What the contents depend on, as JSON gives it back; see `as_json`."""
    fresh: bool = False
    """Whether to empty a folder of another request, or of this one."""
    remedy: str = "remove it or choose another --out"
    """How the caller gets round a refusal."""
    files: tuple[str, ...] = ()
    """Names of the files that will be written in it."""

    def check(self) -> bool:
        """Return whether the folder holds work of this request, to go on with; whatever it holds stays as it is.

        Raises:
            InvalidInput: if it holds another command's work, or another request's, naming what differs; with `fresh`,
                if it is no run's or another command's; or if what is to be written in it cannot be.
        """
        file, kind = self.folder / REQUEST, kind_at(self.folder)
        require(kind is None or self.folder.is_dir(), f"cannot write {self.folder}: it is {kind}; choose another path")
        dataset = os.path.lexists(self.folder / "manifest.json")
        require(not dataset, f"{self.folder} is a logged dataset; choose another folder")
        for name in (REQUEST, *self.files):
            check_output(self.folder / name)
        if self.fresh:
            others = [path for path in self.folder.iterdir() if path.name != LOCK] if self.folder.is_dir() else []
            require(
                file.exists() or not others,
                f"{self.folder} holds no earlier run (no {REQUEST}), and would be emptied; choose another --out",
            )
            try:
                there = read_json(file) if others else self.request
            except InvalidInput:
                return False  # a damaged request is what `fresh` is for
            require(
                isinstance(there, dict) and there.keys() | {"format"} == self.request.keys() | {"format"},
                f"{self.folder} holds another command's work, and would be emptied; remove it or choose another --out",
            )
            return False
        if not file.exists():
            foreign = [name for name in self.files if (self.folder / name).exists()]
            require(
                not foreign,
                f"{self.folder} holds {' and '.join(foreign)} of no earlier run (no {REQUEST}); choose another --out",
            )
            return False
        there = read_json(file, remedy=f"it is damaged, {self.remedy}")
        mixed = isinstance(there, dict) and there.keys() - self.request.keys() and self.request.keys() - there.keys()
        require(not mixed, f"{self.folder} holds another command's work; {self.remedy}")
        require(
            there == self.request,
            f"{self.folder} holds work of another request{first_difference(there, self.request)}; {self.remedy}",
        )
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the folder's one writer, having written what it is for.

        Raises:
            InvalidInput: as `check` does, if another process writes in it, or it cannot be written.
        """
        with self.alone():
            self.begin()
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Be the folder's one writer, and yield what `check` returns; what fails before `begin` leaves nothing.

        Raises:
            InvalidInput: as `held` does.
        """
        self.check()  # what is refused is not even given a lock
        was_there = self.folder.exists()
        with folder_made(self.folder), sole_writer(self.folder):
            try:
                yield self.check()
            except BaseException:
                if not was_there and not (self.folder / REQUEST).exists():
                    (self.folder / LOCK).unlink()
                raise

    def begin(self) -> None:
        """Write what the folder is for, emptied first if it is to be `fresh`.

        Raises:
            InvalidInput: if it cannot be written.
        """
        if self.fresh:
            # The request goes last: a folder that is half emptied is still known for a run's.
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == REQUEST):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        write_json(self.folder / REQUEST, self.request)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the file `lock` stays, the lock itself ends with the process.

    Args:
        folder: an existing folder.

    Raises:
        InvalidInput: if another process holds it, or the folder cannot be written.
    """
    refusal = f"{folder} is being written by another process; wait for it or choose another --out"
    with locked(folder / LOCK, refusal):
        yield


def as_json(value: Any) -> Any:
    """Return a value as JSON gives it back.

    Raises:
        InvalidInput: if it holds what JSON does not.
    """
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise InvalidInput(f"the request holds what JSON does not: {error}; give plain values") from error


def first_difference(there: Any, asked: Any, name: str = "") -> str:
    """Return where two requests first differ, in the order of what is asked, for a message."""
    if isinstance(there, dict) and isinstance(asked, Mapping):
        for key in (*asked, *sorted(there.keys() - asked.keys())):
            if there.get(key) != asked.get(key):
                return first_difference(there.get(key), asked.get(key), f"{name}.{key}" if name else key)
    return f" ({name} {json.dumps(there)} there, {json.dumps(asked)} here)" if name else ""
