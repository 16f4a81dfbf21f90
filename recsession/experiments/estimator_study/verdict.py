"""What the numbers say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Numbers = Mapping[str, Any]


def sentences(numbers: Numbers) -> Sequence[str]:
    """Return what the numbers say."""
    return [f"{len(numbers['cells'])} cells."]
