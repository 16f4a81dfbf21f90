"""The configuration of a world and its sessions: frozen, validated once, equal after a round trip through JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.families import CHOICE_MODELS, PIECES, USER_MODELS
from recenv.files.config_files import config_of_file, parse_config
from recenv.items.catalog import Catalog
from recenv.items.given_items import SIZES, given_items, require_sizes, same_items, tell_items
from recenv.items.synthetic_items import CatalogConfig
from recenv.plain_config import to_plain
from recenv.plain_numbers import plain_value, settle_numbers
from recenv.registry import Registry, being_read, config_of, reading

SECTION_PIECES: Final = ("satiation", "time_budget", "satisfaction", "leave_hazard", "retention", "freshness")
"""The pieces that have a field of their own in `SessionConfig`; any other stands in `pieces`."""


def _default(registry: Registry[Any], name: str) -> Callable[[], Any]:
    """Return a field's default factory: the config of a part, as it is by default."""
    return lambda: config_of(registry.get(name))()


_MODEL: Final = {"family": USER_MODELS}
_CHOICE: Final = {"family": CHOICE_MODELS}


@dataclass(frozen=True)
class SessionConfig:
    """Everything that fixes a world and the shape of its sessions.

    The constructor takes every field as it is given, and its defaults are interest evolution's world; `override` starts
    from the world of the user model that it is given.

    Examples:
        >>> from recenv import SessionConfig
        >>> config = SessionConfig().override(user_model="boredom_cascade", num_items=200)
        >>> config.catalog.num_items, config.choice.name
        (200, 'position_based')
        >>> SessionConfig.from_json(config.to_json()) == config
        True
    """

    world_seed: int = 0
    """Seed of the catalogue, in [0, 2**63)."""
    slate_size: int = 10
    """K, items shown a step."""
    max_steps: int = 50
    """T, steps after which a session is truncated."""
    history_length: int = 20
    """H, consumed items that an observation holds."""
    profile_noise: float = 0.05
    """Standard deviation of the seen profile around the initial interest."""
    expose_user_state: bool = False
    """Put the hidden state into `info["user_state"]`; for oracles and tests, not for learners."""
    num_candidates: int | None = None
    """C, items that a step offers, a uniform subset that the observation names; None offers all."""
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    """How the items are drawn."""
    user_model: Any = field(default_factory=_default(USER_MODELS, "interest_evolution"), metadata=_MODEL)
    """Config of a user model."""
    choice: Any = field(default_factory=_default(CHOICE_MODELS, "multinomial_logit"), metadata=_CHOICE)
    """Config of a choice model."""
    satiation: Any = field(default_factory=_default(PIECES, "satiation"))
    """Tiring of what was lately consumed; this and the following are configs of pieces, None is off."""
    time_budget: Any = field(default_factory=_default(PIECES, "time_budget"))
    """Minutes that watching spends."""
    satisfaction: Any = None
    """A slow state that benefit raises."""
    leave_hazard: Any = None
    """A chance to leave at every step."""
    retention: Any = None
    """Coming back after days."""
    freshness: Any = None
    """Items that appear and age."""
    pieces: tuple[Any, ...] = ()
    """Configs of further pieces, which are on."""
    items: Catalog | None = None
    """A Catalog of one's own items, or its file, in place of drawn ones; num_items and embedding_dim follow it."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("world_seed", self.world_seed, 0, 2**63 - 1, integer=True)
        require_range("slate_size", self.slate_size, 1, 1024, integer=True)
        require_range("max_steps", self.max_steps, 1, 2**31 - 1, integer=True)
        require_range("history_length", self.history_length, 1, 4096, integer=True)
        require_range("profile_noise", self.profile_noise, 0.0, 10.0)
        require(
            isinstance(self.expose_user_state, bool),
            f"expose_user_state={self.expose_user_state!r} is not a bool; use True or False",
        )
        require(
            not isinstance(self.catalog, Catalog),
            "catalog is a Catalog, which the config only says how to draw; pass your own items as items=",
        )
        require(
            isinstance(self.catalog, CatalogConfig),
            f"catalog={self.catalog!r} is not a CatalogConfig; pass one, or a dict",
        )
        for section, registry in _NAMED.items():
            value = getattr(self, section)
            require(
                not isinstance(value, type) and _is_config(registry, value),
                f"{section}={value!r} is not a config object; pass one, or give its name to SessionConfig().override()",
            )
        for section in SECTION_PIECES:
            value, config = getattr(self, section), PIECES.get(section).Config
            require(
                value is None or isinstance(value, config),
                f"{section}={value!r} is not a {config.__name__}; pass one, a dict of its fields, True, or None for "
                "off",
            )
        further = {PIECES.name_of(type(value)): value for value in self.pieces if PIECES.part_of(value)}
        require(
            len(further) == len(self.pieces) and not further.keys() & set(SECTION_PIECES),
            f"pieces={self.pieces!r} has a piece twice, or one that is a field; give each once",
        )
        object.__setattr__(self, "pieces", tuple(further[name] for name in sorted(further)))
        if self.items is not None:
            object.__setattr__(self, "items", given_items(self.items))
            sizes = {name: getattr(self.items, name) for name in SIZES}
            object.__setattr__(self, "catalog", replace(self.catalog, **sizes))
        pieces = self.piece_configs()
        model = USER_MODELS.part_of(self.user_model)
        for name in model.requires:
            require(
                pieces.get(name) is not None,
                f"{name}=None, and user_model {USER_MODELS.name_of(model)!r} needs that piece; pass {name}=True",
            )
        num_items = self.catalog.num_items
        require(
            self.slate_size <= num_items,
            f"slate_size={self.slate_size} exceeds num_items={num_items}; lower slate_size or raise num_items",
        )
        if self.num_candidates is not None:
            require_range("num_candidates", self.num_candidates, self.slate_size, num_items, integer=True)

    def piece_configs(self) -> dict[str, Any]:
        """Return the config of each piece by its name, None where it is off: those of fields, then the further ones."""
        fields = {name: getattr(self, name) for name in SECTION_PIECES}
        return fields | {PIECES.name_of(type(config)): config for config in self.pieces}

    def to_dict(self, *, paths: bool = True) -> dict[str, Any]:
        """Return nested plain values; `from_dict` reads them back to an equal config.

        Own items are there by the SHA-256 of their columns.

        Args:
            paths: say also in which file they lie, where that is known, so that `from_dict` finds them.
        """
        plain = to_plain(self if self.items is None else replace(self, items=None))
        # Absent without any, as in files that are older than the fields.
        del plain["items"]
        further = {PIECES.name_of(type(config)): to_plain(config) for config in plain.pop("pieces")}
        if further:
            plain["pieces"] = further
        if self.items is not None:
            plain["items"] = tell_items(self.items, paths=paths)
        return plain

    @staticmethod
    def from_dict(
        values: Mapping[str, Any], allow_imports: Iterable[str] = (), *, items: Catalog | str | Path | None = None
    ) -> SessionConfig:
        """Return the config of nested plain values; what is absent takes its default.

        They are taken for what a file says; what you write yourself goes to `override`, which imports what you name.

        Args:
            values: what `to_dict` returns, or a part of it.
            allow_imports: modules that may be imported because the values name parts of theirs.
            items: the items of one's own that it is about, a catalogue or its file; None for those that `values` say
                where to find, if any.

        Raises:
            InvalidInput: for an unknown field or name, a value out of range, a module that is not allowed, or own items
                that are not at hand, or others than `values` say.
        """
        require(isinstance(values, Mapping), f"config={values!r} is not an object; pass what to_dict() returned")
        if items is not None:
            values = {**values, "items": same_items(values.get("items"), given_items(items))}
        with reading(being_read() or "the config", allow_imports):
            return SessionConfig().override(**values)

    def override(self, /, **changes: Any) -> SessionConfig:
        """Return a copy with some fields changed.

        Another user model brings its own world (`UserModel.defaults`), and what the one that leaves had brought goes;
        the other changes then alter that.

        Args:
            **changes: fields of this class; a section (`catalog`, `user_model`, `choice`, or a piece) takes a config
                object, a dict of its fields, or, where there is a choice, a name or `MODULE:CLASS`; a piece also takes
                True and None. A registered piece without a field is a section all the same, and `pieces` takes a dict
                of such sections. A field that only one section has may be given flat, as in `num_items=100`; that of a
                piece that is off switches it on.

        Raises:
            InvalidInput: for an unknown field or name, or a value out of range.
        """
        changes = plain_value(changes)
        if "items" in changes:
            changes["items"] = None if changes["items"] is None else given_items(changes["items"])
        further = self._further(changes.pop("pieces", {}))
        changes |= further
        own = {f.name: getattr(self, f.name) for f in fields(self)} | self.piece_configs()
        del own["pieces"]
        model = _section("user_model", changes.get("user_model", {}), self.user_model)
        if type(model) is not type(self.user_model) and _is_config(USER_MODELS, model):
            own |= self._own_world(model)
        result = dict(own)
        pieces = [name for name in changes if name in further or name in PIECES.registered()]
        sections = ["catalog", *_NAMED, *dict.fromkeys([*self.piece_configs(), *pieces])]
        for key in (key for key in changes if key in own or key in pieces):
            value = changes[key]
            result[key] = _section(key, value, own.get(key)) if key in sections else value
        known = {name: _field_names(result[name] or _piece_config(name)) for name in sections}
        flat: dict[str, dict[str, Any]] = {}
        for key in (key for key in changes if key not in result):
            homes = [name for name in sections if key in known[name]]
            if not homes:
                others = [name for name in PIECES.registered() if name not in sections]
                homes = [name for name in others if key in _field_names(_piece_config(name))]
            if len(homes) != 1:
                raise unknown_name("session option", key, set(own).union(*known.values()))
            flat.setdefault(homes[0], {})[key] = changes[key]
        for name, options in flat.items():
            require(
                result.get(name) is not None or name not in changes,
                f"{name}={changes.get(name)!r} switches off the piece of {next(iter(options))}; leave one of them out",
            )
            base = result.get(name) or _piece_config(name)()
            result[name] = replace(base, **options)
        if result["items"] is not None:
            require_sizes(result["items"], flat.get("catalog", {}), changes.get("catalog"))
        names = {f.name for f in fields(self)}
        on = tuple(value for key, value in result.items() if key not in names and value is not None)
        return replace(self, **{key: value for key, value in result.items() if key in names}, pieces=on)

    def _further(self, given: Any) -> dict[str, Any]:
        """Return the changes of further pieces by their names."""
        if not isinstance(given, Mapping):
            require(
                isinstance(given, list | tuple) and all(is_dataclass(config) for config in given),
                f"pieces={given!r} is no dict of sections; pass {{NAME: True}} or {{NAME: {{FIELD: VALUE}}}}",
            )
            # Those that it leaves out go.
            off = dict.fromkeys(PIECES.name_of(type(config)) for config in self.pieces)
            given = off | {PIECES.name_of(type(config)): config for config in given}
        return {PIECES.name_of(PIECES.resolve(name)): value for name, value in given.items()}

    def _own_world(self, model: Any) -> dict[str, Any]:
        """Return the fields that change with the user model: what `model` brings, and what the present one had."""
        standard = SessionConfig()
        world: dict[str, Any] = {"choice": standard.choice, **dict.fromkeys(self.piece_configs())}
        catalog: dict[str, Any] = {}
        for key, value in USER_MODELS.part_of(self.user_model).defaults.items():
            if key == "catalog":
                catalog |= {field: getattr(standard.catalog, field) for field in value}
            elif key not in world:
                world[key] = getattr(standard, key)
        for key, value in USER_MODELS.part_of(model).defaults.items():
            if key == "catalog":
                catalog |= value
            else:
                plain = key not in (*_NAMED, *SECTION_PIECES) and key not in PIECES.registered()
                world[key] = value if plain else _section(key, value, world.get(key))
        return {**world, "catalog": replace(self.catalog, **catalog)}

    def to_json(self, *, paths: bool = True) -> str:
        """Return the canonical JSON text: sorted keys, no spaces; see `to_dict`."""
        return json.dumps(self.to_dict(paths=paths), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(
        text: str, allow_imports: Iterable[str] = (), *, items: Catalog | str | Path | None = None
    ) -> SessionConfig:
        """Return the config of a JSON text.

        Args:
            text: as `to_json` returns it.
            allow_imports: see `from_dict`.
            items: see there.

        Raises:
            InvalidInput: if the text is not a JSON object of known fields in range, or names a module that is not
                allowed.
        """
        return SessionConfig.from_dict(parse_config(text), allow_imports, items=items)

    @staticmethod
    def from_file(
        file: str | Path, allow_imports: Iterable[str] = (), *, items: Catalog | str | Path | None = None
    ) -> SessionConfig:
        """Return the config in a JSON file, or in what `recsession fit` wrote; items are found beside it.

        Args:
            file: its path.
            allow_imports: see `from_dict`.
            items: see there.

        Raises:
            InvalidInput: for a file that is missing or holds something else; or as `from_dict` does.
        """
        return SessionConfig.from_dict(config_of_file(file), allow_imports, items=items)

    def world_hash(self, version: int | None = None) -> str:
        """Return the SHA-256 of all that fixes the world and its sessions: 64 hex digits.

        `expose_user_state` is left out: it changes what is shown to tests, not what happens. Of own items it counts
        which they are, and not where they lie.

        Args:
            version: of the user model's equations; None for today's.
        """
        shown = replace(self, expose_user_state=False).to_json(paths=False)
        version = USER_MODELS.part_of(self.user_model).version if version is None else version
        # The first version is told by no number: hashes are older than versions.
        return hashlib.sha256((shown + (f" version {version}" if version else "")).encode()).hexdigest()


_NAMED: Final[dict[str, Registry[Any]]] = {"user_model": USER_MODELS, "choice": CHOICE_MODELS}


def _section(section: str, value: Any, base: Any) -> Any:
    """Return the config object that a change of a section means.

    Args:
        section: its name.
        value: what the caller gave.
        base: the section as it was, which a dict alters; None for a piece that was off.
    """
    piece = section != "catalog" and section not in _NAMED
    if is_dataclass(value) and not isinstance(value, type):
        return value
    if piece and (value is None or value is False):
        return None
    if piece and value is True:
        value = {}
    if isinstance(value, str) and section in _NAMED:
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{section}={value!r} is not a piece; pass True, None, a dict of fields or a config object"
            if piece
            else f"{section}={value!r} is not a section; pass a name, a dict of fields or a config object"
        )
    changes = dict(value)
    if base is None:
        base = _piece_config(section)()
    if section in _NAMED and "name" in changes:
        registry, name = _NAMED[section], changes.pop("name")
        if not isinstance(name, str):
            raise unknown_name(registry.kind, name, registry.registered())
        config = config_of(registry.resolve(name))
        base = base if type(base) is config else config()
    for key in changes:
        if key not in _field_names(base):
            raise unknown_name(f"{section} option", key, _field_names(base))
    return replace(base, **changes)


def _piece_config(name: str) -> type:
    # Resolved already, where it is none of ours: a path is then a name too.
    return config_of(PIECES.get(name))


def _is_config(registry: Registry[Any], value: Any) -> bool:
    try:
        return is_dataclass(value) and registry.part_of(value) is not None
    except InvalidInput:
        return False


def _field_names(config: Any) -> set[str]:
    return {f.name for f in fields(config)}
