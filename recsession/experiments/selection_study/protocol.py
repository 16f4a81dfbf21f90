"""What is compared in which cells: worlds, noises, fractions and kinds of action; methods, and the grids they tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agents.families import OBJECTIVES
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig
from offline_data.behavior.base import ActionKind
from offline_data.dial.quality import mixture_spec, reference_returns
from recenv.errors import InvalidInput, require, require_range
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.learning_task import LearningTask, Method

EXPERIMENTS: Final = ("proto", "proto_more", "slates", "bandit", "models")
OURS: Final = "ours"
DEFAULT_WORLD: Final = "interest_evolution"
NOISES: Final = ("uniform", "clickbait", "popularity", "stale", "adversarial")
FRACTIONS: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
MANY_SEEDS: Final = (0.1, 0.02, 0.005)
"""The fractions of `proto`, the cells that all seeds are spent on."""
FEW: Final = 3
"""Seeds of the other cells."""
OTHER_MODELS: Final = ("boredom_cascade", "interest_exploration", "long_term_satisfaction", "multi_behavior")
SLOW: Final = ("crr", "iql")
"""Methods with values of their own, which take four times as long: they are in `proto_more` alone."""
SLATE_RIVALS: Final = ("exp_reward_weighted", "gbpo")
"""Further methods on slates: they are in `slates` alone. Left out are `sage`, which needs logs with groups, and `bppo`
and `slateq`, whose trainings take more than three and four times as long as AWR's."""
DEVELOPMENT_CELLS: Final = 3
"""Cells of a kind of action that settings are chosen on, at the least."""
_FLOORS: Final = (0.05, 0.02, 0.01, 0.003)


@dataclass(frozen=True)
class Cell:
    """A log to learn from."""

    world: str
    """The user model."""
    noise: str
    """Behavior policy of what is not the expert's."""
    fraction: float
    """The expert's share of the steps."""
    kind: ActionKind
    """What is logged."""

    @property
    def key(self) -> str:
        """Its name, in results and of its folder."""
        return f"{self.world}-{self.noise}-{self.fraction:g}-{self.kind}"

    @property
    def config(self) -> SessionConfig:
        """The world."""
        return SessionConfig().override(user_model=self.world)


@dataclass(frozen=True)
class SelectionProtocol:
    """Sizes and budgets: the quickstart's."""

    experiments: tuple[str, ...] = EXPERIMENTS
    """Which are run: in the default world proto-actions at the fractions of `MANY_SEEDS` and at all others, and slates;
    the bandit; the other user models."""
    methods: tuple[str, ...] = (
        *(OURS, "bc", "awr", "filter_told", "drpo", "drpo_exp", "adaptive_bc"),
        *SLOW,
        *SLATE_RIVALS,
    )
    """Which are compared; `filter_told` is told the good fraction."""
    fractions: tuple[float, ...] = FRACTIONS
    """Of the expert's steps."""
    noises: tuple[str, ...] = NOISES
    """Behavior policies of the rest."""
    development_seed: int = 100
    """Of the logs that settings are chosen on."""
    num_sessions: int = 20_000
    """Sessions of a log."""
    num_evaluation_sessions: int = 2_000
    """Simulated sessions that a policy is judged by, in each way of acting."""
    num_reference_sessions: int = 8_192
    """Simulated sessions of the expert and of the noise."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Budget of every method; the policy is that of the cell's kind of action."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critic of the score, one for all methods."""

    def __post_init__(self) -> None:
        for name, known in (("experiments", EXPERIMENTS), ("methods", (*_GRIDS, OURS)), ("noises", NOISES)):
            unknown = [each for each in getattr(self, name) if each not in known]
            require(not unknown, f"{name} has {', '.join(unknown)}; choose from {', '.join(known)}")
        for fraction in self.fractions:
            require_range("fractions", fraction, 0.0, 1.0, low_open=True)

    def cells(self, experiment: str) -> list[Cell]:
        """Return the cells of an experiment, those without a meaning among them."""
        grid = [(noise, fraction) for noise in self.noises for fraction in self.fractions]
        kinds: tuple[ActionKind, ...] = ("proto", "slate")
        match experiment:
            case "proto" | "proto_more":
                many = experiment == "proto"
                return [Cell(DEFAULT_WORLD, *each, "proto") for each in grid if (each[1] in MANY_SEEDS) == many]
            case "slates":
                return [Cell(DEFAULT_WORLD, *each, "slate") for each in grid]
            case "bandit":
                return [Cell("embedding_bandit", *each, kind) for kind in kinds for each in grid]
            case _:
                models = [(model, noise) for model in OTHER_MODELS for noise in self.noises]
                return [Cell(model, noise, 0.05, kind) for kind in kinds for model, noise in models]

    def compared(self, experiment: str) -> list[str]:
        """Return the methods of an experiment."""
        elsewhere = {"proto_more": SLATE_RIVALS, "slates": SLOW}.get(experiment, SLOW + SLATE_RIVALS)
        return [name for name in self.methods if name not in elsewhere]

    def development_cells(self, cells: list[Cell], kind: ActionKind) -> list[Cell]:
        """Return the cells of an experiment that settings are chosen on: of each world equally many, of other noises.

        Args:
            cells: those of the experiment.
            kind: of action.
        """
        worlds: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.kind == kind:
                worlds.setdefault(cell.world, []).append(cell)
        found: list[Cell] = []
        for place, alike in enumerate(worlds.values(), start=1):
            each = max(DEVELOPMENT_CELLS // len(worlds), 1)
            found += alike[place % len(alike) :: max(len(alike) // each, 1)][:each]
        return found

    def task(self, cell: Cell) -> LearningTask:
        """Return what is learned from in a cell."""
        policy = GaussianPolicyConfig() if cell.kind == "proto" else PlackettLucePolicyConfig()
        return LearningTask(
            mixture_spec(cell.fraction, cell.noise),
            cell.config,
            action_kind=cell.kind,
            num_sessions=self.num_sessions,
            critic=self.critic,
            trainer=replace(self.trainer, policy=policy),
            num_evaluation_sessions=self.num_evaluation_sessions,
        )


def settings(name: str, fraction: float) -> dict[str, Method]:
    """Return a method by the labels of its settings: one of ours, and of cloning; four of every other, caps among them.

    Args:
        name: of the method.
        fraction: the good fraction, which is told to nobody but `filter_told`.
    """
    if name == OURS:
        return {"": _method("robust_filter", {"kappa": "auto", "visits": 10.0})}
    objective, grid = _GRIDS[name]
    if name == "filter_told":
        return {label: _method(objective, {"kappa": each["kappa"] * fraction}) for label, each in grid.items()}
    return {label: _method(objective, each) for label, each in grid.items()}


def _method(objective: str, options: Mapping[str, Any]) -> Method:
    return Method(objective, OBJECTIVES.resolve(objective).Config(**options))


_GRIDS: Final[dict[str, tuple[str, dict[str, dict[str, Any]]]]] = {
    "bc": ("bc", {"": {}}),
    "awr": (
        "awr",
        {
            f"T {temperature:g}, cap {cap:g}": {"temperature": temperature, "weight_cap": cap}
            for temperature, cap in ((1.0, 20.0), (0.3, 1e3), (0.3, 1e6), (0.1, 1e6))
        },
    ),
    "filter_told": ("robust_filter", {f"kappa g/{part}": {"kappa": 1 / part} for part in (2, 4, 8, 16)}),
    "drpo": ("drpo", {f"floor {floor:g}": {"min_share": floor} for floor in _FLOORS}),
    "drpo_exp": (
        "drpo_exp",
        {
            f"beta {beta:g} sd, floor {floor:g}": {
                "beta": beta,
                "in_deviations": True,
                "weight_cap": 100.0,  # of the authors' agents; without it one early outlier stops Adam
                "min_share": floor,
            }
            for beta in (0.3, 1.0)
            for floor in (0.02, 0.005)
        },
    ),
    "adaptive_bc": ("adaptive_bc", {f"floor {floor:g}": {"min_share": floor} for floor in _FLOORS}),
    "crr": (
        "crr",
        {
            "binary": {},
            **{
                f"beta {beta:g}, cap {cap:g}": {"weight": "exponential", "beta": beta, "weight_cap": cap}
                for beta, cap in ((1.0, 20.0), (0.3, 1e3), (0.3, 1e6))
            },
        },
    ),
    "iql": (
        "iql",
        {
            f"tau {tau:g}, beta {beta:g}, cap {cap:g}": {"expectile": tau, "beta": beta, "weight_cap": cap}
            for tau, beta, cap in ((0.7, 3.0, 100.0), (0.9, 3.0, 100.0), (0.7, 10.0, 1e4), (0.9, 10.0, 1e4))
        },
    ),
    "exp_reward_weighted": (
        "exp_reward_weighted",
        {
            f"T {temperature:g}, cap {cap:g}, {of}": {"temperature": temperature, "weight_cap": cap, "of": of}
            for of in ("step", "session")
            for temperature, cap in ((0.5, 20.0), (0.3, 1e6))
        },
    ),
    "gbpo": (
        "gbpo",
        {
            f"{unit}, cloning {cloning}": {"unit": unit, "cloning_steps": cloning}
            for unit in ("item", "slate")
            for cloning in (100, 350)
        },
    ),
}


def left_out(world: str, noise: str, kind: ActionKind) -> str | None:
    """Return why cells of a noise have no meaning: it is undefined there, or the expert is no better; else None.

    Args:
        world: the user model.
        noise: name of a behavior policy.
        kind: of action.
    """
    try:
        played = make_world(SessionConfig().override(user_model=world))
        reference_returns(played, noise, kind, num_sessions=1024)
    except InvalidInput as error:
        return str(error)
    return None
