"""Slates of one item as an integer: the `Discrete` actions that DQN and its like take."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.engine.slates import as_array
from recenv.envs.wrapper_parts import Task, VectorForm, check_wrapped
from recenv.errors import InvalidInput, require


class SingleItemAction(gymnasium.Wrapper, RecordConstructorArgs):
    """Act by one integer where a slate has one item: `Discrete(N)`, or `Discrete(C)` around `CandidateAction`.

    The wrapped environment's `action_masks()`, [N] or [C], and `info["action_mask"]`, [C], are this one's, too.

    Args:
        env: a `RecSessionEnv` with `slate_size=1`, perhaps wrapped.

    Raises:
        InvalidInput: for another environment, or one whose actions are more than one integer.

    Examples:
        >>> import gymnasium
        >>> from recenv import CandidateAction, SingleItemAction
        >>> env = gymnasium.make("RecSession-v0", slate_size=1, num_candidates=20)
        >>> SingleItemAction(env).action_space, SingleItemAction(CandidateAction(env)).action_space
        (Discrete(1000), Discrete(20))
    """

    task: ClassVar[Task] = "one item"

    def __init__(self, env: gymnasium.Env) -> None:
        check_wrapped("SingleItemAction", self.task, env)
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.action_space = _one_integer(env, env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see `RecSessionEnv.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, _of_one_item(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Show an item.

        Args:
            action: an integer, its id or its place.

        Raises:
            InvalidInput: for what is no integer, or one out of range.
        """
        *outcome, info = self.env.step(_integers(action, ())[None])
        return *outcome, _of_one_item(info)  # type: ignore[return-value]


class VectorSingleItemAction(VectorForm):
    """`SingleItemAction` of a `RecSessionVectorEnv`: [B] integers.

    Examples:
        >>> from recenv import RecSessionVectorEnv, VectorSingleItemAction
        >>> env = VectorSingleItemAction(RecSessionVectorEnv(3, slate_size=1))
        >>> env.single_action_space, env.action_space.shape
        (Discrete(1000), (3,))
    """

    task: ClassVar[Task] = "one item"

    def __init__(self, env: VectorEnv) -> None:
        check_wrapped("SingleItemAction", self.task, env, vector=True)
        super().__init__(env)
        self.single_action_space = _one_integer(env, env.single_action_space)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations, _of_one_item(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session an item; see `SingleItemAction.step`."""
        *outcome, infos = self.env.step(_integers(actions, (self.num_envs,))[:, None])
        if "final_info" in infos:
            infos = {**infos, "final_info": _of_one_item(infos["final_info"])}
        return *outcome, _of_one_item(infos)  # type: ignore[return-value]


def _one_integer(env: gymnasium.Env | VectorEnv, space: spaces.Space) -> spaces.Discrete:
    if isinstance(space, spaces.MultiDiscrete) and space.shape == (1,):
        return spaces.Discrete(int(space.nvec[0]))
    raise InvalidInput(
        f"env={env} acts by {type(space).__name__} of shape {space.shape}, not by one integer; pass slate_size=1, and "
        "no wrapper inside but CandidateAction"
    )


def _of_one_item(info: dict[str, Any]) -> dict[str, Any]:
    """Return an info whose mask is that of one integer."""
    mask = info.get("action_mask")
    return info if mask is None else {**info, "action_mask": mask[..., 0, :]}


def _integers(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    remedy = "pass one integer" + (f" a session, shape {shape}" if shape else "")
    array = as_array(action, remedy)
    require(
        array.shape == shape and array.dtype.kind in "iu",
        f"action has shape {array.shape} and dtype {array.dtype}; {remedy}",
    )
    return array
