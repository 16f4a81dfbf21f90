import pytest

from offline_data.fitting.held_out import HeldOut
from recenv.statistics import Interval, Reliability


@pytest.mark.parametrize(("low", "word"), [(0.001, " better"), (0.0, "no better"), (-0.005, "no better")])
def test_verdict_is_better_only_where_the_interval_is_above_zero(low, word):
    gain = Interval(0.01, low, 0.02)
    held_out = HeldOut(
        num_sessions=1,
        num_steps=1,
        log_likelihood=0.0,
        baseline=-0.01,
        gain=gain,
        reliability=Reliability((), 0.0, 0.0),
    )
    assert f"{word} than a constant click rate on held-out steps" in held_out.verdict
    assert ("no better" in held_out.verdict) == (word == "no better")
