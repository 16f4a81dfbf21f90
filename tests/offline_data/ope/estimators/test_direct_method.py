"""The direct method by hand: equality with the reference and identities with `dr` are proved beside those."""

import numpy as np
import pytest

from offline_data.ope.estimate import estimate
from offline_data.ope.sessions import LoggedSessions


def test_mean_of_first_values_whatever_the_log_says():
    sessions = LoggedSessions(
        offsets=np.array([0, 2, 3]),
        reward=np.array([9.0, 9.0, 9.0]),
        behavior_log_prob=np.zeros(3),
        target_log_prob=np.full(3, -np.inf),
        discount=0.5,
        state_value=np.array([1.0, 100.0, 4.0]),
    )
    result = estimate("dm", sessions)
    assert result.value == pytest.approx(2.5)
    assert result.effective_sample_size == 2.0
    assert result.ends is None
    assert result.doubts == (
        "by the model alone, unchecked: it ranks policies",
        "effective sample size below 100",
    )
