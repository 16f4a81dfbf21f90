"""`recsession items`: look at a file of items, and draw the columns that it has not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tyro

from recenv.errors import require
from recenv.files.atomic_files import claimed_file
from recenv.items.catalog import Catalog
from recenv.items.given_items import require_sizes
from recenv.items.item_columns import NUMBERS
from recenv.items.item_files import check_kind, read_columns
from recenv.session_config import SessionConfig
from recsession.inputs import SetWords, refuse_given, world_options
from recsession.lines import say

_SHOWN = 5


@dataclass(frozen=True)
class Items:
    """Say what is in a file of items, and write it as a world takes it.

    recsession items shop.parquet

    recsession items embeddings.npy --out items.npz --draw-hidden --set clickbait=0.5

    recsession collect --out runs/log --set items=items.npz slate_size=5
    """

    file: tyro.conf.Positional[Path]
    """Items: .npz or Parquet with a row an item, embeddings in `embeddings` or in embedding_0, embedding_1, ..., and
    any of topic, name, item_id, quality, appeal, length, popularity and age; or .npy, embeddings alone."""
    out: Path | None = None
    """File to write, .npz or .parquet, for `--set items=FILE` and gymnasium.make(items=FILE)."""
    draw_hidden: bool = False
    """Draw what the file lacks of quality, appeal, length, popularity, age and topics, as a world without items of its
    own does; otherwise they are the same for all items."""
    seed: int = 0
    """Root of the draws, as `world_seed` is of a world's."""
    set: SetWords = ()
    """Options of the draws as NAME=VALUE, for example `--set clickbait=0.5`; `recsession options catalog` lists
    them."""

    files: ClassVar = ("out",)

    def run(self) -> None:
        """Read, draw, write and print."""
        if self.out is None:
            self._print(self._read())
            return
        check_kind(self.out)
        with claimed_file(self.out):
            items = self._read()
            items.save(self.out)
        self._print(items)
        say(f"{self.out}: the items, for `--set items={self.out}`")

    def _read(self) -> Catalog:
        if not self.draw_hidden:
            refuse_given(self, ("seed", "set"), "without --draw-hidden nothing is drawn")
            return Catalog.load(self.file)
        columns, options = read_columns(self.file), world_options(self.set)
        items = Catalog.load(self.file)
        lacking = [name for name in NUMBERS if name not in columns]
        require(bool(lacking), f"{self.file} has every column; leave out --draw-hidden")
        require_sizes(items, {}, options)
        config = SessionConfig().override(slate_size=1, catalog=options).catalog
        return Catalog.from_embeddings(**columns, config=config, world_seed=self.seed)

    def _print(self, items: Catalog) -> None:
        topics = f"{len(np.unique(items.topics)):,} topics"
        say(f"{self.file}: {items.num_items:,} items in {items.embedding_dim:,} dimensions, {topics}")
        say(f"{'sha256':<16}{items.sha256}")
        for name, values in items.arrays().items():
            if name in NUMBERS and name != "topics":
                low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
                say(f"{name:<16}{low:.4g} to {high:.4g}, median {middle:.4g}")
            elif name not in ("embeddings", "topics"):
                say(f"{name:<16}{', '.join(map(str, values[:_SHOWN]))}{', ...' if len(values) > _SHOWN else ''}")
