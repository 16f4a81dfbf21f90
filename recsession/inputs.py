"""What the words of a command mean: its options, by tyro, and the world of `--config` and `--set`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Collection, Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import docstring_parser
import tyro

from recenv.errors import InvalidInput, require
from recenv.files.config_files import config_of_file
from recenv.files.json_text import parse_json
from recenv.registry import reading
from recenv.session_config import SessionConfig

Options = TypeVar("Options")
SetWords: TypeAlias = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
"""The words after each `--set`."""

_PYTHONS_WORDS: Final = {"None": None, "True": True, "False": False}

_HELP: Final = tyro.constructors.ConstructorRegistry()


@_HELP.struct_rule
def _join_lines(info: tyro.constructors.StructTypeInfo) -> None:
    """Give a dataclass's fields their strings as one line each; tyro would break help where the source does.

    It is no rule of its own: None leaves the class to tyro's, which prefers this entry to the source.
    """
    if not dataclasses.is_dataclass(info.type):
        return
    for owner in info.type.__mro__[:-1]:
        for param in docstring_parser.parse_from_object(owner).params:
            field = owner.__dict__.get("__dataclass_fields__", {}).get(param.arg_name)
            if field is not None and param.description:
                text = " ".join(param.description.split())
                field.metadata = MappingProxyType({**field.metadata, "help": text})


def parse(options: type[Options], command: str, words: Sequence[str], description: str | None = None) -> Options:
    """Return the options that the words mean; `--help` prints and exits.

    Args:
        options: dataclass of the options.
        command: its name, for messages.
        words: what follows the name.
        description: what the command does; None takes the dataclass's docstring.

    Raises:
        InvalidInput: for an option that is unknown, missing or unreadable, in one line.
        SystemExit: after `--help`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _HELP if {"-h", "--help"} & set(words) else contextlib.nullcontext():
            parsed = tyro.cli(options, args=words, prog=f"recsession {command}", description=description)
        _require_files(getattr(parsed, "files", ()), words)
        return parsed
    except SystemExit as stop:
        if not stop.code:
            raise
    # tyro prints a title, the reason, then after a rule help, among it the options that come near; in a box, or under a
    # rule where stdout is not UTF-8.
    lines = [line.strip("│ ") for line in said.getvalue().splitlines() if line.strip()]
    body = lines[1:-1] if lines[0].startswith("╭") else lines[2:]
    rule = next((i for i, line in enumerate(body) if not line.strip("─-")), len(body))
    near = [line.split()[0].rstrip(",") for line in body[rule:] if line.startswith("--") and line.strip("-")]
    unknown = body[0].startswith("Unrecognized")
    hint = (f"did you mean {near[0]}? " if near else "leave it out, or ") if unknown else ""
    if unknown and any(Path(word).exists() for word in _said_after(words, "--path")[1:]):
        hint = "a pattern of files stands between quotes, as --path 'shop/*.csv'; "
    raise InvalidInput(f"{' '.join(body[:rule])}; {hint}see `recsession {command} --help`")


def _require_files(options: Collection[str], words: Sequence[str]) -> None:
    """Refuse a path that ends as a folder's does, which `Path` forgets, where a file is to be written."""
    for before, word in pairwise(("", *words)):
        option, _, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if option.removeprefix("--") in options and value.endswith("/"):
            raise InvalidInput(f"{option} {value} is the path of a folder; give that of a file, as in {value}x")


def refuse_given(options: Any, names: Collection[str], why: str, *, prefix: str = "", usual: Any = None) -> None:
    """Refuse options that nobody would read.

    Args:
        options: of a command.
        names: fields of it that are to be at their defaults.
        why: begins the message.
        prefix: what stands before a field's name on the command line, such as "critic.".
        usual: an instance that has the defaults; None for those of the class.

    Raises:
        InvalidInput: naming those that are not.
    """
    entries = (entry for entry in dataclasses.fields(options) if entry.name in names)
    given = [
        f"--{prefix}{entry.name.replace('_', '-')}"
        for entry in entries
        if getattr(options, entry.name) != (entry.default if usual is None else getattr(usual, entry.name))
    ]
    require(not given, f"{why}; leave out {' and '.join(given)}")


def given_config(config: Path | None, words: SetWords, base: SessionConfig | None = None) -> SessionConfig:
    """Return the config that `--config` and `--set` mean.

    Args:
        config: a JSON file of a session config, or what `recsession fit` writes; None for `base`.
        words: what `--set` then alters.
        base: where there is no file; None for the defaults.

    Raises:
        InvalidInput: for a file that holds something else, an unknown option, or a value out of range.
    """
    options = world_options(words)
    start = (base or SessionConfig()) if config is None else _read_config(config, options.get("items"))
    return start.override(**options)


def _read_config(file: Path, given_items: Any) -> SessionConfig:
    """Return the config in a file; its own items are the given ones, if any, or lie where the file says."""
    plain = config_of_file(file, f"--config {file}")
    with reading(f"--config {file}"):
        return SessionConfig.from_dict(plain, items=None if plain.get("items") is None else given_items)


def world_options(words: SetWords) -> dict[str, Any]:
    """Return the session options that the words after `--set` mean, as `SessionConfig.override` takes them.

    Args:
        words: NAME=VALUE or SECTION.NAME=VALUE each; a value is JSON, None, True or False, or else the text itself.

    Raises:
        InvalidInput: for a word without an equals sign, a name that is given twice, or a `--set` without words.
    """
    options: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for group in words:
        require(len(group) > 0, "--set has no options; write NAME=VALUE after it, as in --set slate_size=5")
        for word in group:
            name, value = _world_option(word)
            section, dot, field = name.partition(".")
            place, key = (nested.setdefault(section, {}), field) if dot else (options, name)
            require(key not in place, f"--set gives {name} twice; leave one of them out")
            place[key] = value
    for section, fields in nested.items():
        whole = options.get(section, {})
        whole = {"name": whole} if isinstance(whole, str) else {} if whole is True else whole
        require(
            isinstance(whole, dict) and not whole.keys() & fields.keys(),
            f"--set gives {section}={whole!r} and {section}.{next(iter(fields))}; leave one of them out",
        )
        options[section] = {**whole, **fields}
    return options


def _world_option(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    require(equals != "", f"--set {word!r} has no '='; write NAME=VALUE, as in slate_size=5")
    if value in _PYTHONS_WORDS:
        return name, _PYTHONS_WORDS[value]
    try:
        return name, parse_json(value, f"--set {name}", "give a number, a word or a JSON text")
    except InvalidInput as error:
        if isinstance(error.__cause__, json.JSONDecodeError):
            return name, value  # a word
        raise


def _said_after(words: Sequence[str], option: str) -> list[str]:
    """Return the words between an option and the next one."""
    after = words[words.index(option) + 1 :] if option in words else []
    return list(takewhile(lambda word: not word.startswith("--"), after))
