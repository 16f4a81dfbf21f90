"""`LoggedDataset`: a folder of memory-mapped columns with a manifest that says what they are and where they came from.

```
manifest.json          format, config, world hash, behavior, seeds, schema, checksums; equal requests, equal bytes
run.json               when and where it was made; outside the compared bytes
rows/NAME.npy          one row an event
sessions/NAME.npy      one row a session
catalog/NAME.npy       one row an item
latent/component.npy   which component of a mixture acted: for diagnosis only, opened only on request
```
"""

from __future__ import annotations

import hashlib
import json
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput, require
from recenv.session_config import SessionConfig

FORMAT: Final = "recsession-log"
FORMAT_VERSION: Final = 1
LATENT_LABELS: Final = "latent/component.npy"
_FOLDERS: Final = ("rows/", "sessions/", "catalog/", "latent/")
_ENTRY_FIELDS: Final = {"dtype", "shape", "bytes", "sha256"}


@dataclass(frozen=True)
class LoggedDataset:
    """Logged sessions as flat rows, ordered by session and step.

    Attributes:
        path: the folder.
        manifest: what `manifest.json` says.
        rows: row columns, memory-mapped, leading axis N: `user_id, episode_id, session_id, group_id` int64, `step`
            int32, `slate` [N, K] int32 as submitted, `shown` [N, K] bool, `feedback` [N, K, F] and `reward_vector` [N,
            M] float32, `terminated`, `truncated` bool, `behavior_log_prob` [N] float64 nats, and by the kind of action
            `prefix_log_prob` [N, K] float64 nats or `proto` [N, d] float32; in a world of days `day` float32 and
            `session_number` int32, as they were before the action.
        sessions: session columns, leading axis S: `offsets` [S + 1] int64, `profile` [S, d] float32, `session_seed` and
            `behavior_seed` uint64.
        catalog: the items' columns; see `recenv.Catalog`.
    """

    path: Path
    manifest: dict[str, Any]
    rows: dict[str, np.ndarray]
    sessions: dict[str, np.ndarray]
    catalog: dict[str, np.ndarray]

    @staticmethod
    def open(path: str | Path) -> LoggedDataset:
        """Return the dataset in a folder, its columns memory-mapped; checksums are left to `verify`.

        Raises:
            InvalidInput: if the folder is missing, foreign, of a newer format, or lacks a file or part of one.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        columns: dict[str, dict[str, np.ndarray]] = {"rows": {}, "sessions": {}, "catalog": {}}
        for name, entry in manifest["schema"].items():
            folder, file = name.split("/")
            if folder == "latent":
                _check_size(path / name, entry)
            else:
                columns[folder][file.removesuffix(".npy")] = _open_column(path / name, entry)
        return LoggedDataset(path, manifest, columns["rows"], columns["sessions"], columns["catalog"])

    @property
    def num_rows(self) -> int:
        """N, logged steps."""
        return int(self.manifest["num_rows"])

    @property
    def num_sessions(self) -> int:
        """S, logged sessions."""
        return int(self.manifest["num_sessions"])

    @property
    def action_kind(self) -> str:
        """Either "slate" or "proto"."""
        return self.manifest["action_kind"]

    @property
    def config(self) -> SessionConfig:
        """The world that the log came from."""
        return SessionConfig.from_dict(self.manifest["config"])

    @property
    def offsets(self) -> np.ndarray:
        """[S + 1] int64: session s has the rows offsets[s] to offsets[s + 1]."""
        return self.sessions["offsets"]

    def reward(self) -> np.ndarray:
        """Return the scalar reward of each row, [N] float64: the reward vector times the manifest's weights."""
        weights = self.manifest["reward_weights"]
        total = np.zeros(self.num_rows)
        for index, name in enumerate(self.manifest["reward_names"]):
            total += weights[name] * self.rows["reward_vector"][:, index].astype(np.float64)
        return total

    def session_returns(self) -> np.ndarray:
        """Return the undiscounted sum of rewards of each session, [S] float64."""
        return np.add.reduceat(self.reward(), self.offsets[:-1])

    def open_latent_labels(self) -> np.ndarray:
        """Return which component of the mixture acted in each row, [N] int8: for diagnosis, never for learning.

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


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    require(path.is_dir(), f"dataset folder {path} does not exist; make one with `recsession collect --out {path}`")
    require(
        file.is_file(),
        f"{path} is not a RecSession dataset (no manifest.json); pass a folder that `recsession collect` wrote",
    )
    try:
        manifest = json.loads(file.read_text())
        version = int(manifest["format_version"]) if manifest["format"] == FORMAT else 0
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} is not a RecSession manifest ({error!r}); collect the dataset again") from error
    require(
        version > 0,
        f"{file} has format {manifest['format']!r}, not {FORMAT!r}; pass a folder that `recsession collect` wrote",
    )
    require(
        version <= FORMAT_VERSION,
        f"{file} has format version {version}, this RecSession reads up to {FORMAT_VERSION}; upgrade RecSession",
    )
    needed = {"schema", "num_rows", "num_sessions", "action_kind", "config", "reward_names", "reward_weights"}
    absent = sorted(needed - manifest.keys())
    require(not absent, f"{file} lacks {', '.join(absent)}; collect the dataset again")
    for name, entry in manifest["schema"].items():
        whole = name.startswith(_FOLDERS) and name.count("/") == 1 and entry.keys() >= _ENTRY_FIELDS
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
