"""Fill the pages of docs/ with what the results in this folder say, and keep the results of a run here.

`python docs/results/fill.py runs/selection-proto/results.json selection-proto` copies them compactly, draws their page,
and fills; `python docs/results/fill.py` fills alone. Between `<!-- results: NAME -->` and `<!-- end -->` a page has the
study's verdict, its command and versions, and the tables of NAME.json; or that it was not run in full.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offline_data.describe.number_words import typeset
from offline_data.describe.pages import Table
from recsession.experiments.reproduction import read_results, write_study_page
from recsession.families import STUDIES

HERE = Path(__file__).parent
_BLOCK = re.compile(r"(?<=<!-- results: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def keep(results: Path, name: str, folder: Path = HERE) -> None:
    """Write a run's results as NAME.json, one line a cell or setting, and their page as NAME.html.

    Args:
        results: the run's `results.json`.
        name: what they are called here.
        folder: where they are kept.
    """
    found = read_results(results)
    study = STUDIES.get(found["study"])
    found["verdict"] = list(study.verdict(found["numbers"]))
    (folder / f"{name}.json").write_text(_compact(found) + "\n")
    write_study_page(study, read_results(folder / f"{name}.json"), folder / f"{name}.html")


def filled(page: str, folder: Path = HERE) -> str:
    """Return a page's text with its blocks as the results say.

    Args:
        page: Markdown.
        folder: where results are kept.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}{block[2]}{_told(block[1], folder)}", page)


def _told(name: str, folder: Path) -> str:
    file = folder / f"{name}.json"
    if not file.exists():
        return "It was not run in full yet.\n"
    results = read_results(file)
    numbers, versions = results["numbers"], results["versions"]
    study = STUDIES.get(results["study"])
    lines = [f"* {sentence}" for sentence in study.verdict(numbers)]
    made = ", ".join(f"{package} {version}" for package, version in versions.items())
    lines += ["", f"By `{results['command']}`, with {made}: [figures and all tables](results/{name}.html)."]
    for section in study.sections(numbers):
        lines += ["", *_tables(section)]
    return "\n".join(line for line in lines) + "\n"


def _tables(section: Any) -> Iterator[str]:
    parts = [part for group in section.parts for part in ([group] if isinstance(group, str | Table) else group)]
    tables = [part for part in parts if isinstance(part, Table) and not part.folded]
    for place, table in enumerate(tables):
        yield from ("",) if place else ()
        title = f"{section.title}: {table.caption}" if table.caption else section.title
        yield from (f"**{title}**", "", _row(table.header), _row(["---"] * len(table.header)))
        yield from map(_row, table.rows)
        yield from ("", typeset(table.note)) if table.note else ()


def _row(cells: Any) -> str:
    return "| " + " | ".join(typeset(str(cell)).replace("|", "\\|") for cell in cells) + " |"


def _compact(value: Any, depth: int = 0) -> str:
    """Return JSON in which what lies deeper than four levels, such as a cell, stands on one line."""
    if depth < 4 and isinstance(value, Mapping) and value:
        inner = [f"{json.dumps(key)}: {_compact(each, depth + 1)}" for key, each in sorted(value.items())]
        return "{\n" + ",\n".join(inner) + "\n}"
    return json.dumps(value, sort_keys=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(Path(sys.argv[1]), sys.argv[2])
    for path in HERE.parent.glob("*.md"):
        path.write_text(filled(path.read_text()))
