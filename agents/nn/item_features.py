"""What tells the items of a log apart: embeddings of its catalogue, factors of the log itself, or both side by side."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from offline_data.fitting.item_factors import NUM_FACTORS, item_factors
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require, unknown_name

CHOICES: Final = ("auto", "catalog", "log", "both")
"""`auto` is `catalog` where the source gave embeddings, `both` where an import made them of columns, and else `log`."""
_ONE_HOT: Final = 128
_NOTHING: Final = "no two of them stand together in the log in a way of their own"


def require_choice(choice: str) -> None:
    """Refuse what is none of `CHOICES`.

    Raises:
        InvalidInput: naming the nearest.
    """
    if choice not in CHOICES:
        raise unknown_name("item features", choice, CHOICES)


def resolve_choice(dataset: LoggedDataset, choice: str) -> str:
    """Return `catalog`, `log` or `both`.

    Args:
        dataset: a log.
        choice: of `CHOICES`.

    Raises:
        InvalidInput: for another choice, one that needs embeddings that the log lacks, or, of a simulated log, whose
            items are those of its world, for another than `auto` and `catalog`.
    """
    require_choice(choice)
    require(
        not dataset.has_world or choice in ("auto", "catalog"),
        f"item features {choice!r}: the items of {dataset.path} are those of a simulated world, which have embeddings; "
        "say catalog",
    )
    given = "embeddings" in dataset.catalog
    if choice == "auto":
        return "log" if not given else "both" if dataset.manifest["source"].get("item_features") else "catalog"
    require(
        given or choice == "log",
        f"item features {choice!r}: {dataset.path} has no embeddings of its items; say log, or import it again with a "
        "file of items: its columns, or embeddings in a list column `embeddings` or in embedding_0, embedding_1, ...",
    )
    return choice


class ItemFeatures(NamedTuple):
    """Features of N items."""

    embeddings: np.ndarray
    """[N, d] float32."""
    num_from_log: int
    """How many of the coordinates, the last ones, are of the log itself."""
    told: str
    """What they are, in words."""


def features_of(dataset: LoggedDataset, choice: str = "auto", *, seed: int = 0) -> ItemFeatures:
    """Return the features by which policies and critics of a log tell its items apart.

    Features of the log itself are `offline_data.fitting.item_factors`; where no two items stand together, as in a log
    of single items without users, each of up to 128 items gets a coordinate of its own, and each of more a random
    direction. An item that the log does not show has none, zeros.

    Args:
        dataset: a log that was read in.
        choice: of `CHOICES`.
        seed: of the factors, and of random directions.

    Raises:
        InvalidInput: as `resolve_choice` does.
    """
    choice = resolve_choice(dataset, choice)
    made = dataset.manifest["source"].get("item_features")
    catalog = np.zeros((dataset.num_items, 0), np.float32) if choice == "log" else _catalog(dataset)
    named = ", ".join(each["column"] for each in made or [])
    by_catalog = f"{catalog.shape[1]} coordinates of their {named}" if made else "the embeddings of the catalogue"
    if choice == "catalog":
        return ItemFeatures(catalog, 0, by_catalog)
    factors, by_log = _of_log(dataset, seed, fall_back=choice == "log")
    if choice == "log":
        return ItemFeatures(factors, factors.shape[1], by_log)
    if not factors.shape[1]:
        return ItemFeatures(catalog, 0, f"{by_catalog} alone, since {_NOTHING}")
    both = np.concatenate([_half(catalog), _half(factors)], axis=1)
    return ItemFeatures(both, factors.shape[1], f"{by_catalog}; and by {by_log}")


def features_as_in(dataset: LoggedDataset, embeddings: np.ndarray, num_from_log: int) -> np.ndarray:
    """Return the features of a log's items for who learned from another log: that log's own, beside this catalogue's.

    Args:
        dataset: the log at hand.
        embeddings: [N, d] of who learned.
        num_from_log: how many of their coordinates, the last ones, are of the log that they were learned from.

    Returns:
        [N, d] float32, of the N items of the log at hand.

    Raises:
        InvalidInput: for a log without the embeddings that were learned with.
    """
    require(
        "embeddings" in dataset.catalog or num_from_log == embeddings.shape[1],
        f"{dataset.path} has no embeddings of its items, and the policy was made for items that have some; import it "
        "with the file of items of the policy's log, or train a policy on this one",
    )
    if not num_from_log:
        return _catalog(dataset)
    if len(embeddings) != dataset.num_items:  # which `SessionSpace.require_like` refuses, and names the items
        embeddings = np.zeros((dataset.num_items, embeddings.shape[1]), np.float32)
    factors = embeddings[:, embeddings.shape[1] - num_from_log :]
    if num_from_log == embeddings.shape[1]:
        return factors
    return np.concatenate([_half(_catalog(dataset)), factors], axis=1)


def _catalog(dataset: LoggedDataset) -> np.ndarray:
    return np.asarray(dataset.catalog["embeddings"], np.float32)


def _half(features: np.ndarray) -> np.ndarray:
    """Return features so that their mean square length is 1/2: two kinds side by side count alike."""
    length = np.sqrt(2.0 * np.square(features, dtype=np.float64).sum(axis=1).mean())
    return features * np.float32(1.0 / max(length, 1e-12))


def _of_log(dataset: LoggedDataset, seed: int, *, fall_back: bool) -> tuple[np.ndarray, str]:
    """Return features of the log itself, [N, d] float32, of zeros where an item has none; and what they are."""
    # Found once for critic and policy: kept with this object, no field of it.
    kept = vars(dataset).setdefault("_item_factors", {})
    if seed not in kept:
        kept[seed] = item_factors(dataset, seed=seed)
    factors, count = kept[seed], dataset.num_items
    if factors is not None:
        lacking = int((~factors.any(axis=1)).sum())
        without = f"; {lacking:,} of {count:,} items stand with no other and have none" if lacking else ""
        return factors, f"{factors.shape[1]} factors of what stands together in the log{without}"
    if not fall_back:
        return np.zeros((count, 0), np.float32), ""
    seen = np.unique(np.asarray(dataset.rows["slate"])[np.asarray(dataset.rows["shown"])])
    if count <= _ONE_HOT:
        features, what = np.eye(count, dtype=np.float32), "a coordinate each"
    else:
        drawn = np.random.default_rng(seed).standard_normal((count, NUM_FACTORS))
        features, what = (
            drawn / np.sqrt(np.square(drawn).sum(axis=1, keepdims=True)),
            f"{NUM_FACTORS} random numbers each",
        )
    known = np.zeros((count, 1), np.float32)
    known[seen] = 1.0
    without = f"; {count - len(seen):,} of {count:,} are not in the log and have none" if len(seen) < count else ""
    return (known * features).astype(np.float32), f"{what}, since {_NOTHING}{without}"
