"""Units that only the paper's experiments have: what bounds the table, plain gradient inside a filter, phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from agents.batches.replay import LogStorage
from agents.policies.base import Policy
from offline_data.behavior.base import WORLD_EXPERT, make_behavior
from offline_data.behavior.three_part import SUBOPTIMAL
from offline_data.dial.quality import evaluate_returns
from offline_data.units import Progress
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.drpo_paper.protocol import filtered_advantage
from recsession.experiments.learning_units import MethodUnit
from recsession.experiments.sealed_unit import SealedUnit

BEHAVIORS: Final = {"expert": WORLD_EXPERT, "suboptimal": SUBOPTIMAL, "random": "uniform"}
_PROBED_ROWS: Final = 4096
_NORMS: Final = tuple(f"{sign}_{name}" for sign in ("positive", "negative") for name in ("mu", "sigma", "both"))


@dataclass(frozen=True)
class BehaviorsUnit(SealedUnit):
    """What the three policies that a log is mixed of earn themselves, by slates, over the users of one seed."""

    config: SessionConfig
    """The world."""
    num_sessions: int
    """Users."""
    folder: Path
    """Of the result."""
    seed: int
    """Of the users."""
    name: str = "behaviors"
    """Of the result."""

    @property
    def cost(self) -> int:
        """Next to nothing."""
        return 1

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the mean return of each, by name."""
        world = make_world(self.config)
        policies = {name: make_behavior(world, {"name": spec}, "slate") for name, spec in BEHAVIORS.items()}
        progress(1)
        return {
            name: float(evaluate_returns(world, policy, self.num_sessions, self.seed, "evaluation").mean())
            for name, policy in policies.items()
        }


@dataclass(frozen=True)
class FilteredGradientUnit(MethodUnit):
    """Plain policy gradient inside a hard filter: signed advantages of what is kept, and nothing of the rest."""

    share: float = 0.5
    """Of the log that is kept."""

    def training_scores(self) -> Tensor:
        """Return the advantages, whose mean over the log is zero, so that the objective leaves them as they are."""
        return filtered_advantage(self.log.files.scores(), self.share)


@dataclass(frozen=True)
class PhantomUnit(MethodUnit):
    """Learning from positives alone, beside the gradient of the negatives, which is measured and never applied.

    Both are of the loss -A log pi of a row, by the policy's output: its mean, and the logarithm of its scale.
    """

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the `curve`: at each step of it, the mean norms over the positives and over the negatives."""
        files = self.log.files
        dataset, scores = files.open(), files.scores()
        rows = torch.arange(min(_PROBED_ROWS, dataset.num_rows))
        batch = LogStorage(dataset, columns=("proto",)).get(rows)
        advantage = ((scores - scores.mean()) / scores.std(correction=0))[rows]
        checkpoint = self.folder / f"{self.name}.checkpoint"
        probe = partial(_norms, batch=batch, advantage=advantage)
        run = files.train(self.method, checkpoint, evaluate=probe, progress=progress)
        curve = [{name: point[name] for name in ("step", *_NORMS)} for point in run.curve if _NORMS[0] in point]
        checkpoint.unlink(missing_ok=True)
        return {"curve": curve, "stopped": run.stopped}


@torch.no_grad()
def _norms(actor: Policy, batch: Any, advantage: Tensor) -> dict[str, float]:
    """Return the mean norm of the gradient by mean, `mu`, and by log scale, `sigma`, and both, by names of `_NORMS`."""
    law = actor.get_dist(batch)
    standard = (batch["proto"] - law.mean) / law.stddev
    mu = advantage.abs() * (standard / law.stddev).norm(dim=-1)
    sigma = advantage.abs() * (standard.square() - 1.0).norm(dim=-1)
    norms = [mu, sigma, (mu.square() + sigma.square()).sqrt()]
    means = [float(each[rows].mean()) for rows in (advantage > 0, advantage < 0) for each in norms]
    return dict(zip(_NORMS, means, strict=True))
