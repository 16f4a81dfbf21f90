"""What is compared in which cells: worlds, kinds of action, who logged, lengths and sizes.

Each cell differs from the usual one, sessions of ten steps of the default world and a thousand of them, in one thing.
The log is by whom a shop has: a policy that runs, cloned from a poor log, and one step, or session, of ten at random.
Or by the quality dial: an expert that reads what nobody else sees, and one half at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from agents.families import POLICIES
from agents.training.trainer import TrainerConfig
from agents.values.critics import FITTED_Q, CriticConfig
from offline_data.behavior.base import ActionKind
from offline_data.dial.quality import mixture_spec
from recenv.errors import require, require_range
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig

KINDS: Final[tuple[ActionKind, ...]] = ("proto", "slate")
DEFAULT_WORLD: Final = "interest_evolution"
BANDIT: Final = "embedding_bandit"
POLICY_OF: Final = {"proto": "gaussian", "slate": "plackett_luce"}
EXPERIMENTS: Final = ("models", "lengths", "logs", "sizes")
AGENT: Final = "agents.serving.behavior_adapter:AgentBehavior"
"""By which a policy logs."""


@dataclass(frozen=True)
class Task:
    """Where policies are to act; those that are judged are the same in all of its logs."""

    model: str
    """The user model."""
    kind: ActionKind
    """What is logged, and what the policies do."""
    max_steps: int
    """Steps of a session, at most."""

    @property
    def key(self) -> str:
        """Its name, and of its folder."""
        return f"{self.model}-{self.kind}-{self.max_steps}"

    @property
    def config(self) -> SessionConfig:
        """The world: 200 items and slates of five, but those of the bandit, which shows one."""
        size = {} if self.model == BANDIT else {"slate_size": 5, "max_steps": self.max_steps}
        return SessionConfig().override(user_model=self.model, num_items=200, **size)


@dataclass(frozen=True)
class Cell:
    """Logs that policies are judged by."""

    task: Task
    """Where."""
    logged: Literal["running", "dial"] = "running"
    """By whom."""
    mixing: Literal["step", "session"] = "step"
    """What is at random: single steps, or whole sessions."""
    num_sessions: int = 1000
    """Of a log."""

    @property
    def key(self) -> str:
        """Its name, in results and of its folder."""
        return f"{self.task.key}-{self.logged}-{self.mixing}-{self.num_sessions}"

    def behavior(self, running: Path, exploring: float) -> Mapping[str, Any]:
        """Return the spec of who logs.

        Args:
            running: the file of the policy that runs.
            exploring: share of what it leaves to chance.
        """
        if self.logged == "dial":
            return mixture_spec(0.5, "uniform", self.mixing)
        return {
            "name": "mixture",
            "components": [{"name": AGENT, "policy": str(running)}, {"name": "uniform"}],
            "weights": [1.0 - exploring, exploring],
            "mixing": self.mixing,
        }


@dataclass(frozen=True)
class EstimatorProtocol:
    """Sizes and budgets."""

    experiments: tuple[str, ...] = EXPERIMENTS
    """Which are run: all user models; long and short sessions; who logged, and how; how many sessions."""
    models: tuple[str, ...] = field(default_factory=lambda: tuple(USER_MODELS.registered()))
    """User models."""
    kinds: tuple[ActionKind, ...] = KINDS
    """Kinds of action."""
    max_steps: int = 10
    """Steps of the usual session; the bandit's has one."""
    lengths: tuple[int, ...] = (3, 50)
    """Other lengths."""
    num_sessions: int = 1000
    """Of the usual log."""
    sizes: tuple[int, ...] = (10_000, 100_000)
    """Other sizes, in sessions, of the usual world."""
    bandit_sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """The same of the bandit, whose sessions have one step."""
    model_sessions: int = 10_000
    """Sessions above which no model is fitted: estimates are of weights alone."""
    feature_sessions: int = 1000
    """Sessions above which `mis`, `drl` and `density_ratio`, which solve for weights, are left out."""
    replicate_sessions: int = 5_000
    """Sessions above which a cell has a single log, of the first seed."""
    num_truth_sessions: int = 16_384
    """Simulated sessions that a policy's true value is the mean of."""
    bandit_truth_sessions: int = 131_072
    """The same of the bandit."""
    distances: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """Of the judged policies towards what was learned, in nats a session; see `families`."""
    back: tuple[float, ...] = (0.03, 0.1, 1.0, 3.0)
    """Of those the other way."""
    exploring: float = 0.1
    """Share of what the running policy leaves to chance, in (0, 1)."""
    family_seed: int = 500
    """Of the log that the policies learn from, and of their truth: no log of a reported seed."""
    num_learning_sessions: int = 2000
    """Of that log."""
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(num_steps=200, batch_size=512))
    """Budget of the two policies that all others lie on a line with."""
    critic: CriticConfig = field(default_factory=lambda: CriticConfig(num_rounds=1, steps_per_round=100))
    """Of the score that they learn from."""
    fitted_q: CriticConfig = field(
        default_factory=lambda: replace(FITTED_Q, num_rounds=10, steps_per_round=10, learning_rate=3e-3)
    )
    """Of the model that `dm`, `dr` and their like read."""

    def __post_init__(self) -> None:
        known = {"experiments": EXPERIMENTS, "models": tuple(USER_MODELS.registered()), "kinds": KINDS}
        for name, names in known.items():
            unknown = [each for each in getattr(self, name) if each not in names]
            require(not unknown, f"{name} has {', '.join(map(str, unknown))}; choose from {', '.join(names)}")
        require_range("exploring", self.exploring, 0.0, 1.0, low_open=True, high_open=True)
        for name in ("lengths", "sizes", "bandit_sizes"):
            for each in getattr(self, name):
                require_range(name, each, 1, 10**7, integer=True)

    def cells(self) -> list[Cell]:
        """Return the cells of the experiments that are asked for, each once."""
        found: dict[Cell, None] = {}
        for kind in self.kinds:
            usual = Cell(self._task(DEFAULT_WORLD, kind), num_sessions=self.num_sessions)
            if "models" in self.experiments:
                cells = (replace(usual, task=self._task(model, kind)) for model in self.models)
                found |= dict.fromkeys(cells)
            if "lengths" in self.experiments:
                longer = [replace(usual, task=replace(usual.task, max_steps=length)) for length in self.lengths]
                found |= dict.fromkeys([*longer, *(replace(each, mixing="session") for each in longer)])
            if "logs" in self.experiments:
                found |= dict.fromkeys(
                    replace(usual, logged=logged, mixing=mixing)
                    for logged in ("running", "dial")
                    for mixing in ("step", "session")
                )
            if "sizes" in self.experiments:
                found |= dict.fromkeys(replace(usual, num_sessions=size) for size in self.sizes)
                bandit = replace(usual, task=self._task(BANDIT, kind))
                found |= dict.fromkeys(replace(bandit, num_sessions=size) for size in self.bandit_sizes)
        return list(found)

    def _task(self, model: str, kind: ActionKind) -> Task:
        return Task(model, kind, 1 if model == BANDIT else self.max_steps)

    def training(self, kind: ActionKind) -> TrainerConfig:
        """Return the budget, with the policy of a kind of action."""
        return replace(self.trainer, policy=POLICIES.get(POLICY_OF[kind]).Config())


SMALL: Final = EstimatorProtocol(
    experiments=("models", "logs"),
    models=(DEFAULT_WORLD, BANDIT),
    num_truth_sessions=4096,
    bandit_truth_sessions=32_768,
)
