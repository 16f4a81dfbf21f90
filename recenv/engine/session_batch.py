"""The engine under every environment and every collection: a batch of sessions of one world, stepped together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.engine.session_history import SessionHistory
from recenv.engine.slates import check_slates, fill_taste, fill_utilities, show
from recenv.errors import require
from recenv.kernels import njit
from recenv.outside_code import home_of, is_outside
from recenv.random_streams import INITIAL, USER, fill_uniforms, normals, uniforms
from recenv.world import World

Observation = dict[str, np.ndarray]

_USER: Final = np.uint64(USER)
# As objects: numpy looks a dtype up anew for each array that is asked for by its type.
_BOOL, _INT, _FLOAT = np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.float32)

# Sessions that are stepped together, by one thread: enough that neither Python's part nor waking a thread counts.
BLOCK_SIZE: Final = 4096


@dataclass(slots=True)
class StepOutcome:
    """What one step of B sessions gave.

    Examples:
        >>> from recenv import SessionConfig, StepOutcome, make_world
        >>> outcome = StepOutcome.of(make_world(SessionConfig()), num_sessions=4)
        >>> outcome.feedback.shape, outcome.reward_vector.shape
        ((4, 10, 3), (4, 3))
    """

    shown: np.ndarray
    """[B, K] bool, positions that showed an item."""
    feedback: np.ndarray
    """[B, K, F] float32."""
    reward_vector: np.ndarray
    """[B, M] float32."""
    reward: np.ndarray
    """[B] float64, the weighted sum."""
    terminated: np.ndarray
    """[B] bool, the user left."""
    truncated: np.ndarray
    """[B] bool, `max_steps` were reached and the user had not left."""

    @staticmethod
    def of(world: World, num_sessions: int) -> StepOutcome:
        """Return an outcome to be written: feedback and rewards are zero.

        Args:
            world: the world.
            num_sessions: B.
        """
        shape = num_sessions, world.config.slate_size
        return StepOutcome(
            np.empty(shape, _BOOL),
            np.zeros((*shape, world.num_feedback), _FLOAT),
            np.zeros((num_sessions, world.num_rewards), _FLOAT),
            np.zeros(num_sessions),
            np.empty(num_sessions, _BOOL),
            np.empty(num_sessions, _BOOL),
        )

    def rows(self, indices: slice) -> StepOutcome:
        """Return views of some sessions."""
        return StepOutcome(*(getattr(self, f.name)[indices] for f in fields(self)))


class SessionBatch:
    """B sessions of one world, each with its own seed, episode number and step.

    Every session is a pure function of (world, seed, episode, slates): its place in the batch, the batch's size and the
    number of threads do not touch a bit of it. A session that has ended stays as it is, and gets zeros, until `start`
    begins another in its place.

    Args:
        world: the world.
        num_sessions: B, at least 1.
        num_threads: threads that share the blocks of a step; the kernels run without the interpreter's lock. A batch of
            one block has work for one.

    Examples:
        >>> import numpy as np
        >>> from recenv import SessionBatch, SessionConfig, make_world
        >>> batch = SessionBatch(make_world(SessionConfig()), num_sessions=2)
        >>> batch.start(np.arange(2), np.array([7, 8], np.uint64), np.zeros(2, np.uint64))
        >>> outcome = batch.step(np.array([range(10), range(10, 20)]))
        >>> outcome.reward.shape, batch.observe()["clock"][:, 0]
        ((2,), array([0.02, 0.02], dtype=float32))
    """

    def __init__(self, world: World, num_sessions: int, num_threads: int = 1) -> None:
        config = world.config
        self.world = world
        self.num_sessions = num_sessions
        self.num_threads = num_threads
        self.seeds = np.zeros(num_sessions, np.uint64)
        self.episodes = np.zeros(num_sessions, np.uint64)
        self.steps = np.zeros(num_sessions, np.uint64)
        self.active = np.zeros(num_sessions, np.bool_)
        self.profile = np.zeros((num_sessions, world.catalog.embedding_dim), np.float32)
        self.history = SessionHistory.empty(num_sessions, config.history_length, world.num_feedback - 1)
        num_candidates = world.supply.num_candidates
        self.candidates = None if num_candidates is None else np.full((num_sessions, num_candidates), -1, np.int32)
        self.state: State = {
            name: np.zeros((num_sessions, *shape), dtype) for name, (shape, dtype) in world.state_layout.items()
        }
        self._divide()

    def _divide(self) -> None:
        starts = range(0, self.num_sessions, BLOCK_SIZE)
        self._blocks = [_Block(self, slice(start, min(start + BLOCK_SIZE, self.num_sessions))) for start in starts]
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0

    def __getstate__(self) -> dict[str, Any]:
        # Blocks are views of the arrays, and a pool of threads is no data.
        return {name: value for name, value in vars(self).items() if name not in ("_blocks", "_pool", "_pool_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._divide()

    def _each_block(self, work: Callable[[_Block], object]) -> None:
        if self.num_threads == 1 or len(self._blocks) == 1:
            for block in self._blocks:
                work(block)
            return
        if self._pool is None or self._pool_process != os.getpid():
            # A fork copies the pool, and none of its threads.
            self._pool, self._pool_process = ThreadPoolExecutor(self.num_threads - 1, "recsession"), os.getpid()
        left = iter(self._blocks)

        def take_blocks() -> None:
            for block in left:
                work(block)

        others = [self._pool.submit(take_blocks) for _ in range(self.num_threads - 1)]
        try:
            take_blocks()
        finally:
            wait(others)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads, if there are any; the next step would begin them again."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def start(
        self, indices: np.ndarray, seeds: np.ndarray, episodes: np.ndarray, given: Mapping[int, State] | None = None
    ) -> None:
        """Begin new sessions at the given places.

        Args:
            indices: [n] int indices into the batch.
            seeds: [n] uint64 session seeds.
            episodes: [n] episode numbers below 2**32.
            given: parts of the hidden state with which the session at an index begins, checked; what is not given is
                drawn, and the profile is seen of the interest that it then has.
        """
        model, pieces, dim = self.world.user_model, self.world.pieces, self.world.catalog.embedding_dim
        first, even, spread = model.num_initial_draws(), dim + dim % 2, self.world.config.profile_noise
        # The pieces' draws lie behind those of the profile's noise; nobody asks for them where neither is on.
        further = even + pieces.num_initial_draws if spread > 0.0 or pieces.num_initial_draws else 0
        draws = uniforms(seeds, INITIAL, episodes, np.zeros(len(indices)), first + further)
        state = model.start(draws[:, :first])
        state |= pieces.start(draws[:, first + even :])
        for row, place in enumerate(indices.tolist() if given else ()):
            for name, values in given.get(place, {}).items():  # type: ignore[union-attr]
                state[name][row] = values
        seen = state["interest"]
        if spread > 0.0:
            seen = seen + spread * normals(draws[:, first : first + even])[:, :dim]
        # One session's place as a slice, which numpy assigns to several times as fast as by an array.
        places = slice(int(indices[0]), int(indices[0]) + 1) if len(indices) == 1 else indices
        self.profile[places] = np.minimum(np.maximum(seen, -1.0), 1.0)
        for name, values in state.items():
            self.state[name][places] = values
        self.seeds[places] = seeds
        self.episodes[places] = episodes
        self.steps[places] = 0
        self.active[places] = True
        self.history.clear(places)
        if self.candidates is not None:
            offered = np.empty((len(indices), self.candidates.shape[1]), np.int32)
            day = state["day"] if self.world.supply.freshness is not None else None
            self.world.supply.draw(self.seeds[indices], self.episodes[indices], self.steps[indices], day, offered)
            self.candidates[indices] = offered

    def step(self, slates: np.ndarray) -> StepOutcome:
        """Show a slate to each active session and move it one step.

        Args:
            slates: [B, K] integers in [0, N); a repeated item is shown at its first position only, and an item that the
                step does not offer at none.

        Raises:
            InvalidInput: for a wrong shape, a dtype that is not an integer, or an id outside the catalogue.
        """
        shape = (self.num_sessions, self.world.config.slate_size)
        return self.advance(check_slates(slates, shape, self.world.catalog.num_items))

    def advance(self, slates: np.ndarray) -> StepOutcome:
        """Do as `step` does with slates that `check_slates` has returned.

        Args:
            slates: [B, K] int32 or int64, C-ordered, in [0, N).
        """
        outcome = StepOutcome.of(self.world, self.num_sessions)
        if len(self._blocks) == 1:
            self._blocks[0].step(slates, outcome)
        else:
            self._each_block(lambda block: block.step(slates[block.indices], outcome.rows(block.indices)))
        return outcome

    def observe(self) -> Observation:
        """Return fresh arrays of what the agent sees; see `session_env.observation_space`."""
        world, windows = self.world, (self.num_sessions, self.world.config.history_length)
        told = (
            np.empty(windows, _INT),
            np.empty((*windows, world.num_feedback - 1), _FLOAT),
            np.empty((self.num_sessions, 2), _FLOAT),
        )
        if len(self._blocks) == 1:
            self._blocks[0].observe(*told)
        else:
            self._each_block(lambda block: block.observe(*(values[block.indices] for values in told)))
        observation: Observation = {"profile": self.profile.copy()}
        observation["history_items"], observation["history_feedback"], observation["clock"] = told
        if world.pieces.has_calendar:
            observation["calendar"] = world.pieces.calendar(self.state["day"], self.state.get("session_number"))
        if self.candidates is not None:
            observation["candidates"] = self.candidates.copy()
        elif world.supply.freshness is not None:
            observation["available"] = world.supply.available(self.state["day"])
        return observation

    def offered(self) -> np.ndarray:
        """Return which items each session's next step may show: [B, N] bool."""
        supply = self.world.supply
        if self.candidates is not None:
            offered = np.zeros((self.num_sessions, supply.num_items), _BOOL)
            sessions, places = np.nonzero(self.candidates >= 0)
            offered[sessions, self.candidates[sessions, places]] = True
            return offered
        if supply.freshness is not None:
            return supply.available(self.state["day"]).astype(_BOOL)
        return np.ones((self.num_sessions, supply.num_items), _BOOL)

    def take(self, indices: np.ndarray) -> SessionBatch:
        """Return a batch of copies of the sessions at `indices`, an index array or a mask."""
        taken = object.__new__(SessionBatch)
        vars(taken).update(self.__getstate__())
        taken.num_sessions = int(np.count_nonzero(indices)) if indices.dtype == np.bool_ else len(indices)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(taken, name, value[indices])
        taken.history = self.history.rows(indices)
        taken.state = {name: values[indices] for name, values in self.state.items()}
        taken._divide()
        return taken


class _Block:
    """Some neighbouring sessions of a batch: views of its arrays, and room for what passes between kernels."""

    def __init__(self, batch: SessionBatch, indices: slice) -> None:
        world, config = batch.world, batch.world.config
        self.indices = indices
        self.world = world
        self.seeds, self.episodes, self.steps = batch.seeds[indices], batch.episodes[indices], batch.steps[indices]
        self.active, self.history = batch.active[indices], batch.history.rows(indices)
        self.candidates = None if batch.candidates is None else batch.candidates[indices]
        self.state = {name: values[indices] for name, values in batch.state.items()}
        self.reward_weights = world.reward_weights
        count, max_clicks = len(self.seeds), world.user_model.max_clicks
        self.shown_items = np.empty((count, config.slate_size), np.int32)
        self.taste = np.empty((count, world.catalog.embedding_dim), np.float32)
        self.utilities = np.empty((count, config.slate_size), np.float32)
        self.clicked = np.empty((count, max_clicks), np.int16)
        self.wanted = np.empty((count, max_clicks))
        self.benefit = np.empty((count, max_clicks))
        self.returned = np.zeros(count, np.bool_)
        # A step's uniforms: the choice model's, the user model's, the pieces'.
        num_choice = world.choice.num_draws(config.slate_size)
        num_response = world.user_model.num_response_draws()
        self.draws = np.empty((count, num_choice + num_response + world.pieces.num_draws))
        self.response_draws = self.draws[:, num_choice:]
        parts = (world.choice, world.user_model, *world.pieces.on.values())
        self.doubted = [type(part) for part in parts if is_outside(type(part).__module__)]

    def step(self, slates: np.ndarray, outcome: StepOutcome) -> None:
        world, state = self.world, self.state
        shown_items, utilities, clicked = self.shown_items, self.utilities, self.clicked
        catalog, model, pieces, supply = world.catalog, world.user_model, world.pieces, world.supply
        show(slates, self.active, shown_items, outcome.shown)
        if supply.limited:
            supply.hide(shown_items, outcome.shown, self.candidates, state.get("day"))
        fill_taste(state["interest"], model.affinity_weight, self.taste)
        pieces.add_taste(state, self.taste)
        fill_utilities(self.taste, catalog.embeddings, model.item_utility, shown_items, utilities)
        pieces.add_utility(state, shown_items, utilities)
        model.adjust(state, shown_items, utilities)
        fill_uniforms(self.seeds, _USER, self.episodes, self.steps, self.draws)
        world.choice.choose(utilities, self.draws, clicked)
        if self.doubted and clicked.size:  # kernels take positions as they are, and would write anywhere
            low, high, last = clicked.min(), clicked.max(), utilities.shape[1] - 1
            what = f"{home_of(type(world.choice))} clicks at positions {low} to {high}"
            require(low >= -1 and high <= last, f"{what}; choose from [0, {last}], or -1 for none")
        response = Response(
            shown_items,
            clicked,
            self.response_draws,
            self.active,
            outcome.feedback,
            outcome.reward_vector,
            self.wanted,
            self.benefit,
            outcome.terminated,
            self.returned,
        )
        model.respond(state, response)
        pieces.settle(state, response)
        if self.doubted:
            is_sound = np.isfinite(outcome.reward_vector).all() and np.isfinite(outcome.feedback).all()
            what = f"a reward or an answer is no number in a world of {' and '.join(map(home_of, self.doubted))}"
            require(bool(is_sound), f"{what}; write finite ones")
        if pieces.has_calendar and np.count_nonzero(self.returned):
            pieces.resume(state, self.returned)
            model.resume(state, self.returned)
        self.history.append(shown_items, clicked, outcome.feedback, self.active)
        _finish(
            outcome.reward_vector,
            self.reward_weights,
            world.config.max_steps,
            self.steps,
            self.active,
            outcome.reward,
            outcome.terminated,
            outcome.truncated,
        )
        if self.candidates is not None:
            day = state["day"] if supply.freshness is not None else None
            supply.draw(self.seeds, self.episodes, self.steps, day, self.candidates)

    def observe(self, history_items: np.ndarray, history_feedback: np.ndarray, clock: np.ndarray) -> None:
        self.history.copy_windows(history_items, history_feedback)
        tell_time(self.steps, self.history.num_consumed, self.world.config.max_steps, clock)


@njit(cache=True, error_model="numpy", nogil=True)
def tell_time(steps, num_consumed, max_steps, clock):
    """Write the clock `[B, 2]` of observations: steps and consumed items `[B]` as shares of `max_steps`, at most 1."""
    for b in range(len(steps)):
        clock[b, 0] = min(1.0, np.float64(steps[b]) / max_steps)
        clock[b, 1] = min(1.0, np.float64(num_consumed[b]) / max_steps)


@njit(cache=True, error_model="numpy", nogil=True)
def _finish(reward_vector, reward_weights, max_steps, steps, active, reward, terminated, truncated):
    for b in range(len(steps)):
        truncated[b] = False
        if not active[b]:
            continue
        for m in range(reward_weights.shape[0]):
            reward[b] += reward_weights[m] * np.float64(reward_vector[b, m])
        steps[b] += np.uint64(1)
        truncated[b] = not terminated[b] and steps[b] >= np.uint64(max_steps)
        active[b] = not (terminated[b] or truncated[b])
