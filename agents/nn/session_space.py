"""What a policy reads and acts on: the parts of an observation, the size of a slate, and the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import torch
from tensordict import TensorDict

from agents.nn.item_features import ItemFeatures, features_as_in, features_of, resolve_choice
from agents.nn.space_checks import require_like, require_readable
from offline_data.serving.serving_space import ServingSpace
from offline_data.store.context import ContextColumn
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

_ROWS_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, eq=False)
class SessionSpace:
    """The sizes of an observation and of a slate, and the items.

    Examples:
        >>> from agents import SessionSpace
        >>> from recenv import SessionConfig, make_world
        >>> space = SessionSpace.of_world(make_world(SessionConfig()))
        >>> space.num_items, space.slate_size, space.observed
        (1000, 10, ('profile', 'history_items', 'history_feedback', 'clock'))
    """

    embeddings: np.ndarray
    """[N, d] float32, by what items are told apart: the catalogue's embeddings, factors of a log, or both."""
    popularity: np.ndarray
    """[N] float32, prior of the items, sums to one; of an imported log, how often it showed them."""
    history_length: int
    """H, consumed items of an observation."""
    num_channels: int
    """Feedback channels of a consumed item, F - 1: the click is left out."""
    slate_size: int
    """K."""
    max_steps: int
    """Steps that `clock` is a share of: the world's, or what the log was imported with."""
    has_profile: bool = True
    """Whether an observation has `profile`, as in simulated worlds; what a read-in log says of users is `context`."""
    has_calendar: bool = False
    """Whether it has `calendar`."""
    context: tuple[ContextColumn, ...] = ()
    """What source columns its `context` is made of, and how a raw value is encoded; empty where there is none."""
    offer: Literal["candidates", "available"] | None = None
    """Which entry of the observation says what the step may show; None where that is every item."""
    varied: bool = False
    """Whether slates of the log have empty positions: what a step is worth depends on how many items it shows."""
    session: SessionConfig | None = None
    """The simulated world's config; None for a log that was read in."""
    feedback_names: tuple[str, ...] | None = None
    """[F] the click's name and those of the channels, in order; None in a policy that an older version wrote."""
    item_ids: np.ndarray | None = None
    """[N] int64 or text, what the source calls the items: their SKUs; None where it has no names of its own."""
    num_from_log: int = 0
    """How many of the embeddings' coordinates, the last ones, are factors of the training log: those of a log that a
    policy meets later are not compared with them, and it is judged with its own."""
    told_apart_by: str = "the embeddings of the catalogue"
    """What the embeddings are, in words."""

    @staticmethod
    def of_world(world: World) -> SessionSpace:
        """Return what sessions of a simulated world show and take."""
        config = world.config
        limited = "available" if config.freshness is not None else None
        return SessionSpace(
            embeddings=world.catalog.embeddings,
            popularity=world.catalog.popularity,
            history_length=config.history_length,
            num_channels=world.num_feedback - 1,
            slate_size=config.slate_size,
            max_steps=config.max_steps,
            has_calendar=world.pieces.has_calendar,
            offer="candidates" if config.num_candidates is not None else limited,
            session=config,
            feedback_names=tuple(world.user_model.feedback_names),
            item_ids=world.catalog.source_id,
        )

    @staticmethod
    def of_log(dataset: LoggedDataset, item_features: str | SessionSpace = "auto", *, seed: int = 0) -> SessionSpace:
        """Return what a log's sessions showed and took.

        Args:
            dataset: simulated, or read in; of one that was read in, popularity is counted.
            item_features: by what the items of a log that was read in are told apart: `catalog`, its embeddings; `log`,
                factors of what stands together in it; `both`; or `auto`, see `agents.nn.item_features.CHOICES`. Or the
                space of a policy that is to be judged: factors of the log that it learned from are its own.
            seed: of the factors.

        Raises:
            InvalidInput: for embeddings that the log lacks.
        """
        if dataset.has_world:
            if isinstance(item_features, str):
                resolve_choice(dataset, item_features)
            return SessionSpace.of_world(dataset.world)
        if isinstance(item_features, str):
            features = features_of(dataset, item_features, seed=seed)
        else:
            own = features_as_in(dataset, item_features.embeddings, item_features.num_from_log)
            features = ItemFeatures(own, item_features.num_from_log, item_features.told_apart_by)
        dataset.require_sound()
        counts, varied = np.ones(dataset.num_items), False
        for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            # A short slate repeats its last item, which is not shown again.
            shown = dataset.rows["shown"][rows]
            varied = varied or not shown.all()
            items = dataset.rows["slate"][rows][shown]
            counts += np.bincount(items, minlength=dataset.num_items)
        return SessionSpace(
            embeddings=features.embeddings,
            popularity=(counts / counts.sum()).astype(np.float32),
            history_length=dataset.history_length,
            num_channels=len(dataset.manifest["feedback_names"]) - 1,
            slate_size=dataset.slate_size,
            max_steps=dataset.max_steps,
            has_profile="profile" in dataset.sessions,
            context=dataset.context,
            offer="candidates" if "candidates" in dataset.rows else None,
            varied=varied,
            feedback_names=tuple(dataset.manifest["feedback_names"]),
            item_ids=_ids(dataset.catalog.get("source_id")),
            num_from_log=features.num_from_log,
            told_apart_by=features.told,
        )

    def world(self) -> World:
        """Return the simulated world that it is of, with its own items.

        Raises:
            InvalidInput: for a log that was read in, or where the world's items are not these.
        """
        if self.session is None:
            raise InvalidInput("a log that was read in has no simulated world; use one that `recsession collect` wrote")
        world = make_world(self.session)
        # Machines differ in the last bit.
        require(
            np.allclose(world.catalog.embeddings, self.embeddings, rtol=1e-4, atol=1e-6),
            "the items of the policy are not those that its world draws, and an older RecSession kept no more of items "
            "of one's own; train a policy among them again",
        )
        return world

    @property
    def num_items(self) -> int:
        """N."""
        return self.embeddings.shape[0]

    @property
    def embedding_dim(self) -> int:
        """The dimension d of the embeddings."""
        return self.embeddings.shape[1]

    @property
    def observed(self) -> tuple[str, ...]:
        """Entries of the observation that a policy reads."""
        profile = ("profile",) if self.has_profile else ()
        calendar = ("calendar",) if self.has_calendar else ()
        offer = (self.offer,) if self.offer else ()
        context = ("context",) if self.context else ()
        return (*profile, "history_items", "history_feedback", "clock", *calendar, *context, *offer)

    @cached_property
    def serving(self) -> ServingSpace:
        """What a server has to know of it."""
        return ServingSpace(
            num_items=self.num_items,
            slate_size=self.slate_size,
            history_length=self.history_length,
            num_channels=self.num_channels,
            max_steps=self.max_steps,
            observed=self.observed,
            feedback_names=self.feedback_names,
            context=self.context,
            item_ids=self.item_ids,
        )

    def batch(self, observation: Mapping[str, np.ndarray], device: str | torch.device = "cpu") -> TensorDict:
        """Return observations as the batch that a policy reads: a TensorDict [B] with the key `observation`.

        Args:
            observation: arrays with leading axis B, by name; further entries are left out.
            device: where the tensors go.

        Raises:
            InvalidInput: for an entry that is missing, has another shape, or holds an id that no item has, a number
                that is not finite or a clock outside [0, 1]; or where the step shows a part of the items and the space
                has no `offer`.
        """
        require_readable(self, observation)
        count = len(observation[self.observed[0]])
        tensors = {name: torch.from_numpy(np.ascontiguousarray(observation[name])) for name in self.observed}
        return TensorDict({"observation": TensorDict(tensors, [count])}, [count]).to(device)

    def require_like(self, other: SessionSpace, own: str, others: str, *, slate_size: bool = False) -> None:
        """Refuse another space whose observations or items a policy made for this one would misread.

        Items are compared by what their source calls them, and by their embeddings.

        Args:
            other: the space that the policy meets.
            own: what this one is called in the message, for example "policy runs/x/policy".
            others: what the other is called, for example "runs/log".
            slate_size: whether the slates' size must be the same too.

        Raises:
            InvalidInput: naming what differs and what would fit.
        """
        require_like(self, other, own, others, slate_size=slate_size)


def _ids(source_id: np.ndarray | None) -> np.ndarray | None:
    """Return a log's ids of its items as a policy keeps them, whole numbers as int64."""
    return None if source_id is None else np.asarray(source_id, np.int64 if source_id.dtype.kind in "iu" else None)
