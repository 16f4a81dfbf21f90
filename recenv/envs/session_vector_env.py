"""`RecSessionVectorEnv`: many sessions of one world, stepped by the same kernels as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.dynamics.kernel_groups import State
from recenv.engine.session_batch import Observation, SessionBatch
from recenv.engine.user_state import UserState, checked_states
from recenv.envs.session_env import action_space, check_seed, checked_options, observation_space, resolve_config
from recenv.envs.specs import Specified
from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.items.catalog import Catalog
from recenv.memory import require_memory
from recenv.plain_numbers import plain_value
from recenv.render.rendering import RENDER_FPS, RENDER_MODES, SessionRecorder, check_render_mode
from recenv.session_config import SessionConfig
from recenv.world import make_world

_BYTES_A_NUMBER: Final = 32  # of an observation, as measured: in spaces, sessions and what a step returns


class RecSessionVectorEnv(Specified, VectorEnv[Observation, np.ndarray, np.ndarray]):
    """B sessions side by side.

    Session b after `reset(seed=s)` equals `RecSessionEnv` after `reset(seed=s + b)`, bit for bit. That is Gymnasium's
    own convention, and by it the seeds 0 and 1 share all sessions but one: runs that are to be independent take a list
    of seeds, drawn from a root, `reset(seed=np.random.SeedSequence(root).generate_state(num_envs))`.

    Args:
        num_envs: B.
        config: a `SessionConfig`, its dict, its JSON text, a file of that, or None for the defaults.
        items: the caller's own items, a `Catalog` or its file, instead of drawn ones; `num_items` and `embedding_dim`
            follow them.
        autoreset_mode: "NextStep" (the step after an end starts the next episode and ignores its action), "SameStep"
            (the ending step returns the next episode's first observation, the last one in `info["final_obs"]`), or
            "Disabled" (the caller resets, by `reset(options={"reset_mask": mask})`); also the enum or its name.
        max_episode_steps: what `gymnasium.make_vec` hands over: sessions are truncated after so many steps, as by
            Gymnasium's `TimeLimit`, and nothing else changes; None or -1 leaves it to `max_steps`.
        num_threads: threads that share the sessions of a step; the bytes are the same for any number of them.
        render_mode: "ansi", "rgb_array" or None; `render()` returns a tuple, one text or picture a session.
        **overrides: any session option; see `SessionConfig.override`.

    Raises:
        InvalidInput: for an unknown option or a value out of range.

    Examples:
        >>> from recenv import RecSessionVectorEnv
        >>> env = RecSessionVectorEnv(num_envs=4, slate_size=3, num_items=50)
        >>> observations, infos = env.reset(seed=7)
        >>> observations, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        >>> rewards.shape
        (4,)
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's)
        "render_modes": list(RENDER_MODES),
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    _modes: ClassVar[dict[str, AutoresetMode]] = {
        **{mode.value: mode for mode in AutoresetMode},
        **{mode.name: mode for mode in AutoresetMode},
    }

    def __init__(
        self,
        num_envs: int = 1,
        config: SessionConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        items: Catalog | str | Path | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        num_envs, num_threads, max_episode_steps = plain_value((num_envs, num_threads, max_episode_steps))
        require_range("num_envs", num_envs, 1, 2**31 - 1, integer=True)
        require_range("num_threads", num_threads, 1, 256, integer=True)
        check_render_mode(render_mode)
        if max_episode_steps not in (None, -1):
            require_range("max_episode_steps", max_episode_steps, 1, 2**31 - 1, integer=True)
        if not isinstance(autoreset_mode, AutoresetMode):
            if autoreset_mode not in self._modes:
                raise unknown_name("autoreset mode", autoreset_mode, self._modes)
            autoreset_mode = self._modes[autoreset_mode]
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.autoreset_mode = autoreset_mode
        self._limit = None if max_episode_steps in (None, -1) else np.uint64(max_episode_steps)
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.world = make_world(resolve_config(config, overrides, items))
        self.single_observation_space = observation_space(self.world)
        self.single_action_space = action_space(self.world)
        numbers = sum(math.prod(space.shape or ()) for space in self.single_observation_space.values())
        what = f"num_envs={num_envs:,} observations of {numbers:,} numbers"
        require_memory(_BYTES_A_NUMBER * numbers * num_envs, what, "lower num_envs")
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._batch = SessionBatch(self.world, num_envs, num_threads)
        self._recorder = None if render_mode is None else SessionRecorder(self._batch)
        self._session_seeds: np.ndarray | None = None

    @property
    def config(self) -> SessionConfig:
        """The world's configuration."""
        return self.world.config

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the next episode of each session, or of those in a mask; return observations and infos.

        Args:
            seed: an int s (session b gets s + b), a sequence with one seed or None a session, or None; a seed starts
                episode 0.
            options: `{"reset_mask": [B] bool}` resets only those sessions; `{"user_state": state}` gives them hidden
                states, parts by name, each [B, ...], all of it as `infos["user_state"]` tells it, or a list of one
                state, or None, a session; see `RecSessionEnv.reset`.

        Raises:
            InvalidInput: for a bad seed, mask or option.
        """
        seed, told = plain_value(seed), checked_options(options, "reset_mask", "user_state")
        mask, given = np.asarray(told.get("reset_mask", np.ones(self.num_envs, np.bool_))), told.get("user_state")
        require(
            mask.shape == (self.num_envs,) and mask.dtype == np.bool_,
            f"reset_mask has shape {mask.shape} and dtype {mask.dtype}; pass bools of shape ({self.num_envs},)",
        )
        begun = self._session_seeds is not None
        require(
            begun or bool(mask.all()), "reset_mask leaves out sessions that have not begun; reset all of them first"
        )
        states = {} if given is None else checked_states(self.world, given, mask)
        seeds = self._seeds(seed)
        super().reset(seed=seed if isinstance(seed, int) else None)
        indices = np.flatnonzero(mask)
        if self._session_seeds is None:
            self._session_seeds = self.np_random.integers(2**63, size=self.num_envs, dtype=np.uint64)
            self._start(indices, np.zeros(len(indices)), states)
            fresh = indices[:0]
        else:
            fresh = indices
        seeded = np.array([b for b in indices if seeds[b] is not None], np.int64)
        self._session_seeds[seeded] = np.array([seeds[b] for b in seeded], np.uint64)
        self._start(np.setdiff1d(fresh, seeded), None, states)
        self._start(seeded, np.zeros(len(seeded)), states)
        return self._batch.observe(), self._user_state(mask)

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show a slate to every session.

        Args:
            actions: [B, K] integer item ids.

        Returns:
            Observations, rewards [B] float64, terminated [B], truncated [B], infos with `reward_vector` [B, M],
            `feedback` [B, K, F] and `shown` [B, K], and beside each a mask [B], `_feedback` say: a session that was
            only reset has none. They are those of Gymnasium's own `SyncVectorEnv`.

        Raises:
            InvalidInput: for a wrong shape, dtype or id, before the first reset, or (autoreset disabled) where a
                session has ended and was not reset.
        """
        if self._session_seeds is None:
            raise InvalidInput("step() was called before reset(); call reset() first")
        batch = self._batch
        active = batch.active.copy()
        num_active = np.count_nonzero(active)
        if self.autoreset_mode is AutoresetMode.DISABLED and num_active < self.num_envs:
            first = int(np.flatnonzero(~active)[0])
            raise InvalidInput(
                f"session {first} has ended and autoreset is disabled; call reset(options={{'reset_mask': mask}}) first"
            )
        outcome = batch.step(actions)
        if self._recorder is not None:
            self._recorder.step(np.asarray(actions), outcome)
        if self._limit is not None:
            # Also of who leaves with the last step, as `TimeLimit` has it.
            cut = active & (batch.steps >= self._limit)
            outcome.truncated |= cut
            batch.active &= ~cut
        answer = {"reward_vector": outcome.reward_vector, "feedback": outcome.feedback, "shown": outcome.shown}
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and num_active < self.num_envs:
            # The step after an end shows nothing: it only starts the next episode, and tells what a reset tells.
            self._start(np.flatnonzero(~active), None)
        elif self.autoreset_mode is AutoresetMode.SAME_STEP:
            done = outcome.terminated | outcome.truncated
            places = np.flatnonzero(done)
            if len(places):
                infos = self._last_infos(answer, done, places)
                self._start(places, None)
                active, num_active = ~done, self.num_envs - len(places)
        if num_active:
            infos.update(answer)
            infos["_reward_vector"], infos["_feedback"], infos["_shown"] = active, active.copy(), active.copy()
        if self.config.expose_user_state:
            infos |= self._user_state(np.ones(self.num_envs, np.bool_))
        return batch.observe(), outcome.reward, outcome.terminated, outcome.truncated, infos

    def action_masks(self) -> np.ndarray:
        """Return which item each session's positions may show next: [B, K * N] bool; see `RecSessionEnv.action_masks`.

        Raises:
            InvalidInput: before the first `reset`, or if they do not fit into the memory.
        """
        require(self._session_seeds is not None, "action_masks() was called before reset(); call reset() first")
        numbers = self.config.slate_size * self.world.catalog.num_items
        require_memory(2 * self.num_envs * numbers, f"masks of {self.num_envs:,} times {numbers:,}", "lower num_envs")
        return np.tile(self._batch.offered(), (1, self.config.slate_size))

    def render(self) -> tuple[Any, ...] | None:
        """Return each session as it is now: texts, or [H, W, 3] uint8 pictures; None without a render mode.

        Raises:
            InvalidInput: before the first `reset`.
        """
        if self._recorder is None or self.render_mode is None:
            return None
        return self._recorder.render(self.render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._batch.close()

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            first = check_seed(seed)
            check_seed(first + self.num_envs - 1)
            return list(range(first, first + self.num_envs))
        require(isinstance(seed, Sequence | np.ndarray), f"seed={seed!r} is not an integer in [0, 2**64); pass one")
        require(
            len(seed) == self.num_envs,
            f"seed has {len(seed)} entries for num_envs={self.num_envs}; pass one a session, or an int",
        )
        return [None if s is None else check_seed(s) for s in seed]

    def _start(
        self, indices: np.ndarray, episodes: np.ndarray | None, states: Mapping[int, State] | None = None
    ) -> None:
        if len(indices) == 0 or self._session_seeds is None:
            return
        if episodes is None:
            episodes = self._batch.episodes[indices] + np.uint64(1)
        self._batch.start(indices, self._session_seeds[indices], episodes.astype(np.uint64), states)
        if self._recorder is not None:
            self._recorder.start(indices)

    def _user_state(self, rows: np.ndarray) -> dict[str, Any]:
        """Return the hidden state of the sessions in a mask, as an info; nothing unless the config shows it."""
        if not self.config.expose_user_state:
            return {}
        state = UserState.of(self._batch.state)
        # As Gymnasium's own vector environments fill an absent info.
        state[~rows] = 0.0
        return _told({"user_state": state}, rows)

    def _last_infos(self, answer: dict[str, np.ndarray], done: np.ndarray, places: np.ndarray) -> dict[str, Any]:
        """Return what the sessions that have ended were told last, and take it out of the others' answers, in place."""
        observation, last = self._batch.observe(), dict(answer)
        final = np.full(self.num_envs, None, dtype=object)
        # Iterating over an array gives its rows at a fraction of the price of indexing it for each.
        rows = zip(*(values[places] for values in observation.values()), strict=True)
        final[places] = [dict(zip(observation, row, strict=True)) for row in rows]
        if len(places) < self.num_envs:
            for name, values in answer.items():
                last[name] = np.zeros(values.shape, values.dtype)
                last[name][places] = values[places]
                values[places] = 0
        return _told({"final_obs": final, "final_info": _told(last, done) | self._user_state(done)}, done)


def _told(values: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return infos beside the masks of the rows that have them, as Gymnasium does."""
    infos = dict(values)
    for name in values:
        infos["_" + name] = rows.copy()
    return infos
