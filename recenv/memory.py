"""What does not fit into half of the machine's memory is refused before any of it is made."""

from __future__ import annotations

import os

from recenv.errors import require


def require_memory(num_bytes: int, what: str, remedy: str) -> None:
    """Raise `InvalidInput` unless so many bytes are at most half of the machine's memory.

    Args:
        num_bytes: what will be at hand at once.
        what: takes them, for the message.
        remedy: what the caller can do.

    Raises:
        InvalidInput: naming both sizes.
    """
    try:
        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not everywhere known
        return
    require(num_bytes <= half, f"{what} takes {num_bytes:,} bytes, and half of the memory is {half:,}; {remedy}")
