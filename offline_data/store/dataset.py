"""`LoggedDataset`: a folder of memory-mapped columns with a manifest that says what they are and where they came from.

```
manifest.json          source, config, seeds, schema, checksums, its own too; equal requests, equal bytes
run.json               when and where it was made; outside the compared bytes
rows/NAME.npy          one row an event
sessions/NAME.npy      one row a session
events/NAME.npy        one row a consumed item: what histories are windows of
catalog/NAME.npy       one row an item
latent/component.npy   which component of a mixture acted: for diagnosis only, opened only on request
```
"""

from __future__ import annotations

import hashlib
import json
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.store.session_blocks import session_blocks
from recenv.catalog import Catalog
from recenv.errors import InvalidInput, require
from recenv.item_columns import NUMBERS
from recenv.json_text import read_json
from recenv.registry import reading
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

FORMAT: Final = "recsession-log"
FORMAT_VERSION: Final = 2
LATENT_LABELS: Final = "latent/component.npy"
FOLDERS: Final = ("rows", "sessions", "events", "catalog", "latent")

COLUMN_MEANINGS: Final = {
    "rows/session_id": "index of the row's session",
    "rows/step": "step within the session, from 0",
    "rows/consumed": "items consumed in the session before this row",
    "rows/slate": "item ids as submitted, by position",
    "rows/shown": "whether the position was shown; a repeated or unavailable item leaves it empty",
    "rows/feedback": "the user's answer by position and channel (manifest: feedback_names); the first is the click",
    "rows/reward_vector": "reward by component (manifest: reward_names, reward_weights)",
    "rows/terminated": "the user left",
    "rows/truncated": "the time limit of the session was reached",
    "rows/behavior_log_prob": "log-probability or -density of the action under the logging policy, nats; NaN: missing",
    "rows/prefix_log_prob": "log-probability of the slate's first 1, 2, ... items, nats; NaN: missing",
    "rows/proto": "the proto-action, a point of embedding space whose nearest items are the slate",
    "rows/day": "day before the action",
    "rows/session_number": "number of the visit before the action",
    "rows/position": "position at which the row's one item stood, from 0",
    "rows/is_rand": "whether the item was put there at random",
    "rows/timestamp": "when, seconds since 1970",
    "sessions/offsets": "session s has the rows offsets[s] to offsets[s + 1]",
    "sessions/event_offsets": "session s has the events event_offsets[s] to event_offsets[s + 1]",
    "sessions/user_id": "index of the user",
    "sessions/group_id": "sessions of one group share the user under different behavior seeds",
    "sessions/episode_id": "number of the user's episode",
    "sessions/profile": "the seen profile, a noisy view of the interest",
    "sessions/session_seed": "seed of the user",
    "sessions/behavior_seed": "seed of the logging policy",
    "sessions/source_user_id": "the user's id in the source",
    "events/item": "item id of each consumed item, in order",
    "events/feedback": "channels of feedback beyond the click",
    "catalog/embeddings": "the item's point of embedding space, a unit vector",
    "catalog/topics": "the item's topic",
    "catalog/quality": "what a consumed item gives back to the user; hidden from agents",
    "catalog/appeal": "what attracts the click; hidden from agents",
    "catalog/length": "minutes",
    "catalog/popularity": "prior of the item, they sum to one",
    "catalog/age": "days",
    "catalog/source_id": "the item's id in the source",
    "catalog/names": "what the item is called",
    "catalog/topic_names": "what the item's topic is called",
    LATENT_LABELS.removesuffix(".npy"): "which component of the mixture acted; never for learning",
}
"""What each column is."""

_ENTRY_FIELDS: Final = {"dtype", "shape", "bytes", "sha256"}
_NEEDED: Final = {
    *("schema", "source", "config", "action_kind", "num_rows", "num_sessions", "num_items", "history_length"),
    *("max_steps", "feedback_names", "reward_names", "reward_weights", "propensities", "injected", "checksum"),
}


@dataclass(frozen=True, repr=False)
class LoggedDataset:
    """Logged sessions as flat rows, ordered by session and step.

    Examples:
        >>> from offline_data import LogRequest, LoggedDataset, collect
        >>> log = collect("log", LogRequest(behavior="greedy", num_sessions=8))
        >>> log.num_sessions, log.rows["slate"].shape == (log.num_rows, 10)
        (8, True)
        >>> LoggedDataset.open("log", verify=True).action_kind
        'slate'
    """

    path: Path
    """The folder."""
    manifest: dict[str, Any]
    """What `manifest.json` says."""
    rows: dict[str, np.ndarray]
    """Columns of the N rows, memory-mapped, by name; `COLUMN_MEANINGS` says what each is. Always there: `session_id`
    int64, `step`, `consumed` int32, `slate` [N, K] int32, `shown` [N, K] bool, `feedback` [N, K, F] and `reward_vector`
    [N, M] float32, `terminated`, `truncated` bool, `behavior_log_prob` float64. By the kind of action `prefix_log_prob`
    [N, K] float64 or `proto` [N, d] float32; in a world of days `day` float32 and `session_number` int32."""
    sessions: dict[str, np.ndarray]
    """Of the S sessions: `offsets`, `event_offsets` [S + 1], `user_id`, `group_id`, `episode_id` int64; of simulated
    logs `profile` [S, d] float32, `session_seed` and `behavior_seed` uint64."""
    events: dict[str, np.ndarray]
    """Of the E consumed items: `item` int32, `feedback` [E, F - 1] float32."""
    catalog: dict[str, np.ndarray]
    """The items' columns; see `recenv.Catalog`."""
    allow_imports: tuple[str, ...] = ()
    """Modules that may be imported because the manifest names parts of theirs."""

    @staticmethod
    def open(path: str | Path, *, verify: bool = False, allow_imports: Iterable[str] = ()) -> LoggedDataset:
        """Return the dataset in a folder, its columns memory-mapped.

        Args:
            path: the folder.
            verify: compare every file with its checksum, which reads them whole; see `verify`.
            allow_imports: modules that may be imported because the manifest names parts of theirs, as a world of an
                outside user model does.

        Raises:
            InvalidInput: if the folder is missing, foreign, of another format, or lacks a file or part of one, or its
                world needs a module that is not allowed.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        columns: dict[str, dict[str, np.ndarray]] = {folder: {} for folder in FOLDERS}
        for name, entry in manifest["schema"].items():
            folder, file = name.split("/")
            if folder == "latent":
                _check_size(path / name, entry)
            else:
                columns[folder][file.removesuffix(".npy")] = _open_column(path / name, entry)
        del columns["latent"]
        dataset = LoggedDataset(path, manifest, **columns, allow_imports=tuple(allow_imports))
        if dataset.has_world:
            dataset._config(None)  # a world that cannot be made is refused here
        if verify:
            dataset.verify()
        return dataset

    def __repr__(self) -> str:
        size = f"{self.num_sessions:,} sessions, {self.num_rows:,} steps, slates of {self.slate_size:,} from"
        return f"LoggedDataset({str(self.path)!r}: {size} {self.num_items:,} items, {self.action_kind} actions)"

    @property
    def num_rows(self) -> int:
        """N, logged steps."""
        return self.manifest["num_rows"]

    @property
    def num_sessions(self) -> int:
        """S, logged sessions."""
        return self.manifest["num_sessions"]

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self.manifest["num_items"]

    @property
    def slate_size(self) -> int:
        """K, items of a slate."""
        return self.rows["slate"].shape[1]

    @property
    def history_length(self) -> int:
        """H, consumed items that an observation holds."""
        return self.manifest["history_length"]

    @property
    def max_steps(self) -> int:
        """T, steps after which a session is truncated."""
        return self.manifest["max_steps"]

    @property
    def action_kind(self) -> str:
        """Either "slate" or "proto"."""
        return self.manifest["action_kind"]

    @property
    def propensities(self) -> str:
        """What `behavior_log_prob` is: "exact", "estimated", "partial" (missing of some sessions) or "missing"."""
        return self.manifest["propensities"]

    @property
    def has_world(self) -> bool:
        """Whether the log is of a simulated world; one that was read in is not."""
        return self.manifest["config"] is not None

    @property
    def config(self) -> SessionConfig:
        """The world that the log came from.

        Raises:
            InvalidInput: if it came from no simulated world.
        """
        require(
            self.has_world,
            f"{self.path} was read in by {self.manifest['source'].get('reader')!r} and has no simulated world; "
            "use a log that `recsession collect` wrote",
        )
        return self._config(self.items if "items" in self.manifest["config"] else None)

    def _config(self, items: Catalog | None) -> SessionConfig:
        """Return the manifest's config among these items, which are read for it; None leaves out its own."""
        values = {name: value for name, value in self.manifest["config"].items() if items or name != "items"}
        with reading(self.path, self.allow_imports):
            return SessionConfig.from_dict(values, items=items)

    @cached_property
    def items(self) -> Catalog:
        """The items of a simulated log, checked.

        Raises:
            InvalidInput: if a column of theirs is missing, or holds what no item can have.
        """
        columns = {name: np.asarray(values) for name, values in self.catalog.items()}
        lacking = {"embeddings", *NUMBERS} - columns.keys()
        try:
            require(not lacking, f"it lacks {', '.join(sorted(lacking))}")
            return Catalog(**columns)
        except (InvalidInput, TypeError) as error:  # a column that no items have
            raise InvalidInput(f"{self.path}/catalog: {error}; collect the dataset again") from error

    @cached_property
    def world(self) -> World:
        """The simulated world that the log came from, with the log's own items.

        Raises:
            InvalidInput: if it came from none, or its items are not those of its config.
        """
        world, items = make_world(self.config), self.items.arrays()
        for name, values in world.catalog.arrays().items():
            # Machines differ in the last bit.
            text, same = values.dtype.kind == "U", items[name].shape == values.shape
            same = same and (text or np.allclose(items[name], values, rtol=1e-4, atol=1e-6))
            require(same, f"{self.path}/catalog/{name}.npy is not of the items that its config means; collect it again")
        return world

    @property
    def offsets(self) -> np.ndarray:
        """[S + 1] int64: session s has the rows offsets[s] to offsets[s + 1]."""
        return self.sessions["offsets"]

    @property
    def reward_weights(self) -> np.ndarray:
        """Weight of each component of the reward, [M] float64."""
        return np.array([self.manifest["reward_weights"][name] for name in self.manifest["reward_names"]], np.float64)

    def slates(self, rows: np.ndarray) -> np.ndarray:
        """Return the slates of rows as policies read them, [..., K] int32: -1 where a read-in log showed nothing.

        A simulated log's are as they were submitted.

        Args:
            rows: [...] indices.
        """
        slates = np.asarray(self.rows["slate"]).take(rows, axis=0)
        if not self.has_world:
            slates[~np.asarray(self.rows["shown"]).take(rows, axis=0)] = -1
        return slates

    def reward(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the scalar reward of rows, float64: the reward vector times the manifest's weights.

        Args:
            rows: indices or a slice; all rows by default.
        """
        vector = self.rows["reward_vector"][rows]
        total = np.zeros(len(vector))
        for index, weight in enumerate(self.reward_weights):
            total += weight * vector[:, index].astype(np.float64)
        return total

    def session_returns(self) -> np.ndarray:
        """Return the undiscounted sum of rewards of each session, [S] float64."""
        returns = np.empty(self.num_sessions)
        for block in session_blocks(self):
            returns[block.sessions] = np.add.reduceat(self.reward(block.rows), block.first)
        return returns

    def open_latent_labels(self) -> np.ndarray:
        """Return which component of the mixture acted, int8: for diagnosis, never for learning.

        Returns:
            [N], or [N, K] where a component was drawn for each position.

        Raises:
            InvalidInput: if the dataset has no labels.
        """
        entry = self.manifest["schema"].get(LATENT_LABELS)
        if entry is None:
            raise InvalidInput(f"{self.path} has no latent labels; only simulated logs have them")
        return _open_column(self.path / LATENT_LABELS, entry)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            InvalidInput: naming the first file that is missing or whose bytes have changed.
        """
        for name, entry in self.manifest["schema"].items():
            _check_size(self.path / name, entry)
            digest = file_digest(self.path / name)
            require(
                digest == entry["sha256"],
                f"{self.path / name} has SHA-256 {digest[:12]}..., the manifest says {entry['sha256'][:12]}...; "
                "the file has changed, collect the dataset again",
            )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a manifest says besides its own checksum, 64 hex digits."""
    said = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    require(not path.is_file(), f"{path} is a file; pass the dataset's folder")
    require(path.is_dir(), f"dataset folder {path} does not exist; make one with `recsession collect --out {path}`")
    require(
        file.is_file(),
        f"{path} is not a RecSession dataset (no manifest.json); pass a folder that `recsession collect` wrote",
    )
    manifest = read_json(file, remedy="it is damaged, collect the dataset again")
    try:
        version = int(manifest["format_version"]) if manifest["format"] == FORMAT else 0
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} is not a RecSession manifest ({error!r}); collect the dataset again") from error
    require(
        version > 0,
        f"{file} has format {manifest['format']!r}, not {FORMAT!r}; pass a folder that `recsession collect` wrote",
    )
    require(
        version <= FORMAT_VERSION,
        f"{file} has format version {version}, this RecSession reads version {FORMAT_VERSION}; upgrade RecSession",
    )
    require(
        version == FORMAT_VERSION,
        f"{file} has format version {version}, this RecSession reads version {FORMAT_VERSION}; collect the dataset "
        "again, at another path",
    )
    absent = sorted(_NEEDED - manifest.keys())
    require(not absent, f"{file} lacks {', '.join(absent)}; collect the dataset again")
    found = manifest_checksum(manifest)
    require(
        found == manifest["checksum"],
        f"{file} has the checksum {found[:12]}... and says {str(manifest['checksum'])[:12]}...; it has changed, "
        "collect the dataset again",
    )
    for name, entry in manifest["schema"].items():
        folder, slash, column = name.partition("/")
        whole = folder in FOLDERS and slash and "/" not in column and entry.keys() >= _ENTRY_FIELDS
        require(whole, f"{file} does not describe a column by {name!r}; it is damaged, collect the dataset again")
    return manifest


def _check_size(path: Path, entry: dict[str, Any]) -> None:
    require(path.is_file(), f"{path} is missing; restore it or collect the dataset again")
    size = path.stat().st_size
    require(
        size == entry["bytes"],
        f"{path} has {size} bytes, the manifest says {entry['bytes']}; it is damaged, collect again",
    )


def _open_column(path: Path, entry: dict[str, Any]) -> np.ndarray:
    _check_size(path, entry)
    try:
        column = np.load(path, mmap_mode="r")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:  # what a damaged header gives
        raise InvalidInput(f"{path} is not a .npy file ({error}); it is damaged, collect the dataset again") from error
    found = (str(column.dtype), list(column.shape))
    require(
        found == (entry["dtype"], entry["shape"]),
        f"{path} holds {found[0]} {found[1]}, the manifest says {entry['dtype']} {entry['shape']}; collect again",
    )
    return column
