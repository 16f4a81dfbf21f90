"""Which shown items the user clicks, given their utilities.

A choice model is a frozen config with a kernel; kernels compose with the user models in Python, over arrays. Position
bias lives here: it is about where an item stands, not about what it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np


class ChoiceModel(ABC):
    """What a session asks of a choice model; an implementation is a frozen dataclass of its parameters.

    Examples:
        >>> import numpy as np
        >>> from recenv import CHOICE_MODELS
        >>> utilities, clicked = np.array([[0.0, -np.inf, 9.0]], np.float32), np.empty((1, 1), np.int16)
        >>> CHOICE_MODELS.get("multinomial_logit")().choose(utilities, np.array([[0.5]]), clicked)
        >>> clicked
        array([[2]], dtype=int16)
    """

    name: ClassVar[str]
    click_constant: ClassVar[str | None] = None
    """The field that `fit` estimates as the constant of a click's log-odds; None where it knows no likelihood."""

    def max_clicks(self, slate_size: int) -> int:
        """Return C, the most clicks that one slate can get: one, unless a model says otherwise."""
        return 1

    def num_draws(self, slate_size: int) -> int:
        """Return how many uniforms a step takes: one for each possible click, unless a model says otherwise."""
        return self.max_clicks(slate_size)

    @abstractmethod
    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write the clicked positions.

        Args:
            utilities: [B, K] float32; minus infinity at an empty position, which is never clicked.
            draws: [B, at least num_draws] float64 uniforms in (0, 1).
            clicked: [B, C] int16, written: positions in increasing order, then -1.
        """
