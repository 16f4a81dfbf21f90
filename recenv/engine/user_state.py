"""The hidden state of sessions as callers see it: an array whose parts have names, and states that a caller gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recenv.dynamics.kernel_groups import State
from recenv.engine.slates import as_array
from recenv.errors import InvalidInput, require, unknown_name
from recenv.world import World

_LARGEST: Final = 1e6  # of a number that no part of a world gives a range


class UserState(np.ndarray):
    """The hidden state of one session, [D], or of several, [B, D] float32: one array, whose parts have names.

    To whoever reads arrays it is one, such as a critic that may look behind the curtain, or TorchRL's reader of infos;
    `state["interest"]` is a part in its own shape and dtype, and `keys()`, `items()` and `values()` are as of a dict.

    Examples:
        >>> from recenv import RecSessionEnv
        >>> state = RecSessionEnv(expose_user_state=True).reset(seed=0)[1]["user_state"]
        >>> state.shape, {name: values.shape for name, values in state.items()}
        ((33,), {'interest': (16,), 'satiation': (16,), 'budget': ()})
    """

    _parts: dict[str, tuple[slice, tuple[int, ...], np.dtype]]

    @staticmethod
    def of(state: State) -> UserState:
        """Return the state of B sessions, a copy.

        Args:
            state: arrays of B sessions.
        """
        parts, end = {}, 0
        for name, values in state.items():
            first, end = end, end + math.prod(values.shape[1:])
            parts[name] = slice(first, end), values.shape[1:], values.dtype
        told = np.concatenate([values.reshape(len(values), -1) for values in state.values()], axis=1, dtype=np.float32)
        told = told.view(UserState)
        told._parts = parts
        return told

    def __array_finalize__(self, source: Any) -> None:
        self._parts = getattr(source, "_parts", {})

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        # What is computed of a state is none.
        return array[()] if return_scalar else np.asarray(array)

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, arguments, state = super().__reduce__()  # type: ignore[misc]
        return rebuild, arguments, (state, self._parts)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self._parts = state[1]

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        place, shape, dtype = self._parts[key]
        if not self._is_whole:
            whole = next(reversed(self._parts.values()))[0].stop
            raise KeyError(
                f"{key!r} is a part of the whole state, [..., {whole}], and this is {list(self.shape)} of it"
            )
        return np.asarray(self)[..., place].reshape((*self.shape[:-1], *shape)).astype(dtype, copy=False)

    @property
    def _is_whole(self) -> bool:
        """Whether the last axis is that of a state, and not of some numbers of it."""
        return bool(self._parts) and self.shape[-1:] == (next(reversed(self._parts.values()))[0].stop,)

    def __contains__(self, key: object) -> bool:
        return key in self._parts if isinstance(key, str) else super().__contains__(key)

    def keys(self) -> Iterator[str]:
        """Return the names of the parts."""
        return iter(self._parts)

    def values(self) -> Iterator[np.ndarray]:
        """Return the parts."""
        return (self[name] for name in self._parts)

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """Return the parts by name."""
        return ((name, self[name]) for name in self._parts)


def checked_states(world: World, given: Any, starts: np.ndarray) -> dict[int, State]:
    """Return the states that a caller gives to the sessions that start, by session.

    Args:
        world: the world.
        given: parts by name, each [B, ...]; a `UserState`, array or tensor [B, D]; or a sequence of B states of one
            session, None for one that is drawn. What stands there for the other sessions is not looked at.
        starts: which sessions start, [B] bool.

    Raises:
        InvalidInput: see `checked_state`.
    """
    num_sessions, places = len(starts), np.flatnonzero(starts).tolist()
    given = _plain(given)
    if not isinstance(given, Mapping | np.ndarray):
        require(
            isinstance(given, Sequence) and not isinstance(given, str) and len(given) == num_sessions,
            f"user_state={given!r} is no state of {num_sessions} sessions; pass parts by name, each of shape "
            f"[{num_sessions}, ...], or a list of one state, or None, a session",
        )
        return {b: checked_state(world, given[b]) for b in places if given[b] is not None}
    state = checked_state(world, given, starts)
    return {b: {name: values[i] for name, values in state.items()} for i, b in enumerate(places)}


def checked_state(world: World, given: Any, starts: np.ndarray | None = None) -> State:
    """Return the state that a caller gives, in the dtypes of the world's.

    Args:
        world: the world.
        given: some parts or all, by name; or all of them as a `UserState`, array or tensor, [D] or [B, D].
        starts: of several sessions, those whose state is returned, [B] bool; None for one session.

    Raises:
        InvalidInput: for an unknown name, a wrong shape or dtype, or a number outside its range.
    """
    layout, ranges = world.state_layout, world.state_ranges
    lanes = () if starts is None else starts.shape
    given = _plain(given)
    if isinstance(given, UserState) and given._is_whole:
        given = dict(given.items())
    elif isinstance(given, np.ndarray):
        ends = np.cumsum([math.prod(shape) for shape, _ in layout.values()])
        whole = (*lanes, int(ends[-1]))
        require(
            given.shape == whole,
            f"user_state has shape {given.shape}; pass {whole}, or parts by name: {', '.join(layout)}",
        )
        parts = zip(layout.items(), np.split(given, ends[:-1], axis=-1), strict=True)
        given = {name: values.reshape((*lanes, *shape)) for (name, (shape, _)), values in parts}
    require(isinstance(given, Mapping), f"user_state={given!r} is no state; pass parts by name: {', '.join(layout)}")
    state: State = {}
    for name, values in given.items():
        if name not in layout:
            raise unknown_name("part of the user state", name, layout)
        (shape, dtype), what = layout[name], f"user_state[{name!r}]"
        shape = (*lanes, *shape)
        array = as_array(values, f"pass numbers of shape {shape}", what)
        require(
            array.shape == shape and array.dtype.kind in "iuf",
            f"{what} has shape {array.shape} and dtype {array.dtype}; pass numbers of shape {shape}",
        )
        array = array if starts is None else array[starts]
        whole_numbers = np.dtype(dtype).kind in "iu"
        info = np.iinfo(dtype) if whole_numbers else None
        low, high = ranges.get(name, (-_LARGEST, _LARGEST) if info is None else (info.min, info.max))
        wrong = ~((array >= low) & (array <= high)) | (whole_numbers & (array != np.floor(array)))
        if wrong.any():
            kind = "whole numbers" if whole_numbers else "numbers"
            raise InvalidInput(f"{what} holds {array[wrong][0]}; pass {kind} in [{low}, {high}]")
        state[name] = array.astype(dtype)
    return state


def _plain(given: Any) -> Any:
    """Return a tensor as an array, anything else as it is."""
    return as_array(given, "pass parts by name", "user_state") if hasattr(given, "detach") else given
