"""A family of parts that are found by name: user models, behavior policies, objectives, estimators."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from recenv.errors import unknown_name

Part = TypeVar("Part")
Entered = TypeVar("Entered")


class Registry(Generic[Part]):
    """Parts of one family by name; the family's folder is imported at the first question.

    Args:
        kind: what a part is called in an error, for example "objective".
        package: dotted name of the folder whose modules register themselves on import.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._parts: dict[str, Part] = {}
        self._imported = False

    def register(self, name: str) -> Callable[[Entered], Entered]:
        """Return a decorator that enters a part under `name`.

        Raises:
            KeyError: if another part has that name already (a programming error).
        """

        def enter(part: Entered) -> Entered:
            if name in self._parts:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._parts[name] = part  # type: ignore[assignment] (the decorator keeps the part's own type)
            return part

        return enter

    def registered(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        self._import_folder()
        return tuple(sorted(self._parts))

    def get(self, name: str) -> Part:
        """Return the part called `name`.

        Raises:
            InvalidInput: if no part has that name; the nearest one is suggested.
        """
        self._import_folder()
        if name not in self._parts:
            raise unknown_name(self.kind, name, self._parts)
        return self._parts[name]

    def _import_folder(self) -> None:
        if self._imported:
            return
        self._imported = True
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            importlib.import_module(f"{self._package}.{module.name}")
