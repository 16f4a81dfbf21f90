"""The arrangement of a foreign log equals a plain one, entry by entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.interactions import Ids, Interactions
from tests.reference.interop_reference import sessions_of, slate_of
from tests.strategies.logs import foreign_entries


@given(entries=foreign_entries())
def test_arrangement_equals_the_plain_one(entries):
    columns: dict[str, Any] = {
        name: None if entries[0][name] is None else np.array([entry[name] for entry in entries])
        for name in ("session", "step", "position", "time")
    }
    names = {"session": "session", "step": "step", "position": "position", "time": "timestamp"}
    if entries[0]["named"] and columns["step"] is not None:
        columns["step"] = Ids.of(np.array(["d", "c", "b", "a"])[columns["step"]])
    items = Ids(np.array([entry["item"] for entry in entries]), np.arange(4))
    log = Interactions(
        files=[(Path("log.csv"), len(entries))],
        user=Ids.of(np.array([entry["user"] for entry in entries])),
        item=items,
        feedback={"click": np.array([entry["index"] / len(entries) for entry in entries])},
        **{names[name]: values for name, values in columns.items()},
    )
    made = Arrangement.of(log, gap=2.0).columns(log)
    sessions = sessions_of(entries, gap=2.0)
    longest = max(len(step) for _, _, steps in sessions for step in steps)
    placed = longest > 1 and columns["position"] is not None

    def slots_of(step):
        return [entries[index]["position"] for index in step] if placed else list(range(len(step)))

    size = 1 + max(slot for _, _, steps in sessions for step in steps for slot in slots_of(step))
    np.testing.assert_array_equal(np.diff(made["sessions/offsets"]), [len(steps) for _, _, steps in sessions])
    users = sorted({entry["user"] for entry in entries})
    np.testing.assert_array_equal(made["sessions/user_id"], [users.index(user) for user, _, _ in sessions])
    row = 0
    for _, cut_off, steps in sessions:
        for number, step in enumerate(steps):
            slots = slots_of(step)
            slate, shown = slate_of([entries[index]["item"] for index in step], slots, size)
            np.testing.assert_array_equal(made["rows/slate"][row], slate)
            np.testing.assert_array_equal(made["rows/shown"][row], shown)
            clicks = np.zeros(size)
            clicks[slots] = np.array(step) / len(entries)
            np.testing.assert_allclose(made["rows/feedback"][row, :, 0], clicks, rtol=1e-6)
            if columns["time"] is not None:
                assert made["rows/timestamp"][row] == min(entries[index]["time"] for index in step)
            ends = number == len(steps) - 1
            assert made["rows/step"][row] == number
            assert bool(made["rows/truncated"][row]) == (ends and cut_off)
            assert bool(made["rows/terminated"][row]) == (ends and not cut_off)
            row += 1
    assert row == len(made["rows/step"])
