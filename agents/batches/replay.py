"""From a `LoggedDataset` to batches: TorchRL replay buffers whose storages gather from memory-mapped columns."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import DTypeLike
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers import RandomSampler, Sampler, Storage

from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder, require_positions
from recenv.errors import InvalidInput, require, require_range

# What a batch may hold; the latent labels are not among the rows, and so no objective can see them.
_ROW_COLUMNS: Final = ("slate", "proto", "feedback", "reward_vector", "behavior_log_prob", "prefix_log_prob")

Index = Tensor | np.ndarray | slice | int


class LogStorage(Storage):
    """A read-only TorchRL storage over a log; rows are gathered, histories rebuilt, nothing is copied beforehand.

    Of a log that was read in, an observation says by `shown` [B, K] which positions the step's slate has.

    Args:
        dataset: the log.
        columns: row columns of a batch besides the observation.
        with_next: add `next` with the following observation, reward, `terminated`, `truncated` and `done`.

    Raises:
        InvalidInput: for a column that the log does not have, or a log that contradicts itself.

    Examples:
        >>> import torch
        >>> from agents import LogStorage
        >>> from offline_data import LogRequest, collect
        >>> log = collect("log", LogRequest(num_sessions=8))
        >>> batch = LogStorage(log, columns=("slate",), with_next=True).get(torch.arange(4))
        >>> batch["slate"].shape, batch["next", "reward"].shape
        (torch.Size([4, 10]), torch.Size([4, 1]))
    """

    def __init__(self, dataset: LoggedDataset, *, columns: tuple[str, ...] = (), with_next: bool = False) -> None:
        dataset.require_sound()
        super().__init__(max_size=dataset.num_rows)
        self.dataset = dataset
        self.observations = ObservationBuilder(dataset)
        available = [name for name in _ROW_COLUMNS if name in dataset.rows]
        for name in columns:
            require(name in available, f"column {name!r} is not in {dataset.path}; choose from {', '.join(available)}")
        # Values of rows, or None for their actions; and of which rows, None for their own.
        self._columns: dict[str | tuple[str, str], tuple[np.ndarray | None, np.ndarray | None]] = {
            name: (None if name == dataset.action_kind else np.asarray(dataset.rows[name]), None) for name in columns
        }
        self._ends = tuple(np.asarray(dataset.rows[name]) for name in ("terminated", "truncated"))
        self._with_next = with_next
        # Where slates may have empty positions: a simulated log's are full, whatever the user was shown of them.
        partial = dataset.action_kind == "slate" and not dataset.has_world
        self._shown = np.asarray(dataset.rows["shown"]) if partial else None

    def add_column(
        self, name: str | tuple[str, str], values: Tensor | np.ndarray, via: np.ndarray | None = None
    ) -> None:
        """Add a value for each row, such as the critic's score; it is part of every later batch.

        Args:
            name: key of the batch.
            values: [N, ...], or [M, ...] with `via`; float64 becomes float32. One of `mapped_column` is read from its
                file, and so is a tensor on the CPU from where it lies.
            via: [N, ...] which of the M values are each row's, such as its session's; None: its own.

        Raises:
            InvalidInput: if the shape is not [N, ...].
        """
        found = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        shape = (found if via is None else via).shape
        require(
            shape[:1] == (self.dataset.num_rows,),
            f"column {name!r} has shape {tuple(shape)}; the log has {self.dataset.num_rows} rows",
        )
        found = np.asarray(found, np.float32) if found.dtype == np.float64 else np.asarray(found)
        self._columns[name] = (found, None if via is None else np.asarray(via))

    def add_actions(self, name: str, rows: np.ndarray) -> None:
        """Add the actions of other rows for each row; they are part of every later batch.

        Args:
            name: key of the batch.
            rows: [N, ...] which rows' actions.
        """
        self._columns[name] = (None, np.asarray(rows))

    def actions(self, rows: np.ndarray) -> np.ndarray:
        """Return logged actions, [..., K] int32 slates, -1 where nothing was shown, or [..., d] float32 proto-actions.

        Args:
            rows: [...] row indices.
        """
        if self.dataset.action_kind == "slate":
            return self.dataset.slates(rows)
        return np.asarray(self.dataset.rows["proto"]).take(rows, axis=0)

    def shown(self, rows: np.ndarray) -> Tensor | None:
        """Return which positions of the logged slates have an item, [B, K] bool; None where all have, and of protos.

        Args:
            rows: [B] row indices; the last row stands for what would follow it.
        """
        return None if self._shown is None else torch.from_numpy(self._shown.take(rows, axis=0, mode="clip"))

    def get(self, index: Index) -> TensorDict:
        """Return the rows at `index` as a TensorDict of fresh tensors, whose batch size is the index's shape.

        Raises:
            InvalidInput: for a row that the log does not have.
        """
        index = self._positions(index)
        rows = index.reshape(-1)
        batch: dict[str, Any] = {}
        if self._with_next:
            batch["observation"], following = self.observations.observe_both(rows)
            terminated, truncated = (column.take(rows)[:, None] for column in self._ends)
            batch["next"] = {
                "observation": following,
                "reward": self.dataset.reward(rows).astype(np.float32)[:, None],
                "terminated": terminated,
                "truncated": truncated,
                "done": terminated | truncated,
            }
        else:
            batch["observation"] = self.observations.observe(rows)
        if self._shown is not None:
            batch["observation"]["shown"] = self._shown.take(rows, axis=0)
            if self._with_next:
                batch["next"]["observation"]["shown"] = self._shown.take(rows + 1, axis=0, mode="clip")
        for name, (values, via) in self._columns.items():
            where = rows if via is None else via.take(rows, axis=0)
            inner, last = (batch, name) if isinstance(name, str) else (batch.setdefault(name[0], {}), name[1])
            inner[last] = self.actions(where) if values is None else values.take(where, axis=0)
        return TensorDict(_tensors(batch, index.shape), batch_size=index.shape)

    def _positions(self, index: Index) -> np.ndarray:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        positions = np.atleast_1d(np.asarray(index))
        if positions.dtype != np.bool_:
            return positions
        require(
            positions.shape == (len(self),),
            f"a mask has shape {positions.shape}; give one of ({len(self)},), a truth for each entry",
        )
        return np.flatnonzero(positions)

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a log is not written to.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("a logged dataset cannot be written to; collect a new one")

    def __len__(self) -> int:
        return self.max_size

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the log itself is the state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing; see `state_dict`."""


class SequenceStorage(LogStorage):
    """The same log by sequences: batches [B, T] of consecutive steps of one session each, with a `mask` of real steps.

    Behind a session's end its last step is repeated, with a mask of False.

    Args:
        dataset: the log.
        length: T, and an index is the row at which a sequence begins; None: an index is a session, given whole, and T
            is the length of the batch's longest.
        columns: as of `LogStorage`.
        with_next: as of `LogStorage`.

    Raises:
        InvalidInput: for a length below 1, or a column that the log does not have.

    Examples:
        >>> import torch
        >>> from agents import SequenceStorage
        >>> from offline_data import LogRequest, collect
        >>> log = collect("log", LogRequest(num_sessions=8))
        >>> batch = SequenceStorage(log, 4, columns=("slate",)).get(torch.tensor([0, 9]))
        >>> batch["slate"].shape, batch["mask"].shape
        (torch.Size([2, 4, 10]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        dataset: LoggedDataset,
        length: int | None = None,
        *,
        columns: tuple[str, ...] = (),
        with_next: bool = False,
    ) -> None:
        super().__init__(dataset, columns=columns, with_next=with_next)
        if length is not None:
            require_range("length", length, 1, 2**31 - 1, integer=True)
        self.length, self.max_size = length, dataset.num_rows if length else dataset.num_sessions

    def get(self, index: Index) -> TensorDict:
        """Return the sequences at `index` as a TensorDict.

        Raises:
            InvalidInput: for a row or session that the log does not have.
        """
        index = self._positions(index)
        offsets = self.dataset.offsets
        if self.length is None:
            require_positions("session", index, len(self))
            starts, ends = offsets[index], offsets[index + 1]
            steps = np.arange((ends - starts).max(initial=0))
        else:
            require_positions("row", index, len(self))
            starts, ends = index, offsets[self.dataset.rows["session_id"][index] + 1]
            steps = np.arange(self.length)
        rows = starts[:, None] + steps
        batch = super().get(np.minimum(rows, ends[:, None] - 1))
        return batch.set("mask", torch.from_numpy(rows < ends[:, None]))


def make_replay(
    storage: LogStorage, batch_size: int, generator: torch.Generator, sampler: Sampler | None = None
) -> TensorDictReplayBuffer:
    """Return a replay buffer that draws rows, or sequences, uniformly, with replacement.

    Args:
        storage: the log.
        batch_size: rows of a batch; of a `SequenceStorage`, sequences.
        generator: where the draws come from; its state is all that a checkpoint needs.
        sampler: draws otherwise, from the same generator.
    """
    return TensorDictReplayBuffer(
        storage=storage,
        sampler=RandomSampler() if sampler is None else sampler,
        batch_size=batch_size,
        generator=generator,
        collate_fn=lambda batch: batch,  # the storage gives whole batches
    )


def mapped_column(*shape: int, dtype: DTypeLike = np.float32) -> Tensor:
    """Return zeros in a temporary file: for a value of each row of a log that may be larger than memory.

    Args:
        *shape: [N, ...].
        dtype: of the numbers.

    Raises:
        InvalidInput: if there is no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile() as file:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here, and not by a signal later
            return torch.from_numpy(np.memmap(file, dtype, "w+", shape=shape))
    except OSError as error:
        folder, why = tempfile.gettempdir(), error.strerror or error
        raise InvalidInput(
            f"cannot write a temporary file of {size:,} bytes in {folder}: {why}; choose another folder by TMPDIR"
        ) from error


def _tensors(arrays: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return arrays [B, ...], nested, as tensors [*shape, ...] over the same memory."""
    return {
        name: _tensors(values, shape)
        if isinstance(values, dict)
        else torch.from_numpy(values.reshape(shape + values.shape[1:]))
        for name, values in arrays.items()
    }
