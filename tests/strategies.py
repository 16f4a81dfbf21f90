"""Hypothesis strategies shared by the tests; arrays are numpy's, so that no test here needs torch."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

MAX_SCORES = 12


@st.composite
def scores(draw: st.DrawFn, min_size: int = 1) -> np.ndarray:
    """Draw `[N]` float64 scores, exact in float32, from few enough values that ties and atoms are common."""
    values = draw(st.lists(st.integers(-40, 40).map(lambda i: i / 4), min_size=1, max_size=MAX_SCORES, unique=True))
    drawn = draw(st.lists(st.sampled_from(values), min_size=min_size, max_size=MAX_SCORES))
    return np.array(drawn, dtype=np.float64)


@st.composite
def base_weights(draw: st.DrawFn, size: int) -> np.ndarray:
    """Draw `[size]` float64 weights of any positive sum: zeros, equal ones and very unequal ones."""
    weight = st.one_of(st.just(0.0), st.sampled_from([1.0, 3.0]), st.floats(1e-3, 1e3))
    weights = draw(st.lists(weight, min_size=size, max_size=size))
    weights[draw(st.integers(0, size - 1))] = draw(st.floats(1e-3, 1e3))
    return np.array(weights, dtype=np.float64)


def kappas(size: int) -> st.SearchStrategy[float]:
    """Draw a retained mass in (0, 1]: one, a whole number of `size` equal scores, or anything."""
    return st.one_of(st.just(1.0), st.integers(1, size).map(lambda kept: kept / size), st.floats(1e-3, 1.0))


@st.composite
def filter_problems(draw: st.DrawFn, weighted: bool | None = None) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Draw scores, kappa and base weights (None, for uniform ones, unless `weighted` says otherwise)."""
    drawn = draw(scores())
    with_weights = draw(st.booleans()) if weighted is None else weighted
    weights = draw(base_weights(len(drawn))) if with_weights else None
    return drawn, draw(kappas(len(drawn))), weights
