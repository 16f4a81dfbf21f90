"""What mkdocs is told besides.

An API page lists what a package's face lists, room by room, and no page loads anything from another host.
"""

from __future__ import annotations

import ast
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill lines `<!-- face: PACKAGE -->` with the package's public names."""
    return re.sub(r"^<!-- face: ([\w.]+) -->$", lambda found: _face(found[1]), markdown, flags=re.MULTILINE)


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Refuse a page that loads a script, a style, a font or a picture from another host; links may lead there."""
    foreign = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", output)
    if foreign:
        raise PluginError(f"{page.file.src_uri} loads {foreign[0]} from another host; keep it in docs/")


def _face(package: str) -> str:
    """Return a heading for each room of a package, and a reference for each name that `__init__.pyi` takes from it."""
    lines = ast.parse((ROOT / package.replace(".", "/") / "__init__.pyi").read_text()).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom) and line.module]
    text = []
    for room, group in groupby(imports, lambda line: str(line.module).split(".")[0]):
        text.append(f"## {room}\n")
        text += [f"::: {package}.{alias.name}\n" for line in group for alias in line.names]
    return "\n".join(text)
