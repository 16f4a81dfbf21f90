"""Sessions played to their end by a behavior policy: the one engine under logging, scoring and evaluation.

Memory is bounded whatever is asked for: so many sessions are in flight as `FLIGHT_BYTES` hold, and a call whose rows
would exceed `ROW_BYTES` gives up, to be made again for half of the sessions. Neither changes a bit of a session.
"""

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
FLIGHT_BYTES: Final = 1 << 27
"""Of the sessions in flight and of what a policy weighs for them, about."""
ROW_BYTES: Final = 160 << 20
"""Of the rows of one call."""
_PIECES: Final = 512
"""Steps whose rows are put together: of a few sessions, the arrays themselves would take more than what is in them."""


class TooManyRows(InvalidInput):
    """The rows of these sessions do not fit into memory; fewer sessions may."""


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


@dataclass(frozen=True)
class SessionRewards:
    """What sessions earned, [S] float64 each."""

    first: np.ndarray
    """The reward of the first step."""
    total: np.ndarray
    """The undiscounted sum of rewards."""


def play_rewards(
    world: World, policy: BehaviorPolicy, session_seeds: np.ndarray, behavior_seeds: np.ndarray
) -> SessionRewards:
    """Return the rewards of sessions, in memory that does not grow with their length; see `play_sessions`."""
    try:
        played = play_sessions(world, policy, session_seeds, behavior_seeds, rewards_only=True)
        return SessionRewards(played.columns["reward"][played.offsets[:-1]], played.session_returns())
    except TooManyRows:
        if len(session_seeds) == 1:
            raise
    middle = len(session_seeds) // 2
    parts = [
        play_rewards(world, policy, session_seeds[half], behavior_seeds[half])
        for half in (slice(middle), slice(middle, None))
    ]
    return SessionRewards(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "total")))


def halves(sessions: range) -> tuple[range, range]:
    """Return the two halves of a range of sessions."""
    middle = sessions.start + len(sessions) // 2
    return range(sessions.start, middle), range(middle, sessions.stop)


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
        TooManyRows: if the rows exceed `ROW_BYTES`.
    """
    count, zero = len(session_seeds), np.zeros(len(session_seeds), np.uint64)
    require(count > 0, "session_seeds is empty; give at least one session")
    sessions = np.arange(min(count, _sessions_at_once(world, policy)))  # the session in each place of the batch
    begun = len(sessions)
    batch = SessionBatch(world, begun)
    batch.start(sessions, session_seeds[sessions], zero[sessions])
    profile = np.empty((count, world.catalog.embedding_dim), np.float32)
    profile[sessions] = batch.profile
    memory = np.zeros((begun, policy.num_memory))
    slates = np.full((begun, world.config.slate_size), -1, np.int32)
    pieces: list[dict[str, np.ndarray]] = []
    held = joined = 0
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
        held += sum(values.nbytes for values in piece.values())
        if held > ROW_BYTES:
            raise _too_many_rows(world, piece, count)
        if len(pieces) - joined == _PIECES:
            # The pieces from there on become one; those of a full batch are worth little more together than apart.
            pieces[joined:] = [{name: np.concatenate([each[name] for each in pieces[joined:]]) for name in piece}]
            joined += 1
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


def _sessions_at_once(world: World, policy: BehaviorPolicy) -> int:
    """Return how many sessions are played together, by what one of them takes of `FLIGHT_BYTES`, about."""
    config, catalog = world.config, world.catalog
    state = SessionBatch(world, 1)
    engine = sum(values.nbytes for values in (*state.state.values(), state.history.items, state.history.feedback))
    weighed = config.num_candidates or 0
    weighed += 3 * catalog.num_items  # a policy may weigh every item, and take exponentials of that
    drawn = policy.num_memory + policy.num_draws + config.slate_size * (4 + world.num_feedback) + weighed
    each = 4 * engine + 8 * (drawn + 8 * catalog.embedding_dim)
    return max(1, min(SESSIONS_AT_ONCE, FLIGHT_BYTES // each))


def _too_many_rows(world: World, piece: dict[str, np.ndarray], count: int) -> TooManyRows:
    each = sum(values.nbytes for values in piece.values()) // len(piece["step"])
    config, who = world.config, "a session has" if count == 1 else f"{count:,} sessions have"
    return TooManyRows(
        f"{who} more than {ROW_BYTES // each:,} steps of {each:,} bytes, and these do not fit into memory; lower "
        f"max_steps={config.max_steps} or slate_size={config.slate_size}"
    )


def _in_order(pieces: list[dict[str, np.ndarray]], num_sessions: int, profile: np.ndarray) -> SessionRows:
    """Return the steps of many sessions as rows ordered by session and step."""
    lengths = np.zeros(num_sessions, np.int64)
    for piece in pieces:
        lengths += np.bincount(piece["session"], minlength=num_sessions)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = [offsets[piece.pop("session")] + piece["step"] for piece in pieces]
    columns = {}
    for name, values in list(pieces[0].items()):
        columns[name] = np.empty((offsets[-1], *values.shape[1:]), values.dtype)
        for piece, places in zip(pieces, rows, strict=True):
            columns[name][places] = piece.pop(name)
    return SessionRows(offsets, profile, columns)


def check_propensities(behavior: Any, rows: dict[str, np.ndarray]) -> None:
    """Refuse what a behavior policy of a caller's own cannot mean by its log-probabilities.

    Args:
        behavior: its spec, for messages.
        rows: what was played, by name.

    Raises:
        InvalidInput: naming the first that cannot be.
    """
    log_prob, prefix = rows["behavior_log_prob"], rows.get("prefix_log_prob")
    require(
        bool(np.isfinite(log_prob).all()),
        f"behavior {behavior!r} acts, and gives log_prob={log_prob[~np.isfinite(log_prob)][:1]} for it; "
        "return the log-probability of what was done, in nats",
    )
    if prefix is not None:
        # A probability of 1 may come out of a log-sum-exp an ulp above it.
        wrong = (log_prob > 1e-9) | (log_prob != prefix[:, -1]) | (np.diff(prefix, axis=1, prepend=0.0) > 1e-9).any(1)
        require(
            not wrong.any(),
            f"behavior {behavior!r} gives log_prob={log_prob[wrong][:1]} with prefix_log_prob="
            f"{prefix[wrong][:1]}; return what falls from item to item and ends at log_prob, both at most 0",
        )
