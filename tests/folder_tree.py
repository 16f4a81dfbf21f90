"""What lies in a folder, for tests that nothing was left, lost or changed."""

from __future__ import annotations

from pathlib import Path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder: a file's bytes, None for a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def shared_memory_of(number: int) -> list[str]:
    """Return the names of semaphores and folders of joblib in shared memory that a process has made."""
    folder = Path("/dev/shm")
    return [path.name for path in folder.iterdir() if f"-{number}-" in path.name or f"_{number}_" in path.name]
