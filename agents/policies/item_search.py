"""The items nearest to points of embedding space: exactly, or through an index whose recall is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import numpy as np

from recenv.errors import require_range
from recenv.items.catalog import Catalog

EXACT_UP_TO: Final = 100_000
NUM_QUERIES: Final = 256
_QUERY_SPREAD: Final = 0.5
_POINTS_PER_LIST: Final = 64
_ITERATIONS: Final = 8


class ItemSearch:
    """The K items nearest to proto-actions by the inner product of unit vectors, nearest first.

    Up to 100,000 items, and wherever the step limits what it may show, the answer is exact, ties to the lower id:
    `Catalog.nearest_items`. Beyond, an inverted file of faiss answers; how many of its lists it looks into is chosen by
    the recall on sampled queries. A row's answer does not depend on the rest of the batch, and the same items give the
    same index. It is built at the first call; copies of a search share it.

    Args:
        embeddings: [N, d]; rows that are not of unit length are scaled to it.
        num_nearest: K, from 1 to N.
        exact: True for the exact search, False for the index; None chooses by N.
        target_recall: share of the true K nearest that the index is to find, in (0, 1).

    Examples:
        >>> import numpy as np
        >>> from agents import ItemSearch
        >>> search = ItemSearch(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32), num_nearest=2)
        >>> search.nearest(np.array([[1.0, 0.2]], np.float32))
        array([[0, 2]], dtype=int32)
    """

    def __init__(
        self, embeddings: np.ndarray, num_nearest: int, *, exact: bool | None = None, target_recall: float = 0.95
    ) -> None:
        require_range("target_recall", target_recall, 0.0, 1.0, low_open=True, high_open=True)
        self._given, self.num_nearest, self.target_recall = embeddings, num_nearest, target_recall
        self.exact = len(embeddings) <= EXACT_UP_TO if exact is None else exact

    def nearest(
        self, protos: np.ndarray, candidates: np.ndarray | None = None, available: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the items nearest to each proto-action, [B, K] int32; where fewer are left, the nearest again.

        Args:
            protos: [B, d]; only the direction matters.
            candidates: [B, C] item ids among which to look, -1 for none; all items by default.
            available: [B, N] bool or integers, zero where an item is left out; none is by default.

        Raises:
            InvalidInput: see `Catalog.nearest_items`.
        """
        if self.exact or candidates is not None or available is not None:
            return self.catalog.nearest_items(protos, self.num_nearest, candidates, available)
        return self._search(self._index, protos)

    @cached_property
    def catalog(self) -> Catalog:
        """The items, unit rows, to the bit as they were given where they are that already."""
        return Catalog.from_arrays(self._given)

    @cached_property
    def recall(self) -> float:
        """Share of the true K nearest that is found; 1 if the search is exact.

        Measured on 256 queries other than those that chose the number of lists, the lower of two means: of directions
        that are uniform, and of items moved by noise of half their length.
        """
        return 1.0 if self.exact else float(self._recalls(self._index, self._queries()[1]).mean(axis=1).min())

    def measure_recall(self, protos: np.ndarray) -> float:
        """Return the share of the true K nearest that is found for proto-actions of one's own.

        Args:
            protos: [B, d].
        """
        truth = self.catalog.nearest_items(protos, self.num_nearest)
        return float(_shares(self.nearest(protos), truth).mean())

    def __repr__(self) -> str:
        items = f"{len(self._given)} items of {np.shape(self._given)[1]} dimensions, the {self.num_nearest} nearest"
        if self.exact:
            return f"ItemSearch({items}, exact)"
        if "_index" not in self.__dict__:
            return f"ItemSearch({items}, approximate, not built yet)"
        return (
            f"ItemSearch({items}, approximate: recall {self.recall:.3f} on {NUM_QUERIES} queries, looks into "
            f"{self._index.nprobe} of {self._index.nlist} lists)"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ItemSearch:
        # Nothing of it changes, but that it is built once.
        return self

    def __getstate__(self) -> dict[str, Any]:
        # An index of faiss is not pickled; the same items give the same one.
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    # --- the index

    @cached_property
    def _index(self) -> Any:
        catalog = self.catalog
        require_range("num_nearest", self.num_nearest, 1, catalog.num_items, integer=True)
        import faiss

        dim, num_lists = catalog.embedding_dim, max(1, int(2 * np.sqrt(catalog.num_items)))
        lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, num_lists, faiss.METRIC_INNER_PRODUCT)
        clustering = lists.cp
        clustering.seed, clustering.niter, clustering.spherical = 0, _ITERATIONS, True
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, _POINTS_PER_LIST
        with _one_order(row_by_row=False):
            lists.train(catalog.embeddings)
            lists.add(catalog.embeddings)
        return self._tuned(lists)

    def _tuned(self, index: Any) -> Any:
        """Return the index with the fewest probes, of powers of two, that reach the target on sampled queries."""
        queries, _ = self._queries()
        index.nprobe = 1
        while True:
            recalls = self._recalls(index, queries)
            # Two standard errors above the target, so that other queries reach it too.
            margin = 2.0 * recalls.std(axis=1) / np.sqrt(recalls.shape[1])
            if index.nprobe == index.nlist or (recalls.mean(axis=1) - margin).min() >= self.target_recall:
                return index
            index.nprobe = min(2 * index.nprobe, index.nlist)

    def _recalls(self, index: Any, queries: np.ndarray) -> np.ndarray:
        """Return the shares of the true K nearest that are found: of uniform directions, and of items with noise."""
        truth = self.catalog.nearest_items(queries, self.num_nearest)
        return _shares(self._search(index, queries), truth).reshape(2, -1)

    def _queries(self) -> list[np.ndarray]:
        """Return NUM_QUERIES protos to tune with and as many to judge by: uniform directions, then items with noise."""
        rng = np.random.default_rng(0)
        half, dim = NUM_QUERIES // 2, self.catalog.embedding_dim
        sets = []
        for _ in range(2):
            uniform = rng.standard_normal((half, dim))
            items = self.catalog.embeddings[rng.integers(self.catalog.num_items, size=half)]
            noise = rng.standard_normal((half, dim)) * (_QUERY_SPREAD / np.sqrt(dim))
            sets.append(np.concatenate([uniform, items + noise]).astype(np.float32))
        return sets

    def _search(self, index: Any, protos: np.ndarray) -> np.ndarray:
        """Return the K nearest of what the lists hold, [B, K]; of all items for a row for which that is too little."""
        protos = self.catalog.checked_protos(protos, self.num_nearest)
        # Scaled, so that no product overflows.
        scale = np.maximum(np.abs(protos).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        with _one_order(row_by_row=True):
            found = index.search(protos / scale, self.num_nearest)[1].astype(np.int32)
        few = (found < 0).any(axis=1)
        found[few] = self.catalog.nearest_items(protos[few], self.num_nearest)
        return found


def _shares(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return which share of each row of the truth was found, [B]."""
    return (truth[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)


@contextmanager
def _one_order(row_by_row: bool) -> Iterator[None]:
    """Let faiss sum in one order: in one thread, and row by row, where BLAS would sum as the batch's size wants it."""
    import faiss

    threads, threshold = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    faiss.omp_set_num_threads(1)
    faiss.cvar.distance_compute_blas_threshold = 2**31 - 1 if row_by_row else threshold
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
        faiss.cvar.distance_compute_blas_threshold = threshold
