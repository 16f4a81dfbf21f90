"""The columns of a dataset: what each is, and what its file must be, told from its header alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.store.context import context_columns, context_width
from recenv.errors import InvalidInput
from recenv.files.array_files import map_npy

FOLDERS: Final = ("rows", "sessions", "events", "catalog", "latent")
LATENT_LABELS: Final = "latent/component.npy"


@dataclass(frozen=True)
class Column:
    """What a column is."""

    dtype: str
    """Its dtype; or kinds of dtype, as in "kinds iU"."""
    axes: str
    """N rows, S sessions, T = S + 1, E events, I items; K items of a slate, F channels of feedback, G = F - 1, M
    components of the reward, R of the items' own, d coordinates of an embedding, C of the context, P
    candidates; by a space or two
    forms that it may have."""
    meaning: str
    """In words."""

    def fits(self, values: np.ndarray) -> bool:
        """Return whether an array has the dtype and the number of axes."""
        kinds = self.dtype.removeprefix("kinds ")
        known = values.dtype.kind in kinds if kinds != self.dtype else str(values.dtype) == self.dtype
        return known and values.ndim in {len(form) for form in self.axes.split()}


COLUMNS: Final = {
    "rows/session_id": Column("int64", "N", "index of the row's session"),
    "rows/step": Column("int32", "N", "step within the session, from 0"),
    "rows/consumed": Column("int32", "N", "items consumed in the session before this row"),
    "rows/slate": Column("int32", "NK", "item ids as submitted, by position"),
    "rows/shown": Column(
        "bool", "NK", "whether the position was shown; a repeated or unavailable item leaves it empty"
    ),
    "rows/feedback": Column(
        "float32",
        "NKF",
        "the user's answer by position and channel (manifest: feedback_names); the first is the click",
    ),
    "rows/reward_vector": Column("float32", "NM", "reward by component (manifest: reward_names, reward_weights)"),
    "rows/item_reward": Column(
        "float32", "NKR", "reward of the item itself by position and component (manifest: source.item_rewards)"
    ),
    "rows/terminated": Column("bool", "N", "the user left"),
    "rows/truncated": Column("bool", "N", "the time limit of the session was reached"),
    "rows/behavior_log_prob": Column(
        "float64", "N", "log-probability or -density of the action under the logging policy, nats; NaN: missing"
    ),
    "rows/prefix_log_prob": Column(
        "float64", "NK", "log-probability of the slate's first 1, 2, ... items, nats; NaN: missing"
    ),
    "rows/context": Column(
        "float32", "NC", "what is known of user and moment, encoded as the manifest's context says for each column"
    ),
    "rows/candidates": Column("int32", "NP", "items that the step could show, where a read-in log tells; -1 is none"),
    "rows/proto": Column(
        "float32", "Nd", "the proto-action, a point of embedding space whose nearest items are the slate"
    ),
    "rows/day": Column("float32", "N", "day before the action"),
    "rows/session_number": Column("int32", "N", "number of the visit before the action"),
    "rows/position": Column("int32", "N", "position at which the row's one item stood, from 0"),
    "rows/is_rand": Column("kinds biu", "N", "whether the item was put there at random"),
    "rows/timestamp": Column("float64", "N", "when, seconds since 1970"),
    "sessions/offsets": Column("int64", "T", "session s has the rows offsets[s] to offsets[s + 1]"),
    "sessions/event_offsets": Column("int64", "T", "session s has the events event_offsets[s] to event_offsets[s + 1]"),
    "sessions/user_id": Column("int64", "S", "index of the user"),
    "sessions/group_id": Column("int64", "S", "sessions of one group share the user under different behavior seeds"),
    "sessions/episode_id": Column("int64", "S", "number of the user's episode"),
    "sessions/profile": Column("float32", "Sd", "the seen profile, a noisy view of the interest"),
    "sessions/session_seed": Column("uint64", "S", "seed of the user"),
    "sessions/behavior_seed": Column("uint64", "S", "seed of the logging policy"),
    "sessions/whole_session": Column("int64", "S", "index of the session in the log that this one is a part of"),
    "sessions/source_user_id": Column("kinds biufU", "S", "the user's id in the source"),
    "events/item": Column("int32", "E", "item id of each consumed item, in order"),
    "events/feedback": Column("float32", "EG", "channels of feedback beyond the click"),
    "catalog/embeddings": Column("kinds f", "Id", "the item's point of embedding space, a unit vector"),
    "catalog/topics": Column("kinds iuU", "I", "the item's topic"),
    "catalog/quality": Column("kinds f", "I", "what a consumed item gives back to the user; hidden from agents"),
    "catalog/appeal": Column("kinds f", "I", "what attracts the click; hidden from agents"),
    "catalog/length": Column("kinds f", "I", "minutes"),
    "catalog/popularity": Column("kinds f", "I", "prior of the item, they sum to one"),
    "catalog/age": Column("kinds f", "I", "days"),
    "catalog/source_id": Column("kinds biufU", "I", "the item's id in the source"),
    "catalog/names": Column("kinds U", "I", "what the item is called"),
    "catalog/topic_names": Column("kinds U", "I", "what the item's topic is called"),
    "latent/component": Column("int8", "N NK", "which component of the mixture acted; never for learning"),
}
"""The columns that a dataset may have; one of a reader's own has its folder's number of entries."""

NEEDED: Final = (
    *("rows/session_id", "rows/step", "rows/consumed", "rows/slate", "rows/shown", "rows/feedback"),
    *("rows/reward_vector", "rows/terminated", "rows/truncated", "rows/behavior_log_prob", "sessions/offsets"),
    *("sessions/event_offsets", "sessions/user_id", "sessions/group_id", "sessions/episode_id"),
    *("events/item", "events/feedback"),
)
"""Those that every dataset has."""

_FIRST_AXIS: Final = {"rows": "N", "sessions": "S", "events": "E", "catalog": "I", "latent": "N"}


def axis_sizes(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of axes that a manifest tells.

    Args:
        manifest: its fields, None where one is wrong.
    """
    sizes = {axis: manifest[name] for axis, name in (("N", "num_rows"), ("S", "num_sessions"), ("I", "num_items"))}
    for axis, name in (("F", "feedback_names"), ("M", "reward_names")):
        sizes[axis] = None if manifest[name] is None else len(manifest[name])
    sizes["T"] = None if sizes["S"] is None else sizes["S"] + 1
    sizes["C"] = None if manifest.get("context") is None else context_width(context_columns(manifest["context"]))
    sizes["G"] = None if sizes["F"] is None else sizes["F"] - 1
    return {axis: size for axis, size in sizes.items() if size is not None}


def size_fault(path: Path, entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a column's file by its size, None if nothing is.

    Args:
        path: the file.
        entry: what the manifest says of it.
    """
    if not path.is_file():
        return f"{path} is missing, restore it"
    size = path.stat().st_size
    return None if size == entry["bytes"] else f"{path} has {size} bytes, the manifest says {entry['bytes']}"


def open_column(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    """Return a column, memory-mapped, which is what the manifest says of it.

    Args:
        path: the file.
        entry: what the manifest says of it.

    Raises:
        InvalidInput: naming what is wrong, without a remedy.
    """
    fault = size_fault(path, entry)
    if fault is not None:
        raise InvalidInput(fault)
    try:
        values = map_npy(path)
    except InvalidInput as error:
        raise InvalidInput(f"{path} is not a .npy file of ours ({error})") from error
    found = (str(values.dtype), list(values.shape))
    if found != (entry["dtype"], entry["shape"]) or not values.flags.c_contiguous:
        order = "" if values.flags.c_contiguous else ", column after column"
        raise InvalidInput(
            f"{path} holds {found[0]} {found[1]}{order}, the manifest says {entry['dtype']} {entry['shape']}"
        )
    return values


def shape_faults(columns: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield where columns are not what they should be, or not of the sizes that the others have.

    Args:
        columns: by name, as in "rows/slate".
        sizes: of axes that are known; the first column that has another says its size.
    """
    known = dict(sizes)
    for name, values in columns.items():
        column = COLUMNS.get(name)
        axes = _FIRST_AXIS[name.split("/")[0]] if column is None else column.axes
        if column is not None and not column.fits(values):
            yield f"{name}.npy holds {values.dtype} with {values.ndim} axes, not {column.dtype} [{column.axes}]"
            continue
        form = next((form for form in axes.split() if len(form) == values.ndim), axes[0])
        for axis, size in zip(form, values.shape, strict=False):
            if known.setdefault(axis, size) != size:
                yield f"{name}.npy has {size} entries along its axis {axis}, and {known[axis]} are expected"
