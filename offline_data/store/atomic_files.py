"""Files and folders that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recenv.errors import InvalidInput, require


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving without an error it is renamed to `path`, else removed.

    Raises:
        InvalidInput: if the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_taken(path: Path) -> bool:
    """Return whether something is at a path, other than an empty folder that waits for its contents."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def require_free(path: Path) -> None:
    """Raise `InvalidInput` if something is at `path`; see `is_taken`."""
    require(not is_taken(path), f"{path} exists; choose another --out or remove it")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on leaving without an error it is renamed to `path`, else removed.

    Raises:
        InvalidInput: if something is at `path`, or it cannot be written.
    """
    require_free(path)
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        place_folder(temporary, path)
    except OSError as error:
        # HDF5 tells of a full disk in many lines.
        raise unwritable(path, OSError((error.strerror or str(error)).splitlines()[0])) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_folder(folder: Path, path: Path) -> None:
    """Rename a finished folder to `path`, and see to it that both outlast a power cut.

    Raises:
        InvalidInput: if it cannot be renamed.
    """
    try:
        folder.replace(path)
        for each in (path, path.parent):
            handle = os.open(each, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error


def make_folder(path: Path) -> Path:
    """Return `path` as an existing folder that can be written.

    Raises:
        InvalidInput: if it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys, atomically; the same value gives the same bytes.

    Raises:
        InvalidInput: if the folder cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def unwritable(path: Path, error: OSError) -> InvalidInput:
    """Return the error for a path that cannot be written."""
    return InvalidInput(f"cannot write {path}: {error.strerror or error}; choose a path in a folder that you can write")
