"""RecSim NG's turn (Mladenov et al. 2021): interest evolution on TensorFlow, slate 10 of 1,000, 16 topics.

Its recommender is a part of its graph; this one reads slates that were drawn before. With 20 steps a graph call, the
way it is meant to be run, nothing leaves the graph in between; with one, an agent of the caller's could act. The number
of threads is the program's one argument, since TensorFlow takes it once a process.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from gym import spaces
from recsim_ng.applications.recsys_partially_observable_rl import corpus, metrics, user
from recsim_ng.core.network import Network
from recsim_ng.core.value import Value, ValueSpec
from recsim_ng.entities.recommendation import recommender
from recsim_ng.lib.tensorflow.field_spec import Space
from recsim_ng.lib.tensorflow.runtime import TFRuntime
from recsim_ng.stories.recommendation_simulation import recs_story
from turns import Contender, take_turns

NUM_ITEMS, SLATE_SIZE, NUM_TOPICS, STEPS_A_CALL = 1000, 10, 16, 20


class DrawnSlates(recommender.BaseRecommender):
    """Shows slates that were drawn before, one after the other."""

    def __init__(self, config: dict[str, int]) -> None:
        super().__init__(config)
        keys = np.random.default_rng(0).random((STEPS_A_CALL, config["num_users"], NUM_ITEMS), np.float32)
        self._slates = tf.constant(np.argpartition(keys, SLATE_SIZE)[:, :, :SLATE_SIZE].astype(np.int32))

    def initial_state(self) -> Any:
        return Value(step=tf.zeros((), tf.int32))

    def next_state(self, previous_state: Any, user_response: Any, slate_docs: Any) -> Any:
        return Value(step=(previous_state.get("step") + 1) % STEPS_A_CALL)

    def slate_docs(self, previous_state: Any, user_obs: Any, available_docs: Any) -> Any:
        slates = self._slates[previous_state.get("step")]
        return available_docs.map(lambda column: tf.gather(column, slates))

    def specs(self) -> Any:
        def reals(*shape: int) -> Any:
            return Space(spaces.Box(-np.inf, np.inf, shape))

        slate = (self._num_users, SLATE_SIZE)
        columns = {name: reals(*slate) for name in ("doc_id", "doc_topic", "doc_quality", "doc_length")}
        columns["doc_features"] = reals(*slate, NUM_TOPICS)
        return ValueSpec(step=reals()).prefixed_with("state").union(ValueSpec(**columns).prefixed_with("slate"))


def network(num_users: int) -> Any:
    def frozen_corpus(config: dict[str, int]) -> Any:
        return corpus.StaticCorpus(config, corpus.CorpusWithTopicAndQuality(config).initial_state())

    config = {
        "num_users": num_users,
        "num_topics": NUM_TOPICS,
        "num_docs": NUM_ITEMS,
        "slate_size": SLATE_SIZE,
        "history_length": 15,
    }
    story = recs_story(
        config, user.InterestEvolutionUser, frozen_corpus, DrawnSlates, metrics.ConsumedTimeAsRewardMetrics
    )
    return Network(variables=story)


def many_steps_a_call(num_users: int, threads: int) -> Contender:
    runtime = TFRuntime(network(num_users))

    def play() -> int:
        runtime.execute(STEPS_A_CALL)["metrics state"].get("cumulative_reward").numpy()
        return STEPS_A_CALL * num_users

    return Contender(f"RecSim NG, {num_users:,} users, {STEPS_A_CALL} steps a call", threads, play)


def one_step_a_call(num_users: int, threads: int) -> Contender:
    simulation = network(num_users)

    @tf.function
    def step(state: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        values = simulation.step({name: Value(**columns) for name, columns in state.items()})
        return {name: value.as_dict for name, value in values.items()}

    state = {name: value.as_dict for name, value in simulation.initial_step().items()}

    def play() -> int:
        nonlocal state
        state = step(state)
        state["metrics state"]["reward"].numpy()
        return num_users

    return Contender(f"RecSim NG, {num_users:,} users, 1 step a call", threads, play)


def main() -> None:
    threads = int(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    take_turns(
        [
            many_steps_a_call(1000, threads),
            many_steps_a_call(4096, threads),
            one_step_a_call(4096, threads),
        ]
    )


if __name__ == "__main__":
    main()
