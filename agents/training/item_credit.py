"""What each item of a logged slate adds to its score: credit by items, fitted to the whole log before a training.

    u_0, u minimise E_b[ (z - u_0(s) - sum over the slate's items of u(s, i))^2 ],      z = (score - mean) / std
    A_k = n (u(s, i_k) - mean of u(s, i) over the items that could stand there) + e,    e = z less what u explains

of a slate of n items: the credits of `hrpo` of one token an item, n times as large, so that the mean of a slate's A_k
is its z less what a slate of chance would be expected to have. What no sum over items explains, e, they share.

Source: ours; see `agents.objectives.hrpo`, whose utilities are learned along with the policy.
"""

from __future__ import annotations

from typing import Final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.nn.networks import NetworkConfig, seeded
from agents.nn.session_space import SessionSpace
from agents.nn.slates import EMPTY, offered_items, without_copies
from agents.nn.value_networks import ItemNetwork
from agents.objectives.hrpo import prefix_paths, prefix_utility
from offline_data.store.dataset import LoggedDataset

_NUM_STEPS: Final = 500
_BATCH_SIZE: Final = 1024
_LEARNING_RATE: Final = 4e-3
_ITEM_WIDTH: Final = 32
_ROWS_AT_ONCE: Final = 1024


def item_credits(
    dataset: LoggedDataset, scores: Tensor, space: SessionSpace, network: NetworkConfig, *, seed: int = 0
) -> tuple[Tensor, float]:
    """Return A of each item, [N, K] float32 in a temporary file, 0 in empty positions, and the share that u explains.

    Args:
        dataset: a log of slates.
        scores: [N] of its rows.
        space: the items, and what is observed.
        network: sizes of the network of u.
        seed: of its first weights and of the batches.
    """
    std, mean = torch.std_mean(scores.double(), correction=0)
    wanted = ((scores - mean) / (std if std > 0 else 1.0)).float().cpu()
    storage = LogStorage(dataset, columns=("slate",))
    with seeded(seed):
        utility = ItemNetwork(space, network, _ITEM_WIDTH)
    optimizer = torch.optim.Adam(utility.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _NUM_STEPS, _LEARNING_RATE / 20)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_NUM_STEPS):
        rows = torch.randint(dataset.num_rows, (_BATCH_SIZE,), generator=generator)
        batch = storage.get(rows)
        loss = _rest(utility, batch["observation"], _slate(batch), wanted[rows]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    paths, credits = prefix_paths(torch.arange(space.num_items)[:, None]), mapped_column(*dataset.rows["slate"].shape)
    left_over = 0.0
    with torch.no_grad():
        for rows in torch.arange(dataset.num_rows).split(_ROWS_AT_ONCE):
            batch = storage.get(rows)
            observation, slate = batch["observation"], _slate(batch)
            rest = _rest(utility, observation, slate, wanted[rows])
            offered = offered_items(observation, space.offer, space.num_items)
            worth = prefix_utility(utility(observation)[:, 1:], paths, slate, offered)
            shown = slate != EMPTY
            own = shown.sum(-1, keepdim=True) * worth.diff(dim=-1).squeeze(-1) + rest[:, None]
            credits[rows] = torch.where(shown, own, 0.0)
            left_over += float(rest.double().square().sum())
    return credits, 1.0 - left_over / max(float(wanted.double().square().sum()), 1e-30)


def _slate(batch: TensorDictBase) -> Tensor:
    return without_copies(batch["slate"]).long()


def _rest(utility: ItemNetwork, observation: TensorDictBase, slate: Tensor, wanted: Tensor) -> Tensor:
    """Return e, [B]."""
    own = utility(observation, slate)
    return wanted - own[:, 0] - torch.where(slate != EMPTY, own[:, 1:], 0.0).sum(-1)
