"""The sub-commands of `recsession`, one module each: typed options by tyro over the configs that the library takes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any, TypeVar

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
    # tyro prints a title, the reason, then after a rule help, among it the options that come near; in a box, or under a
    # rule where stdout is not UTF-8.
    lines = [line.strip("│ ") for line in said.getvalue().splitlines() if line.strip()]
    body = lines[1:-1] if lines[0].startswith("╭") else lines[2:]
    rule = next((i for i, line in enumerate(body) if not line.strip("─-")), len(body))
    near = [line.split()[0] for line in body[rule:] if line.startswith("--") and line.strip("-")]
    hint = f"did you mean {near[0]}? " if near and body[0].startswith("Unrecognized") else ""
    raise InvalidInput(f"{' '.join(body[:rule])}; {hint}see `recsession {command} --help`")


def world_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return the session options that the words after `--set` mean, as `SessionConfig.override` takes them.

    Args:
        texts: NAME=VALUE each; a value is JSON, or else the text itself.

    Raises:
        InvalidInput: for a word without an equals sign.
    """
    return dict(_world_option(text) for text in texts)


def _world_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--set {text!r} has no '='; write NAME=VALUE, as in slate_size=5")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
