"""What a log's observations and actions are, as Gymnasium's spaces, and its observations as flat arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from gymnasium import spaces

from offline_data.store.context import MOST_DEVIATIONS
from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from recenv.envs.flat_features import FlatFeatures
from recenv.envs.session_env import observation_space as observation_space_of_world
from recenv.errors import require

# Of items that nothing else tells apart.
_MOST_ONE_HOT: Final = 4096


def observation_space(dataset: LoggedDataset) -> spaces.Dict:
    """Return the space of a log's observations: that of its world, or what the columns of a read-in one can hold."""
    if dataset.has_world:
        return observation_space_of_world(dataset.world)
    bounds: dict[str, tuple[float, float]] = {
        **dict.fromkeys(("history_items", "candidates"), (-1, dataset.num_items - 1)),
        **dict.fromkeys(("history_feedback", "clock"), (0.0, 1.0)),
        "context": (-MOST_DEVIATIONS, MOST_DEVIATIONS),
    }
    first = ObservationBuilder(dataset).observe(np.zeros(1, np.int64))
    return spaces.Dict(
        {name: spaces.Box(*bounds[name], values.shape[1:], values.dtype.type) for name, values in first.items()}
    )


def action_space(dataset: LoggedDataset) -> spaces.Space[Any]:
    """Return the space of a log's actions: slates, or proto-actions."""
    if dataset.action_kind == "proto":
        return spaces.Box(-1.0, 1.0, dataset.rows["proto"].shape[1:], np.float32)
    return spaces.MultiDiscrete([dataset.num_items] * dataset.slate_size)


def flat_features(dataset: LoggedDataset, history: str = "pooled") -> FlatFeatures:
    """Return what makes flat arrays of a log's observations: of a simulated world's, those of `recenv.FlatObservation`.

    Where the items have no embeddings, each is told by a number of its own: the mean embedding [N] of a history is the
    share of each item in it.

    Args:
        dataset: the log.
        history: "pooled" or "embedded"; see `recenv.FlatObservation`.

    Raises:
        InvalidInput: for an unknown `history`, or more than 4,096 items without embeddings.
    """
    embeddings = dataset.catalog.get("embeddings")
    if embeddings is None:
        require(
            dataset.num_items <= _MOST_ONE_HOT,
            f"{dataset.path} has {dataset.num_items:,} items without embeddings, and no more than {_MOST_ONE_HOT:,} "
            "are told apart without; import it again with a file of items, of which embeddings are made",
        )
        embeddings = np.eye(dataset.num_items, dtype=np.float32)
    return FlatFeatures(observation_space(dataset), embeddings, history)
