"""What a filter that knows the latent labels reaches in `interest_exploration`, beside cloning on good data alone.

Run it with `python tests/benchmarks/bench_oracle_filter.py FOLDER`; normalised scores by the mean of the policy, and
sampled, of logs with 5 % good steps among clickbait, mixed per step or session, and by encoders of fewer items.
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


def main() -> None:
    """Print a line for each way to learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the logs lie")
    parser.add_argument("--seed", type=int, default=100, help="of logs and training (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=2500, help="of a mixed log (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="of a training (default: %(default)s)")
    arguments = parser.parse_args()
    seed, config = arguments.seed, SessionConfig().override(user_model="interest_exploration")
    world = make_world(config)
    reference = reference_returns(world, "clickbait", "proto", num_sessions=2000, seed=7)

    def log_of(name: str, behavior, num_sessions: int, log_seed: int) -> LoggedDataset:
        return collect(arguments.folder / name, LogRequest(config, behavior, "proto", num_sessions, log_seed))

    def tell(name: str, log: LoggedDataset, encoder, labels: np.ndarray | None = None) -> None:
        policy = GaussianPolicyConfig(NetworkConfig((128, 128), encoder))
        trainer = TrainerConfig(num_steps=arguments.steps, batch_size=512, learning_rate=1e-3, policy=policy)
        if labels is None:
            run = train(log, torch.zeros(log.num_rows), "bc", config=trainer, seed=seed)
        else:
            scores, kept = torch.tensor(labels, dtype=torch.float32), RobustFilterConfig(kappa=float(labels.mean()))
            run = train(log, scores, "robust_filter", kept, trainer, seed=seed)
        returns = [roll_out(run.actor, world, 600, seed, deterministic=way).mean() for way in (True, False)]
        print(name, *(f"{reference.normalized_score(float(value)):.2f}" for value in returns), flush=True)

    tell("good data", log_of("good", "world_expert", 300, 10 * seed), PooledConfig())
    for mixing in ("step", "session"):
        log = log_of(mixing, mixture_spec(0.05, "clickbait", mixing), arguments.sessions, 10 * seed + 1)
        good = np.asarray(log.open_latent_labels()) == 0
        tell(f"oracle filter, mixed per {mixing}", log, PooledConfig(), good)
        if mixing == "step":
            for length in (3, 1):
                tell(f"the same, latest {length}", log, LatestConfig(length=length), good)


if __name__ == "__main__":
    main()
