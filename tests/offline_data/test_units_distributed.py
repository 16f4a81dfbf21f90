"""Units by Ray, as past one machine: the same files, ticks and errors, and a dead worker's units are done again."""

from __future__ import annotations

import json
import os

import joblib
import pytest

from offline_data.units import run_units
from recenv.errors import InvalidInput
from tests.offline_data.test_units import Sum, a_diamond

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module", autouse=True)
def _on_ray(tmp_path_factory):
    ray = pytest.importorskip("ray", reason="Ray is not installed here: `tox -e distributed`")
    from ray.util.joblib import register_ray  # type: ignore[import-not-found]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray leaves its token there
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        with joblib.parallel_config(backend="ray"):
            yield
        ray.shutdown()


def test_what_is_needed_is_done_before_and_every_tick_is_told(tmp_path):
    told: list[int] = []
    units = a_diamond(tmp_path)
    run_units(units, workers=2, folder=tmp_path, progress=told.append)
    results = [json.loads(unit.file.read_text()) for unit in units]
    assert [result["total"] for result in results] == [1, 3, 4, 11, 100]
    assert os.getpid() not in {result["pid"] for result in results}
    assert sum(told) == 50
    assert not (tmp_path / "under-way").exists()


def test_units_of_a_dead_worker_are_done_again(tmp_path):
    units = [Sum(tmp_path, number, kills=int(number == 1), seconds=0.2) for number in range(3)]
    run_units(units, workers=2, folder=tmp_path)
    assert [json.loads(unit.file.read_text())["total"] for unit in units] == [0, 1, 2]
    assert (tmp_path / "1-attempt-1").exists()


def test_what_a_unit_raises_is_raised(tmp_path):
    units = [Sum(tmp_path, number, fails=number == 0) for number in range(3)]
    with pytest.raises(InvalidInput, match="sum=0 is none; choose another"):
        run_units(units, workers=2, folder=tmp_path)
