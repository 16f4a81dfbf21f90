"""From what a server knows of its users to the observations that a policy reads, and from its slates back to ids.

NumPy alone: whoever serves a policy as an ONNX model needs no PyTorch for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from offline_data.serving.item_ids import ItemIds, Unknown
from offline_data.serving.visits import Visit
from offline_data.store.context import ContextColumn, context_columns
from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.files.json_text import parse_json
from recenv.plain_config import to_plain

_SIZES: Final = ("num_items", "slate_size", "history_length", "num_channels", "max_steps")
_TOLD: Final = (*_SIZES, "observed", "feedback_names", "context")
_AGAIN: Final = "export the policy again"


@dataclass(frozen=True, eq=False)
class ServingSpace:
    """What a server has to know of a policy: its items' ids, its channels and its sizes.

    Examples:
        >>> import numpy as np
        >>> from offline_data import ServingSpace, Visit
        >>> space = ServingSpace(3, 2, 2, 1, 4, feedback_names=("click", "like"), item_ids=np.array(["A", "B", "C"]))
        >>> observation = space.observe([Visit(["A", ("C", {"like": 1.0})], step=2), Visit()])
        >>> observation["history_items"].tolist(), observation["clock"].tolist()
        ([[0, 2], [-1, -1]], [[0.5, 0.5], [0.0, 0.0]])
        >>> space.ids_of(np.array([[2, 0]])).tolist()
        [['C', 'A']]
    """

    num_items: int
    """N."""
    slate_size: int
    """K."""
    history_length: int
    """H, consumed items of an observation."""
    num_channels: int
    """Feedback channels of a consumed item, F - 1: the click is left out."""
    max_steps: int
    """Steps that `clock` is a share of."""
    observed: tuple[str, ...] = ("history_items", "history_feedback", "clock")
    """Entries of the observation that the policy reads."""
    feedback_names: tuple[str, ...] | None = None
    """[F] the click's name and those of the channels, in order; None where they have none."""
    context: tuple[ContextColumn, ...] = ()
    """Columns of the observation's `context`."""
    item_ids: np.ndarray | None = None
    """[N] int64 or text, different ones; None: an item is called by its index."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            require_range(name, getattr(self, name), int(name != "num_channels"), 2**31 - 1, integer=True)
        for name in ("observed", "feedback_names"):
            names = getattr(self, name)
            listed = isinstance(names, tuple) and all(isinstance(each, str) for each in names)
            require(
                (listed and len({*names}) == len(names)) or (names is None and name == "feedback_names"),
                f"{name}={names!r} is no tuple of different names; pass one",
            )
        require(
            self.feedback_names is None or len(self.feedback_names) == self.num_channels + 1,
            f"feedback_names={self.feedback_names!r} are not those of the click and {self.num_channels} channels; pass "
            "one each",
        )

    @staticmethod
    def of_metadata(metadata: Mapping[str, str]) -> ServingSpace:
        """Return what the metadata of an ONNX model say: `get_modelmeta().custom_metadata_map` of its session.

        Args:
            metadata: texts by name, as `to_metadata` writes them; others are left out.

        Raises:
            InvalidInput: for metadata that lack something, or hold what no policy has.
        """
        lacking = [name for name in _TOLD if name not in metadata]
        require(
            not lacking,
            f"the model's metadata lack {', '.join(lacking)}, as a model of an older version does; {_AGAIN}",
        )
        told = {
            name: parse_json(text, f"{name} of the model's metadata", _AGAIN, max_bytes=len(text))
            for name, text in metadata.items()
            if name in (*_TOLD, "item_ids")
        }
        for name in ("observed", "feedback_names"):
            told[name] = tuple(told[name]) if isinstance(told[name], list) else told[name]
        told["context"] = context_columns(told["context"])
        if "item_ids" in told:
            told["item_ids"] = _id_column(told["item_ids"])
        return ServingSpace(**told)

    def to_metadata(self) -> dict[str, str]:
        """Return what `of_metadata` reads: JSON by name."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _TOLD}
        told["context"] = [to_plain(column) for column in self.context]
        if self.item_ids is not None:
            told["item_ids"] = self.item_ids.tolist()
        return {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()}

    def observe(self, visits: Sequence[Visit], *, unknown: Unknown = "refuse") -> dict[str, np.ndarray]:
        """Return the observations of users, the `observed` entries by name, fresh arrays [B, ...].

        Of the sessions of an imported log they are, to the bit, what its own observations are.

        Args:
            visits: one a user, [B].
            unknown: what is done with ids that no item has: refuse them, or skip them, in the history and among the
                candidates; an event that is skipped still counts as consumed.

        Raises:
            InvalidInput: naming what cannot be read, or is missing.
        """
        for visit in visits:
            require(
                isinstance(visit, Visit), f"a visit is a {type(visit).__name__}; pass Visit(events, step) of each user"
            )
        require(len(visits) > 0, "visits are none; pass one a user")
        consumed = [visit.consumed(self.feedback_names, self.num_channels) for visit in visits]
        counts = [visit.counts(len(events)) for visit, events in zip(visits, consumed, strict=True)]
        made = {"clock": np.minimum(1.0, np.array(counts, np.float64) / self.max_steps).astype(np.float32)}
        made["history_items"], made["history_feedback"] = self._histories(consumed, unknown)
        made["context"] = self._contexts(visits)
        offer = next((name for name in ("candidates", "available") if name in self.observed), None)
        if offer is not None:
            made[offer] = self._offered(visits, unknown, offer)
        require(
            offer is not None or all(visit.candidates is None for visit in visits),
            "a visit has candidates, and the policy chooses among all of its items; leave them out, or train a policy "
            "on a log with the candidates of its steps",
        )
        return {name: made[name] if name in made else _stacked(name, visits) for name in self.observed}

    def ids_of(self, slates: Any) -> np.ndarray:
        """Return the ids of slates, of the same shape.

        Args:
            slates: array [..., K] of indices, as a policy's ONNX model gives them.
        """
        return np.asarray(slates) if self.item_ids is None else self.item_ids[slates]

    @cached_property
    def _ids(self) -> ItemIds:
        return ItemIds(self.item_ids, self.num_items)

    def _histories(
        self, consumed: Sequence[Sequence[tuple[Any, list[float]]]], unknown: Unknown
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the last H consumed items of each user, in front of them -1, and the feedback on them."""
        places = self._ids.places([event[0] for events in consumed for event in events], unknown, "event")
        items = np.full((len(consumed), self.history_length), -1, np.int32)
        feedback = np.zeros((len(consumed), self.history_length, self.num_channels), np.float32)
        end = 0
        for row, events in enumerate(consumed):
            mine, end = places[end : end + len(events)], end + len(events)
            kept = np.flatnonzero(mine >= 0)[-self.history_length :]
            if len(kept):
                items[row, -len(kept) :] = mine[kept]
                feedback[row, -len(kept) :] = [events[each][1] for each in kept]
        return items, feedback

    def _contexts(self, visits: Sequence[Visit]) -> np.ndarray:
        names = [column.name for column in self.context]
        for visit in visits:
            for name in visit.context:
                require(bool(names), f"a visit has the context {name!r}, and the policy reads none; leave it out")
                if name not in names:
                    raise unknown_name("context", name, names)
            lacking = [name for name in names if name not in visit.context]
            require(
                not lacking,
                f"the context of a visit lacks {', '.join(lacking)}, which the policy reads; pass None for what is not "
                "known",
            )
        parts = [column.encode([visit.context[column.name] for visit in visits]) for column in self.context]
        return np.concatenate([np.empty((len(visits), 0), np.float32), *parts], axis=1)

    def _offered(self, visits: Sequence[Visit], unknown: Unknown, offer: str) -> np.ndarray:
        """Return `candidates` [B, C] int32, by index, -1 behind the last, or `available` [B, N] int8."""
        found: list[np.ndarray] = []
        for visit in visits:
            if visit.candidates is None:
                raise InvalidInput("a visit has no candidates, and the policy chooses among them; pass their ids")
            places = self._ids.places(list(visit.candidates), unknown, "candidate")
            found.append(np.unique(places[places >= 0]))
            require(len(found[-1]) > 0, "a visit has no candidate that the policy knows; pass ids of its items")
        if offer == "available":
            available = np.zeros((len(found), self.num_items), np.int8)
            for row, places in enumerate(found):
                available[row, places] = 1
            return available
        candidates = np.full((len(found), max(map(len, found))), -1, np.int32)
        for row, places in enumerate(found):
            candidates[row, : len(places)] = places
        return candidates


def _stacked(name: str, visits: Sequence[Visit]) -> np.ndarray:
    rows = [visit.entry(name) for visit in visits]
    require(len({row.shape for row in rows}) == 1, f"{name} of the visits has different shapes; pass the policy's own")
    return np.stack(rows)


def _id_column(values: Any) -> np.ndarray:
    kinds = {type(each) for each in values} if isinstance(values, list) else set()
    require(
        kinds in ({int}, {str}), f"item_ids of the model's metadata is no list of texts or of whole numbers; {_AGAIN}"
    )
    try:
        return np.array(values, np.int64 if kinds == {int} else np.str_)
    except OverflowError as error:
        raise InvalidInput(f"item_ids of the model's metadata holds a number beyond 64 bits; {_AGAIN}") from error
