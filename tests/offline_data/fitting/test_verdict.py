import pytest

from offline_data.fitting.verdict import verdict
from recenv.statistics import Interval


@pytest.mark.parametrize(("low", "word"), [(0.001, " better"), (0.0, "no better"), (-0.005, "no better")])
def test_verdict_is_better_only_where_the_interval_is_above_zero(low, word):
    text = verdict(Interval(0.01, low, 0.02))
    assert f"{word} than a constant click rate on held-out steps" in text
    assert ("no better" in text) == (word == "no better")
