"""Files and folders that are whole or absent: made beside their place by one writer at a time, then renamed into it.

`x` is made as `.x.recsession`, a file that its writer holds locked, or, a folder, as `.x.recsession-new` beside it. The
lock ends with its process, whatever ends it: who writes `x` next removes what a killed writer has left, and who meets a
living one is refused. Only a regular file is ever replaced, or an empty folder; a link is never followed, but in the
folders above.

What is promised: whoever looks sees the old or the whole new one; contents reach the disk before their name does, so
that this holds after a power cut too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from recenv.errors import InvalidInput, require

A_FILE: Final = "a file"
A_FOLDER: Final = "a folder"
_KINDS: Final = {
    stat.S_IFREG: A_FILE,
    stat.S_IFDIR: A_FOLDER,
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
_REMEDY: Final = "choose a path in a folder that you can write"
_REFUSAL: Final = "{} is being written by another process; wait for it or choose another path"
_CLAIMED: ContextVar[Mapping[Path, int]] = ContextVar("claimed", default=MappingProxyType({}))
"""What this thread writes, with the handle of the locked file; inside a claim the same path may be claimed again."""


# --- what may be written


def kind_at(path: Path) -> str | None:
    """Return what is at a path itself, as in "a symbolic link"; None where nothing is.

    Raises:
        InvalidInput: if no such path can be.
    """
    with explained(path):
        return _kind_at(path)


def check_output(path: Path, *, mark: bytes = b"") -> None:
    """Refuse to write a file where anything but a regular file of the same kind is, or where none can be.

    Args:
        path: of the file; the folders above it need not be there.
        mark: what stands in every file of its kind, in the first MiB; one without it is somebody else's. Empty where
            the name says enough.

    Raises:
        InvalidInput: for a link, a folder, a FIFO, a device, a socket or somebody else's file, or folders above that
            may not be written.
    """
    kind = kind_at(path)
    require(kind in (None, A_FILE), f"cannot write {path}: it is {kind}; choose another path")
    _check_above(path)
    if kind is None or not mark:
        return
    with explained(path), path.open("rb") as file:
        head = file.read(1 << 20)
    require(
        not head or mark in head,
        f"cannot write {path}: the file there is of another kind; choose another path, or remove it",
    )


def is_taken(path: Path) -> bool:
    """Return whether something is at a path, other than an empty folder that waits for its contents."""
    with explained(path):
        return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def require_free(path: Path) -> None:
    """Refuse to make a folder where something is, but for an empty folder, or where none can be.

    Raises:
        InvalidInput: naming what is in the way.
    """
    kind = kind_at(path)
    waits = kind == A_FOLDER and path.name not in ("", "..") and not is_taken(path)
    if not (kind is None or waits):
        forget_killed(path)
    require(kind is None or waits, f"{path} exists; choose another --out or remove it")
    _check_above(path)


def _kind_at(path: Path) -> str | None:
    try:
        return _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "a device")
    except FileNotFoundError:
        return None
    except ValueError as error:  # a NUL
        raise InvalidInput(f"cannot write {path}: {error}; {_REMEDY}") from error


def _check_above(path: Path) -> None:
    """Refuse a path whose nearest folder that is there is none, or may not be written."""
    above = next(each for each in path.absolute().parents if os.path.lexists(each))
    why = "Permission denied" if above.is_dir() else "Not a directory"
    require(above.is_dir() and os.access(above, os.W_OK | os.X_OK), f"cannot write {path}: {why}; {_REMEDY}")


# --- one writer at a time


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Be the one writer of a path, and yield the locked file beside it; at the end it is removed if it is still there.

    A command enters it before its work, so that a second one is refused before its own; what then writes the path
    claims it again, in the same thread.

    Args:
        path: of a file or a new folder; the folders above it are made, and removed again after an error.

    Raises:
        InvalidInput: if another process, or thread, writes it, or nothing can be written there.
    """
    mine, before = _beside(path), _CLAIMED.get()
    if mine in before and _is_open(before[mine], mine):
        yield mine
        return
    with folder_made(mine.parent):
        with explained(path):
            _kind_at(_folder_beside(mine))  # its name may be too long
            handle = _claim(mine, _REFUSAL.format(path))
        _CLAIMED.set({**before, mine: handle})
        try:
            _remove_folder(_folder_beside(mine))  # a killed writer's
            yield mine
        finally:
            _CLAIMED.set(before)
            _remove_folder(_folder_beside(mine))
            if _is_open(handle, mine):
                mine.unlink()
            os.close(handle)


@contextmanager
def claimed_file(path: Path, *, mark: bytes = b"") -> Iterator[Path]:
    """Be the one writer of a file that may be written; see `claimed` and `check_output`."""
    check_output(path, mark=mark)
    with claimed(path) as mine:
        yield mine


@contextmanager
def claimed_folder(path: Path) -> Iterator[Path]:
    """Be the one writer of a new folder, and yield where to make it; see `claimed` and `require_free`."""
    require_free(path)
    with claimed(path) as mine:
        yield _folder_beside(mine)


def forget_killed(path: Path) -> None:
    """Remove what a killed writer has left of a path that is there by now."""
    if kind_at(_beside(path)) is not None:
        with suppress(InvalidInput), claimed(path):
            pass


def _claim(mine: Path, refusal: str) -> int:
    """Return the handle of a new file that is held locked."""
    while True:
        try:
            handle = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            with locked(mine, refusal):
                mine.unlink()  # a killed writer's
            continue
        if _flock(handle, mine, refusal):
            return handle


@contextmanager
def locked(lock: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a file that is made if need be, never followed as a link, and never written.

    Args:
        lock: the file, in a folder that is there.
        refusal: what is said if another process holds it.

    Raises:
        InvalidInput: with `refusal`, or if the file cannot be opened.
    """
    with explained(lock):
        locking = False
        while not locking:
            kind = kind_at(lock)
            require(kind in (None, A_FILE), f"cannot write {lock}: it is {kind}; remove it, or choose another path")
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
            locking = _flock(handle, lock, refusal)
    try:
        yield
    finally:
        os.close(handle)


def _flock(handle: int, path: Path, refusal: str) -> bool:
    """Lock an open file and return whether it is still at its path; its last holder may have removed it since.

    The handle stays open with the lock alone.
    """
    holding = False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holding = _is_open(handle, path)
    except BlockingIOError as error:
        raise InvalidInput(refusal) from error
    finally:
        if not holding:
            os.close(handle)
    return holding


def _is_open(handle: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _beside(path: Path) -> Path:
    place = path.parent.resolve() / path.name
    require(place.name not in ("", ".."), f"cannot write {path}: it names no file; {_REMEDY}")
    return place.with_name(f".{place.name}.recsession")


def _folder_beside(mine: Path) -> Path:
    return mine.with_name(f"{mine.name}-new")


def _remove_folder(path: Path) -> None:
    if kind_at(path) == A_FOLDER:
        shutil.rmtree(path, ignore_errors=True)


# --- the two writers


@contextmanager
def replacing(path: Path, *, mark: bytes = b"") -> Iterator[Path]:
    """Yield an empty file beside `path`; on leaving without an error it is renamed to `path`, else removed.

    Args:
        path: the file; the folders above it are made.
        mark: as `check_output` takes it.

    Raises:
        InvalidInput: as `check_output` and `claimed` do, or if it cannot be written.
    """
    with claimed_file(path, mark=mark) as new, explained(path, new):
        os.truncate(new, 0)
        yield new
        new.chmod(0o644)
        _sync(new)
        new.replace(path)
        _sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on leaving without an error it is renamed to `path`, else removed.

    Raises:
        InvalidInput: if something is at `path`, another process writes it, or it cannot be written.
    """
    with claimed_folder(path) as new, explained(path, new):
        new.mkdir(mode=0o755)
        yield new
        place_folder(new, path)


def place_folder(folder: Path, path: Path) -> None:
    """Rename a finished folder to `path` when all that is in it has reached the disk.

    Raises:
        InvalidInput: if it cannot be renamed.
    """
    with explained(path):
        for each in (*folder.rglob("*"), folder):
            _sync(each)
        folder.replace(path)
        _sync(path.parent)


def make_folder(path: Path) -> Path:
    """Return `path` as an existing folder that can be written.

    Raises:
        InvalidInput: if it cannot be made or written.
    """
    if not os.path.lexists(path):
        _check_above(path)
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
        require(os.access(path, os.W_OK | os.X_OK), f"cannot write {path}: Permission denied; {_REMEDY}")
    return path


@contextmanager
def folder_made(path: Path) -> Iterator[None]:
    """Make a folder and those above it; after an error, remove those of them that are empty.

    Raises:
        InvalidInput: as `make_folder` does.
    """
    absent = [folder for folder in (path, *path.absolute().parents) if not os.path.lexists(folder)]
    try:
        make_folder(path)
        yield
    except BaseException:
        for folder in absent:
            with suppress(OSError):
                folder.rmdir()
        raise


def write_json(path: Path, value: Any, *, mark: bytes = b"") -> None:
    """Write `value` as JSON with sorted keys, atomically; the same value gives the same bytes.

    Args:
        path: the file.
        value: what JSON knows.
        mark: as `check_output` takes it.

    Raises:
        InvalidInput: as `replacing` does.
    """
    with replacing(path, mark=mark) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def unwritable(path: Path, error: OSError) -> InvalidInput:
    """Return the error for a path that cannot be written, in one line: HDF5 tells of a full disk in many."""
    why = error.strerror or str(error)
    return InvalidInput(f"cannot write {path}: {why.splitlines()[0] if why else type(error).__name__}; {_REMEDY}")


@contextmanager
def explained(path: Path, made: Path | None = None) -> Iterator[None]:
    """Raise what the file system says as `InvalidInput` of a path.

    Args:
        path: what is written.
        made: beside it; if given, only what is said of these two, or of no file, is told so.
    """
    try:
        yield
    except OSError as error:
        of = error.filename
        if made is not None and isinstance(of, str) and not {made, path.absolute()} & {Path(of), *Path(of).parents}:
            raise  # of a file that is read
        raise unwritable(path, error) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not sync folders
            raise
    finally:
        os.close(handle)
