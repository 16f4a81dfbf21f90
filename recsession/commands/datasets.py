"""`recsession datasets`: list the named datasets."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from offline_data.dial.named_datasets import default_path, named_datasets
from recenv.errors import require
from recsession.lines import say


@dataclass(frozen=True)
class Datasets:
    """List the named datasets, `recsession/VARIANT/LEVEL-NOISE-v0`, and what each is.

    `recsession collect --dataset NAME` collects one, and so does `offline_data.dial.named_datasets.load_named(NAME)`.
    """

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """List only the names that hold all of these words; every name by default."""

    def run(self) -> None:
        """Look up and print."""
        known = named_datasets()
        found = [named for name, named in known.items() if all(word in name for word in self.words)]
        require(bool(found), f"no dataset's name holds {' and '.join(self.words)}; leave the words out to list all")
        width = max(len(named.name) for named in found)
        for named in found:
            there = ", collected" if default_path(named.name).exists() else ""
            say(f"{named.name:<{width}}  {named.meaning}{there}")
