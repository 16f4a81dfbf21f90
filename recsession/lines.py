"""What the command line prints: one line is one line, whatever stands in it."""

from __future__ import annotations

import sys

from recenv.errors import shown


def say(*lines: object) -> None:
    """Print each of the lines with what does not print escaped, and what stdout has no letters for.

    Args:
        *lines: of texts that may hold anything: paths, names, a file's words.
    """
    letters = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(shown(line).encode(letters, "backslashreplace").decode(letters))
