"""The default world is fixed: learners were tuned on other sessions of this very world, and its scores are quoted."""

from recenv import SessionConfig

# Committed before any learner was tuned. A change of world makes every quoted figure void: measure anew, then change
# this.
WORLD_HASH = "bfbffbc0fd70f76ec23a278ccb1026f2ff1b1b1f24ba24943a9e78ec0741b0f0"


def test_default_world_is_the_one_whose_figures_are_quoted():
    assert SessionConfig().world_hash() == WORLD_HASH
