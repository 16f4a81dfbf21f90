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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.store.columns import FOLDERS, LATENT_LABELS, axis_sizes, open_column, shape_faults, size_fault
from offline_data.store.context import ContextColumn, context_columns
from offline_data.store.log_checks import CHECKS, REMARKS_OF_IMPORTS, contradictions, require_offsets
from offline_data.store.manifest import agreement_faults, checksum_faults, field_faults, read_manifest, world_faults
from offline_data.store.session_blocks import session_blocks
from recenv.errors import InvalidInput, require
from recenv.items.catalog import Catalog
from recenv.items.item_columns import NUMBERS
from recenv.registry import reading
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

_MOST_TOLD: Final = 3


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
    """Columns of the N rows, memory-mapped, by name; `columns.COLUMNS` says what each is. Always there: `session_id`
    int64, `step`, `consumed` int32, `slate` [N, K] int32, `shown` [N, K] bool, `feedback` [N, K, F] and `reward_vector`
    [N, M] float32, `terminated`, `truncated` bool, `behavior_log_prob` float64. By the kind of action `prefix_log_prob`
    [N, K] float64 or `proto` [N, d] float32; in a world of days `day` float32 and `session_number` int32; of
    logs that were read in `context` [N, C] and `item_reward` [N, K, R] float32, `candidates` [N, P] int32 and
    `timestamp` [N] float64, where they tell them."""
    sessions: dict[str, np.ndarray]
    """Of the S sessions: `offsets`, `event_offsets` [S + 1], `user_id`, `group_id`, `episode_id` int64; of simulated
    logs `profile` [S, d] float32, `session_seed` and `behavior_seed` uint64; of read-in logs `source_user_id` (text
    or integers); of parts of a log `whole_session` int64."""
    events: dict[str, np.ndarray]
    """Of the E consumed items: `item` int32, `feedback` [E, F - 1] float32."""
    catalog: dict[str, np.ndarray]
    """The items' columns; see `recenv.Catalog`. Of a log that was read in `source_id` [N], `embeddings` only where its
    source has or an import makes them, and what else the source tells of items in numbers."""
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
        dataset, faults = LoggedDataset.look_into(path, allow_imports=allow_imports)
        if dataset is None or faults:
            raise contradicting(path, faults)
        if verify:
            dataset.verify()
        return dataset

    @staticmethod
    def look_into(path: str | Path, *, allow_imports: Iterable[str] = ()) -> tuple[LoggedDataset | None, list[str]]:
        """Return the dataset in a folder, and where its manifest and its columns' headers contradict one another.

        Args:
            path: the folder.
            allow_imports: see `open`.

        Returns:
            The dataset, None where its columns cannot be told; and a sentence for each contradiction. Values are left
            to `require_sound`, checksums to `verify`.

        Raises:
            InvalidInput: if the folder is missing, foreign or of another format, or its world needs a module that is
                not allowed.
        """
        path = Path(path)
        manifest = read_manifest(path)
        fields = field_faults(manifest)
        faults = [*checksum_faults(manifest), *fields.values()]
        if "schema" in fields:
            return None, faults
        columns: dict[str, np.ndarray] = {}
        for name, entry in manifest["schema"].items():
            try:
                columns[name.removesuffix(".npy")] = open_column(path / name, entry)
            except InvalidInput as error:
                faults.append(str(error))
        faults += shape_faults(columns, axis_sizes({**manifest, **dict.fromkeys(fields)}))
        if fields or len(columns) < len(manifest["schema"]):
            return None, faults
        parts: dict[str, dict[str, np.ndarray]] = {folder: {} for folder in FOLDERS}
        for name, values in columns.items():
            folder, column = name.split("/")
            parts[folder][column] = values
        del parts["latent"]
        dataset = LoggedDataset(path, manifest, **parts, allow_imports=tuple(allow_imports))
        faults += agreement_faults(manifest)
        if dataset.has_world:
            try:
                faults += world_faults(path, manifest, dataset._config(None), columns)
            except InvalidInput as error:
                if not faults:
                    raise
                faults.append(str(error))
        return dataset, faults

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

    @cached_property
    def context(self) -> tuple[ContextColumn, ...]:
        """How the coordinates of `rows/context` were made of source columns; empty where there are none."""
        return context_columns(self.manifest.get("context", []))

    @property
    def part(self) -> dict[str, Any] | None:
        """Which part of what log it is, and how that was split; None for a log that is none."""
        return self.manifest.get("part")

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
        if "items" not in self.manifest["config"]:
            return self._config(None)
        try:
            return self._config(self.items)
        except InvalidInput as error:
            raise InvalidInput(f"{self.path} holds other items than its config says: {error}") from error

    def _config(self, items: Catalog | None) -> SessionConfig:
        """Return the manifest's config among these items, which are read for it; None leaves out its own."""
        values = {name: value for name, value in self.manifest["config"].items() if items or name != "items"}
        try:
            with reading(self.path, self.allow_imports):
                return SessionConfig.from_dict(values, items=items)
        except (TypeError, AttributeError, KeyError, OverflowError) as error:
            raise InvalidInput(f"{self.path}: its world cannot be ({error}); collect the dataset again") from error

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
        require(
            bool(np.isfinite(total).all()),
            f"{self.path} has a reward that is not finite; see `recsession inspect` and collect the dataset again",
        )
        return total

    def session_returns(self) -> np.ndarray:
        """Return the undiscounted sum of rewards of each session, [S] float64."""
        require_offsets(self)
        returns = np.empty(self.num_sessions)
        for block in session_blocks(self):
            returns[block.sessions] = np.add.reduceat(self.reward(block.rows), block.first)
        return returns

    def open_latent_labels(self) -> np.ndarray:
        """Return which component of the mixture acted, int8: for diagnosis, never for learning.

        Returns:
            [N], or [N, K] where a component was drawn for each position.

        Raises:
            InvalidInput: if the dataset has no labels, or labels of no component.
        """
        entry = self.manifest["schema"].get(LATENT_LABELS)
        if entry is None:
            raise InvalidInput(f"{self.path} has no latent labels; only simulated logs have them")
        labels, spec = open_column(self.path / LATENT_LABELS, entry), self.manifest["source"].get("request", {})
        parts = spec["behavior"].get("components") if isinstance(spec.get("behavior"), dict) else None
        most = 127 if parts is None else len(parts) - 1
        require(
            bool(labels.min() >= 0 and labels.max() <= most),
            f"{self.path / LATENT_LABELS} has labels outside [0, {most}]; collect the dataset again",
        )
        return labels

    def require_sound(self) -> None:
        """Read every value, once for this object, and refuse a log that contradicts itself in them.

        What learns from the values, exports or summarises them calls it first; opening a log does not.

        Raises:
            InvalidInput: naming the contradictions, of `log_checks.CHECKS`.
        """
        wrong = self.contradicting_values()
        if wrong:
            raise contradicting(self.path, wrong)

    def contradicting_values(self) -> list[str]:
        """Return how many values contradict one another and how, for each way in which they do; see `require_sound`."""
        remarks = set() if self.has_world else REMARKS_OF_IMPORTS
        found = ((name, count) for name, count in self.contradictions.items() if count and name not in remarks)
        return [f"{count:,} {CHECKS[name]}" for name, count in found]

    @cached_property
    def contradictions(self) -> dict[str, int]:
        """How often the values contradict one another, by the names of `log_checks.CHECKS`; see `require_sound`."""
        return contradictions(self)

    def verify(self, *, again: bool = True) -> None:
        """Compare every file with its checksum.

        Args:
            again: also where this object has done so before.

        Raises:
            InvalidInput: naming the first file that is missing or whose bytes have changed.
        """
        if not again and vars(self).get("_verified"):
            return
        for fault in self.changed_files():
            raise InvalidInput(f"{fault}, or collect the dataset again")
        vars(self)["_verified"] = True  # no field: it is of this object, not of what it is equal to

    def changed_files(self) -> Iterator[str]:
        """Yield a sentence for each file that is missing, or whose bytes have changed."""
        for name, entry in self.manifest["schema"].items():
            file = self.path / name
            fault = size_fault(file, entry)
            if fault is None and (digest := file_digest(file)) != entry["sha256"]:
                said = f"the manifest says {entry['sha256'][:12]}..."
                fault = f"{file} has SHA-256 {digest[:12]}..., {said}; the file has changed, restore it"
            if fault is not None:
                yield fault


class ContradictoryLog(InvalidInput):
    """A dataset that is whole, and says what cannot be."""


def contradicting(path: str | Path, faults: Sequence[str]) -> ContradictoryLog:
    """Return the error for a dataset that contradicts itself.

    Args:
        path: the folder.
        faults: a sentence for each contradiction; the first few are told.
    """
    told, more = "; ".join(faults[:_MOST_TOLD]), len(faults) - _MOST_TOLD
    rest = f"; and {more} more" if more > 0 else ""
    return ContradictoryLog(
        f"{path} contradicts itself: {told}{rest}; `recsession inspect` lists it all, collect the dataset again"
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
