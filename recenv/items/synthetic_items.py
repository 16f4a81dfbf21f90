"""Items drawn at random: all their columns, or those that are hidden from agents where the embeddings are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recenv.errors import require_range
from recenv.memory import require_memory
from recenv.plain_numbers import settle_numbers
from recenv.random_streams import WORLD, normals, uniforms

QUALITY_LIMIT: Final = 3.3
_BYTES_A_NUMBER: Final = 24  # as measured: what is at hand at once of each coordinate and draw
_DRAWS_AN_ITEM: Final = 32


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
        settle_numbers(self)
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


def draw_items(config: CatalogConfig, world_seed: int) -> dict[str, np.ndarray]:
    """Return the columns of the catalogue that `config` and `world_seed` fix, by name, in float64.

    Quality is a direction of the embedding space plus noise, which in RecSim's one-hot space is a mean quality a topic;
    appeal is negatively correlated with quality, so that clickbait exists.

    Raises:
        InvalidInput: before anything is drawn, if drawing takes more than half of the machine's memory.
    """
    dim, count = config.embedding_dim, config.num_items
    needed = _BYTES_A_NUMBER * count * (dim + _DRAWS_AN_ITEM)
    require_memory(needed, f"drawing num_items={count:,} of embedding_dim={dim:,}", "lower one of them")
    centroids, item_draws = draw_centroids(config, world_seed), _of_items(config, world_seed)
    topics = np.minimum((item_draws[:, 0] * config.num_topics).astype(np.int32), config.num_topics - 1)
    scatter = normals(_draw(world_seed, 3, count, dim + dim % 2))[:, :dim] * (config.topic_spread / np.sqrt(dim))
    embeddings = _unit(centroids[topics] + scatter)
    return {"embeddings": embeddings, "topics": topics, **_hidden(embeddings, config, world_seed, item_draws)}


def draw_centroids(config: CatalogConfig, world_seed: int) -> np.ndarray:
    """Return the unit centroid of each topic, [num_topics, d] float64."""
    dim = config.embedding_dim
    return _unit(normals(_draw(world_seed, 0, config.num_topics, dim + dim % 2))[:, :dim])


def draw_hidden(embeddings: np.ndarray, config: CatalogConfig, world_seed: int) -> dict[str, np.ndarray]:
    """Return the columns that `draw_items` draws beside embeddings and topics, [N] float64 by name.

    Args:
        embeddings: [N, d] float64, unit rows, of `config.num_items` items in `config.embedding_dim` dimensions.
        config: how they are drawn.
        world_seed: root of the draws.
    """
    return _hidden(embeddings, config, world_seed, _of_items(config, world_seed))


def _hidden(
    embeddings: np.ndarray, config: CatalogConfig, world_seed: int, item_draws: np.ndarray
) -> dict[str, np.ndarray]:
    dim, count = config.embedding_dim, config.num_items
    direction = _unit(normals(_draw(world_seed, 1, 1, dim + dim % 2))[:, :dim])[0]
    noise = normals(item_draws[:, 1:5])
    explained = np.sqrt(dim) * (embeddings @ direction)
    quality = config.quality_mean + config.quality_scale * explained + config.quality_noise * noise[:, 0]
    quality = np.clip(quality, -QUALITY_LIMIT, QUALITY_LIMIT)
    # Items of one quality are all average: 0 / 1e-12.
    standard = (quality - quality.mean()) / max(float(quality.std()), 1e-12)
    popularity = np.empty(count)
    popularity[np.argsort(item_draws[:, 5], kind="stable")] = np.arange(1.0, count + 1.0) ** -config.zipf_exponent
    return {
        "quality": quality,
        "appeal": -config.clickbait * standard + np.sqrt(1.0 - config.clickbait**2) * noise[:, 1],
        "length": config.length_mean * np.exp(config.length_spread * noise[:, 2]),
        "popularity": popularity,
        "age": item_draws[:, 6] * config.max_age,
    }


def _of_items(config: CatalogConfig, world_seed: int) -> np.ndarray:
    return _draw(world_seed, 2, config.num_items, 8)


def _draw(world_seed: int, number: int, rows: int, columns: int) -> np.ndarray:
    seeds = np.full(rows, world_seed, np.uint64)
    return uniforms(seeds, WORLD, np.full(rows, number), np.arange(rows), columns)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
