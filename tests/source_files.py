"""Where the sources lie that the rules read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("recenv", "offline_data", "agents", "recsession")


def sources(folder: str) -> list[Path]:
    paths = sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    assert paths, f"{folder} holds no source: the rules below would pass on nothing"
    return paths
