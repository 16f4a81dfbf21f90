"""Configs as plain values and back: nested frozen dataclasses, and registered ones by their name."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from recenv.errors import InvalidInput, require, unknown_name

Config = TypeVar("Config")


def to_plain(config: Any) -> dict[str, Any]:
    """Return a config as JSON-able values; one that has a `name` says it.

    Args:
        config: a dataclass of numbers, texts, tuples and further dataclasses.
    """
    name = {"name": config.name} if hasattr(config, "name") else {}
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return name | {key: to_plain(value) if is_dataclass(value) else value for key, value in values.items()}


def from_plain(config_class: type[Config], values: dict[str, Any]) -> Config:
    """Return the config of what `to_plain` returned.

    Args:
        config_class: its class.
        values: nested plain values; what is left out has its default.

    Raises:
        InvalidInput: for a field that the class has not, the name of another class, or a config that is no object.
    """
    hints = get_type_hints(config_class)
    known = {field.name for field in fields(config_class)}  # type: ignore[arg-type]
    own = getattr(config_class, "name", None)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key == "name" and own is not None:
            require(value == own, f"name={value!r} is not {own!r}; pass the values of a {config_class.__name__}")
            continue
        if key not in known:
            raise unknown_name(f"{config_class.__name__} option", key, known)
        arguments[key] = _value(key, hints[key], value)
    return config_class(**arguments)


def _value(key: str, hint: Any, value: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    configs: list[Any] = [choice for choice in choices if is_dataclass(choice)]
    if not configs:
        return tuple(value) if isinstance(value, list) else value
    if not isinstance(value, dict):
        names = " or ".join(choice.__name__ for choice in configs)
        raise InvalidInput(f"{key}={value!r} is not an object; pass the values of a {names}")
    if len(configs) == 1:
        return from_plain(configs[0], value)
    named = {choice.name: choice for choice in configs}
    if value.get("name") not in named:
        raise unknown_name(key, value.get("name"), named)
    return from_plain(named[value["name"]], value)


def field_meanings(config: type) -> dict[str, str]:
    """Return what stands in the string below each field of a dataclass, its bases' too, in one line each.

    Args:
        config: the class; its source must be at hand.
    """
    meanings: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    meanings[name] = " ".join(meaning.split())
    return meanings
