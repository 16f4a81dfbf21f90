"""The items of a world: embeddings, topics, quality, appeal, length, popularity and age, all by global id."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final

import numpy as np
from numba import njit

from recenv.errors import InvalidInput, require, require_range
from recenv.random_streams import WORLD, normals, uniforms

QUALITY_LIMIT: Final = 3.3
# What sessions add up stays finite in float32; a popularity is scaled and may be any number.
_LARGEST: Final = {"quality": 1e6, "appeal": 1e6, "length": 1e30, "age": 1e30, "topics": 2.0**31 - 1.0}


@dataclass(frozen=True)
class CatalogConfig:
    """How a synthetic catalogue is drawn.

    Examples:
        >>> from recenv import CatalogConfig, SessionConfig
        >>> config = SessionConfig(catalog=CatalogConfig(num_items=50))
        >>> config.catalog.num_items, config.catalog.embedding_dim
        (50, 16)
    """

    num_items: int = 1000
    """N, items in the catalogue."""
    embedding_dim: int = 16
    """d, dimension of the unit item embeddings."""
    num_topics: int = 20
    """Topics; each has a random unit centroid."""
    topic_spread: float = 0.7
    """Standard deviation, over all d directions together, of an item around its topic's centroid."""
    quality_mean: float = -1.0
    """Mean quality over the sphere (RecSim: more bad topics than good ones)."""
    quality_scale: float = 0.5
    """Standard deviation of quality that the embedding explains."""
    quality_noise: float = 0.3
    """Standard deviation of quality that it does not."""
    clickbait: float = 0.7
    """Correlation of appeal with minus quality, in [0, 1]."""
    length_mean: float = 4.0
    """Median length, minutes."""
    length_spread: float = 0.25
    """Standard deviation of log length."""
    zipf_exponent: float = 1.0
    """Popularity prior of the item of rank r is proportional to r**-zipf_exponent."""
    max_age: float = 365.0
    """Ages are uniform in [0, max_age) days."""

    def __post_init__(self) -> None:
        require_range("num_items", self.num_items, 1, 2**31 - 1, integer=True)
        require_range("embedding_dim", self.embedding_dim, 2, 4096, integer=True)
        require_range("num_topics", self.num_topics, 1, 65_535, integer=True)
        for name in ("topic_spread", "quality_scale", "quality_noise", "zipf_exponent", "max_age"):
            require_range(name, getattr(self, name), 0.0, 1e6)
        require_range("quality_mean", self.quality_mean, -QUALITY_LIMIT, QUALITY_LIMIT)
        require_range("clickbait", self.clickbait, 0.0, 1.0)
        require_range("length_mean", self.length_mean, 1e-3, 1e6)
        # A length stays a normal float32, above zero and finite.
        require_range("length_spread", self.length_spread, 0.0, 10.0)


@dataclass(frozen=True)
class Catalog:
    """The items, one row each; read-only arrays.

    Examples:
        >>> import numpy as np
        >>> from recenv import Catalog
        >>> items = Catalog.from_arrays(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        >>> items.num_items, items.embedding_dim
        (3, 2)
        >>> items.nearest_items(np.array([[1.0, 0.2]], np.float32), 2)
        array([[0, 2]], dtype=int32)
    """

    embeddings: np.ndarray
    """[N, d] float32, unit rows."""
    topics: np.ndarray
    """[N] int32."""
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

    @property
    def num_items(self) -> int:
        """N."""
        return self.embeddings.shape[0]

    @property
    def embedding_dim(self) -> int:
        """The dimension d of the embeddings."""
        return self.embeddings.shape[1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        # Pickling forgets that arrays are read-only, and a kernel compiles again for writable ones.
        self.__dict__.update(state)
        for array in self.arrays().values():
            array.setflags(write=False)

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
            _nearest(self._columns, protos, np.empty(self.num_items, np.float32), out)
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
        _nearest_allowed(self.embeddings, protos, candidates, np.ascontiguousarray(available, np.bool_), out)
        if len(out) and out[:, 0].min() < 0:
            raise InvalidInput(
                f"candidates and available leave no item to row {int(np.argmin(out[:, 0]))}; leave one at least"
            )
        return out

    def checked_protos(self, protos: np.ndarray, num_nearest: int) -> np.ndarray:
        """Return proto-actions [B, d] as float32, or refuse what `nearest_items` would."""
        with np.errstate(over="ignore"):
            protos = np.ascontiguousarray(protos, np.float32)
        require_range("num_nearest", num_nearest, 1, self.num_items, integer=True)
        require(
            protos.ndim == 2 and protos.shape[1] == self.embedding_dim,
            f"proto-action has shape {protos.shape}; pass an array of shape [B, {self.embedding_dim}]",
        )
        require(
            bool(np.isfinite(protos).all()),
            "proto-action holds a non-finite value; pass finite numbers (a policy that gives none has diverged)",
        )
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

        def draw(number: int, rows: int, columns: int) -> np.ndarray:
            addresses = np.arange(rows)
            seeds = np.full(rows, world_seed, np.uint64)
            return uniforms(seeds, WORLD, np.full(rows, number), addresses, columns)

        dim, count = config.embedding_dim, config.num_items
        even = dim + dim % 2
        centroids = _unit(normals(draw(0, config.num_topics, even))[:, :dim])
        direction = _unit(normals(draw(1, 1, even))[:, :dim])[0]
        item_draws = draw(2, count, 8)
        topics = np.minimum((item_draws[:, 0] * config.num_topics).astype(np.int32), config.num_topics - 1)
        scatter = normals(draw(3, count, even))[:, :dim] * (config.topic_spread / np.sqrt(dim))
        embeddings = _unit(centroids[topics] + scatter)
        noise = normals(item_draws[:, 1:5])
        explained = np.sqrt(dim) * (embeddings @ direction)
        quality = config.quality_mean + config.quality_scale * explained + config.quality_noise * noise[:, 0]
        quality = np.clip(quality, -QUALITY_LIMIT, QUALITY_LIMIT)
        # Items of one quality are all average: 0 / 1e-12.
        standard = (quality - quality.mean()) / max(float(quality.std()), 1e-12)
        appeal = -config.clickbait * standard + np.sqrt(1.0 - config.clickbait**2) * noise[:, 1]
        length = config.length_mean * np.exp(config.length_spread * noise[:, 2])
        popularity = np.empty(count)
        popularity[np.argsort(item_draws[:, 5], kind="stable")] = np.arange(1.0, count + 1.0) ** -config.zipf_exponent
        return Catalog.from_arrays(
            embeddings,
            topics,
            quality=quality,
            appeal=appeal,
            length=length,
            popularity=popularity,
            age=item_draws[:, 6] * config.max_age,
        )

    @staticmethod
    def from_arrays(
        embeddings: np.ndarray,
        topics: np.ndarray | None = None,
        *,
        quality: np.ndarray | None = None,
        appeal: np.ndarray | None = None,
        length: np.ndarray | None = None,
        popularity: np.ndarray | None = None,
        age: np.ndarray | None = None,
    ) -> Catalog:
        """Return a catalogue of the caller's own items.

        Args:
            embeddings: [N, d], any finite nonzero rows; they are scaled to unit length.
            topics: [N] integers; one topic by default.
            quality: [N]; zero by default.
            appeal: [N]; zero by default.
            length: [N] minutes above zero; 4 by default.
            popularity: [N] nonnegative, not all zero, scaled to sum to one; uniform by default.
            age: [N] days; zero by default.

        Raises:
            InvalidInput: for a wrong shape, a non-finite value, a zero embedding, or a length or popularity out of
                range.
        """
        embeddings = _floats("embeddings", embeddings)
        require(
            embeddings.ndim == 2 and min(embeddings.shape) >= 1,
            f"embeddings has shape {embeddings.shape}; pass an array of shape [num_items, embedding_dim]",
        )
        count = len(embeddings)

        def column(name: str, values: np.ndarray | None, default: float, dtype: type) -> np.ndarray:
            array = np.full(count, default) if values is None else _floats(name, values)
            require(
                array.shape == (count,), f"{name} has shape {array.shape}; pass one value an item, shape ({count},)"
            )
            largest = _LARGEST.get(name, float(np.finfo(np.float64).max))
            # A NaN fails the comparison too.
            require(
                bool((np.abs(array) <= largest).all()),
                f"{name} holds a value that is not finite or exceeds {largest:.3g}; replace it",
            )
            require(
                issubclass(dtype, np.floating) or bool((array == np.floor(array)).all()),
                f"{name} holds a fraction; pass whole numbers",
            )
            return array.astype(dtype)

        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(embeddings, axis=1)
        pointless = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        require(
            len(pointless) == 0,
            f"embeddings has {len(pointless)} zero or non-finite rows, the first of item "
            f"{pointless[:1].sum()}; every item needs a direction",
        )
        lengths = column("length", length, 4.0, np.float32)
        require(bool((lengths > 0).all()), f"length={lengths.min()} is not above zero; give minutes above zero")
        weights = column("popularity", popularity, 1.0, np.float64)
        require(
            bool((weights >= 0).all() and weights.max() > 0),
            "popularity has a negative value or sums to zero; give counts",
        )
        weights /= weights.max()
        catalog = Catalog(
            embeddings=np.ascontiguousarray(embeddings / norms[:, None], np.float32),
            topics=column("topics", topics, 0, np.int32),
            quality=column("quality", quality, 0.0, np.float32),
            appeal=column("appeal", appeal, 0.0, np.float32),
            length=lengths,
            popularity=(weights / weights.sum()).astype(np.float32),
            age=column("age", age, 0.0, np.float32),
        )
        for array in catalog.arrays().values():
            array.setflags(write=False)
        return catalog


@njit(cache=True, error_model="numpy", nogil=True)
def _nearest(columns, protos, products, out):
    # Column by column: the compiler vectorises over items while every item's sum keeps one order.
    dim, num_items = columns.shape
    num_nearest = out.shape[1]
    best = np.empty(num_nearest, np.float32)
    for b in range(protos.shape[0]):
        weight = protos[b, 0]
        for n in range(num_items):
            products[n] = weight * columns[0, n]
        for j in range(1, dim):
            weight = protos[b, j]
            for n in range(num_items):
                products[n] += weight * columns[j, n]
        filled = 0
        for n in range(num_items):
            product = products[n]
            if filled == num_nearest and product <= best[filled - 1]:
                continue
            place = filled if filled < num_nearest else num_nearest - 1
            while place > 0 and best[place - 1] < product:
                best[place] = best[place - 1]
                out[b, place] = out[b, place - 1]
                place -= 1
            best[place] = product
            out[b, place] = n
            if filled < num_nearest:
                filled += 1


@njit(cache=True, error_model="numpy", nogil=True)
def _nearest_allowed(embeddings, protos, candidates, available, out):
    # A subset of one row is every proto-action's. Each item's sum has the order of `_nearest`, hence the same bits.
    num_nearest = out.shape[1]
    best = np.empty(num_nearest, np.float32)
    for b in range(protos.shape[0]):
        own = candidates[min(b, candidates.shape[0] - 1)]
        there = available[min(b, available.shape[0] - 1)]
        filled = 0
        for item in own:
            if item < 0 or not there[item]:
                continue
            product = protos[b, 0] * embeddings[item, 0]
            for j in range(1, protos.shape[1]):
                product += protos[b, j] * embeddings[item, j]
            place = filled
            while place > 0 and (
                best[place - 1] < product or (best[place - 1] == product and out[b, place - 1] > item)
            ):
                if place < num_nearest:
                    best[place] = best[place - 1]
                    out[b, place] = out[b, place - 1]
                place -= 1
            if place < num_nearest:
                best[place] = product
                out[b, place] = item
                filled = min(filled + 1, num_nearest)
        for k in range(filled, num_nearest):
            out[b, k] = out[b, 0] if filled > 0 else -1


def _floats(name: str, values: object) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} is not an array of numbers ({error}); pass numbers") from error


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
