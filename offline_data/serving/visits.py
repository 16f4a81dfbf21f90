"""What a server knows of a user, as a policy is told it: events of a session, by the ids of their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recenv.errors import InvalidInput, require, require_range, unknown_name


@dataclass(frozen=True)
class Visit:
    """A user's session so far: all that a policy is told of a user.

    A session is what it was in the log that the policy learned from: where a user comes back later than the import's
    `--session-gap`, a new one begins, without events.

    Examples:
        >>> from offline_data import Visit
        >>> new = Visit()
        >>> later = Visit(["B-17", ("C-02", {"cart": 1.0})], step=3)  # two clicks on three slates
        >>> len(later.events)
        2
    """

    events: Sequence[Any] | np.ndarray = ()
    """The items that the user consumed in this session, the oldest first, and of one slate by position: each an id, or
    a pair of an id and the feedback on it, by the names of the log's channels, 0 for those that are left out. An item
    whose click is 0 was shown and not consumed, and is passed over: everything that was shown may be given, with its
    clicks, or what was consumed alone. Of what lies more than `history_length` back only the number counts."""
    step: int = 0
    """How many slates the session has shown before the one that is asked for."""
    num_consumed: int | None = None
    """How many items it has consumed, where `events` holds the last of them only; None: those of `events`."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What the log's context columns say of the user and the moment, by name; None where it is not known."""
    candidates: Sequence[Any] | np.ndarray | None = None
    """Ids of the items that may be shown, each counted once, for a policy that chooses among those of the step."""
    entries: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the observation, by name: `profile` and `calendar` of a simulated world."""

    def __post_init__(self) -> None:
        for name, remedy in (("events", "ids, or pairs of an id and its feedback"), ("candidates", "ids")):
            values = getattr(self, name)
            if values is not None:
                listed = not isinstance(values, str | bytes | Mapping) and hasattr(values, "__iter__")
                require(listed, f"{name}={values!r} of a visit is no list; pass one of {remedy}")
                object.__setattr__(self, name, tuple(values))
        for name in ("context", "entries"):
            values = getattr(self, name)
            require(isinstance(values, Mapping), f"{name}={values!r} of a visit is no dict; pass values by name")
        for name in ("step", "num_consumed"):
            value = getattr(self, name)
            value = value.item() if isinstance(value, np.integer) else value
            if value is not None or name == "step":
                require_range(name, value, 0, 2**31 - 1, integer=True)
            object.__setattr__(self, name, value)

    def consumed(self, names: Sequence[str] | None, num_channels: int) -> list[tuple[Any, list[float]]]:
        """Return the ids of the consumed events, and the feedback on them by channel.

        Args:
            names: of the click and the channels; None where they have none.
            num_channels: how many there are besides the click.

        Raises:
            InvalidInput: for what is no event, or feedback of another name or out of [0, 1].
        """
        silent = [0.0] * num_channels
        found = []
        for event in self.events:
            if not isinstance(event, list | tuple):
                found.append((event, silent))
                continue
            if len(event) != 2 or not isinstance(event[1], Mapping):
                raise InvalidInput(f"event {event!r} is neither an id nor ('ID', {{'CHANNEL': 1.0}}); write it as one")
            answer: Mapping[str, Any] = event[1]
            if names is None and answer:
                raise InvalidInput(
                    f"event {event!r} has feedback, and the policy is of an older version, which does not know what "
                    "its channels are called; train it again"
                )
            for name, value in answer.items():
                _check_feedback(event, name, value, names or ())
            if names is None:
                found.append((event[0], silent))
            elif answer.get(names[0], 1.0) > 0.0:
                found.append((event[0], [float(answer.get(name, 0.0)) for name in names[1:]]))
        return found

    def counts(self, consumed: int) -> tuple[int, int]:
        """Return the steps and the consumed items of the session.

        Args:
            consumed: how many events were.

        Raises:
            InvalidInput: for fewer than `events` has, or events before the first slate.
        """
        total = consumed if self.num_consumed is None else self.num_consumed
        require(
            total >= consumed,
            f"num_consumed={total} is less than the {consumed} events of the visit; leave it out, or count all",
        )
        require(
            self.step > 0 or total == 0,
            f"step=0 and {total} consumed items: nothing is consumed before the first slate; pass how many slates the "
            "session has shown",
        )
        return self.step, total

    def entry(self, name: str) -> np.ndarray:
        """Return a further entry of the observation.

        Raises:
            InvalidInput: if it is not there, or holds no numbers.
        """
        require(name in self.entries, f"a visit has no {name!r}, which the policy reads; pass it in `entries`")
        try:
            return np.asarray(self.entries[name], np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{name} of a visit is no array of numbers ({error}); pass one") from error


def _check_feedback(event: Sequence[Any], name: str, value: Any, names: Sequence[str]) -> None:
    if name not in names:
        raise unknown_name("feedback", name, names)
    number = isinstance(value, int | float | np.integer | np.floating | np.bool_)
    if not number or not 0.0 <= value <= 1.0:
        raise InvalidInput(f"event {event!r}: {name}={value!r} is not in [0, 1]; scale it as the log's was")
