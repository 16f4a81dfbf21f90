"""The version of what training leaves, policies, runs, checkpoints, comparisons; what older ones call otherwise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from offline_data.store.folder_claim import REQUEST
from recenv.errors import require
from recenv.files.json_text import read_json

FORMAT_VERSION: Final = 3
_RENAMED: Final = {"drpo": "robust_filter", "drpo_taper": "robust_filter, or taper"}


def check_format(where: object, version: Any, said: str, remedy: str) -> None:
    """Refuse what another version wrote, and say what an objective that it names is called now.

    Args:
        where: the file or folder, for the message.
        version: what it says of itself; None of what is older than its saying so.
        said: its words, in which the names of objectives stand between quotes.
        remedy: ends the refusal's sentence.

    Raises:
        InvalidInput: if the version is not this one.
    """
    if version == FORMAT_VERSION:
        return
    renamed = [f"{old} is now {new}" for old, new in _RENAMED.items() if re.search(rf"""(['"]){old}\1""", said)]
    found = "of an older format" if version is None else f"of format {version!r}"
    why = "".join(f", in which {each}" for each in renamed)
    require(False, f"{where} is {found}, and this RecSession has format {FORMAT_VERSION}{why}; {remedy}")


def check_run(folder: Path, remedy: str) -> None:
    """Refuse the folder of a run or a comparison that another version began; one that holds neither passes.

    Args:
        folder: to be claimed.
        remedy: ends the refusal's sentence.

    Raises:
        InvalidInput: see `check_format`; or if the folder's request is damaged.
    """
    file = folder / REQUEST
    request = read_json(file, remedy=f"it is damaged, {remedy}") if file.is_file() else None
    if isinstance(request, dict) and request.keys() & {"objective", "methods"}:
        check_format(folder, request.get("format"), str(request), remedy)
