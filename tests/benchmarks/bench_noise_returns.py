"""The tables of noise returns in the docs: each noise kind in each user model's own world, and its expert.

Run it with `python tests/benchmarks/bench_noise_returns.py`; mean session returns of slates of 10 from 1,000 items, and
of proto-actions, with 95 % intervals. The bandit's: `embedding_bandit --sessions 20000 --embedding-dim 128`, and 10.
"""

from __future__ import annotations

import argparse

from offline_data.behavior.base import ACTION_KINDS, make_behavior
from offline_data.behavior.three_part import SUBOPTIMAL
from offline_data.dial.named_datasets import NOISES
from offline_data.dial.quality import evaluate_returns
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=USER_MODELS.registered(), help="user models (default: all)")
    parser.add_argument("--sessions", type=int, default=1000, help="users of each return (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="root seed (default: %(default)s)")
    parser.add_argument("--embedding-dim", type=int, help="of items and users (default: the model's own)")
    arguments = parser.parse_args()
    options = {} if arguments.embedding_dim is None else {"embedding_dim": arguments.embedding_dim}
    policies = (*NOISES, SUBOPTIMAL, "world_expert")
    print(f"| user model | action | {' | '.join(policies)} |")
    print(f"| --- | --- |{' --- |' * len(policies)}")
    for name in arguments.models:
        world = make_world(SessionConfig().override(user_model=name, **options))
        for kind in ACTION_KINDS:
            cells = []
            for spec in policies:
                returns = None
                if spec not in world.user_model.undefined_behaviors:
                    policy = make_behavior(world, spec, kind)
                    returns = evaluate_returns(world, policy, arguments.sessions, arguments.seed, "noise")
                cells.append("" if returns is None else f"{Interval.of(returns):.3f}")
            print(f"| `{name}` | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
