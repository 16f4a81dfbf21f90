"""Features of rows: what is checked of them at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_data.ope.columns import ROWS_AT_ONCE
from recenv.errors import require


def checked_features(name: str, values: Any, num_rows: int) -> NDArray[Any]:
    """Return features as an array, `[N, F]`, or of states `[N]` categories; a memory map stays where it lies.

    Args:
        name: of the column.
        values: what was given.
        num_rows: N.

    Raises:
        InvalidInput: on another shape or dtype, or a row that is not finite.
    """
    features = np.asanyarray(values)
    categories = name == "state_features" and features.ndim == 1 and features.dtype.kind in "iu"
    require(
        categories or (features.ndim == 2 and features.dtype.kind in "fiu" and features.shape[1] > 0),
        f"{name} has dtype {features.dtype} and shape {features.shape}; pass real numbers of shape ({num_rows}, "
        f"features){', or integers, a category each' if name == 'state_features' else ''}",
    )
    require(
        len(features) == num_rows,
        f"{name} has {len(features)} rows; pass {num_rows}, as many as offsets[-1] says",
    )
    for start in range(0, num_rows, ROWS_AT_ONCE):
        block = features[start : start + ROWS_AT_ONCE]
        good = np.isfinite(block) if categories else np.isfinite(block).all(axis=1)
        require(
            bool(good.all()),
            f"{name}[{start + int(np.argmin(good))}] is not finite; drop that session or repair the column",
        )
    return features


def require_alike(seen: NDArray[Any] | None, expected: NDArray[Any] | None) -> None:
    """Refuse features of logged actions and of the policy's that are not the same; where one is missing all is well.

    Args:
        seen: `[N, F]` of the logged actions.
        expected: `[N, F]` of the policy's.

    Raises:
        InvalidInput: naming both shapes.
    """
    if seen is not None and expected is not None:
        require(
            seen.shape == expected.shape,
            f"action_features has shape {seen.shape} and policy_features {expected.shape}; pass the same features of "
            "logged actions and of the policy's",
        )
