"""The named scores of a log's rows: how good the logged action was, which filter and objectives read.

With r the reward, gamma the discount, lambda the trace decay, and V and Q of one critic fitted to the log:

    reward                  r_t, of the step alone; no critic
    return                  sum_l gamma^l r_{t+l}, to the end of the logged session; no critic
    gae                     sum_l (gamma lambda)^l delta_{t+l},  delta_t = r_t + gamma V(o_{t+1}) - V(o_t)
    q_minus_v               Q(o_t, a_t) - V(o_t), the mean of the critic's members
    lower_confidence_bound  mean - c std of Q - V over the members of an ensemble, c = 1

The first three are what happened to this row, and take chance for skill: a filter on `return` keeps fortunate sessions,
one on `gae` fortunate steps. `reward` is for a bandit, whose sessions are of one step: in longer ones it does not see
what comes after. The last two are regressions, and so averages over rows like this one. Where the log has
few of those, members that began differently disagree, and the lower bound takes their spread off; with the default
critic, in the default world, that changes little, at five times the cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from agents.families import SCORES
from agents.values.advantages import generalized_advantages
from agents.values.critics import Critic, CriticConfig, fit_critic
from offline_data.store.dataset import LoggedDataset
from recenv.registry import own_config

Progress = Callable[[int], object]


@dataclass(frozen=True)
class ScoreConfig:
    """Of a score without parameters of its own."""


class Judgement(NamedTuple):
    """Of a log's rows.

    Examples:
        >>> from agents import Judgement
        >>> Judgement._fields
        ('scores', 'advantages')
    """

    scores: Tensor
    """[N] float32 on the CPU: how good the logged action is taken to be."""
    advantages: Tensor | None
    """[N] float32 on the CPU: what the row really earned, more than was to be expected; None where no critic says."""


class Score(ABC):
    """A score of every row of a log; a part sets `Config` and implements `of_critic`.

    Args:
        config: an instance of the class's `Config`; None means its defaults.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`.

    Examples:
        >>> import torch
        >>> from agents import SCORES, score_log
        >>> from offline_data import LogRequest, collect
        >>> "q_minus_v" in SCORES.registered()
        True
        >>> log = collect("log", LogRequest(num_sessions=8))
        >>> score_log("return", log).shape == (log.num_rows,)
        True
    """

    Config: ClassVar[type] = ScoreConfig
    """The frozen dataclass of the parameters."""
    critic_fields: ClassVar[tuple[str, ...] | None] = None
    """Fields of the critic's config that it reads; None for all, of a score that fits one."""

    def __init__(self, config: Any = None) -> None:
        self.config = own_config(type(self), config)

    def critic_config(self, config: CriticConfig) -> CriticConfig:
        """Return the config of the critic that the score needs, given what the user asked for."""
        return config

    def rows(
        self, dataset: LoggedDataset, config: CriticConfig, seed: int, device: str, progress: Progress | None
    ) -> Tensor:
        """Return the score of every row, see `score_log`; by default of a critic that is fitted to the log."""
        config = self.critic_config(config)
        critic = fit_critic(dataset, config, seed=seed, device=device, progress=progress)
        return self.of_critic(critic, dataset, config, device)

    def judge(
        self, dataset: LoggedDataset, config: CriticConfig, seed: int, device: str, progress: Progress | None
    ) -> Judgement:
        """Return the score of every row and what it earned, see `judge_log`, by one critic of the log."""
        config = self.critic_config(config)
        critic = fit_critic(dataset, config, seed=seed, device=device, progress=progress)
        scores = self.of_critic(critic, dataset, config, device)
        return Judgement(scores, generalized_advantages(critic, dataset, config, device))

    @abstractmethod
    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the score of every row by a fitted critic, [N] float32 on the CPU.

        Args:
            critic: of the log.
            dataset: the log.
            config: of the critic.
            device: of the critic.
        """


class LoggedScore(Score):
    """A score that needs no critic; a part implements `of_log`, and names in `critic_fields` what it reads."""

    @abstractmethod
    def of_log(self, dataset: LoggedDataset, config: CriticConfig) -> Tensor:
        """Return the score of every row by the log alone, [N] float32 on the CPU.

        Args:
            dataset: the log.
            config: of the critic that others would fit.
        """

    def rows(
        self, dataset: LoggedDataset, config: CriticConfig, seed: int, device: str, progress: Progress | None
    ) -> Tensor:
        """Return the score of every row; all of the progress is told at once."""
        scores = self.of_log(dataset, config)
        if progress:
            progress(config.num_steps)
        return scores

    def judge(
        self, dataset: LoggedDataset, config: CriticConfig, seed: int, device: str, progress: Progress | None
    ) -> Judgement:
        """Return the score of every row; without a critic nobody says what was to be expected."""
        return Judgement(self.rows(dataset, config, seed, device, progress), None)

    def of_critic(self, critic: Critic, dataset: LoggedDataset, config: CriticConfig, device: str) -> Tensor:
        """Return the score of every row, whatever the critic says."""
        return self.of_log(dataset, config)


def score_log(
    name: str | type[Score],
    dataset: LoggedDataset,
    config: CriticConfig | None = None,
    *,
    score_config: Any = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Tensor:
    """Return the score of every row, [N] float32 on the CPU, in units of reward.

    Args:
        name: of a registered score, MODULE:CLASS, or the class.
        dataset: a log of proto-actions or slates.
        config: of the critic; None for the defaults. `return` reads only its discount, `reward` nothing.
        score_config: of the score; None for its defaults.
        seed: of the critic.
        device: of the critic.
        progress: called with the number of the critic's gradient steps done since the last call, all at once for
            `return` and `reward`, which need none.

    Raises:
        InvalidInput: for an unknown name; except for `return` and `reward`, for a log without embeddings that the
            config asks for.
    """
    score = SCORES.resolve(name)(score_config)
    return score.rows(dataset, config or CriticConfig(), seed, device, progress)


def judge_log(
    name: str | type[Score],
    dataset: LoggedDataset,
    config: CriticConfig | None = None,
    *,
    score_config: Any = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Judgement:
    """Return the score of every row, and beside it what the row earned: by both together kappa="auto" is found.

    Args:
        name: of a registered score, MODULE:CLASS, or the class.
        dataset: a log of proto-actions or slates.
        config: of the one critic of both; None for the defaults.
        score_config: of the score; None for its defaults.
        seed: of the critic.
        device: of the critic.
        progress: called as by `score_log`.

    Returns:
        Scores and advantages, [N] float32 on the CPU each, in units of reward; no advantages from a score that needs
        no critic.

    Raises:
        InvalidInput: as `score_log` does.
    """
    return SCORES.resolve(name)(score_config).judge(dataset, config or CriticConfig(), seed, device, progress)
