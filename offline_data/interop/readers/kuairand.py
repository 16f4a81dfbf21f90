"""KuaiRand: videos shown by Kuaishou's recommenders, and videos put among them at random.

Source: Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos"
(arXiv:2208.08696); files and columns as published, of the versions Pure, 1K and 27K.

A log is read in memory, 450 bytes a row: 1.2 GB for Pure, 5.3 GB for 1K and 145 GB for 27K, of whose logs most machines
hold the random one alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from offline_data.families import READERS
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.interactions import Ids, Interactions, label_columns
from offline_data.interop.readers.base import LogReader
from offline_data.interop.table_ids import alike
from offline_data.interop.tables import Kind, Progress, TimeFormat, read_tables
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require, require_range, unknown_name

FEEDBACK: Final = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hate": "is_hate",
    "profile_enter": "is_profile_enter",
}
_COPY: Final = "copy it from the published dataset"


@READERS.register("kuairand")
@dataclass(frozen=True, kw_only=True)
class KuairandReader(LogReader):
    """Read KuaiRand (Pure, 1K or 27K): videos shown one by one, and videos put among them at random.

    `path` is the folder of the release, or the `data` in it. Slates are of one item, in the order of time. Feedback:
    the names of `FEEDBACK`, and `watch_fraction`, the time watched over the video's, at most 1. `click` is a click in
    the two-column view and a valid play in the single-column one. The reward is the click, unless the options' reward
    weights say otherwise. Embeddings of the videos are their tags, see `label_columns`, where
    `video_features_basic_*.csv` is there. `rows/is_rand` tells the random videos.

    Which video stands at a random place is uniform over the pool, so that of the random logs alone propensities are
    exact, 1 / pool_size; with the standard logs they are missing.
    """

    logs: Literal["all", "standard", "random"] = "all"
    """The standard logs, the random ones, whose propensities are exact, or all, as the users saw them."""
    pool_size: int = 7583
    """Videos of the random pool; the published number, of every version, by default."""

    def __post_init__(self) -> None:
        if self.logs not in ("all", "standard", "random"):
            raise unknown_name("KuaiRand logs", self.logs, ("all", "standard", "random"))
        require_range("pool_size", self.pool_size, 1, integer=True)

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`."""
        folder = self.path / "data" if (self.path / "data").is_dir() else self.path
        patterns = ["log_standard_*.csv", "log_random_*.csv"] if self.logs == "all" else [f"log_{self.logs}_*.csv"]
        logged = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
        require(bool(logged), f"{folder} has no file {' or '.join(patterns)}; pass the folder of a KuaiRand release")
        kinds: dict[str, Kind] = {
            "user_id": "id",
            "video_id": "id",
            "time_ms": "time",
            "play_time_ms": "single",
            "duration_ms": "single",
            "is_rand": "flag",
            **dict.fromkeys(FEEDBACK.values(), "single"),
        }
        read = read_tables(logged, kinds, times=TimeFormat("milliseconds"), progress=progress)
        values = read.values
        with np.errstate(divide="ignore", invalid="ignore"):
            watched = values.pop("play_time_ms") / values.pop("duration_ms")
        feedback = {name: values[column] for name, column in FEEDBACK.items()}
        # Nothing of a film without length is 0 / 0, no watching; a film watched twice is watched whole.
        feedback["watch_fraction"] = np.clip(np.nan_to_num(watched, nan=0.0), 0.0, 1.0)
        random = values["is_rand"]
        shown = len(np.unique(values["video_id"].codes[random]))
        require(
            shown <= self.pool_size,
            f"pool_size={self.pool_size} is less than the {shown:,} videos shown at random; raise it",
        )
        item, catalog, video_files, remarks = _videos(values["video_id"], folder, progress)
        log = Interactions(
            files=[*read.counts, *video_files],
            user=values["user_id"],
            item=item,
            feedback=feedback,
            timestamp=values["time_ms"],
            item_log_prob=np.full(len(random), -np.log(self.pool_size)) if self.logs == "random" else None,
            row_columns={"is_rand": random},
            catalog=catalog,
            item_features=[{"column": "tag", "as": "labels"}] if catalog else [],
        )
        facts = {"logs": self.logs, "pool_size": self.pool_size}
        remarks = [*read.remarks, *remarks]
        return import_interactions(out, log, "kuairand", options=self.options, remarks=remarks, facts=facts)


def _videos(
    shown: Ids, folder: Path, progress: Progress | None
) -> tuple[Ids, dict[str, np.ndarray], list[tuple[Path, int]], list[str]]:
    """Return the shown videos as codes into all that are known, their columns, the files of these, and remarks."""
    files = sorted(folder.glob("video_features_basic_*.csv"))
    if not files:
        return shown, {}, [], []
    kinds: dict[str, Kind] = {"video_id": "id", "tag": "text", "video_duration": "number"}
    read = read_tables(files, kinds, progress=progress)
    values = read.values
    shown, known = alike(shown, values["video_id"])
    require(len(known.source) == len(known.codes), f"{files[0]} names a video twice; {_COPY}")
    both = np.union1d(known.source, shown.source)
    # Videos that were shown and are not described have no tag and a length of zero.
    labels: Ids = values["tag"]
    empty = len(labels.source)
    label = np.full(len(both), empty)
    place = np.searchsorted(both, known.source[known.codes])
    label[place] = labels.codes
    length = np.zeros(len(both), np.float32)
    length[place] = np.nan_to_num(values["video_duration"]) / 60_000.0
    catalog: dict[str, Any] = label_columns(Ids(label, np.append(labels.source, "")), ",")
    item = Ids(np.searchsorted(both, shown.source)[shown.codes], both)
    return item, {**catalog, "length": length}, [(file, 0) for file in files], read.remarks
