"""State and action values: the score that every objective reads, and fitted Q evaluation of a target policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from agents.encoders import NetworkConfig, mlp
from agents.policies import GaussianPolicy, make_encoder
from agents.replay import LogStorage, make_replay
from offline_data.dataset import LoggedDataset
from recenv.errors import require_range
from recenv.session_batch import World, make_world


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is fitted.

    Attributes:
        network: sizes.
        num_rounds: times that the regression targets are computed anew from the present values.
        steps_per_round: gradient steps of each round.
        batch_size: rows of a step.
        learning_rate: of Adam.
        trace_decay: lambda of the TD(lambda) targets, in [0, 1]; 1 is the Monte Carlo return.
        discount: gamma, in (0, 1].
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    num_rounds: int = 4
    steps_per_round: int = 300
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


class Critic(nn.Module):
    """V(o), and Q(o, a) = V(o) + A(o, a); a slate depends on a proto-action's direction alone, and so does A.

    Args:
        world: fixes the embeddings and the observation's shape.
        config: sizes.
    """

    shift: Tensor
    unit: Tensor

    def __init__(self, world: World, config: NetworkConfig) -> None:
        super().__init__()
        dim = world.catalog.embedding_dim
        self.value_encoder = make_encoder(world, config)
        self.advantage_encoder = make_encoder(world, config)
        width = self.value_encoder.num_features
        self.value_body = mlp(width, config.hidden_sizes, 1)
        self.advantage_body = mlp(width + 2 * dim, config.hidden_sizes, 1)
        # Targets are standardised; these take the answers back to units of reward.
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("unit", torch.ones(()))

    def state_value(self, observation: TensorDict) -> Tensor:
        """Return V, [B], in units of reward."""
        return self.shift + self.unit * self.value_body(_encode(self.value_encoder, observation)).squeeze(-1)

    def advantage(self, observation: TensorDict, proto: Tensor) -> Tensor:
        """Return Q - V of proto-actions [B, d], [B], in units of reward."""
        direction = nn.functional.normalize(proto, dim=-1)
        features = _encode(self.advantage_encoder, observation)
        joint = torch.cat([features, direction, direction * observation["profile"]], dim=-1)
        return self.unit * self.advantage_body(joint).squeeze(-1)


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
    target: GaussianPolicy | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> Critic:
    """Fit V and Q to a log: of its own behavior by TD(lambda), or of a target policy by fitted Q evaluation.

    Fitted Q evaluation (Le, Voloshin and Yue 2019, arXiv:1903.08738) regresses Q on r + discount Q(o', a'), a' drawn
    from the target; here V is regressed on Q(o, a) with a drawn from the target, and Q on r + discount V(o').

    Args:
        dataset: a log of proto-actions.
        config: None for the defaults.
        target: the policy to evaluate; None means the behavior policy that wrote the log.
        seed: of initial weights and batches.
        device: of the networks.
        progress: called with the number of gradient steps done since the last call.
    """
    config = config or CriticConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(make_world(dataset.config), config.network).to(device)
    storage = LogStorage(dataset, columns=("proto",))
    reward = dataset.reward()
    own_returns = trace_returns(reward, np.zeros(len(reward)), dataset.offsets, config.discount, 1.0)
    critic.shift.fill_(float(own_returns.mean()))
    critic.unit.fill_(max(float(own_returns.std()), 1e-6))
    optimizer = torch.optim.Adam(critic.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, config.num_steps, eta_min=config.learning_rate / 20
    )
    generator = torch.Generator().manual_seed(seed)
    for round_number in range(config.num_rounds):
        next_value = _next_values(critic, storage, device) if round_number else np.zeros(len(reward))
        if target is None:
            decay = config.trace_decay if round_number else 1.0
            targets = trace_returns(reward, next_value, dataset.offsets, config.discount, decay)
        else:
            targets = reward + config.discount * next_value if round_number else own_returns
        storage.add_column("target", torch.from_numpy(targets))
        replay = make_replay(storage, config.batch_size, generator)
        for step in range(config.steps_per_round):
            batch = replay.sample().to(device)
            loss = _regression_loss(critic, batch, target, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress and step % 20 == 19:
                progress(20)
        if progress:
            progress(config.steps_per_round % 20)
    return critic


def _regression_loss(
    critic: Critic, batch: TensorDict, target: GaussianPolicy | None, generator: torch.Generator
) -> Tensor:
    # In units of the standardised target, so that one learning rate fits every world.
    observation = batch["observation"]
    value = critic.state_value(observation)
    advantage = critic.advantage(observation, batch["proto"])
    q_error = (batch["target"] - value.detach() - advantage) / critic.unit
    if target is None:
        v_error = (batch["target"] - value) / critic.unit
    else:
        with torch.no_grad():
            action = sample_proto(target, batch, generator)
            policy_value = value + critic.advantage(observation, action)
        v_error = (policy_value - value) / critic.unit
    return q_error.square().mean() + v_error.square().mean()


def sample_proto(actor: GaussianPolicy, batch: TensorDict, generator: torch.Generator) -> Tensor:
    """Return one proto-action of the policy for each row, [B, d], its noise drawn on the CPU from `generator`.

    Args:
        actor: a Gaussian policy.
        batch: holds the observation.
        generator: of the noise.
    """
    distribution = actor.get_dist(batch.select("observation"))
    noise = torch.randn(distribution.mean.shape, generator=generator).to(distribution.mean.device)
    return distribution.mean + distribution.stddev * noise


@torch.no_grad()
def _next_values(critic: Critic, storage: LogStorage, device: str) -> np.ndarray:
    dataset = storage.dataset
    values = np.empty(dataset.num_rows)
    for start in range(0, dataset.num_rows, 8192):
        rows = np.arange(start, min(start + 8192, dataset.num_rows))
        observation = storage.observations.observe(rows, after=True)
        batch = TensorDict({k: torch.from_numpy(v) for k, v in observation.items()}, batch_size=[len(rows)]).to(device)
        values[rows] = critic.state_value(batch).cpu().numpy()
    return np.where(dataset.rows["terminated"], 0.0, values)


@torch.no_grad()
def score_rows(critic: Critic, dataset: LoggedDataset, device: str = "cpu") -> Tensor:
    """Return Q - V of every logged action, [N] float32 on the CPU: the score of the whole log.

    Args:
        critic: fitted to this log, or to one of the same world.
        dataset: a log of proto-actions.
        device: of the critic.
    """
    storage = LogStorage(dataset, columns=("proto",))
    scores = torch.empty(dataset.num_rows)
    for start in range(0, dataset.num_rows, 8192):
        rows = np.arange(start, min(start + 8192, dataset.num_rows))
        batch = storage.get(rows).to(device)
        scores[start : start + len(rows)] = critic.advantage(batch["observation"], batch["proto"]).cpu()
    return scores
