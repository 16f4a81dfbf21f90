"""`SessionVecEnv`: many sessions, stepped by the kernels, as Stable-Baselines3's own `VecEnv`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from stable_baselines3.common.vec_env import VecEnv

from recenv.envs.wrapper_parts import world_of
from recenv.errors import InvalidInput, require

Indices = int | Iterable[int] | None

# Methods of the vector environment that give a row a session.
_ROWS: Final = ("action_masks", "render")


class SessionVecEnv(VecEnv):
    """A `RecSessionVectorEnv`, wrapped or not, as a `VecEnv`, which tells what `DummyVecEnv` of single sessions tells.

    Algorithms take it in the place of an environment, and SB3's own `VecMonitor`, `VecNormalize` and `evaluate_policy`
    around it. An ended session starts again at once; its last observation is `infos[b]["terminal_observation"]`, and
    `infos[b]["TimeLimit.truncated"]` says whether `max_steps` ended it. Rewards are float32, as SB3 has them.

    `seed(s)` gives session b the seed s + b at the next `reset()`; `set_options` takes the options of
    `RecSessionEnv.reset`. `env_method("action_masks")` is what sb3-contrib's MaskablePPO asks for. Attributes that
    `set_attr` has set are each session's own, and the world's are common to all.

    Args:
        env: a `RecSessionVectorEnv` with `autoreset_mode="SameStep"`, perhaps wrapped by vector wrappers.

    Attributes:
        env: as given.

    Raises:
        InvalidInput: for another environment, or another autoreset mode.

    Examples:
        >>> from recenv import RecSessionVectorEnv, VectorFlatObservation, VectorProtoAction
        >>> from recenv.sb3 import SessionVecEnv
        >>> sessions = RecSessionVectorEnv(num_envs=64, autoreset_mode="SameStep")
        >>> env = SessionVecEnv(VectorFlatObservation(VectorProtoAction(sessions)))
        >>> env.reset().shape
        (64, 37)
        >>> observations, rewards, dones, infos = env.step(env.action_space.sample()[None].repeat(64, axis=0))
        >>> rewards.shape, infos[0]["shown"].all()
        ((64,), np.True_)
    """

    def __init__(self, env: VectorEnv) -> None:
        require(
            isinstance(env, VectorEnv),
            f"env={env!r} is not a vector environment; pass RecSessionVectorEnv(num_envs, autoreset_mode='SameStep')",
        )
        world_of(env)
        mode = env.metadata.get("autoreset_mode")
        require(
            mode is AutoresetMode.SAME_STEP,
            f"env={env} has autoreset_mode={getattr(mode, 'value', mode)!r}, and Stable-Baselines3 starts an ended "
            "session in the same step; make it with autoreset_mode='SameStep'",
        )
        self.env = env
        self._own: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._actions: Any = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Start a session in every place; return the observations.

        Raises:
            InvalidInput: for seeds or options that `RecSessionVectorEnv.reset` refuses.
        """
        given, seeds = self._options, self._seeds
        # Used once, whether or not they were good.
        self._reset_seeds()
        self._reset_options()
        options = _together(given)
        seed = None if all(each is None for each in seeds) else list(seeds)
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self.reset_infos = self._rows(infos)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every session; return observations, rewards [B], dones [B] and a list of B infos."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        dones = terminated | truncated
        told = self._rows(infos)
        if "final_info" in infos:
            final = self._rows(infos["final_info"])
            for b in np.flatnonzero(dones):
                self.reset_infos[b] = told[b]
                told[b] = {**told[b], **final[b], "terminal_observation": infos["final_obs"][b]}
        for info, limited in zip(told, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = limited
        return observations, rewards.astype(np.float32), dones, told

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of each session: its own if it was set, else that of the environment or its wrappers.

        Raises:
            AttributeError: if there is none.
        """
        return [
            self._own[b][attr_name] if attr_name in self._own[b] else self._found(attr_name)
            for b in self._get_indices(indices)
        ]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of each session, which `get_attr` returns; the world does not change."""
        for b in self._get_indices(indices):
            self._own[b][attr_name] = value

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Call a method for each session; `reset` starts those sessions anew.

        Raises:
            AttributeError: if there is none.
            InvalidInput: for `step` and `close`, which are all sessions'.
        """
        places = list(self._get_indices(indices))
        if method_name in ("step", "close"):
            raise InvalidInput(f"env_method({method_name!r}) would be of some sessions; call {method_name}() for all")
        if method_name == "reset":
            return self._restart(places, *args, **kwargs)
        method = self._found(method_name)
        if method_name in _ROWS:
            rows = method(*args, **kwargs)
            return [None if rows is None else rows[b] for b in places]
        return [method(*args, **kwargs) for _ in places]

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        """Return whether the vector environment is wrapped by a class, for each session."""
        wrapped = any(isinstance(layer, wrapper_class) for layer in self._layers())
        return [wrapped for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return each session's picture; None without a render mode."""
        pictures: Any = self.env.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    def _restart(
        self, places: list[int], *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> list[tuple[Any, dict[str, Any]]]:
        given: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        seeds: list[int | None] = [None] * self.num_envs
        mask = np.zeros(self.num_envs, np.bool_)
        for b in places:
            given[b], seeds[b], mask[b] = options or {}, seed, True
        observations, infos = self.env.reset(
            seed=seeds,  # type: ignore[arg-type]
            options={**(_together(given) or {}), "reset_mask": mask},
        )
        rows = self._rows(infos)
        for b in places:
            self.reset_infos[b] = rows[b]
        if isinstance(observations, dict):
            return [({name: values[b] for name, values in observations.items()}, rows[b]) for b in places]
        return [(observations[b], rows[b]) for b in places]

    def _layers(self) -> Iterator[Any]:
        layer: Any = self.env
        while isinstance(layer, VectorWrapper):
            yield layer
            layer = layer.env
        yield layer

    def _found(self, name: str) -> Any:
        if name in ("observation_space", "action_space"):
            name = f"single_{name}"
        for layer in self._layers():
            if hasattr(layer, name):
                return getattr(layer, name)
        raise AttributeError(f"{self.env} has no attribute {name!r}")

    def _rows(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the info of each session of a vector environment's."""
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, values in infos.items():
            if name.startswith("_") or name in ("final_obs", "final_info"):
                continue
            told = infos.get(f"_{name}")
            each = self._rows(values) if isinstance(values, dict) else values
            if told is None or told.all():
                for row, value in zip(rows, each, strict=True):
                    row[name] = value
            else:
                for b in np.flatnonzero(told):
                    rows[b][name] = each[b]
        return rows


def _together(given: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the options of each session as those of a vector environment."""
    names = dict.fromkeys(name for options in given for name in options)
    return {name: [options.get(name) for options in given] for name in names} or None
