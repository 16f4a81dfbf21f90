"""Which policy a name on the command line means: a behavior policy, its spec, a trained one's file, or MODULE:CLASS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from offline_data.behavior.base import WORLD_EXPERT, ActionKind, BehaviorPolicy, Decision, SessionView, make_behavior
from offline_data.families import BEHAVIORS
from recenv.engine.slates import check_slates
from recenv.errors import InvalidInput, require, unknown_name
from recenv.files.json_text import parse_json
from recenv.outside_code import home_of
from recenv.registry import import_class
from recenv.world import World


def given_behavior(option: str, text: str, world: World, action_kind: ActionKind | None) -> Mapping[str, Any] | str:
    """Return the behavior policy that an option names, as `make_behavior` takes it.

    Args:
        option: as it is written, for messages.
        text: a name, which is not looked up, or a JSON spec.
        world: where a spec's policy acts.
        action_kind: as `make_behavior` takes it.

    Raises:
        InvalidInput: for a spec that is none, or that the world refuses.
    """
    if not text.lstrip().startswith("{"):
        return text
    remedy = """pass {"name": ...} and the policy's options as JSON"""
    spec = parse_json(text, f"{option} {text}", remedy)
    try:
        make_behavior(world, spec, action_kind)
    except (TypeError, AttributeError) as error:
        raise InvalidInput(f"{option} {text} is not a behavior policy's spec ({error}); {remedy}") from error
    return spec


def find_policy(
    name: str, world: World, given: dict[str, bool], *, deterministic: bool = True, device: str = "cpu"
) -> tuple[BehaviorPolicy, World]:
    """Return the policy that `--policy` means, and the world that it acts in.

    Args:
        name: a registered behavior policy, its JSON spec, a policy file of `recsession train`, or MODULE:CLASS.
        world: where it acts; a trained policy acts in its own.
        given: whether each option that changes the world was given: a trained policy takes none.
        deterministic: of a trained policy: act by the mean; otherwise sample.
        device: of a trained policy.

    Raises:
        InvalidInput: if the name means no policy.
    """
    if name.lstrip().startswith("{"):
        return make_behavior(world, given_behavior("--policy", name, world, None), None), world
    require(
        name != "mixture",
        "--policy mixture names no components; pass its spec, as in "
        """--policy '{"name": "mixture", "components": ["expert", "clickbait"], "weights": [0.5, 0.5]}'""",
    )
    known = (*BEHAVIORS.registered(), WORLD_EXPERT)
    if name in known:
        return make_behavior(world, name, None), world
    file = Path(name)
    require(not (file / "policy").exists(), f"--policy {name} is a folder; pass the file in it, {file / 'policy'}")
    if not file.exists() and ":" not in name:
        error = unknown_name("policy", name, known)
        raise InvalidInput(f"{error}, or pass a JSON spec, a policy file or MODULE:CLASS")
    too_much = " and ".join(option for option, present in given.items() if present)
    if file.exists():
        require(not too_much, f"--policy {name} acts in the world that it was trained in; leave out {too_much}")
        return _trained_policy(name, deterministic, device)
    return _own_policy(name, world), world


def _own_policy(name: str, world: World) -> BehaviorPolicy:
    """Return the policy of a caller's own class.

    Args:
        name: MODULE:CLASS of a `BehaviorPolicy`, or of a class without constructor arguments whose `act(observation)`
            returns integer slates [B, K] for observations with leading axis B.
        world: where it acts.

    Raises:
        InvalidInput: if there is no such module or class, or the class cannot be made or has no `act`.
    """
    policy_class = import_class("policy", name)
    require(isinstance(policy_class, type), f"policy {name!r}: there is no class of that name; pass MODULE:CLASS")
    try:
        if issubclass(policy_class, BehaviorPolicy):
            return policy_class(world, policy_class.Config(), "slate")
        agent = policy_class()
    except (TypeError, AttributeError) as error:
        raise InvalidInput(
            f"policy {name!r} cannot be made ({error}); give the class a constructor without arguments, "
            "or a BehaviorPolicy a Config with defaults"
        ) from error
    require(
        callable(getattr(agent, "act", None)),
        f"policy {name!r} has no method act(observation); give it one that returns integer slates [B, K]",
    )
    return _CustomPolicy(world, agent)


def _trained_policy(name: str, deterministic: bool, device: str) -> tuple[BehaviorPolicy, World]:
    # Only such a policy needs torch.
    from agents import AgentBehavior, load_policy
    from agents.serving.behavior_adapter import AgentConfig

    actor = load_policy(name, device)
    if actor.space.session is None:
        raise InvalidInput(
            f"policy {name} was trained on a log of no simulated world and cannot be rolled out; estimate its worth "
            "from its log with `recsession ope`"
        )
    world = actor.space.world()
    return AgentBehavior(world, AgentConfig(deterministic=deterministic), actor=actor), world


class _CustomPolicy(BehaviorPolicy):
    """A caller's own `act(observation) -> slates` in the behavior policies' protocol; it has no log-probability."""

    Config = type(None)

    def __init__(self, world: World, agent: Any) -> None:
        super().__init__(world, None, "slate")
        self.agent = agent

    @property
    def num_draws(self) -> int:
        return 0

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        count = len(view.steps)
        shape = (count, self.world.config.slate_size)
        slates = self.agent.act(view.observation)
        try:
            slates = check_slates(slates, shape, self.world.catalog.num_items)
        except InvalidInput as error:
            raise InvalidInput(f"{home_of(type(self.agent))} returns a {type(slates).__name__}: {error}") from error
        return Decision(slates, np.full(count, np.nan), None, np.zeros(count, np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        raise InvalidInput("a policy of the caller's own has no log-probability; it can be rolled out, not weighted")
