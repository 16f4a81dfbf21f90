"""State and action values: the score that every objective reads, and fitted Q evaluation of a target policy.

Both are regressions over a few rounds; between rounds the targets are computed anew from the present values. What is
kept for each row lies in temporary files, and targets are found for a block of sessions at a time: memory does not grow
with the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from agents.encoders import NetworkConfig, mlp
from agents.policies import GaussianPolicy, make_encoder
from agents.replay import LogStorage, make_replay, mapped_column
from offline_data.dataset import LoggedDataset
from offline_data.session_blocks import session_blocks
from recenv.errors import require_range
from recenv.world import World, make_world

Progress = Callable[[int], object]
_ROWS_AT_ONCE: Final = 2048  # features of a chunk stay in the cache
_ROWS_A_BLOCK: Final = 2**20  # of whole sessions, whose targets are found at once


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is fitted.

    Attributes:
        network: sizes.
        num_rounds: times that the regression targets are computed anew from the present values; fitted Q evaluation
            sees as many steps ahead.
        steps_per_round: gradient steps of each round.
        batch_size: rows of a step.
        learning_rate: of Adam.
        trace_decay: lambda of the TD(lambda) targets, in [0, 1]; 1 is the Monte Carlo return. Fitted Q evaluation has
            none.
        discount: gamma, in (0, 1].
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    num_rounds: int = 3
    steps_per_round: int = 250
    batch_size: int = 1024
    learning_rate: float = 1e-3
    trace_decay: float = 0.9
    discount: float = 1.0

    def __post_init__(self) -> None:
        require_range("num_rounds", self.num_rounds, 1, 10_000, integer=True)
        require_range("steps_per_round", self.steps_per_round, 1, 10**7, integer=True)
        require_range("batch_size", self.batch_size, 1, 10**7, integer=True)
        require_range("learning_rate", self.learning_rate, 0.0, 1.0, low_open=True)
        require_range("trace_decay", self.trace_decay, 0.0, 1.0)
        require_range("discount", self.discount, 0.0, 1.0, low_open=True)

    @property
    def num_steps(self) -> int:
        """Gradient steps of a whole fit."""
        return self.num_rounds * self.steps_per_round


FITTED_Q: Final = CriticConfig(num_rounds=40, steps_per_round=20, batch_size=512)
"""Many short rounds: a round carries the target's value one step back."""


class StateValue(nn.Module):
    """V(o), in units of reward.

    Args:
        world: fixes the embeddings and the observation's shape.
        config: sizes.
        shift: mean of the regression target.
        unit: standard deviation of the regression target, above zero.
    """

    def __init__(self, world: World, config: NetworkConfig, shift: float, unit: float) -> None:
        super().__init__()
        self.encoder = make_encoder(world, config)
        self.body = mlp(self.encoder.num_features, config.hidden_sizes, 1)
        self.shift, self.unit = shift, unit

    def forward(self, observation: TensorDict) -> Tensor:
        """Return V, [B]."""
        return self.shift + self.unit * self.body(_encode(self.encoder, observation)).squeeze(-1)


class ActionValue(nn.Module):
    """Q(o, a) or A(o, a), in units of reward; a slate depends on a proto-action's direction alone, and so does this.

    Args:
        world: fixes the embeddings and the observation's shape.
        config: sizes.
        shift: mean of the regression target.
        unit: standard deviation of the regression target, above zero.
    """

    def __init__(self, world: World, config: NetworkConfig, shift: float, unit: float) -> None:
        super().__init__()
        self.encoder = make_encoder(world, config)
        self.body = mlp(self.encoder.num_features + 2 * world.catalog.embedding_dim, config.hidden_sizes, 1)
        self.shift, self.unit = shift, unit

    def forward(self, observation: TensorDict, proto: Tensor) -> Tensor:
        """Return the value of proto-actions, [..., B] for [..., B, d]."""
        features, profile = _encode(self.encoder, observation), observation["profile"]
        direction = nn.functional.normalize(proto, dim=-1)
        joint = torch.cat([features.expand(*proto.shape[:-1], -1), direction, direction * profile], dim=-1)
        return self.shift + self.unit * self.body(joint).squeeze(-1)


@dataclass(frozen=True)
class Critic:
    """What the behavior policy's log is worth: V(o), and Q(o, a) = V(o) + A(o, a).

    Attributes:
        state_value: V.
        advantage: A = Q - V, fitted to what V leaves over.
    """

    state_value: StateValue
    advantage: ActionValue


def _encode(encoder: nn.Module, observation: TensorDict) -> Tensor:
    return encoder(
        observation["profile"], observation["history_items"], observation["history_feedback"], observation["clock"]
    )


def trace_returns(
    reward: np.ndarray, next_value: np.ndarray, offsets: np.ndarray, discount: float, trace_decay: float
) -> np.ndarray:
    """Return the TD(lambda) target of every row, [N] float64.

    G_t = r_t + discount ((1 - lambda) V(o_{t+1}) + lambda G_{t+1}); after the last row of a session, V(o_{t+1}) alone.

    Args:
        reward: [N].
        next_value: [N], V of the observation after each row; zero where the user left.
        offsets: [S + 1].
        discount: gamma.
        trace_decay: lambda.
    """
    target = np.zeros(len(reward))
    rows = np.asarray(offsets[1:], np.int64) - 1
    first = np.asarray(offsets[:-1], np.int64)
    carried = np.asarray(next_value, np.float64)[rows]
    while len(rows):
        target[rows] = reward[rows] + discount * carried
        going_on = rows > first
        rows, first = rows[going_on] - 1, first[going_on]
        carried = (1.0 - trace_decay) * next_value[rows] + trace_decay * target[rows + 1]
    return target


def fit_critic(
    dataset: LoggedDataset,
    config: CriticConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Critic:
    """Fit V and Q of the behavior policy to its log, by TD(lambda): the first round by Monte Carlo returns.

    Args:
        dataset: a log of proto-actions.
        config: None for the defaults.
        seed: of initial weights and batches.
        device: of the networks.
        progress: called with the number of gradient steps done since the last call.
    """
    config = config or CriticConfig()
    storage, target = LogStorage(dataset, columns=("proto",)), mapped_column(dataset.num_rows)
    shift, unit = _monte_carlo(dataset, config.discount, target)
    with _seeded(seed):
        world = make_world(dataset.config)
        value = StateValue(world, config.network, shift, unit).to(device)
        advantage = ActionValue(world, config.network, 0.0, unit).to(device)

    def loss(batch: TensorDict) -> Tensor:
        # In units of the target's spread, so that one learning rate fits every world.
        error = (batch["target"] - value(batch["observation"])) / unit
        left_over = error.detach() - advantage(batch["observation"], batch["proto"]) / unit
        return error.square().mean() + left_over.square().mean()

    def targets(block: slice, offsets: np.ndarray) -> np.ndarray:
        after = _map_rows(block, lambda rows: value(_observe(storage, rows, device, after=True)))
        next_value = np.where(dataset.rows["terminated"][block], 0.0, after)
        return trace_returns(dataset.reward(block), next_value, offsets, config.discount, config.trace_decay)

    _regress(storage, nn.ModuleList([value, advantage]), config, target, targets, loss, seed, device, progress)
    return Critic(value, advantage)


def fit_action_value(
    dataset: LoggedDataset,
    actor: GaussianPolicy,
    config: CriticConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ActionValue:
    """Fit Q of a target policy to a log of another: fitted Q evaluation.

    Each round regresses Q(o, a) on r + discount E Q(o', a'), a' sampled from the target; on r alone in a session's
    last row, for nothing is earned after it.

    Source: Le, Voloshin and Yue 2019, arXiv:1903.08738, with a network that goes on from round to round.

    Args:
        dataset: a log of proto-actions.
        actor: the target policy; the expectation is a mean over a few samples.
        config: None for `FITTED_Q`.
        seed: of initial weights, batches and samples.
        device: of the networks.
        progress: called with the number of gradient steps done since the last call.
    """
    config = config or FITTED_Q
    storage, target = LogStorage(dataset, columns=("proto",)), mapped_column(dataset.num_rows)
    shift, unit = _monte_carlo(dataset, config.discount, target)
    with _seeded(seed):
        value = ActionValue(make_world(dataset.config), config.network, shift, unit).to(device)
    generator = torch.Generator().manual_seed(seed)

    def loss(batch: TensorDict) -> Tensor:
        return ((batch["target"] - value(batch["observation"], batch["proto"])) / unit).square().mean()

    # The target policy stays as it is: what it would do after each row is found once for all rounds.
    moments = [mapped_column(dataset.num_rows, dataset.rows["proto"].shape[1]) for _ in range(2)]
    for rows in _chunks(0, dataset.num_rows):
        observation = _observe(storage, rows, device, after=True)
        batch = TensorDict({"observation": observation}, batch_size=observation.batch_size)
        for column, values in zip(moments, actor.moments(batch), strict=True):
            column[rows] = torch.from_numpy(values)

    def targets(block: slice, offsets: np.ndarray) -> np.ndarray:
        def after(rows: np.ndarray) -> Tensor:
            mean, scale = (column[rows].to(device) for column in moments)
            return expected_value(value, _observe(storage, rows, device, after=True), mean, scale, generator)

        # Also at `max_steps`: what is asked for is the worth of a session, and an observation shows its clock.
        ended = dataset.rows["terminated"][block] | dataset.rows["truncated"][block]
        return dataset.reward(block) + config.discount * np.where(ended, 0.0, _map_rows(block, after))

    _regress(storage, value, config, target, targets, loss, seed, device, progress)
    return value


def expected_value(
    value: ActionValue,
    observation: TensorDict,
    mean: Tensor,
    scale: Tensor,
    generator: torch.Generator,
    num_pairs: int = 1,
) -> Tensor:
    """Return the mean of Q(o, a) over samples of the policy, [B].

    Args:
        value: Q.
        observation: of B sessions.
        mean: [B, d] of the policy.
        scale: [B, d] of the policy.
        generator: of the noise, drawn on the CPU.
        num_pairs: pairs of samples of opposite noise, which takes the linear part of the error out.
    """
    noise = torch.randn(num_pairs, *mean.shape, generator=generator).to(mean.device)
    return value(observation, mean + scale * torch.cat([noise, -noise])).mean(dim=0)


def _regress(
    storage: LogStorage,
    network: nn.Module,
    config: CriticConfig,
    target: Tensor,
    next_targets: Callable[[slice, np.ndarray], np.ndarray],
    loss: Callable[[TensorDict], Tensor],
    seed: int,
    device: str,
    progress: Progress | None,
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_steps, config.learning_rate / 20)
    replay = make_replay(storage, config.batch_size, torch.Generator().manual_seed(seed))
    storage.add_column("target", target)
    for round_number in range(config.num_rounds):
        if round_number:
            with torch.no_grad():
                for block in session_blocks(storage.dataset, _ROWS_A_BLOCK):
                    target[block.rows] = torch.from_numpy(next_targets(block.rows, block.offsets))
        for _ in range(config.steps_per_round):
            error = loss(replay.sample().to(device))
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            schedule.step()
            if progress:
                progress(1)


def _monte_carlo(dataset: LoggedDataset, discount: float, target: Tensor) -> tuple[float, float]:
    """Write the Monte Carlo return of every row; return their mean, and their standard deviation, above zero."""
    count, mean, variance = 0, 0.0, 0.0
    for block in session_blocks(dataset, _ROWS_A_BLOCK):
        reward = dataset.reward(block.rows)
        returns = trace_returns(reward, np.zeros(len(reward)), block.offsets, discount, 1.0)
        target[block.rows] = torch.from_numpy(returns)
        count += len(returns)
        share, further = len(returns) / count, float(returns.mean()) - mean
        variance += share * (float(returns.var()) - variance) + share * (1.0 - share) * further**2
        mean += share * further
    return mean, max(math.sqrt(variance), 1e-6)


def _chunks(start: int, stop: int) -> Iterator[np.ndarray]:
    for first in range(start, stop, _ROWS_AT_ONCE):
        yield np.arange(first, min(first + _ROWS_AT_ONCE, stop))


def _observe(storage: LogStorage, rows: np.ndarray, device: str, *, after: bool = False) -> TensorDict:
    observation = storage.observations.observe(rows, after=after)
    return TensorDict({k: torch.from_numpy(v) for k, v in observation.items()}, batch_size=[len(rows)]).to(device)


def _map_rows(block: slice, function: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    return np.concatenate(
        [function(rows).cpu().numpy().astype(np.float64) for rows in _chunks(block.start, block.stop)]
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def score_rows(critic: Critic, dataset: LoggedDataset, device: str = "cpu") -> Tensor:
    """Return Q - V of every logged action, [N] float32 on the CPU: the score of the whole log.

    Args:
        critic: fitted to this log, or to one of the same world.
        dataset: a log of proto-actions.
        device: of the critic.
    """
    storage, scores = LogStorage(dataset, columns=("proto",)), mapped_column(dataset.num_rows)
    for rows in _chunks(0, dataset.num_rows):
        batch = storage.get(rows).to(device)
        scores[rows] = critic.advantage(batch["observation"], batch["proto"]).cpu()
    return scores
