"""Sessions played to their end by a behavior policy: the one engine under logging, scoring and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import BehaviorPolicy, Decision, SessionView
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput, require
from recenv.outside_code import home_of, is_outside
from recenv.random_streams import BEHAVIOR, uniforms
from recenv.world import World

# Their state and the policy's scratch stay in the cache; a session that ends makes room for the next.
SESSIONS_AT_ONCE: Final = 2048


@dataclass(frozen=True)
class SessionRows:
    """Sessions as flat rows, ordered by session and step."""

    offsets: np.ndarray
    """[S + 1] int64; session s has the rows offsets[s] to offsets[s + 1]."""
    profile: np.ndarray
    """[S, d] float32, the observed profile of each session."""
    columns: dict[str, np.ndarray]
    """Row columns by name, each with leading axis N = offsets[-1]."""

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
        session_seeds: [S] uint64, of the users.
        behavior_seeds: [S] uint64, of the policy's draws.
        rewards_only: keep no column but `reward`, for scoring.

    Returns:
        Rows with `step`, `slate` [N, K], `shown` [N, K], `feedback` [N, K, F], `reward_vector` [N, M], `reward`,
        `terminated`, `truncated`, `behavior_log_prob`, `component`, `proto` [N, d] or `prefix_log_prob` [N, K] by the
        kind of action, and, in a world of days, `day` and `session_number` as they were before the action.

    Raises:
        InvalidInput: for no session.
    """
    count, zero = len(session_seeds), np.zeros(len(session_seeds), np.uint64)
    require(count > 0, "session_seeds is empty; give at least one session")
    sessions = np.arange(min(count, SESSIONS_AT_ONCE))  # the session in each place of the batch
    begun = len(sessions)
    batch = SessionBatch(world, begun)
    batch.start(sessions, session_seeds[sessions], zero[sessions])
    profile = np.empty((count, world.catalog.embedding_dim), np.float32)
    profile[sessions] = batch.profile
    memory = np.zeros((begun, policy.num_memory))
    slates = np.full((begun, world.config.slate_size), -1, np.int32)
    pieces: list[dict[str, np.ndarray]] = []
    while len(sessions):
        view = SessionView.of(batch, slates)
        steps = batch.steps.astype(np.int32)
        calendar = {name: batch.state[name].copy() for name in ("day", "session_number") if name in batch.state}
        draws = uniforms(behavior_seeds[sessions], BEHAVIOR, batch.episodes, batch.steps, policy.num_draws)
        policy.remember(view, memory)
        decision = policy.act(view, draws, memory)
        _check_decision(policy, decision, len(sessions))
        if policy.action_kind == "proto":
            slates = world.catalog.nearest_items(decision.action, world.config.slate_size, **view.offer)
        else:
            slates = decision.action
        try:
            outcome = batch.step(slates)
        except InvalidInput as error:
            if not is_outside(type(policy).__module__):
                raise
            raise InvalidInput(f"{home_of(type(policy))}: {error}") from error
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
        ended = np.flatnonzero(~batch.active)
        if len(ended):
            # What is in a piece stays as it is: arrays that are written on are copied.
            sessions, slates = sessions.copy(), slates.copy()
            indices, fresh = ended[: count - begun], np.arange(begun, min(begun + len(ended), count))
            batch.start(indices, session_seeds[fresh], zero[fresh])
            sessions[indices], profile[fresh] = fresh, batch.profile[indices]
            memory[indices], slates[indices] = 0.0, -1
            begun += len(fresh)
            if len(fresh) < len(ended):
                going_on = batch.active.copy()
                batch, sessions = batch.take(going_on), sessions[going_on]
                memory, slates = memory[going_on], slates[going_on]
    return _in_order(pieces, count, profile)


def _check_decision(policy: BehaviorPolicy, decision: Any, count: int) -> None:
    """Refuse a decision that another than `Decision` says, or of other shapes: some of them NumPy would stretch."""
    shapes = "no Decision"
    if isinstance(decision, Decision):
        width = policy.world.config.slate_size if policy.action_kind == "slate" else policy.world.catalog.embedding_dim
        prefix = (count, width) if policy.action_kind == "slate" and decision.prefix_log_prob is not None else None
        components = ((count,), (count, width))
        found = [getattr(values, "shape", None) for values in vars(decision).values()]
        if found[:3] == [(count, width), (count,), prefix] and found[3] in components:
            return
        shapes = f"arrays of the shapes {', '.join(map(str, found))}"
    raise InvalidInput(
        f"{home_of(type(policy))} acts by {shapes} in {count} sessions of {policy.action_kind} actions; return what "
        "`Decision` says"
    )


def _in_order(pieces: list[dict[str, np.ndarray]], num_sessions: int, profile: np.ndarray) -> SessionRows:
    """Return the steps of many sessions as rows ordered by session and step."""
    lengths = np.zeros(num_sessions, np.int64)
    for piece in pieces:
        lengths[piece["session"]] += 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = [offsets[piece["session"]] + piece["step"] for piece in pieces]
    columns = {}
    for name, values in pieces[0].items():
        if name != "session":
            columns[name] = np.empty((offsets[-1], *values.shape[1:]), values.dtype)
            for piece, places in zip(pieces, rows, strict=True):
                columns[name][places] = piece[name]
    return SessionRows(offsets, profile, columns)
