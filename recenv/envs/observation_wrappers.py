"""Other observations for RecSession's environments, single and vector: a flat array of features, or tokens.

A vector form under `Vector...` gives a session the same bits, works under every autoreset mode, and changes
`infos["final_obs"]` like any other observation. They go outside the wrappers that change actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.engine.session_batch import Observation
from recenv.envs.flat_features import FlatFeatures
from recenv.envs.token_history import TokenHistory
from recenv.envs.wrapper_parts import Task, VectorForm, check_wrapped, rows_of_one
from recenv.item_codes.semantic_ids import SemanticIds


class _ObservationView(gymnasium.ObservationWrapper):
    """An observation wrapper of a single environment by what it does to a batch."""

    task: ClassVar[Task] = "observations"

    def __init__(self, env: gymnasium.Env, view: FlatFeatures | TokenHistory) -> None:
        super().__init__(env)
        self._view = view
        self.observation_space = view.space

    def observation(self, observation: Observation) -> Any:
        """Return the changed observation."""
        return next(_each(self._view.observe(rows_of_one(observation))))


class FlatObservation(_ObservationView, RecordConstructorArgs):
    """Observe one array of features, [n] float32 with finite bounds.

    First come the observation's own numbers, each flat, in the order of its space (`calendar`, `clock`, `profile`, and
    what else is a float Box), then the history. Item ids (`candidates`, `available`) are no features and left out, but
    what they stand for may be one. `recsession export --to minari --flat` writes the same numbers in the same order.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.
        history: "pooled" for the mean embedding [d] and mean feedback [F - 1] of the consumed items and the share of
            the history that they fill; "embedded" for each item's embedding, [H * d], and feedback, [H * (F - 1)].
            Zeros where nothing was consumed.
        candidates: put the embeddings of the step's candidates behind, [C * d] in their order, zeros where there is
            none: what a policy of `CandidateAction`'s places needs to see.

    Attributes:
        layout: where each part lies, in order: (first, end) by name.

    Raises:
        InvalidInput: for another environment, one whose history a wrapper has taken away, an unknown `history`, or
            `candidates` where there are none.

    Examples:
        >>> import gymnasium
        >>> from recenv import FlatObservation
        >>> env = FlatObservation(gymnasium.make("RecSession-v0"))
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape, observation.dtype.name
        ((37,), 'float32')
    """

    def __init__(self, env: gymnasium.Env, history: str = "pooled", candidates: bool = False) -> None:
        check_wrapped("FlatObservation", "observations", env)
        RecordConstructorArgs.__init__(self, history=history, candidates=candidates)
        view = FlatFeatures.of(env, history, candidates)
        self.layout = view.layout
        _ObservationView.__init__(self, env, view)


class HistoryTokens(_ObservationView, RecordConstructorArgs):
    """Observe `history_tokens`, int32, in the place of `history_items`; the rest of the observation stays.

    Args:
        env: a `RecSessionEnv`, perhaps wrapped.
        tokens: "items" for [H] item ids plus one, or "semantic" for [H * L] tokens of the items' codes, where level l
            has numbers of its own: 1 + (sum of the sizes of the levels before) + token. 0 is padding, in front.
        ids: codes of the catalogue, so as not to fit them again.
        **options: fields of `SemanticIdConfig`, to fit them, or `codes` [N, L] of your own.

    Attributes:
        num_tokens: size of the vocabulary, padding included.
        ids: the codes, or None for item tokens.

    Raises:
        InvalidInput: for another environment, one whose history a wrapper has taken away, unknown `tokens`, codes of
            other items, or an unknown option.

    Examples:
        >>> import gymnasium
        >>> from recenv import HistoryTokens
        >>> env = HistoryTokens(gymnasium.make("RecSession-v0", num_items=100))
        >>> observation, info = env.reset(seed=0)
        >>> observation["history_tokens"].shape, env.num_tokens
        ((20,), 101)
    """

    def __init__(
        self, env: gymnasium.Env, tokens: str = "items", ids: SemanticIds | None = None, **options: Any
    ) -> None:
        check_wrapped("HistoryTokens", "observations", env)
        view = TokenHistory(env, tokens, ids, options)
        self.ids = view.ids
        self.num_tokens = view.num_tokens
        RecordConstructorArgs.__init__(self, tokens=tokens, **({} if view.ids is None else view.ids.config.to_dict()))
        _ObservationView.__init__(self, env, view)


class _VectorObservationView(VectorForm):
    """An observation wrapper of a vector environment; Gymnasium's own refuses SAME_STEP."""

    task: ClassVar[Task] = "observations"

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
        for b, observation in zip(ended, _each(self._view.observe(together)), strict=True):
            out[b] = observation
        return out


class VectorFlatObservation(_VectorObservationView):
    """`FlatObservation` of a `RecSessionVectorEnv`: [B, n].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorFlatObservation
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> observations, infos = VectorFlatObservation(env).reset(seed=0)
        >>> observations.shape
        (3, 37)
    """

    def __init__(self, env: VectorEnv, history: str = "pooled", candidates: bool = False) -> None:
        check_wrapped("FlatObservation", "observations", env, vector=True)
        super().__init__(env, FlatFeatures.of(env, history, candidates))


class VectorHistoryTokens(_VectorObservationView):
    """`HistoryTokens` of a `RecSessionVectorEnv`: [B, H] or [B, H * L].

    Examples:
        >>> import gymnasium
        >>> from recenv import VectorHistoryTokens
        >>> env = gymnasium.make_vec("RecSession-v0", num_envs=3, vectorization_mode="vector_entry_point")
        >>> observations, infos = VectorHistoryTokens(env).reset(seed=0)
        >>> observations["history_tokens"].shape
        (3, 20)
    """

    def __init__(self, env: VectorEnv, tokens: str = "items", ids: SemanticIds | None = None, **options: Any) -> None:
        check_wrapped("HistoryTokens", "observations", env, vector=True)
        view = TokenHistory(env, tokens, ids, options)
        self.ids = view.ids
        self.num_tokens = view.num_tokens
        super().__init__(env, view)


def _each(observations: Any) -> Iterator[Any]:
    """Yield the observation of each session of a batch."""
    if isinstance(observations, dict):
        count = len(next(iter(observations.values())))
        return ({name: values[b] for name, values in observations.items()} for b in range(count))
    return iter(observations)
