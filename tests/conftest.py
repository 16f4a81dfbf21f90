"""Settings of every test process: threads, Hypothesis profiles, whose packages are tested, GPU tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
# What a contract found is told by pytest as in a test.
pytest.register_assert_rewrite("recenv.testing", "offline_data.testing", "agents.testing")
# Where torch is: tox's boundscheck and nojit do without.
pytest_plugins = ("tests.learning_fixtures",) if importlib.util.find_spec("torch") else ()

# `derandomize` makes a run repeatable; new examples are nightly's work.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("interpreted", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("nightly", deadline=None, derandomize=False, max_examples=10_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def misplaced_packages(names: tuple[str, ...], root: Path) -> list[str]:
    """Return one sentence for each name that does not stand for `root`'s package."""
    sentences = []
    for name in names:
        spec = importlib.util.find_spec(name)
        found = None if spec is None else spec.origin
        if found is None or Path(found).resolve() != (root / name / "__init__.py").resolve():
            sentences.append(f"`import {name}` gives {found}, not {root / name}")
    return sentences


def pytest_configure(config: pytest.Config) -> None:
    # Before a test imports numpy, numba or torch: pytest-xdist runs one process on each core.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    misplaced = misplaced_packages(("recenv", "offline_data", "agents", "recsession"), ROOT)
    if misplaced:
        raise pytest.UsageError("; ".join(misplaced))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture
def foreign_log(tmp_path: Path) -> Callable[..., Any]:
    """Write a log that no simulator made: seven steps of four sessions of three users, one item a step."""

    def build(log_prob: Any = None, **changes: Any) -> Any:
        import numpy as np

        from offline_data.store.dataset_writer import consumed_events, write_dataset

        feedback = np.zeros((7, 1, 2), np.float32)
        feedback[:, 0, 0] = [1, 0, 0, 1, 1, 0, 1]
        feedback[:, 0, 1] = [0.5, 0, 0, 1, 0.25, 0, 0]
        columns: dict[str, Any] = {
            "rows/session_id": np.array([0, 0, 0, 1, 2, 2, 3]),
            "rows/step": np.array([0, 1, 2, 0, 0, 1, 0], np.int32),
            "rows/slate": np.array([[3], [0], [3], [1], [3], [2], [4]], np.int32),
            "rows/shown": np.ones((7, 1), np.bool_),
            "rows/feedback": feedback,
            "rows/reward_vector": feedback[:, 0, :1] * np.float32(2.0),
            "rows/terminated": np.array([0, 0, 1, 1, 0, 0, 0], np.bool_),
            "rows/truncated": np.array([0, 0, 0, 0, 0, 1, 0], np.bool_),
            "rows/behavior_log_prob": np.full(7, np.nan) if log_prob is None else log_prob,
            "sessions/offsets": np.array([0, 3, 4, 6, 7]),
            "sessions/user_id": np.array([0, 0, 1, 2]),
            "sessions/group_id": np.arange(4),
            "sessions/episode_id": np.array([0, 1, 0, 0]),
            "catalog/source_id": np.array(["a", "b|c", "<script>", "d", "e", "f"]),
        }
        slate, offsets = columns["rows/slate"], columns["sessions/offsets"]
        columns |= consumed_events(slate, feedback, offsets)
        columns |= {name.replace("__", "/"): values for name, values in changes.items()}
        facts = {
            "source": {"kind": "import", "reader": "<b>shop</b>", "files": {}, "lacking": ["profiles of the users"]},
            **{"config": None, "world_hash": None, "action_kind": "slate", "num_items": 6, "history_length": 3},
            **{"max_steps": 3, "feedback_names": ["click", "dwell|<i>"], "reward_names": ["click"]},
            **{"reward_weights": {"click": 0.5}, "propensities": "missing" if log_prob is None else "exact"},
            "injected": {},
        }
        return write_dataset(tmp_path / "shop & <co>", columns, facts)

    return build
