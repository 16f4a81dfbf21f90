"""`recsession evaluate`: roll a policy out in the simulator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from offline_data.behavior.base import WORLD_EXPERT, default_noise, expert_spec
from offline_data.describe.dataset_summary import policy_name
from offline_data.dial.quality import MAX_SESSIONS, evaluate_returns, reference_returns
from recenv.errors import InvalidInput, require_range
from recenv.statistics import Interval
from recenv.world import make_world
from recsession.inputs import SetWords, given_config, refuse_given
from recsession.lines import say
from recsession.policy_names import find_policy, given_behavior


@dataclass(frozen=True)
class Evaluate:
    """Roll a policy out in the simulator."""

    policy: str
    """A policy file of `recsession train`, which acts in the world that it was trained in, MODULE:CLASS with a method
    `act(observation)` that returns slates [B, K], or a behavior policy, by name or as a JSON spec."""
    num_sessions: int = 2000
    """Fresh users."""
    seed: int = 0
    """Root seed of users and policy draws."""
    stochastic: bool = False
    """Sample from a trained policy instead of acting by its mean."""
    noise: str | None = None
    """Behavior policy at normalised score 0, by name or as a JSON spec; clickbait unless given, or uniform where the
    world's users know no clickbait."""
    expert: str | None = None
    """The one at 1, by name or as a JSON spec; unless given, that of the world's user model."""
    device: str = "cpu"
    """cpu or cuda."""
    config: Path | None = None
    """JSON file of a session config, or what `recsession fit` writes, in place of the default world."""
    set: SetWords = ()
    """Options of the world as NAME=VALUE, for example `--set slate_size=5 choice.no_click_utility=1`; `recsession
    options` lists them."""

    def __post_init__(self) -> None:
        require_range("num_sessions", self.num_sessions, 1, MAX_SESSIONS, integer=True)
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)

    def run(self) -> None:
        """Evaluate and print."""
        if self.device != "cpu":
            from agents.training.trainer import check_device  # a behavior policy needs no torch

            check_device(self.device)
        policy, world = find_policy(
            self.policy,
            make_world(given_config(self.config, self.set)),
            {"--config": self.config is not None, "--set": bool(self.set)},
            deterministic=not self.stochastic,
            device=self.device,
        )
        if not os.path.isfile(self.policy):
            refuse_given(
                self, ("stochastic", "device"), f"--policy {self.policy} is no trained policy, and acts as it does"
            )
        kind = policy.action_kind
        noise = given_behavior("--noise", self.noise or default_noise(world.config), world, kind)
        expert = WORLD_EXPERT if self.expert is None else given_behavior("--expert", self.expert, world, kind)
        value = Interval.of(evaluate_returns(world, policy, self.num_sessions, self.seed, "evaluation"))
        told = f"{'session return':<20}{value}   ({self.num_sessions:,} sessions)"
        if expert == WORLD_EXPERT:
            try:
                expert = expert_spec(world.config)
            except InvalidInput as error:  # the return needs none
                say(told)
                say(f"{'normalised score':<20}none: {error}")
                return
        reference = reference_returns(world, noise, kind, expert=expert, num_sessions=self.num_sessions, seed=self.seed)
        normalized = reference.estimated_normalized_score(value)
        say(told)
        zero, one = policy_name(noise), policy_name(expert)
        say(f"{'normalised score':<20}{normalized:.3f}   ({zero} = 0, {one} = 1, as {kind} actions)")
        say(f"{one:<20}{reference.expert_return}")
        say(f"{zero:<20}{reference.noise_return}")
