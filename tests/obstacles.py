"""What may stand where a file is to be written, made inside a test's own folder."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

PRECIOUS = "years of work"
KINDS = ("link", "dangling link", "link to a folder", "folder", "FIFO", "socket", "device")


def stand_in_the_way(path: Path, kind: str) -> None:
    """Put something at `path` that no output may replace; links lead to files and folders beside it.

    Args:
        path: in a folder of the test's own.
        kind: one of `KINDS`.
    """
    kept = path.with_name("precious")
    if kind == "link":
        kept.write_text(PRECIOUS)
        path.symlink_to(kept)
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "link to a folder":
        kept.mkdir()
        (kept / "file").write_text(PRECIOUS)
        path.symlink_to(kept)
    elif kind == "folder":
        path.mkdir()
        (path / "file").write_text(PRECIOUS)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        # A socket's path has at most 108 bytes, and it stays when it is closed.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.chdir(before)
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("who runs the tests may make no device")


def seen(folder: Path) -> dict[str, tuple[int, str | bytes | None]]:
    """Return every path in a folder with its mode and number, and what it holds or leads to; nothing is followed."""

    def content(path: Path) -> str | bytes | None:
        mode = path.lstat().st_mode
        return os.readlink(path) if stat.S_ISLNK(mode) else path.read_bytes() if stat.S_ISREG(mode) else None

    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): (path.lstat().st_mode, content(path)) for path in paths}
