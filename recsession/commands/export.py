"""`recsession export`: write a logged dataset, or a policy, in a format of others."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from offline_data.describe.dataset_card import CARD_MARK, write_card
from offline_data.interop.log_spaces import flat_features
from offline_data.interop.minari import export_minari, minari_folder
from offline_data.interop.parquet import export_parquet
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require
from recenv.files.atomic_files import claimed_file, claimed_folder
from recsession.lines import say


@dataclass(frozen=True)
class Export:
    """Write a logged dataset for Minari, as Parquet files for pandas, polars and DuckDB, or its card in Markdown.

    A trained policy is written as an ONNX model, which onnxruntime runs without PyTorch and without RecSession.
    """

    source: tyro.conf.Positional[Path]
    """The source, a folder that `recsession collect` or `recsession import` wrote; with onnx: a policy file of
    `recsession train`."""
    to: Literal["minari", "parquet", "card", "onnx"]
    """Minari (one episode a session), parquet (tables of shown items, of steps with their rewards, of sessions and of
    items), card (what it is, in one Markdown file), or onnx (a policy's most probable slates)."""
    out: Path | None = None
    """With parquet: the new folder; with minari: the folder of Minari's datasets, its own by default; with card: the
    file, README.md in the dataset's own folder by default; with onnx: the file, the policy's with the ending .onnx by
    default."""
    id: str | None = None
    """With minari: the id, (namespace/)name-v(version), such as recsession/my-log-v0."""
    flat: bool = False
    """With minari: one array of numbers an observation, as d3rlpy takes them, and Discrete actions where a slate is one
    item. It holds, in this order and as far as the log has them, calendar, clock, context and profile, then the mean
    embedding and the mean feedback of the consumed items, and the share of the history that they fill: what
    recenv.FlatObservation gives online. Item ids (candidates, available) are left out."""

    @property
    def files(self) -> tuple[str, ...]:
        """Options that are the path of a file."""
        return ("out",) if self.to in ("card", "onnx") else ()

    def run(self) -> None:
        """Export and say how to open it."""
        require(
            self.to == "minari" or self.id is None, f"--id {self.id} is of Minari; leave it out with --to {self.to}"
        )
        require(self.to == "minari" or not self.flat, f"--flat is of Minari; leave it out with --to {self.to}")
        if self.to == "onnx":
            self._write_model()
            return
        if self.to == "card":
            self._write_card()
        elif self.to == "parquet":
            self._write_parquet()
        else:
            self._write_minari()

    def _write_card(self) -> None:
        log = LoggedDataset.open(self.source)
        file = log.path / "README.md" if self.out is None else self.out
        with claimed_file(file, mark=CARD_MARK):
            log.verify()
            write_card(log, file)
        say(f"card: {file}")

    def _write_parquet(self) -> None:
        if self.out is None:
            raise InvalidInput("--to parquet has no --out; give the new folder of its files")
        with claimed_folder(self.out):
            log = LoggedDataset.open(self.source, verify=True)
            with tqdm(total=log.num_rows, unit="step", unit_scale=True, delay=0.1) as bar:
                folder = export_parquet(log, self.out, progress=bar.update)
        say(f"{folder}: interactions.parquet (one row a shown item), steps.parquet (one row a step, with its reward)")
        say("beside them sessions.parquet and items.parquet; join by session_id and step, or item_id")
        say(f'open it with `pandas.read_parquet("{folder / "interactions.parquet"}")`')

    def _write_minari(self) -> None:
        if self.id is None:
            raise InvalidInput("--to minari has no --id; give one, as in --id recsession/my-log-v0")
        with claimed_folder(minari_folder(self.id, self.out)):
            log = LoggedDataset.open(self.source, verify=True)
            with tqdm(total=log.num_sessions, unit="session", unit_scale=True, delay=0.1) as bar:
                flat = "pooled" if self.flat else None
                folder = export_minari(log, self.id, self.out, flat=flat, progress=bar.update)
        say(f"{folder}: {log.num_sessions:,} episodes, {log.num_rows:,} steps")
        if self.flat:
            parts = flat_features(log).layout.items()
            say(f"observations: {', '.join(f'{name} [{first}:{end}]' for name, (first, end) in parts)}")
        where = "" if self.out is None else f" with MINARI_DATASETS_PATH={shlex.quote(str(self.out))}"
        say(f'open it with `minari.load_dataset("{self.id}")`{where}')

    def _write_model(self) -> None:
        # Only this needs torch.
        from agents.policies.files import load_policy
        from agents.serving.onnx_export import export_onnx, onnx_mark

        file = Path(f"{self.source}.onnx") if self.out is None else self.out
        with claimed_file(file, mark=onnx_mark(file)):
            policy = load_policy(self.source)
            export_onnx(policy, file)
        say(f"{file}: from {', '.join(policy.space.observed)} to slate [batch, {policy.space.slate_size}]")
        ids = "" if policy.space.item_ids is None else f", and the ids of its {policy.space.num_items:,} items"
        say(f"its metadata hold max_steps={policy.space.max_steps}, of which the clock is a share{ids}")
        say(
            f'run it with `onnxruntime.InferenceSession("{file}")`: `offline_data.ServingSpace.of_metadata` makes its '
            "inputs of users' events, and ids of its slates"
        )
