"""Small worlds, sessions under way in them, and small logs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline_data.collection import collection
from offline_data.collection.collection import LogRequest
from offline_data.dial.quality import mixture_spec
from recenv.engine.session_batch import SessionBatch
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

SMALL = {"embedding_dim": 3, "num_topics": 2, "max_steps": 6, "history_length": 3, "no_click_utility": -1.0}


@pytest.fixture(scope="session")
def small_world() -> Callable[..., World]:
    """A world of a few items; any session option may be given."""

    @functools.cache
    def build(num_items: int = 5, slate_size: int = 2, **options) -> World:
        options = {**SMALL, "num_items": num_items, "slate_size": slate_size, **options}
        return make_world(SessionConfig().override(**options))

    return build


@pytest.fixture(scope="session")
def sessions_under_way() -> Callable[..., SessionBatch]:
    """A batch of sessions of random users that have been shown `num_steps` random slates."""

    def build(world: World, num_sessions: int, num_steps: int = 2, seed: int = 0) -> SessionBatch:
        rng = np.random.default_rng(seed)
        batch = SessionBatch(world, num_sessions)
        seeds = rng.integers(2**63, size=num_sessions, dtype=np.uint64)
        batch.start(np.arange(num_sessions), seeds, np.zeros(num_sessions, np.uint64))
        for _ in range(num_steps):
            batch.step(rng.integers(world.catalog.num_items, size=(num_sessions, world.config.slate_size)))
        return batch

    return build


@pytest.fixture(scope="session")
def small_request(small_world) -> LogRequest:
    """Forty sessions of a per-session mixture in groups of two: every kind of slate column is in its log."""
    return LogRequest(small_world(12, 3).config, mixture_spec(0.4, "clickbait", "session"), "slate", 40, 5, 2)


@pytest.fixture(scope="session")
def compared_bytes() -> Callable[[Path], dict[str, str]]:
    """The SHA-256 of every file of a dataset, but of `run.json`, which tells when and where it was made."""

    def build(folder: Path) -> dict[str, str]:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        assert "run.json" in [file.name for file in files]
        return {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.name != "run.json"
        }

    return build


@pytest.fixture
def small_ranges(monkeypatch) -> None:
    """Forty sessions are five ranges."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", 8)


@pytest.fixture(scope="session")
def expected(small_request, compared_bytes, tmp_path_factory) -> dict[str, str]:
    """The bytes of the dataset of `small_request`, collected in one range."""
    path = tmp_path_factory.mktemp("expected") / "log"
    collection.collect(path, small_request)
    assert not path.with_name("log.partial").exists()
    return compared_bytes(path)
