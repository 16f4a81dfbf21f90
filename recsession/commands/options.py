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
from recsession.lines import say


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
        sections = dict(_sections(config))
        names = {option for _, lines in sections.values() for option in lines} | sections.keys()
        if self.name and self.name not in names:
            raise unknown_name("session option", self.name, names)
        blocks = []
        for section, (heading, lines) in sections.items():
            wanted = [line for option, line in lines.items() if self.name in ("", section, option)]
            if wanted or self.name in ("", section):
                blocks += ["", heading, *wanted]
        say(*blocks[1:])


def _sections(config: SessionConfig) -> Iterator[tuple[str, tuple[str, dict[str, str]]]]:
    """Yield the name of each section with its heading, which says whether it is on, and a line for each option."""
    meanings = field_meanings(SessionConfig)
    pieces = {**dict.fromkeys(PIECES.registered()), **config.piece_configs()}
    sections = ("catalog", "user_model", "choice", *dict.fromkeys([*config.piece_configs(), *pieces]))
    own = _lines(config)
    yield "session", ("session", {name: own[name] for name in own if name not in (*sections, "pieces")})
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
        yield name, (f"{name}: {state}", _lines(part))


def _lines(config: Any) -> dict[str, str]:
    """Return a line for each field of a config: its name, its value and its meaning."""
    meanings, names = field_meanings(type(config)), [field.name for field in fields(config)]
    return {name: f"  {name:<26}{_shown(getattr(config, name)):<10}  {meanings.get(name, '')}" for name in names}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return str(round(value, 6) if isinstance(value, float) else value)
