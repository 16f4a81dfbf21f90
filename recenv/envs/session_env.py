"""`RecSessionEnv`: one recommendation session as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from recenv.engine.session_batch import Observation, SessionBatch
from recenv.engine.slates import check_slates
from recenv.engine.user_state import UserState, checked_state
from recenv.envs.specs import Specified
from recenv.errors import InvalidInput, require
from recenv.files.config_files import config_of_file, fitted_config, parse_config
from recenv.items.catalog import Catalog
from recenv.items.given_items import given_items, same_items
from recenv.plain_numbers import plain_value
from recenv.render.frame import Frame
from recenv.render.rendering import RENDER_FPS, RENDER_MODES, SessionRecorder, check_render_mode, render
from recenv.session_config import SessionConfig
from recenv.world import World, make_world


def resolve_config(
    config: SessionConfig | Mapping[str, Any] | str | Path | None,
    overrides: Mapping[str, Any],
    items: Catalog | str | Path | None = None,
) -> SessionConfig:
    """Return the config that an environment's keywords mean.

    Args:
        config: a config, its dict, its JSON text, a file of that or of `recsession fit`, or None for the defaults.
        overrides: further fields, as `SessionConfig.override` takes them.
        items: the caller's own items or their file, which config and overrides must not contradict.

    Raises:
        InvalidInput: for an unknown option, a value out of range, or other items, or another number or dimension of
            them, than the config or an override says.
        TypeError: for the keyword `frameskip`.
    """
    if "frameskip" in overrides:
        # TorchRL's GymEnv tries this keyword on every environment and leaves it out at Python's own error alone.
        raise TypeError("got an unexpected keyword argument 'frameskip'; a session has no frames")
    items = None if items is None else given_items(items)
    if config is None:
        config = SessionConfig()
    elif isinstance(config, Mapping | str | Path):
        if isinstance(config, Path) or (isinstance(config, str) and not config.lstrip().startswith(("{", "["))):
            values = config_of_file(config, f"config={str(config)!r}")
        else:
            values = parse_config(config) if isinstance(config, str) else fitted_config(config)
        config = SessionConfig.from_dict(values, items=items if values.get("items") is not None else None)
    elif not isinstance(config, SessionConfig):
        raise InvalidInput(
            f"config={config!r} is not a SessionConfig; pass one, its to_dict() or to_json(), a file of that, or None"
        )
    own = {} if items is None else {"items": same_items(config.items, items)}
    return config.override(**overrides, **own)


def observation_space(world: World) -> spaces.Dict:
    """Return the space of what an agent sees of one session.

    * `profile` [d] float32 in [-1, 1]: a noisy view of the initial interest.
    * `history_items` [H] int32: consumed items, the latest last, padded in front with -1.
    * `history_feedback` [H, F - 1] float32 in [0, 1]: their feedback without the click, which is always 1.
    * `clock` [2] float32 in [0, 1]: steps and consumed items, both over `max_steps`, the latter at most 1.
    * `calendar` [2] float32 in [0, 1], with the pieces retention or freshness: day over the last possible day, and
      sessions that the episode has had before over `max_sessions`.
    * `candidates` [C] int32, with `num_candidates`: ids that the step offers, increasing, padded behind with -1.
    * `available` [N] int8, with freshness and without `num_candidates`: 1 for an item that has appeared.
    """
    config, catalog = world.config, world.catalog
    length, channels = config.history_length, world.num_feedback - 1
    boxes: dict[str, spaces.Space[Any]] = {
        "profile": spaces.Box(-1.0, 1.0, (catalog.embedding_dim,), np.float32),
        "history_items": spaces.Box(-1, catalog.num_items - 1, (length,), np.int32),
        "history_feedback": spaces.Box(0.0, 1.0, (length, channels), np.float32),
        "clock": spaces.Box(0.0, 1.0, (2,), np.float32),
    }
    if world.pieces.has_calendar:
        boxes["calendar"] = spaces.Box(0.0, 1.0, (2,), np.float32)
    if config.num_candidates is not None:
        boxes["candidates"] = spaces.Box(-1, catalog.num_items - 1, (config.num_candidates,), np.int32)
    elif config.freshness is not None:
        boxes["available"] = spaces.Box(0, 1, (catalog.num_items,), np.int8)
    return spaces.Dict(boxes)


def action_space(world: World) -> spaces.MultiDiscrete:
    """Return the space of slates: [K] item ids."""
    return spaces.MultiDiscrete([world.catalog.num_items] * world.config.slate_size)


def check_seed(seed: object) -> int:
    """Return `seed` as an int.

    Raises:
        InvalidInput: unless it is an integer in [0, 2**64), Python's or NumPy's.
    """
    value = plain_value(seed)
    valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64
    require(valid, f"seed={seed!r} is not an integer in [0, 2**64); pass one")
    return value


def checked_options(options: Any, *known: str) -> Mapping[str, Any]:
    """Return the options of a reset.

    Args:
        options: what the caller passed, None for none.
        known: names that they may have.

    Raises:
        InvalidInput: for what is no dict, or an option that is not known.
    """
    names = " and ".join(map(repr, known))
    takes = f"the one option is {names}" if len(known) == 1 else f"the options are {names}"
    if options is None:
        return {}
    require(isinstance(options, Mapping), f"options={options!r} is not a dict; pass one, or None: {takes}")
    unknown = {name: value for name, value in options.items() if name not in known}
    require(not unknown, f"options={unknown!r} are not known; {takes}")
    return options


class RecSessionEnv(Specified, gymnasium.Env[Any, np.ndarray]):
    """One user, one session: show a slate of K items, see the answer, until the user leaves or time is up.

    `reset(seed=s)` starts episode 0 of session seed s; each further `reset()` the next episode. Reward: the user
    model's weighted sum for the step. `terminated`: the user left; `truncated`: `max_steps` were reached.

    Args:
        config: a `SessionConfig`, its dict, its JSON text, a file of that (as `recsession fit` writes, too), or None
            for the defaults.
        items: the caller's own items, a `Catalog` or its file, instead of drawn ones; `num_items` and `embedding_dim`
            follow them.
        render_mode: what `render()` returns: "ansi", a text; "rgb_array", a picture; None, nothing, at no cost.
        **overrides: any session option, as in `slate_size=5`; see `SessionConfig.override`.

    Raises:
        InvalidInput: for an unknown option or a value out of range.

    Examples:
        >>> from recenv import RecSessionEnv
        >>> env = RecSessionEnv(slate_size=3, num_items=50)
        >>> observation, info = env.reset(seed=7)
        >>> observation, reward, terminated, truncated, info = env.step([4, 8, 15])
        >>> info["shown"]
        array([ True,  True,  True])
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}

    def __init__(
        self,
        config: SessionConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        items: Catalog | str | Path | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.world = make_world(resolve_config(config, overrides, items))
        self.observation_space = observation_space(self.world)
        self.action_space = action_space(self.world)
        self._slate_shape = (self.world.config.slate_size,)
        self._batch = SessionBatch(self.world, 1)
        self._recorder = None if render_mode is None else SessionRecorder(self._batch)
        self._session_seed: int | None = None
        self._episode = -1

    @property
    def config(self) -> SessionConfig:
        """The world's configuration."""
        return self.world.config

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the next episode, or episode 0 of a new seed; return its observation and info.

        Args:
            seed: session seed in [0, 2**64); None keeps the present one (drawn at random the first time).
            options: `{"user_state": state}` starts the session with a given hidden state: parts of it by name, such as
                `{"interest": [d]}`, or all of it, as `info["user_state"]` tells it. What is not given is drawn as ever;
                the profile is the given interest with the noise that the seed draws. Later sessions draw their own.

        Raises:
            InvalidInput: for a bad seed, an unknown option, or a state that no user has.
        """
        given = checked_options(options, "user_state").get("user_state")
        state = {} if given is None else checked_state(self.world, given)
        if seed is not None:
            seed = check_seed(seed)
        super().reset(seed=seed)
        if seed is None and self._session_seed is None:
            seed = int(self.np_random.integers(2**63))
        if seed is not None:
            self._session_seed, self._episode = seed, -1
        self._episode += 1
        self._batch.start(
            np.zeros(1, np.int64),
            np.array([self._session_seed], np.uint64),
            np.array([self._episode], np.uint64),
            {0: state} if state else None,
        )
        if self._recorder is not None:
            self._recorder.start(np.zeros(1, np.int64))
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show a slate.

        Args:
            action: [K] integer item ids; a repeated item is shown at its first position only.

        Returns:
            Observation, reward, terminated, truncated, info with `reward_vector` [M], `feedback` [K, F] and `shown`
            [K].

        Raises:
            InvalidInput: for a wrong shape, dtype or id, or where no session is under way.
        """
        if not self._batch.active[0]:
            state = "has not begun" if self._session_seed is None else "has ended"
            raise InvalidInput(f"step() was called on a session that {state}; call reset() first")
        slate = check_slates(action, self._slate_shape, self.world.catalog.num_items)
        outcome = self._batch.advance(slate[None])
        if self._recorder is not None:
            self._recorder.step(slate[None], outcome)
        info = self._info()
        info["reward_vector"] = outcome.reward_vector[0]
        info["feedback"] = outcome.feedback[0]
        info["shown"] = outcome.shown[0]
        return (
            self._observation(),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            info,
        )

    def action_masks(self) -> np.ndarray:
        """Return which item each position may show next, end to end: [K * N] bool, as sb3-contrib asks for them.

        Items on offer are allowed at every position: a policy that draws its positions apart from one another repeats
        some, and their later positions stay empty; among `CandidateAction`'s places it fills all.

        Raises:
            InvalidInput: before the first `reset`.
        """
        require(self._session_seed is not None, "action_masks() was called before reset(); call reset() first")
        return np.tile(self._batch.offered()[0], self._slate_shape[0])

    def frame(self) -> Frame:
        """Return what `render()` shows: the user, the last slate and its answer, and the session so far.

        Raises:
            InvalidInput: without a render mode, or before the first `reset`.
        """
        if self._recorder is None:
            raise InvalidInput(f"render_mode=None keeps no frames; pass one of: {', '.join(RENDER_MODES)}")
        return self._recorder.frame(0)

    def render(self) -> Any:
        """Return the session as it is now: str, or [H, W, 3] uint8; None, and a warning, without a render mode.

        Raises:
            InvalidInput: before the first `reset`.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(f"render_mode=None renders nothing; pass one of: {', '.join(RENDER_MODES)}")
            return None
        return render(self.frame(), self.render_mode)

    def _observation(self) -> Observation:
        return {name: values[0] for name, values in self._batch.observe().items()}

    def _info(self) -> dict[str, Any]:
        if not self.world.config.expose_user_state:
            return {}
        return {"user_state": UserState.of(self._batch.state)[0]}
