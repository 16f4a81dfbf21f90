"""What a space refuses: sizes that no log has, another space that is not like it, observations it would misread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from offline_data.store.context import context_width
from recenv.errors import InvalidInput, require, require_range
from recenv.families import USER_MODELS
from recenv.items.item_columns import texts
from recenv.session_config import SessionConfig

if TYPE_CHECKING:
    from agents.nn.session_space import SessionSpace

_NAMED: Final = 3
"""Items that a message names at most."""


def require_whole(space: SessionSpace) -> None:
    """Refuse sizes and items that no log and no world has, as a stranger's file may say them.

    Raises:
        InvalidInput: naming what cannot be, or is not that of the space's own world.
    """
    require_range("history_length", space.history_length, 1, 4096, integer=True)
    require_range("num_channels", space.num_channels, 0, 1023, integer=True)
    require_range("slate_size", space.slate_size, 1, 1024, integer=True)
    require_range("max_steps", space.max_steps, 1, 2**31 - 1, integer=True)
    require(
        isinstance(space.has_profile, bool) and isinstance(space.has_calendar, bool),
        f"has_profile={space.has_profile!r}, has_calendar={space.has_calendar!r}: pass True or False for each",
    )
    require(
        space.offer in (None, "candidates", "available"),
        f"offer={space.offer!r} is no entry of an observation; pass None, 'candidates' or 'available'",
    )
    for name, values, axes in (("embeddings", space.embeddings, 2), ("popularity", space.popularity, 1)):
        require(
            values.ndim == axes
            and min(values.shape) > 0
            and values.dtype == np.float32
            and len(values) == len(space.embeddings),
            f"{name} of the items is {values.dtype} of shape {values.shape}; pass one row of numbers an item",
        )
        require(bool(np.isfinite(values).all()), f"{name} of the items holds a number that is not finite; mend it")
    require(bool((space.popularity >= 0.0).all()), "popularity of the items holds a number below 0; mend it")
    require_range("num_from_log", space.num_from_log, 0, space.embedding_dim, integer=True)
    require(isinstance(space.told_apart_by, str), f"told_apart_by={space.told_apart_by!r} is no text; give one")
    if space.item_ids is not None:
        texts("source_id", space.item_ids, space.num_items)
    names = space.feedback_names
    require(
        names is None
        or (
            isinstance(names, tuple)
            and all(isinstance(name, str) for name in names)
            and len({*names}) == len(names) == space.num_channels + 1
        ),
        f"feedback_names={names!r} are not the click's and those of {space.num_channels} channels; pass one name each",
    )
    if space.session is not None:
        _require_session(space, space.session)


def _require_session(space: SessionSpace, config: SessionConfig) -> None:
    """Refuse sizes that are not those of the space's own world."""
    catalog, limited = config.catalog, "available" if config.freshness is not None else None
    feedback_names = USER_MODELS.part_of(config.user_model).feedback_names
    said = {
        "num_items": (space.num_items, catalog.num_items),
        "embedding_dim": (space.embedding_dim, catalog.embedding_dim),
        "history_length": (space.history_length, config.history_length),
        "slate_size": (space.slate_size, config.slate_size),
        "max_steps": (space.max_steps, config.max_steps),
        "num_channels": (space.num_channels, len(feedback_names) - 1),
        "feedback_names": (space.feedback_names or feedback_names, feedback_names),
        "offer": (space.offer, "candidates" if config.num_candidates is not None else limited),
        "has_profile": (space.has_profile, True),
        "context": (space.context, ()),
    }
    for name, (own, worlds) in said.items():
        require(own == worlds, f"{name}={own!r} is not that of the space's own world, {worlds!r}; pass its own")


def require_like(space: SessionSpace, other: SessionSpace, own: str, others: str, *, slate_size: bool) -> None:
    """Refuse another space whose observations or items a policy made for this one would misread.

    See `SessionSpace.require_like`.
    """
    mine, found = _facts(space), _facts(other)
    if slate_size:
        mine["slate_size"], found["slate_size"] = space.slate_size, other.slate_size
    if space.feedback_names and other.feedback_names:  # an older policy does not tell them
        mine["feedback_names"], found["feedback_names"] = space.feedback_names, other.feedback_names
    if mine["user_model"] == found["user_model"]:  # what else differs, differs for that
        _require_same_ids(space, other, own, others)
    for name, value in mine.items():
        # The one fact that an option alone mends: of a read-in log, or of a world.
        option = "import the log with --max-steps " if other.session is None else "set max_steps="
        remedy = f"{option}{value}" if name == "max_steps" else "use a log and a world of the policy's own"
        require(
            value == found[name],
            f"{own} was made for {name}={value!r}, and {others} has {found[name]!r}; {remedy}, or train a policy "
            "on these",
        )
    require(
        space.context == other.context,
        f"{own} was made for a context encoded otherwise than that of {others} ({_difference(space, other)}); import "
        "the log with --context-of the log that the policy learned from, or train a policy on these",
    )
    require(
        np.array_equal(space.embeddings, other.embeddings),
        f"{own} was made for other items than those of {others}; train a policy on these"
        if space.item_ids is None or other.item_ids is None
        else f"{own} was made for other embeddings of the same {space.num_items:,} items than {others} has; import the "
        "log with the --items file of the policy's own log, or train a policy on these",
    )


def _facts(space: SessionSpace) -> dict[str, Any]:
    model = "none, an imported log"
    if space.session is not None:
        model = USER_MODELS.name_of(type(space.session.user_model))
    return {
        "user_model": model,
        "history_length": space.history_length,
        "max_steps": space.max_steps,
        "num_channels": space.num_channels,
        "observed": space.observed,
        "num_items": space.num_items,
        "embedding_dim": space.embedding_dim,
    }


def _difference(one: SessionSpace, other: SessionSpace) -> str:
    for mine, theirs in zip(one.context, other.context, strict=False):
        if mine != theirs:
            return f"{mine!r:.150} and {theirs!r:.150}"
    return f"{len(one.context)} columns and {len(other.context)}"


def _require_same_ids(space: SessionSpace, other: SessionSpace, own: str, others: str) -> None:
    """Refuse items of other source ids, or the same in another order; where either has none, there is nothing to say.

    An older policy's file holds no ids, and neither do items that a world draws.
    """
    mine, found = space.item_ids, other.item_ids
    if mine is None or found is None or np.array_equal(mine, found):
        return
    kinds = ["whole numbers" if ids.dtype.kind == "i" else "texts" for ids in (mine, found)]
    one, two = (mine, found) if kinds[0] == kinds[1] else (mine.astype(np.str_), found.astype(np.str_))
    lacking, unknown = np.setdiff1d(one, two), np.setdiff1d(two, one)
    remedy = "use the world of the policy's own items"
    if other.session is None and len(unknown):
        remedy = "import both logs with one --items file that names the items of both, train on the policy's own again"
    elif other.session is None:
        remedy = "import the log with --items FILE that names the policy's items, as that of its own log does"
    remedy += ", or train a policy on these"
    require(
        kinds[0] == kinds[1],
        f"{own} knows its items by {kinds[0]}, such as {mine[0].item()!r}, and {others} by {kinds[1]}, such as "
        f"{found[0].item()!r}: one id that is no plain number makes texts of all; {remedy}",
    )
    parts = [
        f"{others} lacks {_some(lacking, space.num_items)} that {own} knows" if len(lacking) else "",
        f"{own} does not know {_some(unknown, other.num_items)} of {others}" if len(unknown) else "",
    ]
    said = "; ".join(part for part in parts if part)
    if not said:
        first = int(np.argmax(mine != found))
        said = (
            f"{own} and {others} have the same {len(mine):,} items in another order: item {first} is "
            f"{mine[first].item()!r} to the one and {found[first].item()!r} to the other"
        )
    raise InvalidInput(f"{said}; {remedy}")


def _some(ids: np.ndarray, count: int) -> str:
    """Return how many items these are, with the first of them."""
    more = ", ..." if len(ids) > _NAMED else ""
    return f"{len(ids):,} of {count:,} items ({', '.join(repr(each.item()) for each in ids[:_NAMED])}{more})"


def require_readable(space: SessionSpace, observation: Mapping[str, np.ndarray]) -> None:
    """Refuse observations that a policy of this space would misread; see `SessionSpace.batch`.

    Args:
        space: of the policy.
        observation: arrays with leading axis B, by name.

    Raises:
        InvalidInput: naming the entry, what it holds, and what the policy reads.
    """
    for name in space.observed:
        if name not in observation:
            raise InvalidInput(
                f"the observation has no {name!r}; the policy reads {', '.join(space.observed)}: pass what its own "
                "environment gives"
            )
    limits = {"candidates", "available"} & set(observation)
    require(
        space.offer is not None or not limits,
        f"the observation has {' and '.join(sorted(limits))}: the step shows a part of the items, and the policy "
        "was made where it shows any; train one in this world",
    )
    count = len(np.atleast_1d(observation[space.observed[0]]))
    shapes = _shapes(space)
    shapes["history_feedback"] = (*np.shape(observation["history_items"])[1:2], space.num_channels)
    for name in space.observed:
        values = np.asarray(observation[name])
        expected = (count, *shapes[name])
        fits = values.ndim == len(expected)
        fits = fits and all(b in (None, a) for a, b in zip(values.shape, expected, strict=True))
        require(
            fits,
            f"observation {name!r} has shape {values.shape}; the policy reads "
            f"({', '.join('any' if size is None else str(size) for size in expected)})",
        )
        if name in ("history_items", "candidates"):
            require(
                values.dtype.kind in "iu"
                and bool((values.max(initial=-1) < space.num_items) & (values.min(initial=-1) >= -1)),
                f"observation {name!r} has dtype {values.dtype} and holds {_range(values)}; item ids are integers "
                f"in [0, {space.num_items - 1}], and -1 is none",
            )
        elif name == "clock":
            require(
                bool(((values >= 0.0) & (values <= 1.0)).all()),
                f"observation 'clock' holds {_range(values)}; it is steps and consumed items, both divided by the "
                f"policy's max_steps={space.max_steps}, and at most 1",
            )
        else:
            require(
                bool(np.isfinite(values).all()),
                f"observation {name!r} holds a number that is not finite; pass what the environment gives",
            )


def _shapes(space: SessionSpace) -> dict[str, tuple[int | None, ...]]:
    return {
        "profile": (space.embedding_dim,),
        "history_items": (None,),
        "history_feedback": (None, space.num_channels),
        "clock": (2,),
        "calendar": (2,),
        "context": (context_width(space.context),),
        "candidates": (None,),
        "available": (space.num_items,),
    }


def _range(values: np.ndarray) -> str:
    return f"{values.min()} to {values.max()}" if values.size else "nothing"
