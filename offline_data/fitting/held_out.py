"""How well a fitted model of clicks predicts what it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recenv.statistics import Interval, Reliability


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How the fit predicts what was held out; log-likelihoods in nats a step."""

    num_sessions: int
    """Sessions held out."""
    num_steps: int
    """Their steps."""
    log_likelihood: float
    """Under the fit."""
    baseline: float
    """Under the same choice model with a constant utility, fitted to the same sessions."""
    gain: Interval
    """The fit's advance on the baseline."""
    reliability: Reliability
    """Predicted and observed clicks, a prediction for each position shown."""
    logged: float | None = None
    """Under the log's own config; None where it has none."""
    gain_on_logged: Interval | None = None
    """The fit's advance on that; about zero where the model is exact."""

    @property
    def verdict(self) -> str:
        """Whether the fit is better than the baseline, in words; only an interval above 0 says so."""
        better = "better than" if self.gain.low > 0.0 else "no better than"
        return f"the fitted model is {better} a constant click rate on held-out steps"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, nested ones plain, and the verdict."""
        fields = {k: v.as_dict() if isinstance(v, Interval | Reliability) else v for k, v in vars(self).items()}
        return {**fields, "verdict": self.verdict}
