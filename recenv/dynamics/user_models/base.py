"""User models: how a hidden user state answers a slate and moves; one file each, found by name in `USER_MODELS`.

What every model shares is not here: utilities are linear in the item's embedding and computed in one place
(`recenv.engine.slates`), clicks are the choice model's, and what any model can switch on lies in the pieces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State, numbers_of
from recenv.items.catalog import Catalog


def expert_oracle(quality_weight: float) -> Mapping[str, Any]:
    """Return the spec of an oracle: the expert, so cold that its slate is all but the best items in their order."""
    return {"name": "expert", "quality_weight": quality_weight, "temperature": 0.02}


class UserModel(ABC):
    """A user model over one catalogue; it holds parameters only, the sessions' state is passed in.

    The utility of an item for a user with interest u (state `interest`) is affinity_weight u.v + item_utility, plus
    what the pieces and `adjust` add.

    Args:
        config: an instance of the class's `Config`.
        catalog: the world's items.
        max_clicks: C, the most clicks that the choice model gives a slate.

    Attributes:
        Config: frozen dataclass of the model's parameters, with `name`.
        defaults: what `SessionConfig().override` takes, in the model's own world: its choice model and pieces, and of
            the catalogue the fields that differ. They apply when the model is chosen; a piece that is not named is off.
        requires: names of pieces without which the model does not work.
        feedback_names: what is observed of each shown item, in order; the first is the click, 0 or 1; all lie in [0,
            1].
        watch_channel: index of the feedback that is the share of the item's length watched, written by the pieces; -1
            if there is none.
        reward_names: the components of a step's reward vector, in order.
        reward_fields: the config's fields that are the weights of those components.
        kernel_fields: the config's numbers that a kernel of the model reads, as `_numbers`.
        minutes_reward: index of the component that counts minutes watched, written by the pieces; -1 if there is none.
        variant: what the model's own world is called among environments and named datasets, a literal, in lower case
            with hyphens; None: it is in neither.
        version: of its equations, a literal: raised where an equal config no longer gives the same sessions. It is part
            of a world's hash, and names its environments and named datasets: `-v1`.
        further_variants: further worlds of the model in both, by name: what each changes in its own world, a literal.
        undefined_behaviors: behavior policies that mean nothing to its users, and why not, a literal; a noise of the
            quality dial that is among them is in no named dataset.
        expert: spec of the behavior policy whose normalised score is 1: the best far-sighted oracle of the model's own
            world; None: it has none, and a score must be told its expert.
        greedy_oracle: spec of the oracle that seeks the next reward alone; None: the myopic gap is not measured.
        far_sighted_oracles: specs of those that look beyond it, which differ from one another in one parameter.
        beyond_fit: fields that move clicks by what `fit` leaves out, where they are not 0, and how they do; None: that
            is not known.
        follows_mean_path: whether the interest moves on average as `fit` can follow it: that of interest evolution.
        leaves: whether users leave of the model's own accord.

    Examples:
        >>> from recenv import USER_MODELS
        >>> model = USER_MODELS.get("interest_evolution")
        >>> model.feedback_names
        ('click', 'watch_fraction', 'like')
        >>> model.Config().affinity_weight
        2.0
    """

    Config: ClassVar[type]
    defaults: ClassVar[Mapping[str, Any]] = {}
    requires: ClassVar[tuple[str, ...]] = ()
    feedback_names: ClassVar[tuple[str, ...]]
    watch_channel: ClassVar[int] = -1
    reward_names: ClassVar[tuple[str, ...]]
    reward_fields: ClassVar[tuple[str, ...]] = ()
    kernel_fields: ClassVar[tuple[str, ...]] = ()
    minutes_reward: ClassVar[int] = -1
    variant: ClassVar[str | None] = None
    version: ClassVar[int] = 0
    further_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    undefined_behaviors: ClassVar[Mapping[str, str]] = {}
    expert: ClassVar[Mapping[str, Any] | None] = None
    greedy_oracle: ClassVar[Mapping[str, Any] | None] = None
    far_sighted_oracles: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    beyond_fit: ClassVar[Mapping[str, str] | None] = None
    follows_mean_path: ClassVar[bool] = False
    leaves: ClassVar[bool] = False

    def __init__(self, config: Any, catalog: Catalog, max_clicks: int) -> None:
        self.config = config
        self.catalog = catalog
        self.max_clicks = max_clicks

    @property
    def reward_weights(self) -> np.ndarray:
        """The weight of each reward component in the scalar reward, [M] float64: the config's `reward_fields`."""
        return np.array([float(getattr(self.config, name)) for name in self.reward_fields])

    @cached_property
    def _numbers(self) -> np.ndarray:
        return numbers_of(self.kernel_fields, self.config)

    @property
    def affinity_weight(self) -> float:
        """Utility of one unit of affinity u.v: the config's."""
        return self.config.affinity_weight

    @property
    @abstractmethod
    def item_utility(self) -> np.ndarray:
        """What each item adds to its utility whoever the user is, [N] float32."""

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape (of one session) and dtype of each array of the hidden state: `interest` [d], and what else."""
        return {"interest": ((self.catalog.embedding_dim,), np.float32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return least and most of the state's numbers while a session lasts, by name; a part without one is finite.

        A state that a caller gives to a session is checked by it.
        """
        return {}

    def num_initial_draws(self) -> int:
        """Return how many uniforms `start` takes: d, one for each direction of the interest, or the model's own."""
        return self.catalog.embedding_dim

    def num_response_draws(self) -> int:
        """Return how many uniforms `respond` takes: none, where only the choice is random."""
        return 0

    def start(self, draws: np.ndarray) -> State:
        """Return the hidden state of new users: interests uniform in [-interest_scale, interest_scale]^d.

        Args:
            draws: [B, num_initial_draws] uniforms.
        """
        return {"interest": (self.config.interest_scale * (2.0 * draws - 1.0)).astype(np.float32)}

    @abstractmethod
    def worth(self, state: State) -> np.ndarray:
        """Return the gradient in its embedding of what an item gives back once consumed, [B, d] float32, for oracles.

        Args:
            state: arrays of B sessions.
        """

    @property
    @abstractmethod
    def item_worth(self) -> np.ndarray:
        """What each item gives back besides, whoever the user is, [N] float64."""

    # Optional: most models neither adjust a utility nor keep anything that a new session resets.
    def adjust(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:  # noqa: B027
        """Add to the utilities of a slate, in place, what is not linear in the embedding.

        Args:
            state: arrays of B sessions.
            shown_items: [B, K] int32 ids, -1 for an empty position.
            utilities: [B, K] float32; minus infinity at empty positions, to be left so.
        """

    def resume(self, state: State, returned: np.ndarray) -> None:  # noqa: B027
        """Reset, in place, what a user does not carry from one session of an episode to the next.

        Args:
            state: arrays of B sessions.
            returned: [B] bool, the sessions that begin anew.
        """

    @abstractmethod
    def respond(self, state: State, response: Response) -> None:
        """Write the answer to a slate and move the state, in place.

        A session that is not active stays as it is.

        Args:
            state: arrays of B sessions, updated; the pieces' arrays are to be read only.
            response: what was shown and clicked, and the arrays to write.
        """
