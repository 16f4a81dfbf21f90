"""What a filter that knows the latent labels reaches in `interest_exploration`, beside cloning on good data alone.

Run it with `python tests/benchmarks/bench_oracle_filter.py FOLDER`; normalised scores by the mean of the policy, and
sampled, of logs with 5 % good steps among clickbait, mixed per step or session; by encoders of fewer items; and with a
share of the history left out in training, item by item or all of it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from agents import (
    GaussianPolicyConfig,
    NetworkConfig,
    RobustFilterConfig,
    SessionSpace,
    TrainerConfig,
    roll_out,
    train,
)
from agents.families import ENCODERS
from agents.nn.encoders.pooled import PooledConfig, PooledEncoder
from offline_data import LoggedDataset, LogRequest, collect, mixture_spec, reference_returns
from recenv import SessionConfig, make_world
from recsession.experiments.seed_statistics import seed_interval


@dataclass(frozen=True)
class LatestConfig(PooledConfig):
    """How much of the history is read."""

    name: ClassVar[str] = "latest"
    length: int = 3
    """Items, the latest."""


@ENCODERS.register("latest")
class LatestEncoder(PooledEncoder):
    """The pooled encoder of the latest items alone."""

    Config = LatestConfig

    def __init__(self, space: SessionSpace, config: LatestConfig) -> None:
        super().__init__(space, config)
        self.length = config.length

    def forward(self, **observation):
        """See `SessionEncoder.forward`."""
        cut = {name: x[:, -self.length :] if name.startswith("history_") else x for name, x in observation.items()}
        return super().forward(**cut)


@dataclass(frozen=True)
class DropoutConfig(PooledConfig):
    """How much of the history training leaves out."""

    name: ClassVar[str] = "dropout"
    share: float = 0.5
    """Of the items; or of the rows, whose whole history is left out."""
    whole: bool = False
    """Leave out all of a row's history or none."""


@ENCODERS.register("dropout")
class DropoutEncoder(PooledEncoder):
    """The pooled encoder, which sees a part of the history alone while it is trained."""

    Config = DropoutConfig

    def __init__(self, space: SessionSpace, config: DropoutConfig) -> None:
        super().__init__(space, config)
        self.share, self.whole = config.share, config.whole

    def forward(self, **observation):
        """See `SessionEncoder.forward`."""
        if self.training:
            items = observation["history_items"]
            drawn = torch.rand(items[:, :1].shape if self.whole else items.shape)
            observation = {**observation, "history_items": items.masked_fill(drawn < self.share, -1)}
        return super().forward(**observation)


ENCODERS_TRIED = {
    "latest 3 items": LatestConfig(length=3),
    "latest item": LatestConfig(length=1),
    "half of the items left out": DropoutConfig(),
    "half of the histories left out": DropoutConfig(whole=True),
}


def main() -> None:
    """Print a line for each way to learn and seed, and the means over seeds with 95 % Student intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the logs lie")
    parser.add_argument("--first-seed", type=int, default=100, help="of logs and training (default: %(default)s)")
    parser.add_argument("--num-seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--sessions", type=int, default=2500, help="of a mixed log (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="of a training (default: %(default)s)")
    arguments = parser.parse_args()
    config = SessionConfig().override(user_model="interest_exploration")
    world = make_world(config)
    reference = reference_returns(world, "clickbait", "proto", num_sessions=2000, seed=7)
    found: dict[str, list[list[float]]] = {}

    def log_of(name: str, behavior, num_sessions: int, log_seed: int) -> LoggedDataset:
        folder = arguments.folder / f"{name}-{log_seed}"
        return collect(folder, LogRequest(config, behavior, "proto", num_sessions, log_seed))

    def tell(seed: int, name: str, log: LoggedDataset, encoder, labels: np.ndarray | None = None) -> None:
        policy = GaussianPolicyConfig(NetworkConfig((128, 128), encoder))
        trainer = TrainerConfig(num_steps=arguments.steps, batch_size=512, learning_rate=1e-3, policy=policy)
        if labels is None:
            run = train(log, torch.zeros(log.num_rows), "bc", config=trainer, seed=seed)
        else:
            scores, kept = torch.tensor(labels, dtype=torch.float32), RobustFilterConfig(kappa=float(labels.mean()))
            run = train(log, scores, "robust_filter", kept, trainer, seed=seed)
        returns = [roll_out(run.actor, world, 600, seed, deterministic=way).mean() for way in (True, False)]
        scores = [reference.normalized_score(float(value)) for value in returns]
        found.setdefault(name, []).append(scores)
        print(seed, name, *(f"{score:.2f}" for score in scores), flush=True)

    for seed in range(arguments.first_seed, arguments.first_seed + arguments.num_seeds):
        tell(seed, "good data", log_of("good", "world_expert", 300, 10 * seed), PooledConfig())
        for mixing in ("step", "session"):
            log = log_of(mixing, mixture_spec(0.05, "clickbait", mixing), arguments.sessions, 10 * seed + 1)
            good = np.asarray(log.open_latent_labels()) == 0
            tell(seed, f"oracle filter, mixed per {mixing}", log, PooledConfig(), good)
            if mixing == "step":
                for name, encoder in ENCODERS_TRIED.items():
                    tell(seed, f"per step, {name}", log, encoder, good)
    for name, scores in found.items():
        intervals = [seed_interval(column) for column in zip(*scores, strict=True)]
        print(f"| {name} |", " | ".join(f"{i['mean']:.2f} [{i['low']:.2f}, {i['high']:.2f}]" for i in intervals), "|")


if __name__ == "__main__":
    main()
