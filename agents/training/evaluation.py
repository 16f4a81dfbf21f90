"""What a policy is worth: rolled out in the simulator, or as arrays for off-policy evaluation from a log."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from agents.batches.replay import LogStorage
from agents.nn.value_networks import ValueEnsemble
from agents.policies.base import Policy
from agents.policies.files import load_policy
from agents.serving.behavior_adapter import AgentBehavior, AgentConfig
from agents.values.critics import CriticConfig
from agents.values.fitted_q import expected_value, fit_action_value
from offline_data.behavior.base import BehaviorPolicy, Decision, SessionView
from offline_data.dial.quality import evaluate_returns
from offline_data.ope.sessions import LoggedSessions
from offline_data.store.dataset import LoggedDataset
from recenv.engine.slates import check_slates
from recenv.errors import InvalidInput, require
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

_ROWS_AT_ONCE = 8192
_ACTIONS = 16  # over which a policy's mean is taken


def roll_out(
    actor: Policy, world: World, num_sessions: int, seed: int, *, deterministic: bool, role: str = "evaluation"
) -> np.ndarray:
    """Return the session returns of a policy in the simulator, [num_sessions] float64.

    Args:
        actor: the policy.
        world: where it acts.
        num_sessions: fresh users.
        seed: root seed of users and policy draws.
        deterministic: act by the most probable action; otherwise sample.
        role: keeps different evaluations from sharing users.
    """
    policy = AgentBehavior(world, AgentConfig(deterministic=deterministic), actor=actor)
    return evaluate_returns(world, policy, num_sessions, seed, role)


def off_policy_sessions(
    policy: Policy,
    dataset: LoggedDataset,
    *,
    config: CriticConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> LoggedSessions:
    """Return the arrays from which `offline_data.estimate` finds the value of a policy, sampled, in a log of another.

    Args:
        policy: the target.
        dataset: a log of the policy's kind of action, and of its items.
        config: of the fitted Q evaluation; None for `FITTED_Q`.
        seed: of the fitted Q evaluation.
        device: of the networks, the policy's among them.
        progress: called with the number of gradient steps done since the last call.

    Raises:
        InvalidInput: for a log of the other kind of action, of another catalogue, or without the propensities.
    """
    require(
        dataset.propensities in ("exact", "estimated"),
        f"{dataset.path} has {dataset.propensities} propensities, and off-policy evaluation needs one for every row; "
        "collect without missing_propensities, or import with --estimate-propensities",
    )
    value = fit_action_value(dataset, policy, config, seed=seed, device=device, progress=progress)
    target_log_prob, q_value, state_value = _target_columns(policy, value, dataset, seed, device)
    return LoggedSessions(
        offsets=np.asarray(dataset.offsets),
        reward=dataset.reward(),
        behavior_log_prob=np.asarray(dataset.rows["behavior_log_prob"]),
        target_log_prob=target_log_prob,
        discount=1.0 if config is None else config.discount,
        q_value=q_value,
        state_value=state_value,
    )


@torch.no_grad()
def _target_columns(
    policy: Policy, value: ValueEnsemble, dataset: LoggedDataset, seed: int, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log pi(a | o), Q(o, a), and the mean of Q(o, .) over 16 actions of the policy, [N] float64 each."""
    kind, generator = policy.action_kind, torch.Generator().manual_seed(seed)
    storage = LogStorage(dataset, columns=(kind,))
    log_prob, q_value, state_value = (np.empty(dataset.num_rows) for _ in range(3))
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        batch = storage.get(rows).to(device)
        observation, action = batch["observation"], batch[kind]
        log_prob[rows], _ = policy.judge(batch, np.asarray(action.cpu()))
        q_value[rows] = value(observation, action).cpu().numpy()
        drawn = [_sampled(policy, batch, generator)]
        drawn += [_sampled(policy, batch, generator) for _ in range(_ACTIONS // len(drawn[0]) - 1)]
        actions = torch.stack(drawn, dim=1).flatten(0, 1)
        state_value[rows] = expected_value(value, observation, actions).mean(dim=0).cpu().numpy()
    return log_prob, q_value, state_value


def _sampled(policy: Policy, batch: TensorDictBase, generator: torch.Generator) -> torch.Tensor:
    return policy.cached_actions(policy.action_cache(batch, generator).to(policy.device), generator)


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
        slates = check_slates(self.agent.act(view.observation), shape, self.world.catalog.num_items)
        return Decision(slates, np.full(count, np.nan), None, np.zeros(count, np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        raise InvalidInput("a policy of the caller's own has no log-probability; it can be rolled out, not weighted")


def own_world_of(actor: Policy, name: str) -> World:
    """Return the simulated world that a policy was made for.

    Args:
        actor: the policy.
        name: what it is called in the message.

    Raises:
        InvalidInput: for a policy that was trained on a log that was read in.
    """
    if actor.space.session is None:
        raise InvalidInput(
            f"policy {name} was trained on a log of no simulated world and cannot be rolled out; estimate its worth "
            "from its log with `recsession ope`"
        )
    return make_world(actor.space.session)


def resolve_policy(
    name: str, *, deterministic: bool = True, device: str = "cpu", world: World | None = None
) -> tuple[BehaviorPolicy, World]:
    """Return the policy that a name means, and the world that it acts in.

    Args:
        name: a policy file of `recsession train`, or `module:Class`: a `BehaviorPolicy`, or a class without constructor
            arguments whose `act(observation)` returns integer slates [B, K] for observations with leading axis B.
        deterministic: of a trained policy: act by the mean; otherwise sample.
        device: of a trained policy.
        world: where a `module:Class` acts; None for the default world. A trained policy acts in its own.

    Raises:
        InvalidInput: if there is no such file, module or class, or the class cannot be made or has no `act`.
    """
    if ":" not in name or Path(name).exists():
        actor = load_policy(name, device)
        own_world = own_world_of(actor, name)
        return AgentBehavior(own_world, AgentConfig(deterministic=deterministic), actor=actor), own_world
    module_name, _, class_name = name.partition(":")
    world = make_world(SessionConfig()) if world is None else world
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise InvalidInput(
            f"policy {name!r}: cannot import {module_name!r} ({error}); pass MODULE:CLASS on the path"
        ) from error
    policy_class = getattr(module, class_name, None)
    if not isinstance(policy_class, type):
        raise InvalidInput(f"policy {name!r}: {module_name} has no class {class_name!r}; pass MODULE:CLASS")
    try:
        if issubclass(policy_class, BehaviorPolicy):
            return policy_class(world, policy_class.Config(), "slate"), world
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
    return _CustomPolicy(world, agent), world
