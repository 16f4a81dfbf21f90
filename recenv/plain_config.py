"""Configs as plain values and back, one codec for all: nested frozen dataclasses, where a part's config says its name.

A field that holds the config of a part says of which family: `field(default_factory=..., metadata={"family": FAMILY})`.
Its plain values then have the part's `name`, and are read back by it. A class may do otherwise, by a `to_dict` and a
`from_dict` of its own.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_origin, get_type_hints

from recenv.errors import require, unknown_name
from recenv.registry import Registry, config_of

Config = TypeVar("Config")


def to_plain(config: Any, family: Registry[Any] | None = None) -> dict[str, Any]:
    """Return a config as JSON-able values, equal for equal configs: 1 becomes 1.0 in a float field, and -0.0 0.0.

    Args:
        config: a dataclass of numbers, texts, tuples and further dataclasses.
        family: of the part whose config it is, whose name is then told; None for any other dataclass.
    """
    plain: dict[str, Any] = {} if family is None else {"name": family.name_of(type(config))}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if hasattr(value, "to_dict"):
            value = value.to_dict()
        elif is_dataclass(value):
            value = to_plain(value, entry.metadata.get("family"))
        elif entry.type in ("float", float):
            value += 0.0
        plain[entry.name] = value
    return plain


def from_plain(kind: type[Config] | Registry[Any], values: Mapping[str, Any]) -> Config:
    """Return the config of what `to_plain` returned.

    Args:
        kind: its class; or the family of a part, which the values then name.
        values: nested plain values; what is left out has its default.

    Raises:
        InvalidInput: for a field that the class has not, an unknown name, or a config that is no object.
    """
    if isinstance(kind, Registry):
        name = values.get("name")
        require(
            isinstance(name, str),
            f"{dict(values)} has no 'name' that is a text; add the name of a registered {kind.kind}",
        )
        config = config_of(kind.resolve(str(name)))
        return _of_class(config, f"{kind.kind} option", {key: value for key, value in values.items() if key != "name"})
    return _of_class(kind, f"{kind.__name__} option", values)


def _of_class(kind: type[Config], what: str, values: Mapping[str, Any]) -> Config:
    known, hints = {entry.name: entry for entry in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise unknown_name(what, key, known)
        target: Any = known[key].metadata.get("family", hints[key])
        if value is None and known[key].default is None:
            pass  # left open, as it is by default
        elif isinstance(target, Registry) or is_dataclass(target):
            named = target.kind if isinstance(target, Registry) else target.__name__  # type: ignore[attr-defined]
            require(isinstance(value, Mapping), f"{key}={value!r} is not an object; pass the values of a {named}")
            read = getattr(target, "from_dict", None)
            value = from_plain(target, value) if read is None else read(value)  # type: ignore[arg-type]
        elif isinstance(value, list) and get_origin(hints[key]) is tuple:
            value = tuple(value)
        arguments[key] = value
    return kind(**arguments)


def field_meanings(config: type) -> dict[str, str]:
    """Return what stands in the string below each field of a dataclass, its bases' too, in one line each.

    Args:
        config: the class; of what has no source at hand, nothing is known.
    """
    meanings: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError):  # made in a notebook, or by a call
            continue
        assert isinstance(definition, ast.ClassDef)
        for entry, text in zip(definition.body, definition.body[1:], strict=False):
            match entry, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    meanings[name] = " ".join(meaning.split())
    return meanings
