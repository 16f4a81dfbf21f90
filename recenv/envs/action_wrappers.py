"""Other actions for RecSession's environments, single and vector: a point of embedding space, or semantic IDs.

A vector form under `Vector...` gives a session the same bits and works under every autoreset mode. Action wrappers read
the observation's `candidates` and `available`, where there are any, so they go inside those that change observations:

    env = FlatObservation(ProtoAction(gymnasium.make("RecSession-v0")))
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.engine.session_batch import Observation
from recenv.envs.session_views import SUBSETS, CodedItems, NearestItems
from recenv.envs.wrapper_parts import Task, VectorForm, check_wrapped, rows_of_one
from recenv.errors import InvalidInput, require
from recenv.item_codes.semantic_ids import SemanticIds


class ProtoAction(gymnasium.Wrapper, RecordConstructorArgs):
    """Act by a point of the items' embedding space: the slate is its K nearest items, nearest first.

    Only the point's direction matters, and [-1, 1]^d holds every direction; a point outside is taken too. Where the
    observation has `candidates` [C] or `available` [N], the nearest of those items are shown.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.

    Raises:
        InvalidInput: for another environment, or one whose `candidates` or `available` a wrapper has taken away.

    Examples:
        >>> import gymnasium
        >>> import numpy as np
        >>> from recenv import ProtoAction
        >>> env = ProtoAction(gymnasium.make("RecSession-v0"))
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(np.ones(16, np.float32))
        >>> info["feedback"].shape
        (10, 3)
    """

    task: ClassVar[Task] = "actions"

    def __init__(self, env: gymnasium.Env) -> None:
        check_wrapped("ProtoAction", "actions", env)
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._nearest = NearestItems(env)
        self._subset: Observation = {}
        self.action_space = self._nearest.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see `RecSessionEnv.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._subset = _subset(observation)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Show the items nearest to a point.

        Args:
            action: [d] finite numbers.

        Raises:
            InvalidInput: for a wrong shape, or a number that is not finite.
        """
        protos = _action(action, self._nearest.space.shape, "a proto-action", "iuf")[None]
        slate = self._nearest.slates(protos, rows_of_one(self._subset))[0]
        observation, *outcome, info = self.env.step(slate)
        self._subset = _subset(observation)
        return observation, *outcome, info  # type: ignore[return-value]


class SemanticIdAction(gymnasium.Wrapper, RecordConstructorArgs):
    """Act by one semantic ID a position: [K * L] tokens, the L tokens of the first position first.

    A policy that chooses the tokens one after another gets a valid code from `ids.tree`, which says what may follow any
    prefix. `info["action_mask"]`, [K * (sum of level_sizes)] bool, has the layout of a flat `MultiDiscrete` mask (the
    tokens of the first entry, then of the second, ...: what sb3-contrib's MaskablePPO gets from `action_masks()` and
    TorchRL's `MultiCategorical.update_mask` takes): a token is allowed where some item has it at that level, of the
    `candidates` or `available` ones where the observation has them. That is exact for the first level of each position;
    at the others it only rules out what no prefix allows, since such a mask cannot depend on the tokens before. So:

    * an agent that draws level by level starts each position at node 0, draws from `ids.tree.mask(nodes, level)`,
      and goes on with `nodes = ids.tree.advance(nodes, tokens)`; its codes always name items (of some items alone,
      `PrefixTree(ids.codes[candidates], ids.level_sizes)` is the exact tree);
    * one that draws all tokens at once, like MaskablePPO, nearly always draws some code that names no item: give it
      `invalid="nearest"`.

    The action space's `sample`, with a mask or without, gives codes that name items.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.
        ids: codes of its catalogue, so as not to fit them again.
        invalid: "raise" to refuse a code that names no item; "nearest" to take, at the first token that nothing on
            offer continues with and at those after it, the nearest one that does, so that any tokens of their levels
            show items on offer: see `SemanticIds.nearest_items`. Two positions of one item still leave the later empty.
        **options: fields of `SemanticIdConfig`, to fit them.

    Attributes:
        ids: the codes and their prefix tree.

    Raises:
        InvalidInput: for another environment, one whose `candidates` or `available` a wrapper has taken away, codes of
            other items, or an unknown option or `invalid`.

    Examples:
        >>> import gymnasium
        >>> from recenv import SemanticIdAction
        >>> env = SemanticIdAction(gymnasium.make("RecSession-v0", slate_size=2))
        >>> observation, info = env.reset(seed=0)
        >>> env.action_space.shape, info["action_mask"].shape
        ((8,), (110,))
    """

    task: ClassVar[Task] = "actions"

    def __init__(
        self, env: gymnasium.Env, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        check_wrapped("SemanticIdAction", "actions", env)
        coded = CodedItems(env, ids, invalid, options)
        # The config fixes the codes and, unlike them, is JSON.
        RecordConstructorArgs.__init__(self, invalid=invalid, **asdict(coded.ids.config))
        gymnasium.Wrapper.__init__(self, env)
        self._coded = coded
        self._subset: Observation = {}
        self._mask = coded.masks({}, 1)[0]
        self.ids = coded.ids
        self.action_space = coded.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see `RecSessionEnv.reset`; `info` has `action_mask` besides."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._with_mask(observation, info)

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Show the items that the codes name.

        Args:
            action: [K * L] integers.

        Raises:
            InvalidInput: for a wrong shape or dtype, a code that names no item (with `invalid="raise"`), or a token
                out of range.
        """
        codes = _action(action, self._coded.space.shape, "integer tokens", "iu")[None]
        observation, *outcome, info = self.env.step(self._coded.slates(codes, rows_of_one(self._subset))[0])
        return observation, *outcome, self._with_mask(observation, info)  # type: ignore[return-value]

    def action_masks(self) -> np.ndarray:
        """Return the mask of the next action, as `info["action_mask"]`; sb3-contrib asks for it by this name."""
        return self._mask.copy()

    def _with_mask(self, observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
        self._subset = _subset(observation)
        self._mask = self._coded.masks(rows_of_one(self._subset), 1)[0]
        return {**info, "action_mask": self._mask.copy()}


class VectorProtoAction(VectorForm):
    """`ProtoAction` of a `RecSessionVectorEnv`: [B, d].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorProtoAction
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> VectorProtoAction(env).action_space.shape
        (3, 16)
    """

    task: ClassVar[Task] = "actions"

    def __init__(self, env: VectorEnv) -> None:
        check_wrapped("ProtoAction", "actions", env, vector=True)
        super().__init__(env)
        self._nearest = NearestItems(env)
        self._subset: Observation = {}
        self.single_action_space = self._nearest.space
        self.action_space = batch_space(self._nearest.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self._subset = _subset(observations)
        return observations, infos

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session the items nearest to its point; see `ProtoAction.step`."""
        protos = _action(actions, (self.num_envs, *self._nearest.space.shape), "proto-actions", "iuf")
        observations, *outcome, infos = self.env.step(self._nearest.slates(protos, self._subset))
        self._subset = _subset(observations)
        return observations, *outcome, infos  # type: ignore[return-value]


class VectorSemanticIdAction(VectorForm):
    """`SemanticIdAction` of a `RecSessionVectorEnv`: [B, K * L]; `infos["action_mask"]` is [B, K * (sum of sizes)].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorSemanticIdAction
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> observations, infos = VectorSemanticIdAction(env).reset(seed=0)
        >>> infos["action_mask"].shape
        (3, 550)
    """

    task: ClassVar[Task] = "actions"

    def __init__(
        self, env: VectorEnv, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        check_wrapped("SemanticIdAction", "actions", env, vector=True)
        super().__init__(env)
        self._coded = CodedItems(env, ids, invalid, options)
        self._subset: Observation = {}
        self.ids = self._coded.ids
        self.single_action_space = self._coded.space
        self.action_space = batch_space(self._coded.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`; `infos` has `action_mask` besides."""
        rows = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)))
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations, infos | self._masks(observations, rows)

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session the items that its codes name; see `SemanticIdAction.step`."""
        codes = _action(actions, (self.num_envs, *self._coded.space.shape), "integer tokens", "iu")
        observations, *outcome, infos = self.env.step(self._coded.slates(codes, self._subset))
        infos = infos | self._masks(observations, np.ones(self.num_envs, np.bool_))
        if "final_info" in infos:
            done, final = infos["_final_info"], infos["final_obs"]
            last = {name: np.stack([final[b][name] for b in np.flatnonzero(done)]) for name in self._subset}
            infos["final_info"] = infos["final_info"] | self._told(last, done)
        return observations, *outcome, infos  # type: ignore[return-value]

    def _masks(self, observations: Observation, rows: np.ndarray) -> dict[str, Any]:
        self._subset = _subset(observations)
        return self._told({name: values[rows] for name, values in self._subset.items()}, rows)

    def _told(self, subset: Observation, rows: np.ndarray) -> dict[str, Any]:
        """Return the infos of the sessions in a mask; see `RecSessionVectorEnv.step`.

        Args:
            subset: what is offered to those.
            rows: the mask, [B].
        """
        masks = self._coded.masks(subset, int(np.count_nonzero(rows)))
        if len(masks) < self.num_envs:
            whole = np.zeros((self.num_envs, masks.shape[1]), np.bool_)
            whole[rows] = masks
            masks = whole
        return {"action_mask": masks, "_action_mask": rows.copy()}


def _subset(observation: Observation) -> Observation:
    name = next((name for name in SUBSETS if name in observation), None)
    # A copy: an observation is its reader's to change.
    return {} if name is None else {name: observation[name].copy()}


def _action(action: Any, shape: tuple[int, ...], kind: str, dtype_kinds: str) -> np.ndarray:
    try:
        array = np.asarray(action)
    except ValueError as error:
        raise InvalidInput(f"action is ragged; pass {kind} of shape {shape}") from error
    require(
        array.shape == shape and array.dtype.kind in dtype_kinds,
        f"action has shape {array.shape} and dtype {array.dtype}; pass {kind} of shape {shape}",
    )
    return array
