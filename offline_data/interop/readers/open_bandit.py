"""The Open Bandit Dataset: a fashion store's clicks under a uniform-random and a Thompson sampling policy.

Source: Saito, Aihara, Matsutani and Narita, "Open Bandit Dataset and Pipeline" (arXiv:2008.07146); folder layout and
columns as published and as its sample ships in obp 0.5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from offline_data.families import READERS
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.interop.item_file import with_items
from offline_data.interop.readers.base import LogReader
from offline_data.interop.table_files import column_names
from offline_data.interop.tables import Kind, Progress, read_tables
from offline_data.interop.text_format import PLAIN
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, unknown_name

CAMPAIGNS = ("all", "men", "women")
POLICIES = ("random", "bts")
NUM_POSITIONS = 3

_COLUMNS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("item_id", "position", "click"), "whole"),
    "propensity_score": "number",
}
_COPY: Final = "copy it from the published dataset"


@dataclass(frozen=True, eq=False)
class OpenBanditLog:
    """One policy's log of one campaign; a row is one item shown at one position of the recommendation slot."""

    policy: str
    """Who showed the items: "random" (uniform) or "bts" (Bernoulli Thompson sampling)."""
    campaign: str
    """One of "all", "men" and "women"."""
    file: Path
    """Where it was read."""
    num_items: int
    """Items of the campaign, M."""
    item_id: NDArray[np.int64]
    """`[N]` int64 in [0, M)."""
    position: NDArray[np.int64]
    """`[N]` int64 in [0, 3); the files count from 1."""
    click: NDArray[np.int64]
    """`[N]` int64, 0 or 1."""
    propensity: NDArray[np.float64]
    """Probability of the item given the position, `[N]` float64 in (0, 1]. It belongs to the (item, position) of its
    row at its time: its averages over the Thompson log do not make a policy."""
    timestamp: NDArray[np.float64] | None = None
    """When, `[N]` float64 seconds since 1970, where it was asked for and is there."""
    context: Mapping[str, Ids | NDArray[np.float64]] = field(default_factory=dict)
    """What was asked for of the users: categories, and affinities to items, by name."""


def read_open_bandit(
    path: str | Path,
    policy: str,
    campaign: str,
    *,
    users: bool = False,
    affinities: bool = False,
    delisted: bool = False,
    progress: Progress | None = None,
) -> OpenBanditLog:
    """Return the log at `<path>/<policy>/<campaign>/<campaign>.csv.gz` (or `.csv`), `item_context.csv` beside it.

    Args:
        path: the folder that holds `random/` and `bts/`.
        policy: "random" or "bts".
        campaign: "all", "men" or "women".
        users: read the times and the users' features, which are hashed categories.
        affinities: read the users' affinities to each item.
        delisted: take any items that the log shows, whatever `item_context.csv` lists.
        progress: called with the number of rows of each batch.

    Raises:
        InvalidInput: on an unknown policy or campaign (the nearest is suggested), a missing folder, file or column, a
            truncated or foreign file, or a value out of range; the line names the file and the remedy.
    """
    if policy not in POLICIES:
        raise unknown_name("Open Bandit policy", policy, POLICIES)
    if campaign not in CAMPAIGNS:
        raise unknown_name("Open Bandit campaign", campaign, CAMPAIGNS)
    folder = Path(path) / policy / campaign
    require(
        folder.is_dir(),
        f"path={str(path)!r} has no folder {policy}/{campaign}; pass the folder that holds random/ and bts/ with "
        f"campaign {campaign!r} in each",
    )
    num_items = None if delisted else _listed(_existing(folder, "item_context.csv"))
    file = _existing(folder, f"{campaign}.csv.gz", f"{campaign}.csv")
    optional: dict[str, Kind] = {}
    for name in column_names(file) if users or affinities else ():
        if name == "timestamp" and users:
            optional[name] = "time"
        elif name.startswith("user_feature_") and users:
            optional[name] = "text"
        elif name.startswith("user-item_affinity_") and affinities:
            optional[name] = "single"
    item_id, position, click, propensity, *others = _read(file, {**_COLUMNS, **optional}, progress)
    context = dict(zip(optional, others, strict=True))
    timestamp = context.pop("timestamp", None)
    context = {name: values.categories() if isinstance(values, Ids) else values for name, values in context.items()}
    num_items = int(item_id.max(initial=0)) + 1 if num_items is None else num_items
    log = OpenBanditLog(policy, campaign, file, num_items, item_id, position - 1, click, propensity, timestamp, context)
    _require_all(file, "item_id", item_id, (item_id >= 0) & (item_id < num_items), f"0 to {num_items - 1}")
    _require_all(file, "position", position, (log.position >= 0) & (log.position < NUM_POSITIONS), "1 to 3")
    _require_all(file, "click", click, (click == 0) | (click == 1), "0 or 1")
    _require_all(file, "propensity_score", propensity, (propensity > 0.0) & (propensity <= 1.0), "in (0, 1]")
    return log


def _listed(items: Path) -> int:
    """Return how many items a file lists, which are 0, 1, ..."""
    (listed,) = _read(items, {"item_id": "whole"})
    is_whole = np.array_equal(np.sort(listed), np.arange(len(listed)))
    require(is_whole, f"{items}: item_id is not 0 to {len(listed) - 1}, each once; {_COPY}")
    return len(listed)


@READERS.register("open_bandit")
@dataclass(frozen=True, kw_only=True)
class OpenBanditReader(LogReader):
    """Read the Open Bandit Dataset: clicks of a fashion store, with exact propensities.

    `path` is the folder that holds `random/` and `bts/`. A session is one item shown at one of the three positions. The
    reward is the click, `rows/position` the position, from 0; the propensity is that of the item given the position.
    Users are not told apart: each row is a user's, whose features are the context. Embeddings of the items are made of
    the columns of their file.
    """

    policy: Literal["random", "bts"] = "random"
    """Whose log: random, or bts (Thompson sampling)."""
    campaign: Literal["all", "men", "women"] = "all"
    """All, men or women."""
    affinities: bool = False
    """Whether the context has the user's affinities to the items too, a number an item."""
    items: Path | None = None
    """Table of the items, by item_id; by default the campaign's item_context.csv."""

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`, and `read_open_bandit` for what is refused."""
        own = {"users": True, "affinities": self.affinities, "delisted": True}
        log = read_open_bandit(self.path, self.policy, self.campaign, **own, progress=progress)
        rows = np.arange(len(log.click))
        items = self.items or _existing(log.file.parent, "item_context.csv")
        item, catalog, made, remarks = with_items(
            Ids.of(log.item_id), items, "item_id", PLAIN, self.options.item_features
        )
        interactions = Interactions(
            files=[(log.file, len(rows)), (items, 0)],
            user=Ids(rows, rows),
            item=item,
            feedback={"click": log.click.astype(np.float64)},
            session=rows,
            position=log.position,
            timestamp=log.timestamp,
            item_log_prob=np.log(log.propensity),
            context=log.context,
            catalog=catalog,
            item_features=made,
        )
        return import_interactions(
            out,
            interactions,
            "open-bandit",
            options=self.options,
            lacking=["users: each row is a session of its own"],
            remarks=remarks,
            facts={"policy": self.policy, "campaign": self.campaign, "affinities": self.affinities},
        )


def position_item_frequencies(log: OpenBanditLog) -> NDArray[np.float64]:
    """Return how often each item was shown at each position: a plug-in estimate of the policy behind the log.

    Returns:
        `[3, M]` float64; each row is a distribution over items.

    Raises:
        InvalidInput: if a row does not sum to one (within 1e-9), as when a position was never shown.
    """
    counts = np.zeros((NUM_POSITIONS, log.num_items))
    np.add.at(counts, (log.position, log.item_id), 1.0)
    # A position never shown is a row of zeros, which does not sum to one and is refused.
    frequencies = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    sums = frequencies.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1.0) > 1e-9)
    require(
        not len(wrong),
        f"item frequencies of the {log.policy!r} log, campaign {log.campaign!r}, sum to {sums[wrong]} in place of 1 at "
        f"positions {wrong + 1}; use a log that shows items at each of the {NUM_POSITIONS} positions",
    )
    return frequencies


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidInput(f"{folder} has no file {' or '.join(names)}; {_COPY}")


def _read(file: Path, kinds: Mapping[str, Kind], progress: Progress | None = None) -> list[NDArray[Any]]:
    read = read_tables([file], kinds, progress=progress)
    require(read.counts[0][1] > 0, f"{file} has a header and no rows; {_COPY}")
    return [read.values[name] for name in kinds]


def _require_all(file: Path, name: str, values: NDArray[Any], allowed: NDArray[np.bool_], range_text: str) -> None:
    if not allowed.all():
        wrong = int(np.argmin(allowed))
        raise InvalidInput(f"{file}: {name}={values[wrong]} in data row {wrong + 1} is not {range_text}; {_COPY}")
