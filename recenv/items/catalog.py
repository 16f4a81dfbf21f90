"""The items of a world: embeddings, topics, quality, appeal, length, popularity and age, all by global id."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recenv.errors import InvalidInput, require, require_range, shown
from recenv.items.item_columns import NUMBERS, TEXTS, checked, is_text, matrix, numbers
from recenv.items.item_files import read_columns, replace_file
from recenv.items.nearest_items import keep_direction, nearest_of_all, nearest_of_offered
from recenv.items.synthetic_items import CatalogConfig, draw_centroids, draw_hidden, draw_items

_DEFAULTS = {"topics": 0, "quality": 0.0, "appeal": 0.0, "length": 4.0, "popularity": 1.0, "age": 0.0}
_ALREADY_SCALED = 1e-5  # from 1, as sums in single precision are
# Between these, products of single precision keep a point's direction.
_LEAST, _MOST = np.float32(2.0**-100), np.float32(2.0**100)


@dataclass(frozen=True, eq=False, repr=False)
class Catalog:
    """The items, one row each: checked however they are made, and read-only for good. Equal columns, equal catalogues.

    The constructor takes columns as they are to be; `from_arrays` scales embeddings and popularity, and has defaults.

    Raises:
        InvalidInput: naming the column that has a wrong shape or dtype, or holds what no item can have.

    Examples:
        >>> import numpy as np
        >>> from recenv import Catalog
        >>> items = Catalog.from_arrays(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        >>> items.num_items, items.embedding_dim
        (3, 2)
        >>> items.nearest_items(np.array([[1.0, 0.2]], np.float32), 2)
        array([[0, 2]], dtype=int32)
        >>> Catalog.load(items.save("items.npz").path) == items
        True
    """

    embeddings: np.ndarray
    """[N, d] float32, unit rows."""
    topics: np.ndarray
    """[N] int32, from 0."""
    quality: np.ndarray
    """[N] float32, what a consumed item gives back to the user; hidden from agents."""
    appeal: np.ndarray
    """[N] float32, what attracts the click; hidden from agents."""
    length: np.ndarray
    """[N] float32, minutes."""
    popularity: np.ndarray
    """[N] float32, prior, sums to one."""
    age: np.ndarray
    """[N] float32, days."""
    source_id: np.ndarray | None = None
    """[N] int64 or text, the item's id in the source; None where it has no other than its row."""
    names: np.ndarray | None = None
    """[N] text, what an item is called where items are shown."""
    topic_names: np.ndarray | None = None
    """[N] text, what the item's topic is called there."""
    path: Path | None = field(default=None, init=False)
    """The file that it was read from or written to."""

    def __post_init__(self) -> None:
        columns = checked({name: getattr(self, name) for name in ("embeddings", *NUMBERS, *TEXTS)})
        for name, values in columns.items():
            object.__setattr__(self, name, values)

    @property
    def num_items(self) -> int:
        """N."""
        return self.embeddings.shape[0]

    @property
    def embedding_dim(self) -> int:
        """The dimension d of the embeddings."""
        return self.embeddings.shape[1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name, without those that it has not."""
        columns = {name: getattr(self, name) for name in ("embeddings", *NUMBERS, *TEXTS)}
        return {name: values for name, values in columns.items() if values is not None}

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the columns, 64 hex digits: which items they are."""
        digest = hashlib.sha256()
        for name, values in self.arrays().items():
            digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
            digest.update(values.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Catalog) and self.sha256 == other.sha256)

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        where = "" if self.path is None else f" of {self.path}"
        return f"Catalog({self.num_items:,} items{where}, embeddings of {self.embedding_dim:,} dimensions)"

    def __copy__(self) -> Catalog:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Catalog:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_columns, (self.arrays(), self.path)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of a pickle by an older version; this one's goes through the constructor.
        self.__init__(**{name: state[name] for name in ("embeddings", *NUMBERS)})  # type: ignore[misc]

    def item_name(self, item: int) -> str:
        """Return what an item is called, on one line; "" where it has no name."""
        return "" if self.names is None else shown(self.names[item])

    def topic_name(self, topic: int) -> str:
        """Return what a topic is called, on one line: its number where it has no name."""
        return self._topic_names.get(topic, str(topic))

    @cached_property
    def _topic_names(self) -> dict[int, str]:
        if self.topic_names is None:
            return {}
        topics, first = np.unique(self.topics, return_index=True)
        return dict(zip(topics.tolist(), map(shown, self.topic_names[first]), strict=True))

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.ascontiguousarray(self.embeddings.T)

    def nearest_items(
        self,
        protos: np.ndarray,
        num_nearest: int,
        candidates: np.ndarray | None = None,
        available: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the items nearest to each proto-action, nearest first: [B, num_nearest] int32.

        Embeddings are unit vectors, so the nearest by distance are the largest by inner product. Ties go to the lower
        id. A row's answer does not depend on the rest of the batch, to the bit, which a matrix product by BLAS does not
        promise.

        Args:
            protos: [B, d], points of the embedding space; only the direction matters.
            num_nearest: K in [1, N].
            candidates: [B, C] item ids among which to look, -1 for none; all items by default. Where fewer than K are
                left, the nearest is repeated at the end.
            available: [B, N] bool or integers, zero where an item is left out; none is by default.

        Raises:
            InvalidInput: for a wrong shape, a non-finite proto-action, K or a candidate outside its range, or a row for
                which no item is left.
        """
        protos = self.checked_protos(protos, num_nearest)
        out = np.empty((len(protos), num_nearest), np.int32)
        if candidates is None and available is None:
            nearest_of_all(self._columns, protos, np.empty(self.num_items, np.float32), out)
            return out
        if candidates is None:
            candidates = np.arange(self.num_items, dtype=np.int32)[None]
        else:
            self._check_subset("candidates", candidates, (len(protos), candidates.shape[-1]))
            require(
                candidates.size == 0 or (candidates.min() >= -1 and candidates.max() < self.num_items),
                f"candidates holds an id outside [-1, {self.num_items - 1}]; pass item ids, -1 for none",
            )
        if available is None:
            available = np.ones((1, self.num_items), np.bool_)
        else:
            self._check_subset("available", available, (len(protos), self.num_items))
        candidates = np.ascontiguousarray(candidates, np.int32)
        nearest_of_offered(self.embeddings, protos, candidates, np.ascontiguousarray(available, np.bool_), out)
        if len(out) and out[:, 0].min() < 0:
            raise InvalidInput(
                f"candidates and available leave no item to row {int(np.argmin(out[:, 0]))}; leave one at least"
            )
        return out

    def checked_protos(self, protos: np.ndarray, num_nearest: int) -> np.ndarray:
        """Return proto-actions as float32, [B, d].

        Points so far out or so near to the origin that single precision would lose their direction are scaled.

        Args:
            protos: [B, d] points.
            num_nearest: K, in [1, N].

        Raises:
            InvalidInput: for another shape, K out of range, or a number that is not finite.
        """
        given = np.asarray(protos)
        with np.errstate(over="ignore", under="ignore"):
            protos = np.ascontiguousarray(given, np.float32)
        require_range("num_nearest", num_nearest, 1, self.num_items, integer=True)
        require(
            protos.ndim == 2 and protos.shape[1] == self.embedding_dim,
            f"proto-action has shape {protos.shape}; pass an array of shape [B, {self.embedding_dim}]",
        )
        if keep_direction(protos, _LEAST, _MOST):
            return protos
        require(
            bool(np.isfinite(given).all()),
            "proto-action holds a non-finite value; pass finite numbers (a policy that gives none has diverged)",
        )
        sizes = np.abs(given).max(axis=1, keepdims=True)
        extreme = ((sizes <= _LEAST) | (sizes >= _MOST))[:, 0]
        protos = protos.copy()
        # By a power of two, exactly.
        protos[extreme] = np.ldexp(given[extreme], -np.frexp(sizes[extreme])[1])
        return protos

    @staticmethod
    def _check_subset(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        require(
            values.shape == shape and values.dtype.kind in "biu",
            f"{name} has shape {values.shape} and dtype {values.dtype}; pass integers of shape {shape}",
        )

    @staticmethod
    def generate(config: CatalogConfig, world_seed: int) -> Catalog:
        """Return the catalogue that `config` and `world_seed` fix.

        Quality is a direction of the embedding space plus noise, which in RecSim's one-hot space is a mean quality a
        topic; appeal is negatively correlated with quality, so that clickbait exists.
        """
        return Catalog.from_arrays(**draw_items(config, world_seed))

    @staticmethod
    def from_embeddings(
        embeddings: Any, config: CatalogConfig | None = None, world_seed: int = 0, *, topics: Any = None, **columns: Any
    ) -> Catalog:
        """Return a catalogue of the caller's own embeddings, whose other columns are drawn as `generate` draws them.

        With the embeddings and topics of `generate(config, world_seed)` the columns are its own, to single precision.

        Args:
            embeddings: [N, d], any finite nonzero rows; they are scaled to unit length.
            config: how quality, appeal, length, popularity and age are drawn; `num_items` and `embedding_dim` follow
                the embeddings. None for the defaults.
            world_seed: root of the draws, in [0, 2**63).
            topics: [N] whole numbers or texts; None takes the nearest of the `num_topics` centroids that `generate`
                would draw.
            **columns: further columns of the caller's own, as `from_arrays` takes them.

        Raises:
            InvalidInput: as `from_arrays` does.
        """
        require_range("world_seed", world_seed, 0, 2**63 - 1, integer=True)
        rows = _unit_rows(matrix(embeddings))
        doubles = rows.astype(np.float64)
        config = replace(config or CatalogConfig(), num_items=rows.shape[0], embedding_dim=rows.shape[1])
        if topics is None:
            topics = np.argmax(doubles @ draw_centroids(config, world_seed).T, axis=1)
        return Catalog.from_arrays(rows, topics, **{**draw_hidden(doubles, config, world_seed), **columns})

    @staticmethod
    def from_arrays(
        embeddings: Any,
        topics: Any = None,
        *,
        quality: Any = None,
        appeal: Any = None,
        length: Any = None,
        popularity: Any = None,
        age: Any = None,
        source_id: Any = None,
        names: Any = None,
        topic_names: Any = None,
    ) -> Catalog:
        """Return a catalogue of the caller's own items.

        Args:
            embeddings: [N, d], any finite nonzero rows; they are scaled to unit length.
            topics: [N] integers from 0, or texts, which are numbered and kept as `topic_names`; one topic by default.
            quality: [N]; zero by default.
            appeal: [N]; zero by default.
            length: [N] minutes above zero; 4 by default.
            popularity: [N] nonnegative, not all zero, scaled to sum to one; uniform by default.
            age: [N] days; zero by default.
            source_id: [N] whole numbers or texts, each once, or None.
            names: [N] texts, or None.
            topic_names: [N] texts, one a topic, or None.

        Raises:
            InvalidInput: for a wrong shape, a non-finite value, a zero embedding, or a length or popularity out of
                range.
        """
        rows = _unit_rows(matrix(embeddings))
        if topics is not None and is_text(np.asarray(topics)):
            require(topic_names is None, "topics are texts, and topic_names too; leave one of them out")
            topic_names = np.asarray(topics).astype(np.str_)
            topics = np.unique(topic_names, return_inverse=True)[1]
        given = {"topics": topics, "quality": quality, "appeal": appeal, "length": length, "age": age}
        columns = {
            name: np.full(len(rows), _DEFAULTS[name]) if values is None else values for name, values in given.items()
        }
        weights = np.ones(len(rows)) if popularity is None else numbers("popularity", popularity, len(rows))
        require(
            bool((weights >= 0).all() and weights.max() > 0),
            "popularity has a negative value or sums to zero; give counts",
        )
        return Catalog(
            embeddings=rows,
            popularity=_shares(weights),
            source_id=source_id,
            names=names,
            topic_names=topic_names,
            **columns,
        )

    @staticmethod
    def load(file: str | Path) -> Catalog:
        """Return the catalogue in a file, as `from_arrays` makes it of the columns there.

        Args:
            file: `.npy`, embeddings alone; or `.npz` or Parquet, an entry an item: embeddings in `embeddings`,
                [N, d] or a list column, or in embedding_0, embedding_1, ...; `topic`, `name`, `topic_name` and
                `item_id` are other words for `topics`, `names`, `topic_names` and `source_id`.

        Raises:
            InvalidInput: for a file that is missing, damaged or too large, or a column that is missing, unknown or
                wrong.
        """
        columns = read_columns(file)
        try:
            return _of_file(Catalog.from_arrays(**columns), file)
        except InvalidInput as error:
            raise InvalidInput(f"{file}: {error}") from error

    def save(self, file: str | Path) -> Catalog:
        """Write the items to a file that `load` reads, and return them with their `path`.

        Args:
            file: `.npz` or `.parquet`.

        Raises:
            InvalidInput: for a file of another kind, or one that cannot be written.
        """
        replace_file(Path(file), self.arrays())
        return _of_file(replace(self), file)


def _of_columns(columns: dict[str, np.ndarray], path: Path | None) -> Catalog:
    catalog = Catalog(**columns)
    return catalog if path is None else _of_file(catalog, path)


def _of_file(catalog: Catalog, file: str | Path) -> Catalog:
    object.__setattr__(catalog, "path", Path(os.path.abspath(file)))
    return catalog


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows of unit length; those in single precision that are so already stay as they are, to the bit."""
    doubles = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(doubles, axis=1)
    pointless = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    require(
        len(pointless) == 0,
        f"embeddings has {len(pointless)} zero or non-finite rows, the first of item "
        f"{pointless[:1].sum()}; every item needs a direction",
    )
    if rows.dtype == np.float32 and (np.abs(norms - 1.0) <= _ALREADY_SCALED).all():
        return rows
    return (doubles / norms[:, None]).astype(np.float32)


def _shares(weights: np.ndarray) -> np.ndarray:
    """Return nonnegative numbers scaled to sum to one; see `_unit_rows`."""
    doubles = weights.astype(np.float64)
    if weights.dtype == np.float32 and abs(doubles.sum() - 1.0) <= _ALREADY_SCALED:
        return weights
    doubles /= doubles.max()
    return (doubles / doubles.sum()).astype(np.float32)
