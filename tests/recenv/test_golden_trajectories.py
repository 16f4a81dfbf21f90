"""Golden trajectories: sessions of every user model and piece keep their bytes, compiled and interpreted, for ever.

`golden/trajectories.json` holds, for each small world, the SHA-256 of every array of a fixed run, and numbers that say
what moved when one of them changes. After a change that is meant, write it anew and read the diff:

    python -m tests.recenv.test_golden_trajectories
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recenv.engine.session_batch import SessionBatch
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from tests.strategies.worlds import small_worlds

pytestmark = pytest.mark.kernels

FILE = Path(__file__).parent / "golden" / "trajectories.json"
NUM_SESSIONS, NUM_STEPS = 40, 16
# State that a session never moves.
FIXED = {
    "embedding_bandit": {"interest"},
    "interest_exploration": {"interest", "user_type"},
    "long_term_satisfaction": {"interest"},
    "items that appear": {"day"},
}


def items(num_items: int, dim: int) -> Catalog:
    """Return items of small whole numbers: what a library's matrix product rounds, no machine rounds otherwise here."""
    ids = np.arange(num_items)
    embeddings = (np.outer(ids, [3, 5, 7, 11, 13, 17][:dim]) + np.arange(dim)) % 9 - 4.0
    embeddings[(embeddings == 0).all(axis=1)] = 1.0
    return Catalog.from_arrays(
        embeddings,
        topics=ids % 5,
        quality=(ids * 7 % 13 - 8) / 4,
        appeal=(ids * 5 % 11 - 5) / 4,
        length=1.0 + ids % 8,
        popularity=1.0 + ids % 3,
        age=(ids * 11 % 61) * 4.0,
    )


def run(config: SessionConfig) -> tuple[World, dict[str, np.ndarray]]:
    """Return the world, and each array that its sessions give or hold over time, [steps, sessions, ...]."""
    world = make_world(config, items(config.catalog.num_items, config.catalog.embedding_dim))
    sessions = np.arange(NUM_SESSIONS)
    batch = SessionBatch(world, NUM_SESSIONS)
    batch.start(sessions, (sessions * 2**59 + 1).astype(np.uint64), sessions % 3)
    rows = [{**batch.observe(), **{name: values.copy() for name, values in batch.state.items()}}]
    for step in range(NUM_STEPS):
        # Mostly items of one topic, so that it can bore; a repeated item now and then.
        stride = 7 if step % 4 == 0 else 5
        slates = (np.arange(config.slate_size) * stride + 20 * step + 3 * sessions[:, None]) % 60
        slates[::5, -1] = slates[::5, 0]
        outcome = batch.step(slates)
        rows.append({field.name: getattr(outcome, field.name) for field in fields(outcome)})
        rows[-1] |= {**batch.observe(), **{name: values.copy() for name, values in batch.state.items()}}
    recorded = {name: np.stack([row[name] for row in rows if name in row]) for name in rows[-1]}
    return world, recorded


def digests(recorded: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the SHA-256 of each array, its kind and shape with it; little-endian, whatever the machine."""
    out = {}
    for name, values in sorted(recorded.items()):
        little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
        head = f"{little.dtype.str} {little.shape} ".encode()
        out[name] = hashlib.sha256(head + little.tobytes()).hexdigest()
    return out


def numbers(world: World, recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a reader sees at a glance, the first twelve sessions and sums over all; rounded, so that a last digit
    shows in the digests alone.
    """
    ended = recorded["terminated"] | recorded["truncated"]
    steps = np.where(ended.any(axis=0), ended.argmax(axis=0) + 1, NUM_STEPS)
    totals = recorded["reward_vector"].sum(axis=(0, 1), dtype=np.float64)
    return {
        "config": replace(world.config, items=None).world_hash(),
        "clicks of each session": line(recorded["feedback"][..., 0].sum(axis=(0, 2))[:12]),
        "steps of each session": line(steps[:12]),
        "users who left": int(recorded["terminated"].sum()),
        "reward of each session": line(recorded["reward"].sum(axis=0)[:12]),
        "reward components": {name: line([total]) for name, total in zip(world.reward_names, totals, strict=True)},
        "last state of the first session": {
            name: line(recorded[name][-1, 0].reshape(-1)[:6])
            for name in (*world.user_model.state_layout(), *world.pieces.state_layout())
        },
    }


def line(values: Any) -> str:
    """Return numbers to three digits behind the point, on one line of the file."""
    return " ".join(f"{round(float(value), 3) + 0.0:.10g}" for value in values)


def golden(config: SessionConfig) -> dict[str, Any]:
    world, recorded = run(config)
    return {"numbers": numbers(world, recorded), "arrays": digests(recorded)}


def stored() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


ABSENT = pytest.mark.skip(reason=f"{FILE.name} has no trajectories of it; run this file to write them")
every_world = pytest.mark.parametrize(
    "name", [name if name in stored() else pytest.param(name, marks=ABSENT) for name in small_worlds()]
)


def test_no_trajectory_is_left_over():
    assert set(stored()) <= set(small_worlds())
    assert len(stored()) >= 7
    assert FILE.stat().st_size < 100_000


@every_world
def test_trajectories_are_the_golden_ones(name: str):
    actual, expected = golden(small_worlds()[name]), stored()[name]
    # First what can be read, then every bit.
    assert actual["numbers"] == expected["numbers"]
    assert actual["arrays"] == expected["arrays"]


@every_world
def test_a_golden_run_moves_all_that_its_world_has(name: str):
    world, recorded = run(small_worlds()[name])
    assert recorded["feedback"][..., 0].any()
    assert (~recorded["shown"]).any()
    for state in (*world.user_model.state_layout(), *world.pieces.state_layout()):
        moved = (recorded[state] != recorded[state][0]).any()
        assert moved == (state not in FIXED.get(name, ())), state
    for channel, feedback in enumerate(world.user_model.feedback_names):
        assert recorded["feedback"][..., channel].any(), feedback
    for component, reward in enumerate(world.reward_names):
        assert recorded["reward_vector"][..., component].any(), reward


def test_one_bit_changes_a_digest():
    _, recorded = run(small_worlds()["every piece"])
    before = digests(recorded)
    recorded["interest"].view(np.uint32)[3, 2, 1] ^= 1
    after = digests(recorded)
    assert {name for name in before if before[name] != after[name]} == {"interest"}


if __name__ == "__main__":
    trajectories = {name: golden(config) for name, config in sorted(small_worlds().items())}
    FILE.write_text(json.dumps(trajectories, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE}: {len(trajectories)} worlds")
