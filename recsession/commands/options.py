"""`recsession options`: list the options of a session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import tyro

from recenv.errors import unknown_name
from recenv.families import CHOICE_MODELS, PIECES, USER_MODELS
from recenv.plain_config import field_meanings
from recenv.session_config import SessionConfig


@dataclass(frozen=True)
class Options:
    """List the options of a session: what each means, and its default.

    --set, gymnasium.make and SessionConfig.override take them, flat as in slate_size=5; --set also takes them by their
    section, as in satiation.satiation_weight=1.
    """

    name: tyro.conf.Positional[str] = ""
    """The name of an option or of a section; everything by default."""
    user_model: str = "interest_evolution"
    """Whose world the defaults are of."""
    choice: str = ""
    """Choice model in place of that world's."""

    def run(self) -> None:
        """Look up and print."""
        chosen = {"choice": self.choice} if self.choice else {}
        config = SessionConfig().override(user_model=self.user_model, **chosen)
        sections = {section.name: section for section in _sections(config)}
        names = {name for section in sections.values() for name in section.defaults}
        if self.name and self.name not in names | sections.keys():
            raise unknown_name("session option", self.name, names | sections.keys())
        blocks = [
            section.text("" if self.name == section.name else self.name)
            for section in sections.values()
            if self.name in ("", section.name) or self.name in section.defaults
        ]
        print("\n\n".join(blocks))


@dataclass(frozen=True)
class _Section:
    """A section of the config."""

    name: str
    """As `SessionConfig` calls it."""
    heading: str
    """What it is, and whether it is on."""
    defaults: dict[str, Any]
    """Value of each of its options."""
    meanings: dict[str, str]
    """And its meaning."""

    def text(self, only: str) -> str:
        """Return the heading and a line for each option, or for the one named."""
        rows = [
            f"  {name:<26}{_shown(value):<10}  {self.meanings.get(name, '')}"
            for name, value in self.defaults.items()
            if only in ("", name)
        ]
        return "\n".join([self.heading, *rows])


def _sections(config: SessionConfig) -> Iterator[_Section]:
    meanings = field_meanings(SessionConfig)
    pieces = {**dict.fromkeys(PIECES.registered()), **config.piece_configs()}
    sections = ("catalog", "user_model", "choice", *dict.fromkeys([*config.piece_configs(), *pieces]))
    own = {name: value for name, value in _values(config).items() if name not in (*sections, "pieces")}
    yield _Section("session", "session", own, meanings)
    for name in sections:
        part = pieces[name] if name in pieces else getattr(config, name)
        if name in pieces:
            state = "on" if part is not None else f"off; {name}=True or any of its options switches it on"
            part = PIECES.get(name).Config() if part is None else part
        elif name == "catalog":
            state = meanings[name]
        else:
            family = USER_MODELS if name == "user_model" else CHOICE_MODELS
            state = f"{family.name_of(type(part))} (one of {', '.join(family.registered())})"
        yield _Section(name, f"{name}: {state}", _values(part), field_meanings(type(part)))


def _values(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(config)}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return str(round(value, 6) if isinstance(value, float) else value)
