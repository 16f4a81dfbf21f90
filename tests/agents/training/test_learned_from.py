from __future__ import annotations

from agents.training.trainer import train
from offline_data.store.session_sketch import SessionSketch


def test_a_policy_knows_which_sessions_it_learned_from(log, slate_log, scores, build_trainer_config):
    learned_from = train(log, scores, "bc", config=build_trainer_config(num_steps=1)).actor.learned_from
    assert learned_from is not None
    assert learned_from.num_sessions == log.num_sessions
    assert learned_from.share_of(SessionSketch.of_log(log)) == 1.0
    # The same users, since the seed of the dataset is the same, and other actions.
    assert learned_from.share_of(SessionSketch.of_log(slate_log)) == 0.0
