"""Injected corruption: what real logs suffer from, put into a simulated one on purpose and recorded in its manifest.

It happens on the way to the disk. The sessions were played without it: neither the user nor the logging policy knew.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from recenv.errors import require_range
from recenv.random_streams import BEHAVIOR, normals, uniforms
from recenv.world import World


@dataclass(frozen=True)
class Corruption:
    """What is spoilt of a log.

    Examples:
        >>> from offline_data import Corruption
        >>> spoilt = Corruption(reward_noise=0.5, missing_propensities=0.1)
        >>> spoilt.recorded(), spoilt.propensities
        ({'reward_noise': 0.5, 'missing_propensities': 0.1}, 'partial')
    """

    reward_noise: float = 0.0
    """Standard deviation of Gaussian noise on each component of the user's own reward, in its units; what a piece gives
    (the reward of a return, say) is left alone."""
    label_flips: float = 0.0
    """Probability that the click label of a shown item is inverted, in [0, 1]; a click that is taken away takes its
    other feedback with it, one that is made up brings none. Rewards stay."""
    history_limit: int | None = None
    """h, consumed items that a rebuilt history goes back at most; None for all."""
    missing_propensities: float = 0.0
    """Probability that the propensities of a session are lost, in [0, 1]."""

    def __post_init__(self) -> None:
        require_range("reward_noise", self.reward_noise, 0.0, 1e6)
        require_range("label_flips", self.label_flips, 0.0, 1.0)
        if self.history_limit is not None:
            require_range("history_limit", self.history_limit, 0, 4096, integer=True)
        require_range("missing_propensities", self.missing_propensities, 0.0, 1.0)

    def recorded(self) -> dict[str, Any]:
        """Return what is spoilt, by name; empty where nothing is."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @property
    def propensities(self) -> str:
        """What is left of them: "exact", "partial" or "missing"."""
        share = self.missing_propensities
        return "exact" if share == 0.0 else "missing" if share == 1.0 else "partial"

    def apply(self, world: World, rows: dict[str, np.ndarray], lengths: np.ndarray, seeds: np.ndarray) -> None:
        """Spoil the rows of whole sessions in place; each session by its own seed alone.

        Args:
            world: the world.
            rows: `feedback`, `shown`, `reward_vector`, `behavior_log_prob` and `step`, with leading axis N.
            lengths: [S] rows of each session.
            seeds: [S] uint64.
        """
        if not any((self.reward_noise, self.label_flips, self.missing_propensities)):
            return
        slots, components = rows["shown"].shape[1], len(world.user_model.reward_names)
        noise_draws = components + components % 2
        steps = rows["step"]
        draws = uniforms(np.repeat(seeds, lengths), BEHAVIOR, np.zeros_like(steps), steps, noise_draws + slots + 1)
        if self.reward_noise:
            noise = normals(np.ascontiguousarray(draws[:, :noise_draws]))[:, :components]
            rows["reward_vector"][:, :components] += (self.reward_noise * noise).astype(np.float32)
        if self.label_flips:
            flipped = (draws[:, noise_draws:-1] < self.label_flips) & rows["shown"]
            clicked = rows["feedback"][:, :, 0] > 0
            rows["feedback"][flipped & clicked] = 0.0
            rows["feedback"][flipped & ~clicked, 0] = 1.0
        if self.missing_propensities:
            first = np.cumsum(lengths) - lengths
            lost = np.repeat(draws[first, -1] < self.missing_propensities, lengths)
            for name in ("behavior_log_prob", "prefix_log_prob"):
                if name in rows:
                    rows[name][lost] = np.nan
