"""The engine under every environment and every collection: a batch of sessions of one world, stepped together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from recenv.catalog import Catalog
from recenv.choice_models import ChoiceModel
from recenv.errors import InvalidInput, require
from recenv.random_streams import INITIAL, USER, fill_uniforms, normals, uniforms
from recenv.session_config import SessionConfig
from recenv.user_models import USER_MODELS, State, UserModel

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class World:
    """A catalogue and the parameters of the users: what `reset` never changes.

    Attributes:
        config: what fixes the world.
        catalog: the items.
        user_model: the users' dynamics.
        choice: how utilities become clicks.
    """

    config: SessionConfig
    catalog: Catalog
    user_model: UserModel
    choice: ChoiceModel

    @property
    def num_feedback(self) -> int:
        """F, feedback channels of a shown item."""
        return len(self.user_model.feedback_names)


def make_world(config: SessionConfig, items: Catalog | None = None) -> World:
    """Return the world of a config; worlds of a synthetic catalogue are made once a process and shared.

    Args:
        config: what fixes the world.
        items: the caller's own items instead of synthetic ones; `num_items` and `embedding_dim` follow them.

    Raises:
        InvalidInput: if `items` is not a `Catalog`, or has fewer items than the slate.
    """
    if items is None:
        return _synthetic_world(config)
    require(isinstance(items, Catalog), f"items={items!r} is not a Catalog; build one with Catalog.from_arrays(...)")
    return _assemble(config.override(num_items=items.num_items, embedding_dim=items.embedding_dim), items)


@lru_cache(maxsize=8)
def _synthetic_world(config: SessionConfig) -> World:
    return _assemble(config, Catalog.generate(config.catalog, config.world_seed))


def _assemble(config: SessionConfig, catalog: Catalog) -> World:
    model = USER_MODELS.get(config.user_model.name)
    return World(
        config, catalog, model(config.user_model, catalog, config.choice.max_clicks(config.slate_size)), config.choice
    )


@dataclass
class StepOutcome:
    """What one step of B sessions gave.

    Attributes:
        shown: [B, K] bool, positions that showed an item.
        feedback: [B, K, F] float32.
        reward_vector: [B, M] float32.
        reward: [B] float64, the weighted sum.
        terminated: [B] bool, the user left.
        truncated: [B] bool, `max_steps` were reached and the user had not left.
    """

    shown: np.ndarray
    feedback: np.ndarray
    reward_vector: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class SessionBatch:
    """B sessions of one world, each with its own seed, episode number and step.

    Every session is a pure function of (world, seed, episode, slates): its place in the batch, and the batch's size, do
    not touch a bit of it. A session that has ended stays as it is, and gets zeros, until `start` begins another in its
    place.

    Args:
        world: the world.
        num_sessions: B, at least 1.
    """

    def __init__(self, world: World, num_sessions: int) -> None:
        config = world.config
        self.world = world
        self.num_sessions = num_sessions
        self.seeds = np.zeros(num_sessions, np.uint64)
        self.episodes = np.zeros(num_sessions, np.uint64)
        self.steps = np.zeros(num_sessions, np.uint64)
        self.active = np.zeros(num_sessions, np.bool_)
        self.num_consumed = np.zeros(num_sessions, np.int64)
        self.profile = np.zeros((num_sessions, world.catalog.embedding_dim), np.float32)
        self.history_items = np.full((num_sessions, config.history_length), -1, np.int32)
        self.history_feedback = np.zeros((num_sessions, config.history_length, world.num_feedback - 1), np.float32)
        self.state: State = {
            name: np.zeros((num_sessions, *shape), dtype)
            for name, (shape, dtype) in world.user_model.state_layout().items()
        }
        self._num_choice_draws = world.choice.num_draws(config.slate_size)
        self._draws = np.empty((num_sessions, self._num_choice_draws + world.user_model.num_response_draws()))

    def start(self, lanes: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        """Begin new sessions at the given places.

        Args:
            lanes: [n] int indices into the batch.
            seeds: [n] uint64 session seeds.
            episodes: [n] episode numbers below 2**32.
        """
        model, dim = self.world.user_model, self.world.catalog.embedding_dim
        count = model.num_initial_draws()
        draws = uniforms(seeds, INITIAL, episodes, np.zeros(len(lanes)), count + dim + dim % 2)
        state = model.start(draws[:, :count])
        for name, values in state.items():
            self.state[name][lanes] = values
        noise = self.world.config.profile_noise * normals(draws[:, count:])[:, :dim]
        self.profile[lanes] = np.clip(model.interest(state) + noise, -1.0, 1.0)
        self.seeds[lanes] = seeds
        self.episodes[lanes] = episodes
        self.steps[lanes] = 0
        self.active[lanes] = True
        self.num_consumed[lanes] = 0
        self.history_items[lanes] = -1
        self.history_feedback[lanes] = 0.0

    def step(self, slates: np.ndarray) -> StepOutcome:
        """Show a slate to each active session and move it one step.

        Args:
            slates: [B, K] integers in [0, N); a repeated item is shown at its first position only.

        Raises:
            InvalidInput: for a wrong shape, a dtype that is not an integer, or an id outside the catalogue.
        """
        world, config = self.world, self.world.config
        shape = (self.num_sessions, config.slate_size)
        slates = check_slates(slates, shape, world.catalog.num_items)
        shown = np.empty(shape, np.int32)
        utilities = np.empty(shape, np.float32)
        clicks = np.empty(shape, np.uint8)
        outcome = StepOutcome(
            shown=np.empty(shape, np.bool_),
            feedback=np.empty((*shape, world.num_feedback), np.float32),
            reward_vector=np.empty((self.num_sessions, len(world.user_model.reward_names)), np.float32),
            reward=np.zeros(self.num_sessions),
            terminated=np.empty(self.num_sessions, np.bool_),
            truncated=np.empty(self.num_sessions, np.bool_),
        )
        _show(slates, shown, outcome.shown)
        world.user_model.utilities(self.state, shown, utilities)
        fill_uniforms(self.seeds, np.uint64(USER), self.episodes, self.steps, self._draws)
        world.choice.choose(shown, utilities, self._draws, clicks)
        world.user_model.respond(
            self.state,
            shown,
            clicks,
            self._draws[:, self._num_choice_draws :],
            self.active,
            outcome.feedback,
            outcome.reward_vector,
            outcome.terminated,
        )
        _record(
            shown,
            outcome.feedback,
            outcome.reward_vector,
            world.user_model.reward_weights,
            config.max_steps,
            self.history_items,
            self.history_feedback,
            self.num_consumed,
            self.steps,
            self.active,
            outcome.reward,
            outcome.terminated,
            outcome.truncated,
        )
        return outcome

    def observe(self) -> Observation:
        """Return fresh arrays of what the agent sees; see `session_env.observation_space`."""
        clock = np.empty((self.num_sessions, 2), np.float32)
        np.divide(self.steps, self.world.config.max_steps, out=clock[:, 0], casting="unsafe")
        np.divide(self.num_consumed, self.world.config.max_steps, out=clock[:, 1], casting="unsafe")
        np.minimum(clock, 1.0, out=clock)
        return {
            "profile": self.profile.copy(),
            "history_items": self.history_items.copy(),
            "history_feedback": self.history_feedback.copy(),
            "clock": clock,
        }

    def take(self, lanes: np.ndarray) -> SessionBatch:
        """Return a batch of copies of the sessions at `lanes`, an index array or a mask."""
        taken = SessionBatch(self.world, int(np.count_nonzero(lanes)) if lanes.dtype == np.bool_ else len(lanes))
        for name in (
            "seeds",
            "episodes",
            "steps",
            "active",
            "num_consumed",
            "profile",
            "history_items",
            "history_feedback",
        ):
            setattr(taken, name, getattr(self, name)[lanes])
        taken.state = {name: values[lanes] for name, values in self.state.items()}
        return taken


def check_slates(slates: np.ndarray, shape: tuple[int, ...], num_items: int) -> np.ndarray:
    """Return the slates as a C-ordered int32 array, or refuse them.

    Args:
        slates: what the caller passed as an action.
        shape: the shape that it must have.
        num_items: N; ids lie in [0, N).

    Raises:
        InvalidInput: for a wrong shape, a dtype that is not an integer, or an id outside the catalogue.
    """
    try:
        array = np.asarray(slates)
    except ValueError as error:
        raise InvalidInput(f"action is ragged; pass integer item ids of shape {shape}") from error
    if array.shape != shape:
        raise InvalidInput(f"action has shape {array.shape}; pass integer item ids of shape {shape}")
    if array.dtype.kind not in "iu":
        raise InvalidInput(
            f"action has dtype {array.dtype}; pass integer item ids (a proto-action needs its nearest items first)"
        )
    array = np.ascontiguousarray(array)
    low, high = _extremes(array.reshape(-1))
    if low < 0 or high >= num_items:
        raise InvalidInput(f"action holds item id {low if low < 0 else high}; ids lie in [0, {num_items - 1}]")
    return array.astype(np.int32, copy=False)


@njit(cache=True, error_model="numpy", nogil=True)
def _extremes(values):
    # One pass instead of two reductions: this check was a tenth of a step.
    low = high = values[0]
    for value in values:
        low = min(low, value)
        high = max(high, value)
    return low, high


@njit(cache=True, error_model="numpy", nogil=True)
def _show(slates, shown_items, shown):
    num_lanes, slate_size = slates.shape
    for b in range(num_lanes):
        for k in range(slate_size):
            item = slates[b, k]
            first = True
            for j in range(k):
                if slates[b, j] == item:
                    first = False
            shown[b, k] = first
            shown_items[b, k] = item if first else -1


@njit(cache=True, error_model="numpy", nogil=True)
def _record(
    shown_items,
    feedback,
    reward_vector,
    reward_weights,
    max_steps,
    history_items,
    history_feedback,
    num_consumed,
    steps,
    active,
    reward,
    terminated,
    truncated,
):
    num_lanes, slate_size = shown_items.shape
    history_length = history_items.shape[1]
    num_feedback = feedback.shape[2]
    for b in range(num_lanes):
        truncated[b] = False
        if not active[b]:
            continue
        for m in range(reward_weights.shape[0]):
            reward[b] += reward_weights[m] * np.float64(reward_vector[b, m])
        for k in range(slate_size):
            if feedback[b, k, 0] == 0.0:
                continue
            for h in range(history_length - 1):
                history_items[b, h] = history_items[b, h + 1]
                for f in range(num_feedback - 1):
                    history_feedback[b, h, f] = history_feedback[b, h + 1, f]
            history_items[b, history_length - 1] = shown_items[b, k]
            for f in range(num_feedback - 1):
                history_feedback[b, history_length - 1, f] = feedback[b, k, f + 1]
            num_consumed[b] += 1
        steps[b] += np.uint64(1)
        truncated[b] = not terminated[b] and steps[b] >= np.uint64(max_steps)
        active[b] = not (terminated[b] or truncated[b])
