"""Python's own numbers in the place of NumPy's, at the doors: those overflow in silence, and JSON has none of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_PYTHONS: Final = (int, float, bool, str, type(None))


def plain_value(value: Any) -> Any:
    """Return a value with Python's own numbers in the place of NumPy's scalars and arrays without dimensions.

    Args:
        value: a number, or nested dicts, lists and tuples of numbers; anything else stays.
    """
    if type(value) in _PYTHONS:
        return value
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if type(value) is dict:
        return {key: plain_value(inner) for key, inner in value.items()}
    if type(value) is list:
        return [plain_value(inner) for inner in value]
    if type(value) is tuple:
        return tuple(plain_value(inner) for inner in value)
    return value


def settle_numbers(config: Any) -> None:
    """Put Python's own numbers in the place of NumPy's in a frozen dataclass, as the first thing that it does.

    Args:
        config: what `__post_init__` has as self.
    """
    for name, value in list(vars(config).items()):
        if type(value) not in _PYTHONS:
            object.__setattr__(config, name, plain_value(value))
