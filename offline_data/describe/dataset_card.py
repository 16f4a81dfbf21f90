"""A dataset's card in Markdown: what it is, its numbers, its columns, how to load and to make it again, its caveats."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

from offline_data.describe.dataset_summary import policy_name, summarize
from offline_data.describe.pages import make_environment
from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_checks import CHECKS
from recenv.errors import shown
from recenv.files.atomic_files import replacing

# What begins code, emphasis, a link, a column, struck text, mathematics, and an address that is made a link of.
_MARKS: Final = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)")

CARD_MARK: Final = b"off-policy-evaluation"
"""A tag that every card has."""


def card(dataset: LoggedDataset) -> str:
    """Return the card of a dataset, for a `README.md` beside its manifest; equal datasets have equal cards.

    Its numbers are those of `summarize`. The front matter is of the kind that dataset hubs read.

    Args:
        dataset: the log.
    """
    environment = make_environment()
    # JSON is YAML, and a string of it is one of Python.
    environment.filters |= {"json": _json, "plain": _plain, "code": _code, "quote": _quote, "shown": shown}
    environment.filters["policy_name"] = policy_name
    values: dict[str, Any] = {"summary": summarize(dataset), "manifest": dataset.manifest}
    values |= {"options": _options(dataset), "splits": _splits(dataset.part)}
    return environment.get_template("dataset_card.md.jinja").render(values, checks=CHECKS) + "\n"


def write_card(dataset: LoggedDataset, file: Path | None = None) -> Path:
    """Write the card of a dataset to a file, whole or not at all, and return the file.

    Args:
        dataset: the log.
        file: where; None for `README.md` in the dataset's folder, where no checksum counts it.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    file = dataset.path / "README.md" if file is None else file
    with replacing(file, mark=CARD_MARK) as temporary:
        temporary.write_text(card(dataset))
    return file


def _options(dataset: LoggedDataset) -> dict[str, Any]:
    """Return the options of `recsession collect` that make the log again; none where it was read in."""
    request = dataset.manifest["source"].get("request")
    if request is None:
        return {}
    return {
        "config": "manifest.json",
        "behavior": json.dumps(request["behavior"]),
        "action_kind": request["action_kind"],
        "num_sessions": request["num_sessions"],
        "seed": request["dataset_seed"],
        "group_size": request["group_size"],
        **dataset.manifest["injected"],
    }


def _splits(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the splits that lead to a part, of the whole first: what is split, how, and which part goes on."""
    if part is None:
        return []
    before = _splits(part["of"].get("part"))
    last = before[-1] if before else None
    return [*before, {**part, "of": "../again" if last is None else f"{last['of']}-split/{last['name']}"}]


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def _plain(text: object) -> str:
    """Return text that Markdown takes for nothing else: one line, no tags, links, emphasis, code or column's end."""
    return html.escape(_MARKS.sub(r"\\\g<0>", shown(text)), quote=False)


def _code(text: object) -> str:
    """Return text as code in a line, or plain where it holds what names and numbers do not: few readers escape."""
    line = shown(text)
    return f"`{line}`" if re.fullmatch(r"[\w \"'.,:;/=()+{}-]+", line, re.ASCII) else _plain(line)


def _quote(text: object) -> str:
    """Return text as one word of a shell's, on one line."""
    word = str(text)
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + shown(re.sub(r"[\\']", r"\\\g<0>", word)) + "'"
