"""A shop's log by its own ids, and visits of its users."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.interop.lists import Lists
from offline_data.serving.visits import Visit
from offline_data.store.dataset import LoggedDataset

SKUS = np.array(sorted(["00123", "123", "A-1", "B-2", "\N{SNOWMAN} x", "C-3", "D-4", "E-5"]))


def shop_log(path: Path, *, offers: bool = False) -> LoggedDataset:
    """Write 60 sessions of three slates of two SKUs, with feedback `click` and `cart`, context `city` and `age`.

    Args:
        path: the dataset's folder.
        offers: whether each step has its candidates, all but one item.
    """
    rng, count = np.random.default_rng(0), 360
    source = path.with_name("source")
    source.touch()
    step = np.arange(count) // 2
    slates = rng.permuted(np.tile(np.arange(8), (count // 2, 1)), axis=1)
    offered = Lists(step, np.arange(len(slates) + 1) * 7, slates[:, :7].reshape(-1))
    clicks = rng.integers(2, size=count) * 1.0
    log = Interactions(
        files=[(source, count)],
        user=Ids.of(step // 3),
        item=Ids(slates[:, :2].reshape(-1), SKUS),
        feedback={"click": clicks, "cart": clicks * rng.integers(2, size=count)},
        session=step // 3,
        step=step % 3,
        context={"city": Ids.of(np.array(["Oslo", "Rome"])[step // 3 % 2]), "age": 20.0 + step // 3 % 50},
        candidates=offered if offers else None,
        catalog={"embeddings": np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)},
    )
    return import_interactions(path, log, "test", options=ImportOptions(history_length=4))


def shop_visits(*, offers: bool = False) -> list[Visit]:
    """Return what a server knows of five users.

    Args:
        offers: whether it says what may be shown.
    """
    histories = [[], ["A-1"], ["00123", ("B-2", {"cart": 1.0})], ["gone", "123"], ["A-1", "B-2", "C-3", "D-4", "E-5"]]
    candidates = [["A-1", "B-2", "C-3"], ["00123", "123"], SKUS.tolist(), ["D-4"], ["E-5", "gone", "A-1"]]
    return [
        Visit(
            events,
            step=min(len(events), 2),
            context={"city": ("Oslo", "Rome", "Bonn", None, "Oslo")[user], "age": (None, 31, 50.0, 22, 99)[user]},
            candidates=candidates[user] if offers else None,
        )
        for user, events in enumerate(histories)
    ]
