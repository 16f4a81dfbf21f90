"""The table of myopic gaps that README quotes: each user model in its own world, slates of 10 from 1,000 items.

Run it with `python tests/benchmarks/bench_myopic_gap.py`; returns and ratio with 95 % intervals, on fresh users.
"""

from __future__ import annotations

import argparse

from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.myopic_gap import OracleFamily, Spec, myopic_gap


def described(spec: Spec) -> str:
    """Return a spec as its name and parameters, the temperature left out."""
    parameters = ", ".join(f"{key}={value}" for key, value in spec.items() if key not in ("name", "temperature"))
    return f"{spec['name']}({parameters})" if parameters else spec["name"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=USER_MODELS.registered(), help="user models (default: all)")
    parser.add_argument("--sessions", type=int, default=2000, help="users of each return (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="root seed (default: %(default)s)")
    arguments = parser.parse_args()
    print("| user model | uniform | greedy | far-sighted | of the family's best member | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.models:
        world = make_world(SessionConfig().override(user_model=name))
        try:
            family = OracleFamily.of(name)
        except InvalidInput as reason:
            print(f"  {name} is left out: {reason}", flush=True)
            continue
        gap = myopic_gap(world, family, arguments.sessions, arguments.seed)
        returns = f"{gap.uniform} | {gap.greedy} | {gap.far_sighted} | {described(gap.spec)}"
        print(f"| `{name}` | {returns} | {gap.ratio} |", flush=True)
        if not gap.greedy_is_greedy:
            print(f"  {name}: a member's first reward is above the greedy one's: {gap.first_step_leads}", flush=True)


if __name__ == "__main__":
    main()
