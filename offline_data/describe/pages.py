"""HTML pages, each one self-contained file: styles and charts (SVG with text as text) are inline, nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from offline_data.describe.charts import finite, percent, readable, typeset
from offline_data.store.atomic_files import replacing


def write_page(path: str | Path, template: Path, values: dict[str, Any]) -> Path:
    """Fill a template, write the page beside `path`, rename it into place, and return the path.

    So `path` holds the old page or the whole new one.

    Args:
        path: the file to write; its folder is made when missing.
        template: its file, which may include the templates and styles that lie beside this module.
        values: what the template reads; text is escaped.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"typeset": typeset, "readable": readable, "percent": percent}
    environment.tests["finite"] = finite
    page = environment.get_template(template.name).render(values)
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
