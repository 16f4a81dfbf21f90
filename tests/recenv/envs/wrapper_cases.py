"""Wrapped environments, single and vector, for the tests of the wrappers."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from recenv import (
    CandidateAction,
    FlatObservation,
    HistoryTokens,
    ProtoAction,
    RecSessionEnv,
    RecSessionVectorEnv,
    SemanticIdAction,
    VectorCandidateAction,
    VectorFlatObservation,
    VectorHistoryTokens,
    VectorProtoAction,
    VectorSemanticIdAction,
)
from tests.strategies.worlds import SMALL

CODES: dict[str, Any] = {"num_codebooks": 2, "codebook_size": 4}
OFFERS: dict[str, dict[str, Any]] = {
    "all": {},
    "candidates": {"num_candidates": 7},
    "available": {"freshness": {"horizon": 200.0}},
}
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
# Single wrapper, vector wrapper, and their options.
WRAPPERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "proto": (ProtoAction, VectorProtoAction, {}),
    "places": (CandidateAction, VectorCandidateAction, {}),
    "semantic": (SemanticIdAction, VectorSemanticIdAction, CODES),
    "nearest": (SemanticIdAction, VectorSemanticIdAction, {"invalid": "nearest", **CODES}),
    "pooled": (FlatObservation, VectorFlatObservation, {}),
    "embedded": (FlatObservation, VectorFlatObservation, {"history": "embedded"}),
    "item tokens": (HistoryTokens, VectorHistoryTokens, {}),
    "semantic tokens": (HistoryTokens, VectorHistoryTokens, {"tokens": "semantic", **CODES}),
}


def single(**options: Any) -> RecSessionEnv:
    return RecSessionEnv(**{**SMALL, **options})


def vector(num_envs: int, mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> RecSessionVectorEnv:
    return RecSessionVectorEnv(num_envs, autoreset_mode=mode, **{**SMALL, **options})


def plain(value: Any) -> Any:
    """Return nested values as something that compares to the bit."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [plain(inner) for inner in value]
    return None if value is None else (np.asarray(value).dtype.str, np.shape(value), np.asarray(value).tobytes())
