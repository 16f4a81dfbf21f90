"""Settings of every test process: threads, Hypothesis profiles, whose packages are tested, GPU tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

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
    misplaced = misplaced_packages(("recenv", "offline_data", "agents"), ROOT)
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
