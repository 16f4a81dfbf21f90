"""The values of a session config in JSON: a text, a file, or what `recsession fit` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recenv.errors import InvalidInput, require
from recenv.files.json_text import parse_json, read_json

_REMEDY: Final = "pass what SessionConfig.to_json() or `recsession fit` wrote"


def parse_config(text: str) -> dict[str, Any]:
    """Return the values of a config's JSON text, unchecked.

    Raises:
        InvalidInput: if the text is not a JSON object.
    """
    values = parse_json(text, "config", f"{_REMEDY}; a file of that opens with SessionConfig.from_file")
    require(isinstance(values, dict), f"config is not a JSON object; {_REMEDY}")
    return fitted_config(values)


def config_of_file(file: str | Path, what: str | None = None) -> dict[str, Any]:
    """Return the values of the config in a JSON file, unchecked; the path of its items is seen from the file's folder.

    Args:
        file: its path.
        what: its path as the caller gave it, for messages, such as "--config world.json".

    Raises:
        InvalidInput: if it cannot be read, or holds no JSON object.
    """
    what = str(file) if what is None else what
    try:
        values = read_json(Path(file), what, _REMEDY)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{what}: {reason}; {_REMEDY}, or its path") from error
    require(isinstance(values, dict), f"{what} holds no session config; {_REMEDY}")
    plain = fitted_config(values)
    items = plain.get("items")
    if isinstance(items, dict) and isinstance(items.get("path"), str):
        plain = {**plain, "items": {**items, "path": str(Path(file).parent / items["path"])}}
    return plain


def fitted_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config in what `recsession fit` writes, or the values themselves, where they are a config's.

    Raises:
        InvalidInput: if the config in it is no object.
    """
    if "config" not in values:
        return dict(values)
    # An older fit names its items beside the config.
    plain, items = values["config"], values.get("items")
    require(isinstance(plain, Mapping), f"config={plain!r} is not an object; {_REMEDY}")
    return {**({"items": {"path": items}} if isinstance(items, str) else {}), **plain}
