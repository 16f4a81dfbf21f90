"""The sub-commands of `recsession`, one module each: typed options by tyro over the configs that the library takes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import TypeVar

import tyro

from recenv.errors import InvalidInput

Options = TypeVar("Options")


def parse(options: type[Options], command: str, words: Sequence[str], description: str | None = None) -> Options:
    """Return the options that the words mean; `--help` prints and exits.

    Args:
        options: dataclass of the options.
        command: its name, for messages.
        words: what follows the name.
        description: what the command does; None takes the dataclass's docstring.

    Raises:
        InvalidInput: for an option that is unknown, missing or unreadable, in one line.
        SystemExit: after `--help`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(options, args=words, prog=f"recsession {command}", description=description)
    except SystemExit as stop:
        if not stop.code:
            raise
    # tyro draws a box around the reason; what follows its first rule is help, among it the options that come near.
    lines = [line.strip("│ ") for line in said.getvalue().splitlines() if line[:1] == "│"]
    rule = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    near = [line.split()[0] for line in lines[rule:] if line.startswith("--")]
    hint = f"did you mean {near[0]}? " if near and lines[0].startswith("Unrecognized") else ""
    raise InvalidInput(f"{' '.join(lines[:rule])}; {hint}see `recsession {command} --help`")
