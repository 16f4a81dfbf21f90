"""What the tests of cli share."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def split(text: str) -> list[str]:
    return text.split()


FIT = split("--critic.network.hidden-sizes 16 --critic.num-rounds 2 --critic.steps-per-round 10 --critic.batch-size 32")


BUDGET = split(
    "--trainer.num-steps 20 --trainer.batch-size 32 --trainer.policy.network.hidden-sizes 16 "
    "--trainer.checkpoint-interval 8"
)
