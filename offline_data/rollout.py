"""Sessions played to their end by a behavior policy: the one engine under logging, scoring and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offline_data.behavior import BehaviorPolicy, SessionView
from recenv.errors import require
from recenv.random_streams import BEHAVIOR, uniforms
from recenv.session_batch import SessionBatch
from recenv.world import World


@dataclass(frozen=True)
class SessionRows:
    """Sessions as flat rows, ordered by session and step.

    Attributes:
        offsets: [S + 1] int64; session s has the rows offsets[s] to offsets[s + 1].
        profile: [S, d] float32, the observed profile of each session.
        columns: row columns by name, each with leading axis N = offsets[-1].
    """

    offsets: np.ndarray
    profile: np.ndarray
    columns: dict[str, np.ndarray]

    def session_returns(self) -> np.ndarray:
        """Return the undiscounted sum of rewards of each session, [S] float64."""
        return np.add.reduceat(self.columns["reward"], self.offsets[:-1])


def play_sessions(
    world: World,
    policy: BehaviorPolicy,
    session_seeds: np.ndarray,
    behavior_seeds: np.ndarray,
    *,
    rewards_only: bool = False,
) -> SessionRows:
    """Return episode 0 of each session seed, played to its end.

    A session is a function of its two seeds; which others it is played with does not change a bit of it.

    Args:
        world: the world.
        policy: who acts.
        session_seeds: [S] uint64, the users.
        behavior_seeds: [S] uint64, the policy's luck.
        rewards_only: keep no column but `reward`, for scoring.

    Returns:
        Rows with `step`, `slate` [N, K], `shown` [N, K], `feedback` [N, K, F], `reward_vector` [N, M], `reward`,
        `terminated`, `truncated`, `behavior_log_prob`, `component`, `proto` [N, d] or `prefix_log_prob` [N, K] by the
        kind of action, and, in a world of days, `day` and `session_number` as they were before the action.

    Raises:
        InvalidInput: for no session.
    """
    require(len(session_seeds) > 0, "session_seeds is empty; give at least one session")
    batch = SessionBatch(world, len(session_seeds))
    sessions = np.arange(len(session_seeds))
    batch.start(sessions, session_seeds, np.zeros(len(sessions), np.uint64))
    profile = batch.profile.copy()
    memory = np.zeros((len(sessions), policy.num_memory))
    pieces: list[dict[str, np.ndarray]] = []
    while len(sessions):
        view = SessionView.of(batch)
        steps = batch.steps.astype(np.int32)
        calendar = {name: batch.state[name].copy() for name in ("day", "session_number") if name in batch.state}
        draws = uniforms(behavior_seeds[sessions], BEHAVIOR, batch.episodes, batch.steps, policy.num_draws)
        decision = policy.act(view, draws, memory)
        if policy.action_kind == "proto":
            slates = world.catalog.nearest_items(decision.action, world.config.slate_size, **view.offer)
        else:
            slates = decision.action
        outcome = batch.step(slates)
        piece = {"session": sessions, "step": steps, "reward": outcome.reward}
        if not rewards_only:
            piece |= calendar
            piece |= {
                "slate": slates,
                "shown": outcome.shown,
                "feedback": outcome.feedback,
                "reward_vector": outcome.reward_vector,
                "terminated": outcome.terminated,
                "truncated": outcome.truncated,
                "behavior_log_prob": decision.log_prob,
                "component": decision.component,
            }
            if decision.prefix_log_prob is not None:
                piece["prefix_log_prob"] = decision.prefix_log_prob
            if policy.action_kind == "proto":
                piece["proto"] = decision.action
        pieces.append(piece)
        if not batch.active.all():
            going_on = batch.active.copy()
            batch, sessions, memory = batch.take(going_on), sessions[going_on], memory[going_on]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.argsort(columns["session"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    counts = np.bincount(columns.pop("session"), minlength=len(session_seeds))
    return SessionRows(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), profile, columns)
