"""The published sample of the Open Bandit Dataset, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def sample() -> Path:
    """The published sample: in RECSESSION_DATA, or beside the checkout."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("RECSESSION_DATA", beside)) / "open_bandit"
    if not folder.is_dir():
        pytest.skip(f"no Open Bandit sample at {folder}; set RECSESSION_DATA to the folder that holds open_bandit/")
    return folder
