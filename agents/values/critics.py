"""State and action values of a log's behavior policy: the score that every objective reads.

They are regressions over a few rounds; between rounds the targets are computed anew from the present values. What is
kept for each row lies in temporary files, and targets are found for a block of sessions at a time: memory does not grow
with the log.

With r the reward, o' the observation that follows and G the regression target of a round,

    G_t = r_t + discount ((1 - trace_decay) V(o_{t+1}) + trace_decay G_{t+1}); in the first round, the return
    mean (expectile=None): V minimises E (G - V(o))^2, and A = Q - V minimises E (G - V(o) - A(o, a))^2
    expectile in (0, 1): Q minimises E (G - Q(o, a))^2, and V minimises E |expectile - 1(Q < V)| (Q - V)^2

The mean with trace_decay 1 is Monte Carlo regression, below 1 it is TD(lambda), and the score Q - V is of the behavior
policy. Expectiles above 1/2 lean to the better of the logged actions: V is that of a better policy, the more so the
more rounds there are and the lower trace_decay is. With trace_decay 0 they are those of IQL.

Source: Sutton and Barto 2018, chapter 12, for TD(lambda); Kostrikov, Nair and Levine 2021, arXiv:2110.06169, for
expectiles. Where we deviate: V of the last round stands in for V as it is, V is fitted to Q itself and not to a slow
copy, and the pessimism of two Qs is left to whoever reads the members of an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from agents.batches.replay import LogStorage, mapped_column
from agents.nn.item_features import require_choice
from agents.nn.networks import NetworkConfig, seeded
from agents.nn.session_space import SessionSpace
from agents.nn.value_networks import ActionNetwork, StateNetwork, ValueEnsemble
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import session_blocks
from recenv.errors import require_range

Progress = Callable[[int], object]
SMALLEST_UNIT: Final = 1e-6  # where every return is the same, targets are divided by it: zeros, not NaN
_ROWS_AT_ONCE: Final = 2048  # features of a chunk stay in the cache
_FEW_ROWS: Final = 1024  # of which a policy may take several actions each
_ROWS_A_BLOCK: Final = 2**20  # of whole sessions, whose targets are found at once


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is fitted.

    Examples:
        >>> from agents import CriticConfig
        >>> CriticConfig(expectile=0.7, trace_decay=0.0).num_steps
        750
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    num_rounds: int = 3
    """Times that the regression targets are computed anew from the present values; with a trace_decay of 0, and in
    fitted Q evaluation, values see as many steps ahead."""
    steps_per_round: int = 250
    """Gradient steps of each round."""
    batch_size: int = 1024
    """Rows of a step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    trace_decay: float = 0.9
    """lambda of the TD(lambda) targets, in [0, 1]; 1 is the Monte Carlo return, 0 the one-step target. Fitted Q
    evaluation has none."""
    discount: float = 1.0
    """gamma, in (0, 1]."""
    expectile: float | None = None
    """In (0, 1): V is this expectile of Q over the logged actions, as in IQL, whose trace_decay is 0; None: V is their
    mean. Fitted Q evaluation has none."""
    ensemble_size: int = 1
    """Networks of each value, initialised independently; each is fitted to targets of its own."""
    item_width: int = 8
    """Learned coordinates of each item, which the value of a slate reads; proto-actions have none."""
    item_features: str = "auto"
    """What tells the items of a log that was read in apart, as of `TrainerConfig`. Fitted Q evaluation has what tells
    them apart for its policy."""

    def __post_init__(self) -> None:
        require_range("num_rounds", self.num_rounds, 1, 10_000, integer=True)
        require_range("steps_per_round", self.steps_per_round, 1, 10**7, integer=True)
        require_range("batch_size", self.batch_size, 1, 10**6, integer=True)
        require_range("learning_rate", self.learning_rate, 0.0, 1.0, low_open=True)
        require_range("trace_decay", self.trace_decay, 0.0, 1.0)
        require_range("discount", self.discount, 0.0, 1.0, low_open=True)
        if self.expectile is not None:
            require_range("expectile", self.expectile, 0.0, 1.0, low_open=True, high_open=True)
        require_range("ensemble_size", self.ensemble_size, 1, 1000, integer=True)
        require_range("item_width", self.item_width, 1, 1024, integer=True)
        require_choice(self.item_features)

    @property
    def num_steps(self) -> int:
        """Gradient steps of a whole fit."""
        return self.num_rounds * self.steps_per_round


FITTED_Q: Final = CriticConfig(num_rounds=40, steps_per_round=20, batch_size=512)
"""Many short rounds: a round carries the target's value one step back."""


@dataclass(frozen=True)
class Critic:
    """V(o) and Q(o, a) by E members each; see the module.

    Examples:
        >>> import torch
        >>> from agents import CriticConfig, fit_critic, score_rows
        >>> from offline_data import LogRequest, collect
        >>> log = collect("log", LogRequest(num_sessions=8))
        >>> critic = fit_critic(log, CriticConfig(num_rounds=1, steps_per_round=2, batch_size=16))
        >>> score_rows(critic, log).shape == (log.num_rows,)
        True
    """

    state_value: ValueEnsemble
    """V."""
    action_value: ValueEnsemble
    """A = Q - V, fitted to what V leaves over; where V is an expectile of Q, Q itself."""
    relative: bool
    """Whether `action_value` is A."""

    def advantages(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return Q - V by each member, [E, B]; their spread over members says how little the log tells of an action.

        Args:
            observation: entries of B observations.
            action: [B, K] slates or [B, d] proto-actions.
        """
        values = self.action_value.members(observation, action)
        return values if self.relative else values - self.state_value.members(observation)

    def advantage(self, observation: TensorDictBase, action: Tensor) -> Tensor:
        """Return the members' mean of Q - V, [B]; see `advantages`."""
        return self.advantages(observation, action).mean(dim=0)


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


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Return |expectile - 1(error < 0)| error^2, whose mean the expectile of a distribution minimises.

    Args:
        error: what is above its prediction is positive.
        expectile: tau, in (0, 1); 1/2 gives the mean.
    """
    return (expectile - (error < 0.0).to(error.dtype)).abs() * error.square()


def fit_critic(
    dataset: LoggedDataset,
    config: CriticConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Critic:
    """Fit V and Q to a log: of its behavior policy, or of a better one where V is an expectile; see the module.

    Args:
        dataset: a log of proto-actions or slates.
        config: None for the defaults.
        seed: of initial weights and batches. The first member of an ensemble is what one network alone would be.
        device: of the networks.
        progress: called with the number of gradient steps done since the last call.

    Raises:
        InvalidInput: for a log without the embeddings that the config asks for.
    """
    config = config or CriticConfig()
    space, kind = SessionSpace.of_log(dataset, config.item_features, seed=seed), dataset.action_kind
    storage, target = LogStorage(dataset, columns=(kind,)), mapped_column(config.ensemble_size, dataset.num_rows)
    shift, unit = monte_carlo(dataset, config.discount, target)
    with seeded(seed):
        pairs = [
            (StateNetwork(space, config.network), ActionNetwork(space, config.network, kind, config.item_width))
            for _ in range(config.ensemble_size)
        ]
    expectile = config.expectile
    state_value = ValueEnsemble([state for state, _ in pairs], shift, unit).to(device)
    action_value = ValueEnsemble([action for _, action in pairs], shift if expectile else 0.0, unit).to(device)

    def loss(batch: TensorDictBase, target: Tensor) -> Tensor:
        # In units of the target's spread, so that one learning rate fits every world.
        state, action = (
            state_value.members(batch["observation"]),
            action_value.members(batch["observation"], batch[kind]),
        )
        if expectile is None:
            error = (target - state) / unit
            left_over = error.detach() - action / unit
            return error.square().mean(dim=1).sum() + left_over.square().mean(dim=1).sum()
        error = (target - action) / unit
        above = (action.detach() - state) / unit
        return error.square().mean(dim=1).sum() + expectile_loss(above, expectile).mean(dim=1).sum()

    def targets(read: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        # A row's target has all later rows of its session in it, and a round reads of nearly all sessions.
        for block in session_blocks(dataset, _ROWS_A_BLOCK):
            after = map_rows(block.rows, lambda rows: state_value.members(observe(storage, rows, device, after=True)))
            next_values = np.where(dataset.rows["terminated"][block.rows], 0.0, after)
            reward, steps = dataset.reward(block.rows), (config.discount, config.trace_decay)
            yield block.rows, np.stack([trace_returns(reward, v, block.offsets, *steps) for v in next_values])

    networks = nn.ModuleList([state_value, action_value])
    regress(storage, networks, config, target, targets, loss, seed, device, progress)
    return Critic(state_value, action_value, relative=expectile is None)


def regress(
    storage: LogStorage,
    network: nn.Module,
    config: CriticConfig,
    target: Tensor,
    next_targets: Callable[[np.ndarray], Iterator[tuple[slice | np.ndarray, np.ndarray]]],
    loss: Callable[[TensorDictBase, Tensor], Tensor],
    seed: int,
    device: str,
    progress: Progress | None,
    fitted_to: np.ndarray | None = None,
) -> None:
    """Fit a network to each member's targets, which are found anew between rounds.

    Args:
        storage: the log.
        network: what is fitted.
        config: of rounds and steps.
        target: [E, N], of the first round; overwritten.
        next_targets: from which rows a round reads, [N] bool, to a few rows at a time, these among them, and their
            targets [E, n].
        loss: of a batch and its targets [E, B].
        seed: of the batches.
        device: of the network.
        progress: called with 1 after each step.
        fitted_to: [n] the rows that batches are drawn of; None: all.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.num_steps, config.learning_rate / 20)
    generator, num_rows = torch.Generator().manual_seed(seed), storage.dataset.num_rows
    names = [f"target_{member}" for member in range(len(target))]
    for name, column in zip(names, target, strict=True):
        storage.add_column(name, column)

    def draw() -> Tensor:
        count = num_rows if fitted_to is None else len(fitted_to)
        drawn = torch.randint(count, (config.batch_size,), generator=generator)
        return drawn if fitted_to is None else torch.from_numpy(fitted_to[drawn.numpy()])

    for round_number in range(config.num_rounds):
        if round_number:
            # The round's batches are drawn twice: first to know which rows they read.
            state, read = generator.get_state(), mapped_column(num_rows, dtype=np.bool_)
            for _ in range(config.steps_per_round):
                read[draw()] = True
            generator.set_state(state)
            with torch.no_grad():
                for rows, found in next_targets(read.numpy()):
                    target[:, rows] = torch.from_numpy(found).to(target.dtype)
        for _ in range(config.steps_per_round):
            batch = storage.get(draw()).to(device)
            error = loss(batch, torch.stack([batch[name] for name in names]))
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            schedule.step()
            if progress:
                progress(1)


def monte_carlo(dataset: LoggedDataset, discount: float, target: Tensor) -> tuple[float, float]:
    """Write the Monte Carlo return of every row; return their mean, and their standard deviation, above zero.

    Args:
        dataset: the log.
        discount: gamma.
        target: [E, N], written to.
    """
    count, mean, variance = 0, 0.0, 0.0
    for block in session_blocks(dataset, _ROWS_A_BLOCK):
        reward = dataset.reward(block.rows)
        returns = trace_returns(reward, np.zeros(len(reward)), block.offsets, discount, 1.0)
        target[:, block.rows] = torch.from_numpy(returns)
        count += len(returns)
        share, further = len(returns) / count, float(returns.mean()) - mean
        variance += share * (float(returns.var()) - variance) + share * (1.0 - share) * further**2
        mean += share * further
    return mean, max(math.sqrt(variance), SMALLEST_UNIT)


def row_chunks(start: int, stop: int) -> Iterator[np.ndarray]:
    """Yield the rows of a range, [B] at a time, few enough for a network's cache."""
    for first in range(start, stop, _ROWS_AT_ONCE):
        yield np.arange(first, min(first + _ROWS_AT_ONCE, stop))


def rows_of(chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows that are chosen, in order, [B] at a time, few enough for a network's cache.

    Args:
        chosen: [N] bool.
    """
    for start in range(0, len(chosen), _ROWS_A_BLOCK):
        rows = start + np.flatnonzero(chosen[start : start + _ROWS_A_BLOCK])
        for first in range(0, len(rows), _FEW_ROWS):
            yield rows[first : first + _FEW_ROWS]


def observe(storage: LogStorage, rows: np.ndarray, device: str, *, after: bool = False) -> TensorDict:
    """Return the observations of rows, as tensors on a device: a TensorDict [B].

    Args:
        storage: the log.
        rows: [B] row indices.
        device: where the tensors go.
        after: the observation that follows a row's action instead of the one before it.
    """
    observation = {k: torch.from_numpy(v) for k, v in storage.observations.observe(rows, after=after).items()}
    shown = storage.shown(rows + after)
    observation |= {} if shown is None else {"shown": shown}
    return TensorDict(observation, batch_size=[len(rows)]).to(device)


def map_rows(block: slice, function: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    """Return what a function of rows gives for all rows of a block, [..., n] float64.

    Args:
        block: n rows.
        function: from row indices [B] to values [..., B]; it is asked for a few at a time.
    """
    found = [function(rows).cpu().numpy().astype(np.float64) for rows in row_chunks(block.start, block.stop)]
    return np.concatenate(found, axis=-1)


def score_rows(critic: Critic, dataset: LoggedDataset, device: str = "cpu") -> Tensor:
    """Return Q - V of every logged action, [N] float32 on the CPU: the score of the whole log.

    Args:
        critic: fitted to this log, or to one of the same world.
        dataset: a log of the critic's kind of action.
        device: of the critic.
    """
    return _scores(critic.advantage, mapped_column(dataset.num_rows), dataset, device)


def score_members(critic: Critic, dataset: LoggedDataset, device: str = "cpu") -> Tensor:
    """Return Q - V of every logged action by each member, [N, E] float32 on the CPU; see `score_rows`.

    `scores.mean(dim=1) - c * scores.std(dim=1)` is a lower confidence bound.

    Args:
        critic: fitted to this log, or to one of the same world.
        dataset: a log of the critic's kind of action.
        device: of the critic.
    """
    column = mapped_column(dataset.num_rows, len(critic.state_value.networks))
    return _scores(lambda *seen: critic.advantages(*seen).T, column, dataset, device)


@torch.no_grad()
def _scores(
    score: Callable[[TensorDictBase, Tensor], Tensor], column: Tensor, dataset: LoggedDataset, device: str
) -> Tensor:
    storage = LogStorage(dataset, columns=(dataset.action_kind,))
    for rows in row_chunks(0, dataset.num_rows):
        batch = storage.get(rows).to(device)
        column[rows] = score(batch["observation"], batch[dataset.action_kind]).cpu()
    return column
