"""What mkdocs is told besides.

An API page lists what a package's face lists, room by room, and no page loads anything from another host.
"""

from __future__ import annotations

import ast
import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill lines: `<!-- face: PACKAGE -->` with its public names, `<!-- results -->` with what docs/results holds."""
    markdown = markdown.replace("<!-- results -->", _results())
    return re.sub(r"^<!-- face: ([\w.]+) -->$", lambda found: _face(found[1]), markdown, flags=re.MULTILINE)


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Refuse a page that loads a script, a style, a font or a picture from another host; links may lead there."""
    foreign = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", output)
    if foreign:
        raise PluginError(f"{page.file.src_uri} loads {foreign[0]} from another host; keep it in docs/")


def _results() -> str:
    """Return, of each study whose page is kept, what its numbers say, its command, and a link to the page."""
    told = []
    for page in sorted((ROOT / "docs" / "results").glob("*.html")):
        results = json.loads(page.with_suffix(".json").read_text())
        sentences = "".join(f"* {sentence}\n" for sentence in results["verdict"])
        made = f"`{results['command']}`; [tables and figures](results/{page.name})"
        told.append(f"### {results['title']}\n\n{sentences}\n{made}\n")
    return "\n".join(told) or "No study has been run in full yet."


def _face(package: str) -> str:
    """Return a heading for each room of a package, and a reference for each name that `__init__.pyi` takes from it."""
    lines = ast.parse((ROOT / package.replace(".", "/") / "__init__.pyi").read_text()).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom) and line.module]
    text = []
    for room, group in groupby(imports, lambda line: str(line.module).split(".")[0]):
        text.append(f"## {room}\n")
        text += [f"::: {package}.{alias.name}\n" for line in group for alias in line.names]
    return "\n".join(text)
