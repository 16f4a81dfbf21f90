"""What every reader of a foreign log takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from offline_data.interop.arrangement import MAX_SLATE_SIZE
from offline_data.interop.item_columns import require_item_columns
from recenv.errors import require_range, unknown_name


@dataclass(frozen=True)
class ImportOptions:
    """What every reader of a foreign log takes.

    Examples:
        >>> from offline_data import ImportOptions
        >>> ImportOptions(reward_weights={"click": 1.0, "like": 2.0}).session_gap
        30.0
    """

    session_gap: float = 30.0
    """Minutes without an event after which a user's next one begins a session, where the log has no sessions of its
    own."""
    history_length: int = 20
    """H, consumed items that an observation holds."""
    max_steps: int | None = None
    """Steps that an observation's `clock` is a share of, at least those of the longest session, which is the default:
    a policy serves logs of its own number alone, so give what your service knows it by."""
    slate_size: int | None = None
    """K, slots of a slate, at least those of the longest, which is the default; shorter slates leave the rest empty.
    Give what your service shows at most: a policy judges logs of no longer slates than its own."""
    reward_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each feedback channel in the reward, by name; empty for the reader's own."""
    estimate_propensities: bool = False
    """Estimate the probabilities of the logged items where the log lacks them."""
    propensity_of: Literal["slate", "item"] | None = None
    """What a propensity is of: the whole slate, the same on each of its items, or the item, given those before it. To
    be said where it is the same throughout each slate and differs between slates, which may mean either."""
    duplicates: Literal["keep", "drop"] = "keep"
    """What is done with a row that repeats an earlier one in every column that is read; they are counted."""
    context_of: Path | None = None
    """Another log, whose encoding of the context (means, categories) is taken over: what a policy of that log reads. By
    default one is fitted on all steps of this log."""
    item_features: tuple[str, ...] = ()
    """Columns of the items that embeddings are made of where the source gives none: NAME, or NAME=KIND of number,
    category, labels and text; by default all that tell items apart; `none` makes none."""
    counted_times: bool = False
    """Times count from another moment than 1970, such as the log's beginning, and are no dates."""
    seed: int = 0
    """Of the split into sessions that the estimate is fitted, calibrated and judged on."""

    def __post_init__(self) -> None:
        require_range("session_gap", self.session_gap, 0.0, 1e9)
        require_range("history_length", self.history_length, 1, 4096, integer=True)
        if self.max_steps is not None:
            require_range("max_steps", self.max_steps, 1, 2**31 - 1, integer=True)
        if self.slate_size is not None:
            require_range("slate_size", self.slate_size, 1, MAX_SLATE_SIZE, integer=True)
        require_item_columns(self.item_features)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)
        if self.propensity_of not in (None, "slate", "item"):
            raise unknown_name("propensity_of", self.propensity_of, ("slate", "item"))
        if self.duplicates not in ("keep", "drop"):
            raise unknown_name("way with duplicates", self.duplicates, ("keep", "drop"))
        for name, weight in self.reward_weights.items():
            require_range(f"reward weight of {name}", weight, -1e6, 1e6)

    def told(self) -> dict[str, Any]:
        """Return what was asked of how a log is read, for its manifest: the gap of sessions, and what is no default."""
        asked = {n: getattr(self, n) for n in ("propensity_of", "duplicates", "item_features", "counted_times")}
        defaults = {each.name: each.default for each in fields(self)}
        return {"session_gap": self.session_gap} | {n: value for n, value in asked.items() if value != defaults[n]}
