"""Which items a caller or a config means by `items`: a catalogue, its file, or the SHA-256 of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from recenv.errors import InvalidInput, require
from recenv.items.catalog import Catalog

SIZES: Final = ("num_items", "embedding_dim")
"""What a config says of its items that follows from them."""


def given_items(given: Any) -> Catalog:
    """Return the items that a caller or a config means.

    Args:
        given: a catalogue, the path of its file, or what `SessionConfig.to_dict` says of one: its `sha256` and `path`.

    Raises:
        InvalidInput: for something else, a file that holds no items or others than told, or where no path is told.
    """
    if isinstance(given, Catalog):
        return given
    if isinstance(given, str | Path):
        return Catalog.load(given)
    told = isinstance(given, Mapping) and len(given) > 0 and set(given) <= {"sha256", "path"}
    require(
        told and all(isinstance(value, str) for value in given.values()),
        f"items={given!r} is not a Catalog; build one with Catalog.from_arrays(...), or pass the path of its file",
    )
    at_hand = _TOLD.get(given.get("sha256", ""))
    if at_hand is not None:
        return at_hand
    require(
        "path" in given,
        f"the world has items of its own, of SHA-256 {given.get('sha256', '')[:12]}..., which are not at hand; pass "
        "them too, as items=: a Catalog or the path of its file",
    )
    items = Catalog.load(given["path"])
    return same_items(given, items) if "sha256" in given else items


def tell_items(items: Catalog, *, paths: bool) -> dict[str, str]:
    """Return what a config says of its items: their `sha256`, by which this process finds them as long as it has them.

    Args:
        items: a config's own.
        paths: say also the `path` of their file, where it is known.
    """
    _TOLD[items.sha256] = items
    return {"sha256": items.sha256, **({"path": str(items.path)} if paths and items.path is not None else {})}


_TOLD: Final[WeakValueDictionary[str, Catalog]] = WeakValueDictionary()


def same_items(said: Any, items: Catalog) -> Catalog:
    """Return the items, or refuse them where a config says that its own are others.

    Args:
        said: what `SessionConfig.to_dict` says of its items, or None.
        items: those at hand.

    Raises:
        InvalidInput: for others.
    """
    if said is None or said is items:
        return items
    sha256 = said.sha256 if isinstance(said, Catalog) else said.get("sha256") if isinstance(said, Mapping) else None
    # A file that a config only names is not opened for it: it may be a stranger's config.
    require(
        sha256 == items.sha256,
        f"{items} has the SHA-256 {items.sha256[:12]}..., and the config is of items of {str(sha256)[:12]}...; pass "
        "those that it was written with",
    )
    return items


def require_sizes(items: Catalog, flat: Mapping[str, Any], section: Any) -> None:
    """Refuse options of drawn items beside items of one's own.

    Args:
        items: one's own.
        flat: options of `CatalogConfig` that were given by name.
        section: what was given for the whole section, if it is a dict: its sizes are compared.

    Raises:
        InvalidInput: naming the option.
    """
    for name, value in (*flat.items(), *(section.items() if isinstance(section, Mapping) else ())):
        if name in SIZES:
            own = getattr(items, name)
            require(
                value == own, f"{name}={value!r} beside items that have {own}; leave {name} out: it follows the items"
            )
        elif name in flat:
            raise InvalidInput(
                f"{name}={value!r} says how items are drawn, and these are given; leave {name} or items out"
            )
