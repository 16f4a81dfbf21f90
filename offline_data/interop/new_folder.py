"""Folders that are whole or absent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offline_data.atomic_files import make_folder, unwritable
from offline_data.dataset_writer import place_folder
from recenv.errors import require


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on leaving without an error it is renamed to `path`, else removed.

    Raises:
        InvalidInput: if something is at `path`, or it cannot be written.
    """
    require(not path.exists(), f"{path} exists; choose another place or remove it")
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
