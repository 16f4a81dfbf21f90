"""Networks of state and action values, over any encoder and both kinds of action, and ensembles of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.nn.networks import ItemTable, NetworkConfig, make_encoder, mlp
from agents.nn.rows import scaled_logits
from agents.nn.session_space import SessionSpace


class ObservationFeatures(nn.Module):
    """An encoder that reads a TensorDict of the observation's entries; what the step offers is not among them.

    Args:
        space: fixes the observation and the items.
        config: names the encoder.
    """

    def __init__(self, space: SessionSpace, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(space, config)
        self.names = [name for name in space.observed if name != space.offer]
        self.num_features = self.encoder.num_features

    def forward(self, observation: TensorDictBase) -> Tensor:
        """Return features, [B, num_features]."""
        return self.encoder(**{name: observation[name] for name in self.names})


class StateNetwork(nn.Module):
    """v(o), in the unit of its `ValueEnsemble`; where slates vary in size, of an observation that has `shown`.

    Args:
        space: fixes the observation and the items.
        config: sizes.
    """

    def __init__(self, space: SessionSpace, config: NetworkConfig) -> None:
        super().__init__()
        self.features = ObservationFeatures(space, config)
        self.varied = space.varied
        self.body = mlp(self.features.num_features + space.varied * space.slate_size, config.hidden_sizes, 1)

    def forward(self, observation: TensorDictBase) -> Tensor:
        """Return v, [B]."""
        features = self.features(observation)
        if self.varied:
            features = torch.cat([features, observation["shown"].to(features.dtype)], dim=-1)
        return self.body(features).squeeze(-1)


class ActionNetwork(nn.Module):
    """q(o, a), in the unit of its `ValueEnsemble`.

    Args:
        space: fixes the observation, the size of a slate and the items.
        config: sizes.
        action_kind: "slate" or "proto".
        item_width: learned coordinates of each item; proto-actions have none.
    """

    def __init__(self, space: SessionSpace, config: NetworkConfig, action_kind: str, item_width: int) -> None:
        super().__init__()
        self.features = ObservationFeatures(space, config)
        self.action = SlateFeatures(space, item_width) if action_kind == "slate" else ProtoFeatures(space)
        self.body = mlp(self.features.num_features + self.action.num_features, config.hidden_sizes, 1)

    def forward(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return q of actions, [..., B] for [..., B, K] slates or [..., B, d] proto-actions."""
        return self.body[-1](self.hidden(observation, action)).squeeze(-1)

    def hidden(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return what the last layer reads, in which q is linear, [..., B, H]; see `forward`."""
        features, read = self.features(observation), self.action(observation, action)
        joint = torch.cat([features.expand(*read.shape[:-1], -1), read], dim=-1)
        return self.body[:-1](joint)


class ItemNetwork(nn.Module):
    """q(o, i) of single items, and of choosing none: a session vector times item vectors, all items at once.

    Args:
        space: fixes the observation and the items.
        config: sizes.
        item_width: D, of the vectors.
    """

    def __init__(self, space: SessionSpace, config: NetworkConfig, item_width: int) -> None:
        super().__init__()
        self.features = ObservationFeatures(space, config)
        self.body = mlp(self.features.num_features, config.hidden_sizes, item_width + 2)
        self.item_table = ItemTable(space, item_width)

    def forward(self, observation: TensorDictBase, items: Tensor | None = None) -> Tensor:
        """Return q of no item and of items, [B, 1 + n].

        Args:
            observation: entries of B observations.
            items: [B, n] ids, of which those below 0 get any value; None for all N.
        """
        read = self.body(self.features(observation))
        session, level, none = read[..., :-2], read[..., -2:-1], read[..., -1:]
        if items is None:
            values = scaled_logits(session, *self.item_table())
        else:
            vectors, bias = self.item_table(items.long().clamp_min(0))
            values = scaled_logits(session.unsqueeze(-2), vectors, bias.unsqueeze(-2)).squeeze(-2)
        return torch.cat([none, level + values], dim=-1)


class ProtoFeatures(nn.Module):
    """A proto-action's direction, and its product with the profile: a slate depends on the direction alone.

    Args:
        space: fixes the dimension.
    """

    def __init__(self, space: SessionSpace) -> None:
        super().__init__()
        self.has_profile = space.has_profile
        self.num_features = space.embedding_dim * (1 + space.has_profile)

    def forward(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return features, [..., B, num_features]; see `ActionNetwork.forward`."""
        direction = nn.functional.normalize(action, dim=-1)
        if not self.has_profile:
            return direction
        return torch.cat([direction, direction * observation["profile"]], dim=-1)


class SlateFeatures(nn.Module):
    """By position: the item's embedding, its inner product with the profile, and what is learned of the item alone.

    The last begins at zero. It is where quality, appeal and length find their place: they are hidden, and not in the
    embedding. A slate's value depends on the order of its items. An empty position, -1, is like an item whose embedding
    is zero.

    Args:
        space: fixes the items and the size of a slate.
        item_width: learned coordinates of each item.
    """

    embeddings: Tensor

    def __init__(self, space: SessionSpace, item_width: int) -> None:
        super().__init__()
        # Where slates vary in size, the last row is of an empty position.
        embeddings = torch.from_numpy(np.pad(space.embeddings, ((0, space.varied), (0, 0)))).float()
        self.register_buffer("embeddings", embeddings, persistent=False)
        self.learned = nn.Parameter(torch.zeros(len(embeddings), item_width))
        self.varied = space.varied
        self.has_profile = space.has_profile
        self.num_features = space.slate_size * (space.embedding_dim + item_width + space.has_profile)

    def forward(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return features, [..., B, num_features]; see `ActionNetwork.forward`."""
        action = action.remainder(len(self.embeddings)) if self.varied else action
        items = nn.functional.embedding(action, self.embeddings)
        parts = [items, nn.functional.embedding(action, self.learned)]
        if self.has_profile:
            parts.append((items * observation["profile"].unsqueeze(-2)).sum(dim=-1, keepdim=True))
        return torch.cat(parts, dim=-1).flatten(-2)


class ValueEnsemble(nn.Module):
    """The mean of E networks that were initialised independently, in units of reward.

    Args:
        networks: E of one class, `StateNetwork`, `ActionNetwork` or `ItemNetwork`; it is called as they are.
        shift: mean of the regression target.
        unit: standard deviation of the regression target, above zero.
    """

    def __init__(self, networks: Sequence[nn.Module], shift: float, unit: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shift, self.unit = shift, unit

    def forward(self, observation: TensorDictBase, *action: Tensor) -> Tensor:
        """Return the value, [..., B]; see `members`."""
        return self.members(observation, *action).mean(dim=0)

    def members(self, observation: TensorDictBase, *action: Tensor) -> Tensor:
        """Return the value by each network, [E, ..., B].

        Args:
            observation: entries of B observations.
            *action: of action values one tensor, [..., B, K] slates or [..., B, d] proto-actions; of state values none.
        """
        return self.shift + self.unit * torch.stack([network(observation, *action) for network in self.networks])
