"""From a `LoggedDataset` to batches: a TorchRL replay buffer whose storage gathers from memory-mapped columns."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers import RandomSampler, Storage

from offline_data.dataset import LoggedDataset
from offline_data.histories import ObservationBuilder
from recenv.errors import InvalidInput, require
from recenv.session_batch import Observation

# What a batch may hold; the latent labels are not among the rows, and so no objective can see them.
_ROW_COLUMNS: Final = ("slate", "proto", "feedback", "reward_vector", "behavior_log_prob", "prefix_log_prob")


class LogStorage(Storage):
    """A read-only TorchRL storage over a log; rows are gathered, histories rebuilt, nothing is copied beforehand.

    Args:
        dataset: the log.
        columns: row columns of a batch besides the observation.
        with_next: add `next` with the following observation, reward, `terminated`, `truncated` and `done`.

    Raises:
        InvalidInput: for a column that the log does not have.
    """

    def __init__(self, dataset: LoggedDataset, *, columns: tuple[str, ...] = (), with_next: bool = False) -> None:
        super().__init__(max_size=dataset.num_rows)
        self.dataset = dataset
        self.observations = ObservationBuilder(dataset)
        available = [name for name in _ROW_COLUMNS if name in dataset.rows]
        for name in columns:
            require(name in available, f"column {name!r} is not in {dataset.path}; choose from {', '.join(available)}")
        self._columns: dict[str, np.ndarray] = {name: dataset.rows[name] for name in columns}
        self._reward = dataset.reward().astype(np.float32) if with_next else None

    def add_column(self, name: str, values: Tensor) -> None:
        """Add a float32 value for each row, such as the critic's score; it is part of every later batch.

        Args:
            name: key of the batch.
            values: [N].

        Raises:
            InvalidInput: if the shape is not [N].
        """
        require(
            values.shape == (self.dataset.num_rows,),
            f"column {name!r} has shape {tuple(values.shape)}; the log has {self.dataset.num_rows} rows",
        )
        self._columns[name] = values.detach().cpu().numpy().astype(np.float32)

    def get(self, index: Tensor | np.ndarray | slice | int) -> TensorDict:
        """Return the rows at `index` as a TensorDict."""
        rows = np.arange(self.dataset.num_rows)[index] if isinstance(index, slice) else np.atleast_1d(np.asarray(index))
        batch: dict[str, Any] = {"observation": _tensors(self.observations.observe(rows))}
        for name, column in self._columns.items():
            batch[name] = torch.from_numpy(np.ascontiguousarray(column[rows]))
        if self._reward is not None:
            terminated = torch.from_numpy(self.dataset.rows["terminated"][rows])[:, None]
            truncated = torch.from_numpy(self.dataset.rows["truncated"][rows])[:, None]
            batch["next"] = {
                "observation": _tensors(self.observations.observe(rows, after=True)),
                "reward": torch.from_numpy(self._reward[rows])[:, None],
                "terminated": terminated,
                "truncated": truncated,
                "done": terminated | truncated,
            }
        return TensorDict(batch, batch_size=[len(rows)])

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a log is not written to.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("a logged dataset cannot be written to; collect a new one")

    def __len__(self) -> int:
        return self.dataset.num_rows

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the log itself is the state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing; see `state_dict`."""


def make_replay(storage: LogStorage, batch_size: int, generator: torch.Generator) -> TensorDictReplayBuffer:
    """Return a replay buffer that draws rows uniformly, with replacement.

    Args:
        storage: the log.
        batch_size: rows of a batch.
        generator: where the draws come from; its state is all that a checkpoint needs.
    """
    return TensorDictReplayBuffer(
        storage=storage,
        sampler=RandomSampler(),
        batch_size=batch_size,
        generator=generator,
        collate_fn=lambda batch: batch,  # the storage gives whole batches
    )


def _tensors(observation: Observation) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in observation.items()}
