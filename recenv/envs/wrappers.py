"""Other actions and other observations for RecSession's environments, single and vector.

Actions: a point of the items' embedding space (`ProtoAction`), or a semantic ID for each position (`SemanticIdAction`).
Observations: one flat array of features (`FlatObservation`), or the history as a sequence of tokens (`HistoryTokens`).
Each has a vector form under `Vector...` that gives a session the same bits, works under every autoreset mode, and
changes `infos["final_obs"]` like any other observation. Action wrappers read the observation's `candidates` and
`available`, where there are any, so they go inside those that change observations:

    env = FlatObservation(ProtoAction(gymnasium.make("RecSession-v0")))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from recenv.engine.session_batch import Observation
from recenv.envs.session_views import SUBSETS, CodedItems, FlatFeatures, NearestItems, TokenHistory
from recenv.errors import InvalidInput, require
from recenv.item_codes.semantic_ids import SemanticIds

# --- single environments


class ProtoAction(gymnasium.Wrapper, RecordConstructorArgs):
    """Act by a point of the items' embedding space: the slate is its K nearest items, nearest first.

    Only the point's direction matters, and [-1, 1]^d holds every direction; a point outside is taken too. Where the
    observation has `candidates` [C] or `available` [N], the nearest of those items are shown.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.

    Raises:
        InvalidInput: for another environment, or one whose `candidates` or `available` a wrapper has taken away.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        _check("ProtoAction", env)
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
        slate = self._nearest.slates(protos, _rows_of_one(self._subset))[0]
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
    """

    def __init__(
        self, env: gymnasium.Env, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        _check("SemanticIdAction", env)
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
        observation, *outcome, info = self.env.step(self._coded.slates(codes, _rows_of_one(self._subset))[0])
        return observation, *outcome, self._with_mask(observation, info)  # type: ignore[return-value]

    def action_masks(self) -> np.ndarray:
        """Return the mask of the next action, as `info["action_mask"]`; sb3-contrib asks for it by this name."""
        return self._mask.copy()

    def _with_mask(self, observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
        self._subset = _subset(observation)
        self._mask = self._coded.masks(_rows_of_one(self._subset), 1)[0]
        return {**info, "action_mask": self._mask.copy()}


class _ObservationView(gymnasium.ObservationWrapper):
    """An observation wrapper of a single environment by what it does to a batch."""

    def __init__(self, env: gymnasium.Env, view: FlatFeatures | TokenHistory) -> None:
        super().__init__(env)
        self._view = view
        self.observation_space = view.space

    def observation(self, observation: Observation) -> Any:
        """Return the changed observation."""
        return next(_lanes(self._view.observe(_rows_of_one(observation))))


class FlatObservation(_ObservationView, RecordConstructorArgs):
    """Observe one array of features, [n] float32 with finite bounds.

    First come the observation's own numbers, each flat, in the order of its space (`profile`, `clock`, and what else is
    a float Box), then the history. Item ids (`candidates`, `available`) are no features and left out.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.
        history: "pooled" for the mean embedding [d] and mean feedback [F - 1] of the consumed items and the share of
            the history that they fill; "embedded" for each item's embedding, [H * d], and feedback, [H * (F - 1)].
            Zeros where nothing was consumed.

    Raises:
        InvalidInput: for another environment, one whose history a wrapper has taken away, or an unknown `history`.
    """

    def __init__(self, env: gymnasium.Env, history: str = "pooled") -> None:
        _check("FlatObservation", env)
        RecordConstructorArgs.__init__(self, history=history)
        _ObservationView.__init__(self, env, FlatFeatures(env, history))


class HistoryTokens(_ObservationView, RecordConstructorArgs):
    """Observe `history_tokens`, int32, in the place of `history_items`; the rest of the observation stays.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.
        tokens: "items" for [H] item ids plus one, or "semantic" for [H * L] tokens of the items' codes, where level l
            has numbers of its own: 1 + (sum of the sizes of the levels before) + token. 0 is padding, in front.
        ids: codes of the catalogue, so as not to fit them again.
        **options: fields of `SemanticIdConfig`, to fit them.

    Attributes:
        num_tokens: size of the vocabulary, padding included.
        ids: the codes, or None for item tokens.

    Raises:
        InvalidInput: for another environment, one whose history a wrapper has taken away, unknown `tokens`, codes of
            other items, or an unknown option.
    """

    def __init__(
        self, env: gymnasium.Env, tokens: str = "items", ids: SemanticIds | None = None, **options: Any
    ) -> None:
        _check("HistoryTokens", env)
        view = TokenHistory(env, tokens, ids, options)
        self.ids = view.ids
        self.num_tokens = view.num_tokens
        RecordConstructorArgs.__init__(self, tokens=tokens, **({} if view.ids is None else asdict(view.ids.config)))
        _ObservationView.__init__(self, env, view)


# --- vector environments


class _VectorForm(VectorWrapper):
    """A vector wrapper that says how it resets, in the attribute that TorchRL looks for."""

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When a session that ended starts again."""
        return self.env.metadata["autoreset_mode"]


class VectorProtoAction(_VectorForm):
    """`ProtoAction` of a `RecSessionVectorEnv`: [B, d]."""

    def __init__(self, env: VectorEnv) -> None:
        _check("ProtoAction", env, vector=True)
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


class VectorSemanticIdAction(_VectorForm):
    """`SemanticIdAction` of a `RecSessionVectorEnv`: [B, K * L]; `infos["action_mask"]` is [B, K * (sum of sizes)]."""

    def __init__(
        self, env: VectorEnv, ids: SemanticIds | None = None, *, invalid: str = "raise", **options: Any
    ) -> None:
        _check("SemanticIdAction", env, vector=True)
        super().__init__(env)
        self._coded = CodedItems(env, ids, invalid, options)
        self._subset: Observation = {}
        self.ids = self._coded.ids
        self.single_action_space = self._coded.space
        self.action_space = batch_space(self._coded.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`; `infos` has `action_mask` besides."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations, self._with_masks(observations, infos)

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Show every session the items that its codes name; see `SemanticIdAction.step`."""
        codes = _action(actions, (self.num_envs, *self._coded.space.shape), "integer tokens", "iu")
        observations, *outcome, infos = self.env.step(self._coded.slates(codes, self._subset))
        return observations, *outcome, self._with_masks(observations, infos)  # type: ignore[return-value]

    def _with_masks(self, observations: Observation, infos: dict[str, Any]) -> dict[str, Any]:
        self._subset = _subset(observations)
        return {**infos, "action_mask": self._coded.masks(self._subset, self.num_envs)}


class _VectorObservationView(_VectorForm):
    """An observation wrapper of a vector environment; Gymnasium's own refuses SAME_STEP."""

    def __init__(self, env: VectorEnv, view: FlatFeatures | TokenHistory) -> None:
        super().__init__(env)
        self._view = view
        self.single_observation_space = view.space
        self.observation_space = batch_space(view.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes; see `RecSessionVectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._view.observe(observations), infos

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every session; see the wrapped environment."""
        observations, *outcome, infos = self.env.step(actions)
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._last(infos["final_obs"])}
        return self._view.observe(observations), *outcome, infos  # type: ignore[return-value]

    def _last(self, final: np.ndarray) -> np.ndarray:
        ended = [b for b, observation in enumerate(final) if observation is not None]
        together = {name: np.stack([final[b][name] for b in ended]) for name in final[ended[0]]}
        out = np.full(len(final), None, dtype=object)
        for b, observation in zip(ended, _lanes(self._view.observe(together)), strict=True):
            out[b] = observation
        return out


class VectorFlatObservation(_VectorObservationView):
    """`FlatObservation` of a `RecSessionVectorEnv`: [B, n]."""

    def __init__(self, env: VectorEnv, history: str = "pooled") -> None:
        _check("FlatObservation", env, vector=True)
        super().__init__(env, FlatFeatures(env, history))


class VectorHistoryTokens(_VectorObservationView):
    """`HistoryTokens` of a `RecSessionVectorEnv`: [B, H] or [B, H * L]."""

    def __init__(self, env: VectorEnv, tokens: str = "items", ids: SemanticIds | None = None, **options: Any) -> None:
        _check("HistoryTokens", env, vector=True)
        view = TokenHistory(env, tokens, ids, options)
        self.ids = view.ids
        self.num_tokens = view.num_tokens
        super().__init__(env, view)


# --- parts


def _check(name: str, env: object, *, vector: bool = False) -> None:
    """Refuse an environment of the other form, and a second wrapper of the same task, by the wrapper's single name."""
    own, other = (f"Vector{name}", name) if vector else (name, f"Vector{name}")
    if not isinstance(env, VectorEnv if vector else gymnasium.Env):
        takes = f"{own} takes a {'vector' if vector else 'single'} environment"
        if isinstance(env, gymnasium.Env | VectorEnv):
            raise InvalidInput(f"{takes} and env={env} is a {'single' if vector else 'vector'} one; use {other}")
        raise InvalidInput(f"{takes}, not a {type(env).__name__}; pass a RecSession environment")
    actions = (ProtoAction, SemanticIdAction, VectorProtoAction, VectorSemanticIdAction)
    family = actions if name.endswith("Action") else (_ObservationView, _VectorObservationView)
    inner: Any = env
    while isinstance(inner, gymnasium.Wrapper | VectorWrapper):
        if isinstance(inner, family):
            why = (
                "ProtoAction makes a slate of a point, and SemanticIdAction of codes"
                if family is actions
                else "FlatObservation makes features of the history, and HistoryTokens tokens"
            )
            raise InvalidInput(f"{own} cannot wrap env={env}: {why}; use one of them, once")
        inner = inner.env


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


def _rows_of_one(observation: Observation) -> Observation:
    return {name: values[None] for name, values in observation.items()}


def _lanes(observations: Any) -> Iterator[Any]:
    """Yield the observation of each session of a batch."""
    if isinstance(observations, dict):
        count = len(next(iter(observations.values())))
        return ({name: values[b] for name, values in observations.items()} for b in range(count))
    return iter(observations)
