"""Other actions for RecSession's environments, single and vector: a point of embedding space, places, semantic IDs.

A vector form under `Vector...` gives a session the same bits and works under every autoreset mode. Action wrappers read
the observation's `candidates` and `available`, where there are any, so they go inside those that change observations:

    env = FlatObservation(ProtoAction(gymnasium.make("RecSession-v0")))
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.engine.session_batch import Observation
from recenv.engine.slates import as_array
from recenv.envs.slate_views import CandidatePlaces, CodedItems, MaskedView, NearestItems, SlateView
from recenv.envs.wrapper_parts import SUBSETS, Task, VectorForm, check_wrapped, rows_of_one
from recenv.errors import require
from recenv.item_codes.semantic_ids import SemanticIds


class _SlateWrapper(gymnasium.Wrapper):
    """An action wrapper of a single environment by what makes slates of a batch of actions."""

    task: ClassVar[Task] = "actions"

    def __init__(self, env: gymnasium.Env, view: SlateView) -> None:
        gymnasium.Wrapper.__init__(self, env)
        self._view: Any = view
        self._subset: Observation | None = None
        self.action_space = view.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; see `RecSessionEnv.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._told(observation, info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Show what the action means.

        Args:
            action: of the action space's shape.

        Raises:
            InvalidInput: for a wrong shape or dtype, or an action that means no slate.
        """
        actions = _checked(action, self._view.space.shape, self._view.takes[0], self._view.kinds)[None]
        slate = self._view.slates(actions, rows_of_one(self._subset or {}))[0]
        observation, *outcome, info = self.env.step(slate)
        return observation, *outcome, self._told(observation, info)  # type: ignore[return-value]

    def _told(self, observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
        self._subset = _subset(observation)
        return info


class _MaskedSlateWrapper(_SlateWrapper):
    """One that knows which actions the step allows."""

    def action_masks(self) -> np.ndarray:
        """Return the mask of the next action, flat; sb3-contrib asks for it by this name.

        Raises:
            InvalidInput: before the first `reset`.
        """
        return self._view.masks(rows_of_one(_of_begun(self._subset)), 1)[0]

    def _told(self, observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
        return {**super()._told(observation, info), "action_mask": self.action_masks().reshape(self._view.mask_shape)}


class ProtoAction(_SlateWrapper, RecordConstructorArgs):
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

    def __init__(self, env: gymnasium.Env) -> None:
        check_wrapped("ProtoAction", "actions", env)
        RecordConstructorArgs.__init__(self)
        _SlateWrapper.__init__(self, env, NearestItems(env))


class CandidateAction(_MaskedSlateWrapper, RecordConstructorArgs):
    """Act by K places among the step's candidates, [K] integers in [0, C): place c is item `candidates[c]`.

    Without `num_candidates` C is N and a place is an item's id. A place that a position before has taken, or that
    holds no item, gives way to the next free one, past the last to the first. So a learner that draws its positions
    apart from one another, as Stable-Baselines3's `MultiDiscrete` policies do, fills all of them; among item ids or
    places that stay as they are, it repeats items, whose later positions stay empty.

    Several actions then show one slate. A policy's probability is that of its own action, the K places, which is
    what methods that act and learn by it need, PPO's ratio say; it is not the slate's, and nothing to log as a slate's
    propensity: policies of `agents` have those.

    `info["action_mask"]`, [K, C] bool, says which places hold an item, as TorchRL's `ActionMask` takes it;
    `action_masks()` has it flat, [K * C], for sb3-contrib's MaskablePPO. Candidates change from step to step, and a
    place says nothing of its item: observe `candidates`, or by `FlatObservation(env, candidates=True)` their
    embeddings.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.

    Raises:
        InvalidInput: for another environment, or one whose `candidates` or `available` a wrapper has taken away.

    Examples:
        >>> import gymnasium
        >>> from recenv import CandidateAction
        >>> env = CandidateAction(gymnasium.make("RecSession-v0", num_candidates=20))
        >>> observation, info = env.reset(seed=0)
        >>> env.action_space.nvec.tolist(), info["action_mask"].shape
        ([20, 20, 20, 20, 20, 20, 20, 20, 20, 20], (10, 20))
        >>> bool(env.step([3] * 10)[4]["shown"].all())
        True
    """

    def __init__(self, env: gymnasium.Env) -> None:
        check_wrapped("CandidateAction", "actions", env)
        RecordConstructorArgs.__init__(self)
        _MaskedSlateWrapper.__init__(self, env, CandidatePlaces(env))


class SemanticIdAction(_MaskedSlateWrapper, RecordConstructorArgs):
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
        **options: fields of `SemanticIdConfig`, to fit them, or `codes` [N, L] of your own.

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

    def __init__(
        self, env: gymnasium.Env, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        check_wrapped("SemanticIdAction", "actions", env)
        coded = CodedItems(env, ids, invalid, options)
        # The config fixes the codes and, unlike them, is JSON.
        RecordConstructorArgs.__init__(self, invalid=invalid, **coded.ids.config.to_dict())
        _MaskedSlateWrapper.__init__(self, env, coded)
        self.ids = coded.ids


class _VectorSlateWrapper(VectorForm):
    """An action wrapper of a vector environment by what makes slates of a batch of actions."""

    task: ClassVar[Task] = "actions"

    def __init__(self, env: VectorEnv, view: SlateView) -> None:
        super().__init__(env)
        self._view: Any = view
        self._subset: Observation | None = None
        self.single_action_space = view.space
        self.action_space = batch_space(view.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self._subset = _subset(observations)
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session what its action means; see the single form."""
        actions = _checked(actions, (self.num_envs, *self._view.space.shape), self._view.takes[1], self._view.kinds)
        observations, *outcome, infos = self.env.step(self._view.slates(actions, self._subset or {}))
        self._subset = _subset(observations)
        return observations, *outcome, infos  # type: ignore[return-value]


class _VectorMaskedSlateWrapper(_VectorSlateWrapper):
    """One that knows which actions the step allows."""

    _view: MaskedView

    def action_masks(self) -> np.ndarray:
        """Return the masks of the next actions, a flat one a session.

        Raises:
            InvalidInput: before the first `reset`.
        """
        return self._view.masks(_of_begun(self._subset), self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`; `infos` has `action_mask` besides."""
        observations, infos = super().reset(seed=seed, options=options)
        rows = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)))
        subset = {name: values[rows] for name, values in _of_begun(self._subset).items()}
        return observations, infos | self._masks(subset, rows)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session what its action means; see the single form; `infos` has `action_mask` besides."""
        observations, *outcome, infos = super().step(actions)
        subset = _of_begun(self._subset)
        infos = infos | self._masks(subset, np.ones(self.num_envs, np.bool_))
        if "final_info" in infos:
            done, final = infos["_final_info"], infos["final_obs"]
            last = {name: np.stack([final[b][name] for b in np.flatnonzero(done)]) for name in subset}
            infos["final_info"] = infos["final_info"] | self._masks(last, done)
        return observations, *outcome, infos  # type: ignore[return-value]

    def _masks(self, subset: Observation, rows: np.ndarray) -> dict[str, Any]:
        """Return the infos of the sessions in a mask; see `RecSessionVectorEnv.step`.

        Args:
            subset: what is offered to those.
            rows: the mask, [B].
        """
        masks = self._view.masks(subset, int(np.count_nonzero(rows)))
        if len(masks) < self.num_envs:
            whole = np.zeros((self.num_envs, masks.shape[1]), np.bool_)
            whole[rows] = masks
            masks = whole
        return {"action_mask": masks.reshape(-1, *self._view.mask_shape), "_action_mask": rows.copy()}


class VectorProtoAction(_VectorSlateWrapper):
    """`ProtoAction` of a `RecSessionVectorEnv`: [B, d].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorProtoAction
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> VectorProtoAction(env).action_space.shape
        (3, 16)
    """

    def __init__(self, env: VectorEnv) -> None:
        check_wrapped("ProtoAction", "actions", env, vector=True)
        super().__init__(env, NearestItems(env))


class VectorCandidateAction(_VectorMaskedSlateWrapper):
    """`CandidateAction` of a `RecSessionVectorEnv`: [B, K]; `infos["action_mask"]` is [B, K, C].

    Examples:
        >>> from recenv import RecSessionVectorEnv, VectorCandidateAction
        >>> env = VectorCandidateAction(RecSessionVectorEnv(3, num_candidates=20))
        >>> observations, infos = env.reset(seed=0)
        >>> env.action_space.shape, infos["action_mask"].shape
        ((3, 10), (3, 10, 20))
    """

    def __init__(self, env: VectorEnv) -> None:
        check_wrapped("CandidateAction", "actions", env, vector=True)
        super().__init__(env, CandidatePlaces(env))


class VectorSemanticIdAction(_VectorMaskedSlateWrapper):
    """`SemanticIdAction` of a `RecSessionVectorEnv`: [B, K * L]; `infos["action_mask"]` is [B, K * (sum of sizes)].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorSemanticIdAction
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> observations, infos = VectorSemanticIdAction(env).reset(seed=0)
        >>> infos["action_mask"].shape
        (3, 550)
    """

    def __init__(
        self, env: VectorEnv, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        check_wrapped("SemanticIdAction", "actions", env, vector=True)
        coded = CodedItems(env, ids, invalid, options)
        super().__init__(env, coded)
        self.ids = coded.ids


def _subset(observation: Observation) -> Observation:
    name = next((name for name in SUBSETS if name in observation), None)
    # A copy: an observation is its reader's to change.
    return {} if name is None else {name: observation[name].copy()}


def _of_begun(subset: Observation | None) -> Observation:
    require(subset is not None, "action_masks() was called before reset(); call reset() first")
    return subset  # type: ignore[return-value]


def _checked(action: Any, shape: tuple[int, ...], takes: str, kinds: str) -> np.ndarray:
    array = as_array(action, f"pass {takes} of shape {shape}")
    require(
        array.shape == shape and array.dtype.kind in kinds,
        f"action has shape {array.shape} and dtype {array.dtype}; pass {takes} of shape {shape}",
    )
    return array
