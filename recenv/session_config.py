"""The configuration of a world and its sessions: frozen, validated once, equal after a round trip through JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

from recenv.catalog import Catalog, CatalogConfig
from recenv.dynamics.choice_models import MultinomialLogit, choice_model
from recenv.dynamics.pieces import PIECES, Freshness, LeaveHazard, Retention, Satiation, Satisfaction, TimeBudget
from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.families import USER_MODELS


def _default_user_model() -> Any:
    return USER_MODELS.get("interest_evolution").Config()


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
    user_model: Any = field(default_factory=_default_user_model)
    """Config of a registered user model."""
    choice: Any = field(default_factory=MultinomialLogit)
    """Config of a choice model."""
    satiation: Satiation | None = field(default_factory=Satiation)
    """Tiring of what was lately consumed; this and the following are pieces (`recenv.dynamics.pieces`), None is off."""
    time_budget: TimeBudget | None = field(default_factory=TimeBudget)
    """Minutes that watching spends."""
    satisfaction: Satisfaction | None = None
    """a slow state that benefit raises."""
    leave_hazard: LeaveHazard | None = None
    """a chance to leave at every step."""
    retention: Retention | None = None
    """Coming back after days."""
    freshness: Freshness | None = None
    """Items that appear and age."""

    def __post_init__(self) -> None:
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
        for section, known in (("user_model", _user_model_config), ("choice", choice_model)):
            value = getattr(self, section)
            require(
                isinstance(getattr(value, "name", None), str) and isinstance(value, known(value.name)),
                f"{section}={value!r} is not a config object; pass one, or give its name to SessionConfig().override()",
            )
        for section, piece in PIECES.items():
            value = getattr(self, section)
            require(
                value is None or isinstance(value, piece),
                f"{section}={value!r} is not a {piece.__name__}; pass one, a dict of its fields, True, or None for off",
            )
        for section in USER_MODELS.get(self.user_model.name).requires:
            require(
                getattr(self, section) is not None,
                f"{section}=None, and user_model {self.user_model.name!r} needs that piece; pass {section}=True",
            )
        num_items = self.catalog.num_items
        require(
            self.slate_size <= num_items,
            f"slate_size={self.slate_size} exceeds num_items={num_items}; lower slate_size or raise num_items",
        )
        if self.num_candidates is not None:
            require_range("num_candidates", self.num_candidates, self.slate_size, num_items, integer=True)

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values; `from_dict` reads them back to an equal config."""
        plain = _plain(self)
        for section in ("user_model", "choice"):
            plain[section] = {"name": getattr(self, section).name, **plain[section]}
        return plain

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> SessionConfig:
        """Return the config of nested plain values; what is absent takes its default.

        Raises:
            InvalidInput: for an unknown field or name, or a value out of range.
        """
        return SessionConfig().override(**values)

    def override(self, /, **changes: Any) -> SessionConfig:
        """Return a copy with some fields changed.

        Another user model brings its own world (`UserModel.defaults`), and what the one that leaves had brought goes;
        the other changes then alter that.

        Args:
            **changes: fields of this class; a section (`catalog`, `user_model`, `choice`, or a piece) takes a config
                object, a dict of its fields, or, where there is a choice, a registered name; a piece also takes True
                and None. A field that only one section has may be given flat, as in `num_items=100`; that of a piece
                that is off switches it on.

        Raises:
            InvalidInput: for an unknown field or name, or a value out of range.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        model = _section("user_model", changes.get("user_model", {}), self.user_model)
        if (name := getattr(model, "name", None)) in USER_MODELS.registered() and name != self.user_model.name:
            own |= self._own_world(name)
        result = dict(own)
        for key, value in changes.items():
            if key in own:
                result[key] = _section(key, value, own[key]) if key in _SECTIONS else value
        known = {name: _field_names(PIECES[name] if result[name] is None else result[name]) for name in _SECTIONS}
        flat: dict[str, dict[str, Any]] = {}
        for key in (key for key in changes if key not in own):
            homes = [name for name in _SECTIONS if key in known[name]]
            if len(homes) != 1:
                raise unknown_name("session option", key, set(own).union(*known.values()))
            flat.setdefault(homes[0], {})[key] = changes[key]
        for name, options in flat.items():
            require(
                result[name] is not None or name not in changes,
                f"{name}={changes.get(name)!r} switches off the piece of {next(iter(options))}; leave one of them out",
            )
            result[name] = PIECES[name](**options) if result[name] is None else replace(result[name], **options)
        return replace(self, **result)

    def _own_world(self, name: str) -> dict[str, Any]:
        """Return the fields that change with the user model: what `name` brings, and what goes with the present one."""
        standard = SessionConfig()
        world: dict[str, Any] = {"choice": MultinomialLogit(), **dict.fromkeys(PIECES)}
        catalog: dict[str, Any] = {}
        for key, value in USER_MODELS.get(self.user_model.name).defaults.items():
            if key == "catalog":
                catalog |= {field: getattr(standard.catalog, field) for field in value}
            elif key not in world:
                world[key] = getattr(standard, key)
        for key, value in USER_MODELS.get(name).defaults.items():
            if key == "catalog":
                catalog |= value
            else:
                world[key] = value
        return {**world, "catalog": replace(self.catalog, **catalog)}

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> SessionConfig:
        """Return the config of a JSON text.

        Raises:
            InvalidInput: if the text is not a JSON object of known fields in range.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"config is not JSON ({error}); pass what SessionConfig.to_json() wrote") from error
        require(isinstance(values, dict), "config is not a JSON object; pass what SessionConfig.to_json() wrote")
        return SessionConfig.from_dict(values)

    def world_hash(self) -> str:
        """Return the SHA-256 of all that fixes the world and its sessions: 64 hex digits.

        `expose_user_state` is left out: it changes what is shown to tests, not what happens.
        """
        return hashlib.sha256(replace(self, expose_user_state=False).to_json().encode()).hexdigest()


_NAMED: Final = ("user_model", "choice")
_SECTIONS: Final = ("catalog", *_NAMED, *PIECES)


def _section(section: str, value: Any, base: Any) -> Any:
    """Return the config object that a change of a section means.

    Args:
        section: its name.
        value: what the caller gave.
        base: the section as it was, which a dict alters.
    """
    piece = PIECES.get(section)
    if is_dataclass(value) and not isinstance(value, type):
        return value
    if piece is not None and (value is None or value is False):
        return None
    if piece is not None and value is True:
        value = {}
    if isinstance(value, str) and section in _NAMED:
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{section}={value!r} is not a section; pass a name, a dict of fields or a config object"
            if piece is None
            else f"{section}={value!r} is not a piece; pass True, None, a dict of fields or a config object"
        )
    changes = dict(value)
    if piece is not None and base is None:
        base = piece()
    if section in _NAMED and (name := changes.pop("name", base.name)) != base.name:
        base = (_user_model_config if section == "user_model" else choice_model)(name)()
    for key in changes:
        if key not in _field_names(base):
            raise unknown_name(f"{section} option", key, _field_names(base))
    return replace(base, **changes)


def _user_model_config(name: str) -> type:
    return USER_MODELS.get(name).Config


def _plain(config: Any) -> dict[str, Any]:
    """Return nested plain values; 1 becomes 1.0 in a float field, and -0.0 becomes 0.0: equal configs, equal JSON."""
    plain = {}
    for f in fields(config):
        value = getattr(config, f.name)
        plain[f.name] = _plain(value) if is_dataclass(value) else value + 0.0 if f.type == "float" else value
    return plain


def _field_names(config: Any) -> set[str]:
    return {f.name for f in fields(config)}
