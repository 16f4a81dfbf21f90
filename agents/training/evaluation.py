"""What a policy is worth: rolled out in the simulator, or as arrays for off-policy evaluation from a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.batches.replay import LogStorage, mapped_column
from agents.nn.slates import cut_to, widened
from agents.nn.value_networks import ValueEnsemble
from agents.policies.base import Policy
from agents.serving.behavior_adapter import AgentBehavior, AgentConfig
from agents.training.log_columns import lacking
from agents.values.critics import CriticConfig
from agents.values.fitted_q import expected_value, fit_action_value, require_fit
from offline_data.dial.quality import evaluate_returns
from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import FEATURE_COLUMNS, MODEL_COLUMNS, WEIGHTED_COLUMNS, LoggedSessions
from offline_data.ope.weights import variance_weights
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require
from recenv.world import World

_ROWS_AT_ONCE = 1024  # features of 16 actions of each stay in the cache
_ACTIONS = 16  # over which a policy's mean is taken
_MODELS: Final = {
    "model": MODEL_COLUMNS,
    "states": ("state_features",),
    "features": ("action_features", "policy_features"),
    "weighted": WEIGHTED_COLUMNS,
}
_USUAL: Final = frozenset({"behavior_log_prob", *MODEL_COLUMNS, *FEATURE_COLUMNS})
_FILLED: Final = _USUAL.union(WEIGHTED_COLUMNS)  # by a fit of their own, where they are asked for


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


def usual_estimators() -> tuple[str, ...]:
    """Return the registered estimators that read no more than `off_policy_sessions` finds in any log by one fitted Q.

    `mrdr` is not among them: its Q is one more.
    """
    return tuple(name for name in ESTIMATORS.registered() if ESTIMATORS.get(name).needs <= _USUAL)


def models_read(estimators: Iterable[str | type[Estimator]]) -> tuple[str, ...]:
    """Return what some estimators read of fitted Qs: `model`, `states` and `features` of it, `weighted` of one more.

    Args:
        estimators: by name, MODULE:CLASS or class.
    """
    needed = _needed(ESTIMATORS.resolve(each) for each in estimators)
    return tuple(kind for kind, columns in _MODELS.items() if not needed.isdisjoint(columns))


def num_fits(estimators: Iterable[str | type[Estimator]]) -> int:
    """Return how many Qs are fitted for some estimators: one that most of them share, and that of `mrdr`.

    Args:
        estimators: by name, MODULE:CLASS or class.
    """
    read = models_read(estimators)
    return _shared(read) + ("weighted" in read)


def off_policy_sessions(
    policy: Policy,
    dataset: LoggedDataset,
    *,
    estimators: Iterable[str | type[Estimator]] | None = None,
    config: CriticConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> LoggedSessions:
    """Return the arrays from which `offline_data.estimate` finds the value of a policy, sampled, in a log of another.

    The sessions that a policy learned from flatter it: judge it by others, as `offline_data.split_log` sets them apart.
    `policy.learned_from` says which they are.

    Args:
        policy: the target.
        dataset: a log of the policy's kind of action, and of its items.
        estimators: what will be asked for, by name, MODULE:CLASS or class: where none reads a model, none is fitted.
            None for the `usual_estimators` that the log allows, which without propensities are those that weigh
            nothing.
        config: of the fitted Q evaluation; None for `FITTED_Q`, with fewer rounds for a small log of short sessions.
        seed: of the fitted Q evaluation.
        device: of the networks, the policy's among them.
        progress: called with the number of gradient steps done since the last call.

    Raises:
        InvalidInput: for a log of the other kind of action, of another catalogue, or without the propensities by which
            one of `estimators` weighs.
    """
    columns = policy_columns(
        policy, dataset, estimators=estimators, config=config, seed=seed, device=device, progress=progress
    )
    return log_sessions(dataset, columns, discount=1.0 if config is None else config.discount)


def log_sessions(dataset: LoggedDataset, columns: Mapping[str, np.ndarray], *, discount: float) -> LoggedSessions:
    """Return a log's sessions, their rewards, users and propensities, beside what a policy says of their rows.

    Args:
        dataset: the log; where it lacks the propensity of a row, none is given.
        columns: what `policy_columns` returned, of that log.
        discount: per step.
    """
    known = lacking("propensities", dataset) is None
    return LoggedSessions(
        offsets=np.asarray(dataset.offsets),
        reward=dataset.reward(),
        behavior_log_prob=np.asarray(dataset.rows["behavior_log_prob"]) if known else None,
        discount=discount,
        user_id=np.asarray(dataset.sessions["user_id"]),
        **columns,
    )


def policy_columns(
    policy: Policy,
    dataset: LoggedDataset,
    *,
    estimators: Iterable[str | type[Estimator]] | None = None,
    config: CriticConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> dict[str, np.ndarray]:
    """Return what a policy, and a model fitted to its values, say of a log's rows, [N] float64 each.

    Args and what is refused are those of `off_policy_sessions`.

    Returns:
        `target_log_prob`, `q_value` and `state_value` where one of the estimators reads a model, the same of a second
        one, weighted by `variance_weights`, where one reads that, and of what they need of `state_features` [N, D],
        which are what the model's encoder makes of the observation, `action_features` and `policy_features`
        [N, 1 + H], which are 1 and what its last layer reads of the logged action, and the mean of the same over the
        policy's: Q is linear in them, and they know the time, which an observation shows.
    """
    asked = [ESTIMATORS.resolve(each) for each in (usual_estimators() if estimators is None else estimators)]
    weighing = [ESTIMATORS.name_of(part) for part in asked if part.weighs()]
    for part in asked:
        require(
            part.needs <= _FILLED,
            f"{ESTIMATORS.name_of(part)} needs {', '.join(sorted(part.needs - _FILLED))}, which no log and no fitted Q "
            "gives; build `LoggedSessions` with it, or choose another estimator",
        )
    missing = lacking("propensities", dataset)
    require(
        missing is None or estimators is None or not weighing,
        f"{', '.join(weighing)} weigh by the propensity of every row of {dataset.path}, and {missing}; or choose dm",
    )
    require_fit(policy, dataset)
    needed, read = _needed(asked), models_read(asked)
    value, options = None, {"seed": seed, "device": device, "progress": progress}
    if _shared(read):
        value = fit_action_value(dataset, policy, config, **options)
    found = _target_columns(policy, value, needed, dataset, seed, device)
    if "weighted" in read:
        sessions = log_sessions(dataset, found, discount=1.0 if config is None else config.discount)
        weights, _ = variance_weights(sessions)
        value = fit_action_value(dataset, policy, config, row_weights=weights, **options)
        weighted = _target_columns(policy, value, frozenset(), dataset, seed, device)
        found |= dict(zip(WEIGHTED_COLUMNS, (weighted[name] for name in MODEL_COLUMNS), strict=True))
    return found


def _shared(read: Sequence[str]) -> bool:
    """Return whether any of it is of the Q that all but `mrdr` share."""
    return any(kind != "weighted" for kind in read)


def _needed(estimators: Iterable[type[Estimator]]) -> frozenset[str]:
    return frozenset[str]().union(*(part.needs for part in estimators))


@torch.no_grad()
def _target_columns(
    policy: Policy, value: ValueEnsemble | None, needed: frozenset[str], dataset: LoggedDataset, seed: int, device: str
) -> dict[str, np.ndarray]:
    """Return log pi(a | o), and by a model Q(o, a) and the mean of Q(o, .) over 16 actions, [N] float64 each, by name.

    The actions are the policy's, cut to as many items as each row showed. Features are there where they are needed.
    """
    kind, generator = policy.action_kind, torch.Generator().manual_seed(seed)
    storage = LogStorage(dataset, columns=(kind,))
    found = {name: np.empty(dataset.num_rows) for name in ("target_log_prob", *(MODEL_COLUMNS if value else ()))}
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        batch = storage.get(rows).to(device)
        observation, action = batch["observation"], batch[kind]
        judged = action if kind == "proto" else widened(action, policy.space.slate_size)
        found["target_log_prob"][rows], _ = policy.judge(batch, np.asarray(judged.cpu()))
        if value is None:
            continue
        found["q_value"][rows] = value(observation, action).cpu().numpy()
        actions = cut_to(_sampled(policy, batch, generator), storage.shown(rows), dataset.slate_size)
        found["state_value"][rows] = expected_value(value, observation, actions).mean(dim=0).cpu().numpy()
        for name, features in _features(value, observation, action, actions, needed).items():
            if name not in found:
                found[name] = mapped_column(dataset.num_rows, features.shape[1]).numpy()
            found[name][rows] = features.cpu().numpy()
    return found


def _features(
    value: ValueEnsemble, observation: TensorDictBase, action: Tensor, actions: Tensor, needed: frozenset[str]
) -> dict[str, Tensor]:
    """Return those features that are needed, by the first of the model's networks, [B, D] each."""
    network: Any = value.networks[0]
    one = torch.ones(*observation.batch_size, 1, device=action.device)
    found = {}
    if "state_features" in needed:
        found["state_features"] = network.features(observation)
    if not needed.isdisjoint(("action_features", "policy_features")):
        found["action_features"] = torch.cat([one, network.hidden(observation, action)], dim=1)
        found["policy_features"] = torch.cat([one, network.hidden(observation, actions).mean(dim=0)], dim=1)
    return found


def _sampled(policy: Policy, batch: TensorDictBase, generator: torch.Generator) -> Tensor:
    """Return actions of a policy, [P, B, ...]."""
    drawn: list[Tensor] = []
    while sum(map(len, drawn)) < _ACTIONS:
        if not (drawn and policy.draws_from_cache):
            cache = policy.action_cache(batch, generator).to(policy.device)
        drawn.append(policy.cached_actions(cache, generator))
    return torch.stack(drawn, dim=1).flatten(0, 1)
