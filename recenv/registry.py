"""Families of parts that are found by name: user models, behavior policies, objectives, estimators and the like.

A part is named in one of three ways: by the name under which a file of its family's folder registers it; by an entry
point of an installed distribution, group `recsession.<group>`; or as `MODULE:CLASS`. Names are listed without importing
anything; a part's file is imported when the part is asked for.

What a file names is another matter than what a user types: inside `reading`, a `MODULE:CLASS` whose module is not
imported yet is imported only if the user allowed it, by `allow_imports` or around everything by `permit_imports`.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from importlib import metadata
from typing import Any, Final, Generic, TypeVar

from recenv.errors import InvalidInput, require, unknown_name
from recenv.outside_code import note_outside_code, told
from recenv.part_sources import PartSource, registered_parts

Part = TypeVar("Part", bound=type)
Entered = TypeVar("Entered", bound=type)

OWN_PACKAGES: Final = frozenset({"recenv", "offline_data", "agents", "recsession"})

_permitted: ContextVar[frozenset[str]] = ContextVar("permitted", default=frozenset())
_source: ContextVar[str | None] = ContextVar("source", default=None)


@contextmanager
def permit_imports(modules: Iterable[str]) -> Iterator[None]:
    """Let files that are read inside name parts of these modules, as `--allow-import` does.

    Args:
        modules: dotted names; a package's name allows its modules.
    """
    token = _permitted.set(_permitted.get() | frozenset(modules))
    try:
        yield
    finally:
        _permitted.reset(token)


def permitted_imports() -> frozenset[str]:
    """Return what `permit_imports` allows here; another process is to be told, it does not know."""
    return _permitted.get()


@contextmanager
def reading(source: object, allow_imports: Iterable[str] = ()) -> Iterator[None]:
    """Resolve names inside as those of a file, which nothing is imported for without permission.

    Args:
        source: the file, for messages.
        allow_imports: modules that may be imported all the same.
    """
    token = _source.set(str(source))
    try:
        with permit_imports(allow_imports):
            yield
    finally:
        _source.reset(token)


def being_read() -> str | None:
    """Return the file that `reading` resolves names of here, None outside of it."""
    return _source.get()


class Registry(Generic[Part]):
    """Parts of one family by name.

    Args:
        kind: what a part is called in an error, for example "objective".
        package: dotted name of the folder whose modules register parts; its module `base` has the base class.
        base: name of the base class, of which every part is a subclass.
        group: entry points are those of the group `recsession.<group>`.
        terms: what the field calls parts that have another name here, lower case with underscores, and that name with
            what is to be said of it: they are no names, and an error tells them.

    Examples:
        >>> from recenv import USER_MODELS
        >>> "interest_evolution" in USER_MODELS.registered()
        True
        >>> USER_MODELS.resolve("interest_evolution").__name__
        'InterestEvolution'
    """

    def __init__(
        self, kind: str, package: str, base: str, group: str, *, terms: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self.package = package
        self.group = f"recsession.{group}"
        self.base_name = base
        self.terms = terms or {}
        self._parts: dict[str, Any] = {}

    @property
    def base(self) -> type:
        """The class that every part is a subclass of."""
        return getattr(importlib.import_module(f"{self.package}.base"), self.base_name)

    def register(self, name: str) -> Callable[[Entered], Entered]:
        """Return a decorator that enters a part under `name`; the same class again, a notebook's, replaces itself.

        Raises:
            InvalidInput: if another part has that name, or the part's `Config` is called otherwise: a subclass that
                inherits its parent's would be saved, and then read back, as its parent.
        """

        def enter(part: Entered) -> Entered:
            present: Any = self._parts.get(name)
            there = None if present is None else _path_of(present)
            if there is None and name in self._sources and self._sources[name].module != part.__module__:
                there = self._sources[name].module  # which is not imported yet
            require(
                there in (None, _path_of(part)),
                f"{self.kind} {name!r} is registered twice, by {there} and {_path_of(part)}; rename one of them",
            )
            called = getattr(config_of(part), "name", name)
            require(
                called == name,
                f"{part.__name__} is registered as {name!r}, and its {config_of(part).__name__} is called {called!r}; "
                f"give it a config of its own with name = {name!r}",
            )
            self._parts[name] = part
            return part

        return enter

    def registered(self) -> tuple[str, ...]:
        """Return every name that `get` takes, sorted; nothing is imported but what names itself by an expression."""
        known = (name for name in self._parts if ":" not in name)
        return tuple(sorted({*known, *self._sources, *self._entry_points}))

    def source(self, name: str) -> PartSource | None:
        """Return what the source says of a part, which is not imported; None of a part from outside."""
        return self._sources.get(name)

    def get(self, name: str) -> Part:
        """Return the part that is registered as `name`, or an entry point.

        Raises:
            InvalidInput: if no part has that name, where the nearest one is suggested, if two entry points have it, or
                if one's module cannot be imported.
        """
        points = self._entry_points
        if name not in self._parts:
            if name in self._sources:
                importlib.import_module(self._sources[name].module)
            elif name in points:
                require(
                    len(points[name]) == 1,
                    f"{self.kind} {name!r} is installed twice, as {' and as '.join(points[name])}; uninstall one of "
                    "them, or name the one that you mean in that way",
                )
                self._parts[name] = self._checked(import_class(self.kind, points[name][0]), name)
            else:
                here = self.terms.get(name.lower().replace("-", "_"))
                if here is not None:
                    raise InvalidInput(f"{self.kind} {name!r} is called {here}")
                raise unknown_name(self.kind, name, self.registered())
        return self._parts[name]

    def resolve(self, part: str | Part) -> Part:
        """Return the part that a name, `MODULE:CLASS` or a class means.

        Raises:
            InvalidInput: for an unknown name, a module that cannot be imported, or that a file names without
                permission, and for a class that is no part of the family.
        """
        if not isinstance(part, str):
            return self._checked(part, part)
        return self._imported(part) if ":" in part else self.get(part)

    def name_of(self, part: type) -> str:
        """Return by which name a file is to call a part so that another process finds it.

        Args:
            part: a part, or the `Config` of one that was resolved or registered.

        Raises:
            InvalidInput: for the config of two, a class and its heir.
        """
        known = part if part in self._parts.values() else self._whose(part)
        names = (name for name, each in self._parts.items() if each is known)
        own = next((name for name in names if name in self._sources or name in self._entry_points), None)
        return own or _path_of(known or part)

    def part_of(self, config: Any) -> Part:
        """Return the part whose `Config` an object is an instance of.

        Raises:
            InvalidInput: if the object is no part's config, or that of two, a class and its heir.
        """
        kind = type(config)
        own = self._whose(kind)
        if own is not None:
            return own
        name = getattr(config, "name", None)
        known = self.get(name) if isinstance(name, str) else None
        if known is None or config_of(known) is not kind:
            raise InvalidInput(f"{config!r} is no config of a {self.kind}; pass one, or resolve its part first")
        return known

    def _whose(self, config: type) -> Part | None:
        """Return the part that has a class for its `Config`, of those that are known."""
        fitting = {_path_of(known): known for known in self._parts.values() if config is config_of(known)}
        require(
            len(fitting) < 2,
            f"{config.__name__} is the config of {' and of '.join(fitting)}, and does not say of which; give each one",
        )
        return next(iter(fitting.values()), None)

    def _imported(self, spec: str) -> Part:
        module_name, _, _ = spec.partition(":")
        source, top = _source.get(), module_name.partition(".")[0]
        allowed = {module_name, *(module_name.rsplit(".", n)[0] for n in range(1, module_name.count(".") + 1))}
        require(
            source is None
            or module_name in sys.modules
            or top in OWN_PACKAGES
            or bool(allowed & _permitted.get())
            or any(spec in values for values in self._entry_points.values()),
            f"{source} names the {self.kind} {spec!r}, and nothing is imported because a file says so; if you trust "
            f"it, allow its module: --allow-import {module_name}, or allow_imports=({module_name!r},)",
        )
        return self._checked(import_class(self.kind, spec), spec)

    def _checked(self, part: Any, given: object) -> Any:
        require(
            isinstance(part, type) and issubclass(part, self.base),
            f"{self.kind} {given!r}: there is no class of that name that is a {self.base_name}{_found_in(given)}; name "
            "one",
        )
        config = config_of(part)
        for name, known in self._parts.items():
            require(
                known is part or not hasattr(config, "name") or config is not config_of(known),
                f"{_path_of(part)} has the config of the {self.kind} {name!r}, and would be taken for it; give it a "
                "config of its own",
            )
        if part not in self._parts.values():
            self._parts[_path_of(part)] = part
        return part

    @cached_property
    def _sources(self) -> dict[str, PartSource]:
        """What the modules of the folder register by name."""
        return registered_parts(self.package)

    @cached_property
    def _entry_points(self) -> dict[str, tuple[str, ...]]:
        """What is installed by each name, as `MODULE:CLASS`; the name of a part of the folder stays that part's."""
        # What lies in the folder that is worked in may have come with a stranger's log.
        folders = tuple(folder for folder in sys.path if not is_working_folder(folder))
        found: dict[str, dict[str, None]] = {}
        for name, value in _installed(folders).get(self.group, ()):
            found.setdefault(name, {})[value] = None  # a distribution may lie on the path twice
        for name in found.keys() & self._sources.keys():
            warnings.warn(
                f"the installed {self.kind} {name!r}, {' and '.join(found.pop(name))}, has the name of one of "
                f"{self.package}, which acts; ask its author for another name, or name it in that way",
                stacklevel=2,
            )
        return {name: tuple(values) for name, values in found.items()}


@cache
def _installed(folders: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Return name and value of our families' entry points in some folders, by group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    known: set[str] = set()  # of a distribution that is installed twice, the first on the path is the one
    for distribution in metadata.distributions(path=list(folders)):
        points = [point for point in distribution.entry_points if point.group.startswith("recsession.")]
        if points and distribution.name not in known:
            known.add(distribution.name)
            for point in points:
                groups.setdefault(point.group, []).append((point.name, point.value))
    return groups


def _found_in(given: object) -> str:
    """Return where a module was found, for a message: another of its name may stand before it on the path."""
    file = getattr(sys.modules.get(str(given).partition(":")[0]), "__file__", None) if ":" in str(given) else None
    return f" in {file}" if file else ""


def is_working_folder(folder: str) -> bool:
    """Return whether an entry of `sys.path` is the folder that is worked in; false where that is gone."""
    try:
        return os.path.samefile(folder or ".", ".")
    except OSError:
        return False


def import_class(kind: str, spec: str) -> Any:
    """Return what `MODULE:CLASS` names, or None where the module has no such name.

    Args:
        kind: what is looked for, for messages.
        spec: the text.

    Raises:
        InvalidInput: if the module cannot be imported, in whatever way it fails.
    """
    module_name, _, class_name = spec.partition(":")
    note_outside_code(spec)
    try:
        found = importlib.import_module(module_name)
        for name in class_name.split("."):  # a nested class is named by its way
            found = getattr(found, name, None)
        return found
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's module may do anything, sys.exit among it
        raise InvalidInput(
            f"{kind} {spec!r}: cannot import {module_name!r} ({told(error)}); pass MODULE:CLASS of a module on "
            "the path that can be imported"
        ) from error


def config_of(part: type) -> type:
    """Return the class of a part's parameters: its `Config`, or itself where it is its own."""
    return getattr(part, "Config", part)


def own_config(part: type, config: Any) -> Any:
    """Return a part's config, its defaults for None.

    Raises:
        InvalidInput: if the config is another part's.
    """
    kind = config_of(part)
    config = kind() if config is None else config
    require(isinstance(config, kind), f"config is a {type(config).__name__}; {part.__name__} takes a {kind.__name__}")
    return config


def _path_of(part: type) -> str:
    return f"{part.__module__}:{part.__qualname__}"
