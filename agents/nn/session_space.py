"""What a policy reads and acts on: the parts of an observation, the size of a slate, and the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from tensordict import TensorDict

from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range
from recenv.families import USER_MODELS
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
    """[N, d] float32 item embeddings."""
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
    """Whether an observation has `profile`; imported logs have none."""
    has_calendar: bool = False
    """Whether it has `calendar`."""
    offer: Literal["candidates", "available"] | None = None
    """Which entry of the observation says what the step may show; None where that is every item."""
    varied: bool = False
    """Whether slates of the log have empty positions: what a step is worth depends on how many items it shows."""
    session: SessionConfig | None = None
    """The simulated world's config; None for a log that was read in."""

    def require_whole(self) -> None:
        """Refuse sizes and items that no log and no world has, as a stranger's file may say them.

        Raises:
            InvalidInput: naming what cannot be, or is not that of the space's own world.
        """
        require_range("history_length", self.history_length, 1, 4096, integer=True)
        require_range("num_channels", self.num_channels, 0, 1023, integer=True)
        require_range("slate_size", self.slate_size, 1, 1024, integer=True)
        require_range("max_steps", self.max_steps, 1, 2**31 - 1, integer=True)
        require(
            isinstance(self.has_profile, bool) and isinstance(self.has_calendar, bool),
            f"has_profile={self.has_profile!r}, has_calendar={self.has_calendar!r}: pass True or False for each",
        )
        require(
            self.offer in (None, "candidates", "available"),
            f"offer={self.offer!r} is no entry of an observation; pass None, 'candidates' or 'available'",
        )
        for name, values, axes in (("embeddings", self.embeddings, 2), ("popularity", self.popularity, 1)):
            require(
                values.ndim == axes
                and min(values.shape) > 0
                and values.dtype == np.float32
                and len(values) == len(self.embeddings),
                f"{name} of the items is {values.dtype} of shape {values.shape}; pass one row of numbers an item",
            )
            require(bool(np.isfinite(values).all()), f"{name} of the items holds a number that is not finite; mend it")
        require(bool((self.popularity >= 0.0).all()), "popularity of the items holds a number below 0; mend it")
        if self.session is not None:
            self._require_session(self.session)

    def _require_session(self, config: SessionConfig) -> None:
        """Refuse sizes that are not those of the space's own world."""
        catalog, limited = config.catalog, "available" if config.freshness is not None else None
        said = {
            "num_items": (self.num_items, catalog.num_items),
            "embedding_dim": (self.embedding_dim, catalog.embedding_dim),
            "history_length": (self.history_length, config.history_length),
            "slate_size": (self.slate_size, config.slate_size),
            "max_steps": (self.max_steps, config.max_steps),
            "num_channels": (self.num_channels, len(USER_MODELS.part_of(config.user_model).feedback_names) - 1),
            "offer": (self.offer, "candidates" if config.num_candidates is not None else limited),
            "has_profile": (self.has_profile, True),
        }
        for name, (own, worlds) in said.items():
            require(own == worlds, f"{name}={own!r} is not that of the space's own world, {worlds!r}; pass its own")

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
        )

    @staticmethod
    def of_log(dataset: LoggedDataset) -> SessionSpace:
        """Return what a log's sessions showed and took.

        Args:
            dataset: simulated, or read in; of one that was read in, popularity is counted.

        Raises:
            InvalidInput: for an imported log without embeddings of its items.
        """
        if dataset.has_world:
            return SessionSpace.of_world(dataset.world)
        require(
            "embeddings" in dataset.catalog,
            f"{dataset.path} has no embeddings of its items, by which a policy tells them apart; import it again with "
            "a file of items that has them: a list column `embeddings`, or columns embedding_0, embedding_1, ...",
        )
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
            embeddings=np.asarray(dataset.catalog["embeddings"], np.float32),
            popularity=(counts / counts.sum()).astype(np.float32),
            history_length=dataset.history_length,
            num_channels=len(dataset.manifest["feedback_names"]) - 1,
            slate_size=dataset.slate_size,
            max_steps=dataset.max_steps,
            has_profile="profile" in dataset.sessions,
            varied=varied,
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
        return (*profile, "history_items", "history_feedback", "clock", *calendar, *offer)

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
        self._check(observation)
        count = len(observation[self.observed[0]])
        tensors = {name: torch.from_numpy(np.ascontiguousarray(observation[name])) for name in self.observed}
        return TensorDict({"observation": TensorDict(tensors, [count])}, [count]).to(device)

    def _check(self, observation: Mapping[str, np.ndarray]) -> None:
        """Refuse observations that a policy of this space would misread; see `batch`."""
        for name in self.observed:
            if name not in observation:
                raise InvalidInput(
                    f"the observation has no {name!r}; the policy reads {', '.join(self.observed)}: pass what its own "
                    "environment gives"
                )
        limits = {"candidates", "available"} & set(observation)
        require(
            self.offer is not None or not limits,
            f"the observation has {' and '.join(sorted(limits))}: the step shows a part of the items, and the policy "
            "was made where it shows any; train one in this world",
        )
        count = len(np.atleast_1d(observation[self.observed[0]]))
        shapes = self._shapes()
        shapes["history_feedback"] = (*np.shape(observation["history_items"])[1:2], self.num_channels)
        for name in self.observed:
            values = np.asarray(observation[name])
            expected = (count, *shapes[name])
            fits = values.ndim == len(expected)
            fits = fits and all(b in (None, a) for a, b in zip(values.shape, expected, strict=True))
            require(
                fits,
                f"observation {name!r} has shape {values.shape}; the policy reads "
                f"({', '.join('any' if size is None else str(size) for size in expected)})",
            )
            if name in ("history_items", "candidates"):
                require(
                    values.dtype.kind in "iu"
                    and bool((values.max(initial=-1) < self.num_items) & (values.min(initial=-1) >= -1)),
                    f"observation {name!r} has dtype {values.dtype} and holds {_range(values)}; item ids are integers "
                    f"in [0, {self.num_items - 1}], and -1 is none",
                )
            elif name == "clock":
                require(
                    bool(((values >= 0.0) & (values <= 1.0)).all()),
                    f"observation 'clock' holds {_range(values)}; it is steps and consumed items, both divided by the "
                    f"policy's max_steps={self.max_steps}, and at most 1",
                )
            else:
                require(
                    bool(np.isfinite(values).all()),
                    f"observation {name!r} holds a number that is not finite; pass what the environment gives",
                )

    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        return {
            "profile": (self.embedding_dim,),
            "history_items": (None,),
            "history_feedback": (None, self.num_channels),
            "clock": (2,),
            "calendar": (2,),
            "candidates": (None,),
            "available": (self.num_items,),
        }

    def require_like(self, other: SessionSpace, own: str, others: str, *, slate_size: bool = False) -> None:
        """Refuse another space whose observations or items a policy made for this one would misread.

        Args:
            other: the space that the policy meets.
            own: what this one is called in the message, for example "policy runs/x/policy".
            others: what the other is called, for example "runs/log".
            slate_size: whether the slates' size must be the same too.

        Raises:
            InvalidInput: naming what differs and what would fit.
        """
        mine, found = self._facts(), other._facts()
        if slate_size:
            mine["slate_size"], found["slate_size"] = self.slate_size, other.slate_size
        for name, value in mine.items():
            # The one fact that an option alone mends: of a read-in log, or of a world.
            option = "import the log with --max-steps " if other.session is None else "set max_steps="
            remedy = f"{option}{value}" if name == "max_steps" else "use a log and a world of the policy's own"
            require(
                value == found[name],
                f"{own} was made for {name}={value!r}, and {others} has {found[name]!r}; {remedy}, or train a policy "
                "on these",
            )
        require(
            np.array_equal(self.embeddings, other.embeddings),
            f"{own} was made for other items than those of {others}; train a policy on these",
        )

    def _facts(self) -> dict[str, Any]:
        model = "none, an imported log"
        if self.session is not None:
            model = USER_MODELS.name_of(type(self.session.user_model))
        return {
            "user_model": model,
            "history_length": self.history_length,
            "max_steps": self.max_steps,
            "num_channels": self.num_channels,
            "observed": self.observed,
            "num_items": self.num_items,
            "embedding_dim": self.embedding_dim,
        }


def _range(values: np.ndarray) -> str:
    return f"{values.min()} to {values.max()}" if values.size else "nothing"
