"""What a policy is worth: rolled out in the simulator, or as arrays for off-policy evaluation from a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from agents.values.fitted_q import expected_value, fit_action_value, require_fit, usual_fitted_q
from offline_data.dial.quality import evaluate_returns
from offline_data.families import ESTIMATORS
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.folds import session_folds
from offline_data.ope.sessions import FEATURE_COLUMNS, MODEL_COLUMNS, WEIGHTED_COLUMNS, LoggedSessions
from offline_data.ope.weights import variance_weights
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import session_blocks
from recenv.errors import require, require_range
from recenv.world import World

MAX_FOLDS: Final = 100
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


def fold_config(config: CriticConfig, num_folds: int) -> CriticConfig:
    """Return how the Q of each fold is fitted: its share of the gradient steps, in as many rounds.

    Args:
        config: of one Q that is fitted to the whole log.
        num_folds: of `policy_columns`.
    """
    return replace(config, steps_per_round=-(-config.steps_per_round // num_folds))


def num_steps(estimators: Iterable[str | type[Estimator]], config: CriticConfig, num_folds: int = 1) -> int:
    """Return the gradient steps of all Qs that `policy_columns` fits for some estimators.

    Args:
        estimators: by name, MODULE:CLASS or class.
        config: of the fitted Q evaluation.
        num_folds: of `policy_columns`.
    """
    return num_fits(estimators) * num_folds * fold_config(config, num_folds).num_steps


def off_policy_sessions(
    policy: Policy,
    dataset: LoggedDataset,
    *,
    estimators: Iterable[str | type[Estimator]] | None = None,
    config: CriticConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
    num_folds: int = 1,
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
        num_folds: of the log's users, or of its sessions where each user has one. What a Q says of a fold's rows is
            said by one that was fitted to the other folds, so that the errors that `dr`, `wdr` and `drl` make their
            intervals of are those of a stranger. Together they take the steps of one. 1: a Q judges the rows that it
            was fitted to.

    Raises:
        InvalidInput: for a log of the other kind of action, of another catalogue, of fewer users than folds, or without
            the propensities by which one of `estimators` weighs.
    """
    columns = policy_columns(
        policy,
        dataset,
        estimators=estimators,
        config=config,
        seed=seed,
        device=device,
        progress=progress,
        num_folds=num_folds,
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
    num_folds: int = 1,
) -> dict[str, np.ndarray]:
    """Return what a policy, and a model fitted to its values, say of a log's rows, [N] float64 each.

    Args and what is refused are those of `off_policy_sessions`.

    Returns:
        `target_log_prob`, `q_value` and `state_value` where one of the estimators reads a model, the same of a second
        one, weighted by `variance_weights`, where one reads that, and of what they need of `state_features` [N, D],
        which are what the model's encoder makes of the observation, `action_features` and `policy_features`
        [N, 1 + H], which are 1 and what its last layer reads of the logged action, and the mean of the same over the
        policy's: Q is linear in them, and they know the time, which an observation shows. With folds they are, of all
        rows, those of the first one's model: what is solved for in features needs the same ones everywhere.
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
    require_range("num_folds", num_folds, 1, MAX_FOLDS, integer=True)
    needed, read = _needed(asked), models_read(asked)
    folds = _Folds(dataset, num_folds, seed) if read else None
    config = fold_config(config or usual_fitted_q(dataset), num_folds)

    def fitted(row_weights: np.ndarray | None = None) -> list[ValueEnsemble]:
        assert folds is not None, "a model is read"
        options = {"seed": seed, "device": device, "progress": progress, "row_weights": row_weights}
        return [fit_action_value(dataset, policy, config, fitted_to=rows, **options) for rows in folds.others()]

    values = fitted() if _shared(read) else []
    found = _target_columns(policy, values, folds, needed, dataset, seed, device)
    if "weighted" in read:
        weights, _ = variance_weights(log_sessions(dataset, found, discount=config.discount))
        weighted = _target_columns(policy, fitted(weights), folds, frozenset(), dataset, seed, device)
        found |= dict(zip(WEIGHTED_COLUMNS, (weighted[name] for name in MODEL_COLUMNS), strict=True))
    return found


def _shared(read: Sequence[str]) -> bool:
    """Return whether any of it is of the Q that all but `mrdr` share."""
    return any(kind != "weighted" for kind in read)


class _Folds:
    """Which rows are judged by which model, and which it learns from; see `off_policy_sessions`.

    Args:
        dataset: the log.
        num_folds: how many; a single one learns from what it judges.
        seed: of who is in which.

    Raises:
        InvalidInput: for fewer users than folds.
    """

    def __init__(self, dataset: LoggedDataset, num_folds: int, seed: int) -> None:
        self._count, self._of_row = num_folds, mapped_column(dataset.num_rows, dtype=np.int8).numpy()
        if num_folds > 1:
            fold = session_folds(dataset.num_sessions, num_folds, seed, np.asarray(dataset.sessions["user_id"]))
            for block in session_blocks(dataset):
                self._of_row[block.rows] = np.repeat(fold[block.sessions], block.lengths)

    def others(self) -> Iterator[np.ndarray | None]:
        """Yield the rows that each fold's model learns from, [n]; None for all."""
        for which in range(self._count):
            yield None if self._count == 1 else np.flatnonzero(self._of_row != which)

    def among(self, rows: np.ndarray) -> Iterator[Any]:
        """Yield which of some rows each fold's model judges: an index."""
        for which in range(self._count):
            yield slice(None) if self._count == 1 else np.flatnonzero(self._of_row[rows] == which)


def _needed(estimators: Iterable[type[Estimator]]) -> frozenset[str]:
    return frozenset[str]().union(*(part.needs for part in estimators))


@torch.no_grad()
def _target_columns(
    policy: Policy,
    values: Sequence[ValueEnsemble],
    folds: _Folds | None,
    needed: frozenset[str],
    dataset: LoggedDataset,
    seed: int,
    device: str,
) -> dict[str, np.ndarray]:
    """Return log pi(a | o), and by a model Q(o, a) and the mean of Q(o, .) over 16 actions, [N] float64 each, by name.

    The actions are the policy's, cut to as many items as each row showed. Each fold's rows are asked of its model.
    Features are there where they are needed.
    """
    kind, generator = policy.action_kind, torch.Generator().manual_seed(seed)
    storage = LogStorage(dataset, columns=(kind,))
    found = {name: np.empty(dataset.num_rows) for name in ("target_log_prob", *(MODEL_COLUMNS if values else ()))}
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        batch = storage.get(rows).to(device)
        observation, action = batch["observation"], batch[kind]
        judged = action if kind == "proto" else widened(action, policy.space.slate_size)
        found["target_log_prob"][rows], _ = policy.judge(batch, np.asarray(judged.cpu()))
        if folds is None or not values:
            continue
        actions = cut_to(_sampled(policy, batch, generator), storage.shown(rows), dataset.slate_size)
        for value, there in zip(values, folds.among(rows), strict=True):
            if len(rows[there]):
                seen, asked = observation[there], rows[there]
                found["q_value"][asked] = value(seen, action[there]).cpu().numpy()
                found["state_value"][asked] = expected_value(value, seen, actions[:, there]).mean(dim=0).cpu().numpy()
        for name, features in _features(values[0], observation, action, actions, needed).items():
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
