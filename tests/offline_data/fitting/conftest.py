"""Logs made of arrays, without a world: any slates, any clicks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.store.dataset import LoggedDataset


@pytest.fixture(scope="session")
def random_log() -> Callable[..., tuple[LoggedDataset, list[Any]]]:
    """A log of random slates and clicks, with empty positions and returns, and its sessions for the reference."""

    def build(seed: int, num_sessions: int = 6, most_clicks: int = 1, num_items: int = 7, dim: int = 3) -> Any:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 5, num_sessions)
        count, slate_size = int(lengths.sum()), 3
        slate = np.stack([rng.permutation(num_items)[:slate_size] for _ in range(count)]).astype(np.int32)
        shown = rng.random((count, slate_size)) < 0.8
        feedback = np.zeros((count, slate_size, 2), np.float32)
        for i in range(count):
            there = np.flatnonzero(shown[i])
            feedback[i, rng.permutation(there)[: rng.integers(0, most_clicks + 1)], 0] = 1.0
        returned = (rng.random(count) < 0.2).astype(np.float32)
        embeddings = rng.normal(size=(num_items, dim))
        embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
        profile = rng.uniform(-1.0, 1.0, (num_sessions, dim)).astype(np.float32)
        log = LoggedDataset(
            Path("nowhere"),
            {"reward_names": ["click", "returned"], "num_rows": count, "num_sessions": num_sessions},
            {
                "slate": slate,
                "shown": shown,
                "feedback": feedback,
                "reward_vector": np.stack([feedback[:, :, 0].sum(axis=1), returned], axis=1),
            },
            {"offsets": np.concatenate([[0], np.cumsum(lengths)]), "profile": profile},
            {},
            {"embeddings": embeddings, "appeal": rng.normal(size=num_items).astype(np.float32)},
        )
        sessions = []
        for s in range(num_sessions):
            steps = [
                (
                    [int(item) if there else None for item, there in zip(slate[i], shown[i], strict=True)],
                    np.flatnonzero(feedback[i, :, 0]).tolist(),
                    bool(returned[i]),
                )
                for i in range(log.offsets[s], log.offsets[s + 1])
            ]
            sessions.append((profile[s].tolist(), steps))
        return log, sessions

    return build
