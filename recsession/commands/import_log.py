"""`recsession import`: read a public log, a table of one's own, or a Minari dataset."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import tyro
from tqdm import tqdm

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.foreign_log import ImportOptions
from offline_data.interop.kuairand import POOL_SIZE, import_kuairand
from offline_data.interop.minari import import_minari
from offline_data.interop.movielens import LIKED_FROM, import_movielens
from offline_data.interop.open_bandit import import_open_bandit
from offline_data.store.atomic_files import require_free
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, unknown_name
from recsession.inputs import parse

Progress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class _Import(ABC):
    """What every reader takes."""

    path: Path
    """What to read."""
    out: Path
    """Folder of the dataset."""
    shared: tyro.conf.OmitArgPrefixes[ImportOptions] = field(default_factory=ImportOptions)
    """What every reader takes."""

    unit: ClassVar[str] = "row"

    @abstractmethod
    def read(self, progress: Progress) -> LoggedDataset:
        """Read, write and return the dataset."""

    def run(self) -> None:
        """Import and say what was written."""
        require_free(self.out)
        with tqdm(unit=self.unit, unit_scale=True, delay=0.1) as bar:
            log = self.read(bar.update)
        print(f"{self.out}: {log.num_sessions:,} sessions, {log.num_rows:,} steps, {log.num_items:,} items")
        source: dict[str, Any] = log.manifest["source"]
        if source["lacking"]:
            print(f"the source does not say: {'; '.join(source['lacking'])}")
        report = source.get("propensity_estimate")
        if report is not None:
            print(_estimate_lines(report))
        elif self.shared.estimate_propensities:
            print("every row of the source has its propensity: there was nothing to estimate")
        elif log.propensities in ("missing", "partial"):
            print(f"propensities are {log.propensities}: estimate them with --estimate-propensities")
        print(f"look at it with `recsession inspect {self.out}`")


@dataclass(frozen=True, kw_only=True)
class Kuairand(_Import):
    """Read KuaiRand (Pure, 1K or 27K): videos shown one by one, and videos put among them at random.

    Attributes:
        path: folder of the release, or the data folder in it.
    """

    logs: Literal["all", "standard", "random"] = "all"
    """The standard logs, the random ones, whose propensities are exact, or all, in the order of time."""
    pool_size: int = POOL_SIZE
    """Videos of the random pool."""

    def read(self, progress: Progress) -> LoggedDataset:
        """See the class."""
        return import_kuairand(
            self.path, self.out, logs=self.logs, pool_size=self.pool_size, options=self.shared, progress=progress
        )


@dataclass(frozen=True, kw_only=True)
class Movielens(_Import):
    """Read MovieLens (100K, 1M, 10M, 20M, 25M, 32M, latest): films rated one by one.

    Attributes:
        path: folder of the release, with u.data, ratings.dat or ratings.csv in it.
    """

    liked_from: float = LIKED_FROM
    """The lowest rating that is a like."""

    def read(self, progress: Progress) -> LoggedDataset:
        """See the class."""
        return import_movielens(self.path, self.out, liked_from=self.liked_from, options=self.shared, progress=progress)


@dataclass(frozen=True, kw_only=True)
class OpenBandit(_Import):
    """Read the Open Bandit Dataset: clicks of a fashion store, with exact propensities.

    Attributes:
        path: folder that holds random/ and bts/.
    """

    policy: Literal["random", "bts"] = "random"
    """Whose log: random, or bts (Thompson sampling)."""
    campaign: Literal["all", "men", "women"] = "all"
    """All, men or women."""

    def read(self, progress: Progress) -> LoggedDataset:
        """See the class."""
        log = import_open_bandit(self.path, self.out, policy=self.policy, campaign=self.campaign, options=self.shared)
        progress(log.num_rows)
        return log


@dataclass(frozen=True, kw_only=True)
class Table(_Import):
    """Read a CSV or Parquet log, one entry a shown item, through a map of its columns.

    Attributes:
        path: file, plain or compressed.
    """

    map: tuple[str, ...]
    """NAME=COLUMN each, or a JSON file of them. Names: user_id, item_id, session_id, step (entries of one step are a
    slate), position, timestamp, propensity, prefix_log_prob, behavior_log_prob, terminated, truncated, feedback.CHANNEL
    in [0, 1], the click first, and reward or reward.COMPONENT. As in `--map user_id=uid item_id=vid timestamp=ts
    feedback.click=clicked`."""
    items: Path | None = None
    """CSV or Parquet file of the items, by the same id: its columns of numbers are kept; embedding_0, embedding_1, ...
    (or a list column `embeddings`) is what policies tell items apart by."""
    time_unit: Literal["seconds", "milliseconds"] = "seconds"
    """Of timestamps that are numbers."""

    def read(self, progress: Progress) -> LoggedDataset:
        """See the class."""
        return import_table(
            self.path,
            self.out,
            ColumnMap.of(_roles(self.map)),
            items=self.items,
            time_unit=self.time_unit,
            options=self.shared,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class Minari(_Import):
    """Read a Minari dataset whose actions are items or slates; one that `recsession export` wrote comes back whole.

    Attributes:
        path: folder of the dataset, or the id of a local one.
    """

    unit: ClassVar[str] = "episode"

    def read(self, progress: Progress) -> LoggedDataset:
        """See the class."""
        return import_minari(self.path, self.out, options=self.shared, progress=progress)


READERS: Final[dict[str, type[_Import]]] = {
    "kuairand": Kuairand,
    "movielens": Movielens,
    "open-bandit": OpenBandit,
    "table": Table,
    "minari": Minari,
}


def run(words: Sequence[str]) -> None:
    """Parse `READER [OPTIONS]`, import, and say what was written.

    Args:
        words: the command line after `import`.

    Raises:
        InvalidInput: for bad input.
    """
    if not words or words[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<13}{(reader.__doc__ or '').splitlines()[0]}" for name, reader in READERS.items())
        print(
            "usage: recsession import READER --path PATH --out FOLDER [OPTIONS]\n\n"
            f"Read a log of others into a dataset, and say what it lacks.\n\nreaders:\n{rows}\n\n"
            "`recsession import READER --help` says what each takes."
        )
        return
    if words[0] not in READERS:
        raise unknown_name("reader", words[0], READERS)
    parse(READERS[words[0]], f"import {words[0]}", words[1:]).run()


def _roles(words: Sequence[str]) -> dict[str, Any]:
    """Return the roles that the words after `--map` mean."""
    if len(words) == 1 and "=" not in words[0]:
        require(Path(words[0]).is_file(), f"--map {words[0]} is neither NAME=COLUMN nor a file; see --help")
        try:
            roles = json.loads(Path(words[0]).read_text())
        except ValueError as error:
            raise InvalidInput(
                f"--map {words[0]} is not JSON ({error}); write NAME=COLUMN, or mend the file"
            ) from error
        require(isinstance(roles, dict), f"--map {words[0]} holds no object; write one of NAME: COLUMN")
        return roles
    roles = {}
    for word in words:
        name, equals, column = word.partition("=")
        require(equals != "", f"--map {word!r} has no '='; write NAME=COLUMN, as in item_id=vid")
        require(name not in roles, f"--map gives {name} twice; leave one of them out")
        roles[name] = column
    return roles


def _estimate_lines(report: dict[str, Any]) -> str:
    model, popularity, uniform = (report[f"log_loss{of}"] for of in ("", "_of_popularity", "_of_uniform"))
    misplaced, chance = report["calibration_error"], report["calibration_error_of_chance"]
    return (
        f"propensities are estimated: {report['model']}, judged on {report['judged_rows']:,} held-out steps\n"
        f"log-loss, nats a choice  {model:.4f}; popularity alone has {popularity:.4f}, uniform {uniform:.4f}\n"
        f"misplaced probability    {misplaced:.4f}; chance alone would give {chance:.4f}"
    )
