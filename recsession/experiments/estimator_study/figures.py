"""The page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offline_data.describe.pages import Section


def sections(numbers: Mapping[str, Any]) -> list[Section]:
    """Return none yet."""
    return []
