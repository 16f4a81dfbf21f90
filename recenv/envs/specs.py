"""What an environment was made of, as Gymnasium's spec, whose JSON makes the same one again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import EnvSpec

from recenv.errors import require
from recenv.families import CHOICE_MODELS, USER_MODELS
from recenv.items.catalog import Catalog
from recenv.plain_config import to_plain
from recenv.plain_numbers import plain_value
from recenv.session_config import SessionConfig


class SessionSpec(EnvSpec):
    """A spec whose JSON has configs, paths and NumPy's numbers as the plain values that make the same world.

    Examples:
        >>> import gymnasium
        >>> from recenv import SessionConfig
        >>> env = gymnasium.make("RecSession-v0", config=SessionConfig(slate_size=3))
        >>> again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        >>> again.unwrapped.config == env.unwrapped.config
        True
    """

    @staticmethod
    def of(spec: EnvSpec) -> SessionSpec:
        """Return a spec as one of these."""
        own = object.__new__(SessionSpec)
        vars(own).update(vars(spec))
        return own

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EnvSpec):
            return NotImplemented
        return all(getattr(self, entry.name) == getattr(other, entry.name) for entry in fields(EnvSpec))

    __hash__ = None  # type: ignore[assignment]  # as Gymnasium's

    def to_json(self) -> str:
        """Return the JSON text, which `EnvSpec.from_json` reads.

        Raises:
            InvalidInput: for items that lie in no file.
        """
        plain = copy.copy(self)
        plain.kwargs = {name: _plain(name, value) for name, value in self.kwargs.items()}
        return EnvSpec.to_json(plain)


class Specified:
    """An environment whose `spec` is a `SessionSpec`."""

    _spec: SessionSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What it was made of, None where Gymnasium did not make it."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = None if spec is None else SessionSpec.of(spec)


def _plain(name: str, value: Any) -> Any:
    """Return a keyword's value as what JSON has."""
    items = value.items if isinstance(value, SessionConfig) else value
    if isinstance(items, Catalog):
        require(
            items.path is not None,
            f"{name}={items!r} lies in no file, and a spec's JSON names the file of its items; save them, and make the "
            "environment with items = items.save('items.npz')",
        )
    if isinstance(value, SessionConfig):
        return value.to_dict()
    if isinstance(value, Catalog | Path):
        return str(value.path if isinstance(value, Catalog) else value)
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(value, {"user_model": USER_MODELS, "choice": CHOICE_MODELS}.get(name))
    if isinstance(value, Mapping):
        return {key: _plain(key, inner) for key, inner in value.items()}
    return plain_value(value)
