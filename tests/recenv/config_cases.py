"""Options by their sections, for the tests of the config."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from recenv import SessionConfig
from recenv.families import PIECES
from recenv.session_config import SECTION_PIECES

# Every section, and what its fields are in the default world; of a piece that is off, in its class.
SECTIONS: dict[str, Any] = {
    **{section: type(getattr(SessionConfig(), section)) for section in ("catalog", "user_model", "choice")},
    **{name: PIECES.get(name).Config for name in SECTION_PIECES},
}


def home_of(option: str) -> str | None:
    """Return the section that has an option, None for the config itself."""
    homes = [section for section, kind in SECTIONS.items() if option in {f.name for f in fields(kind)}]
    assert len(homes) <= 1
    return homes[0] if homes else None


def value_of(config: SessionConfig, option: str) -> Any:
    """Return an option's value, None where its piece is off."""
    home = home_of(option)
    holder = config if home is None else getattr(config, home)
    return None if holder is None else getattr(holder, option)


def nested(option: str, value: Any) -> dict[str, Any]:
    """Return the change of one option as `from_dict` takes it, in the option's own section."""
    home = home_of(option)
    return {option: value} if home is None else {home: {option: value}}
