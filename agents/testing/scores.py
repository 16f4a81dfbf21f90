"""What every score of a log's rows promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import pytest
import torch

from agents import SCORES, CriticConfig, NetworkConfig, Score, score_log
from agents.testing.policy_cases import policy_log
from offline_data.behavior.base import ActionKind
from recenv.errors import InvalidInput
from recenv.testing.contract import Contract, example_config

check_score: Final = Contract("check_score", SCORES)
"""The contract of scores."""

HASTY: Final = CriticConfig(
    NetworkConfig((16,)), num_rounds=2, steps_per_round=5, batch_size=64, discount=0.9, trace_decay=0.7
)
"""Of a critic that is quickly fitted."""


def every_log(part: Any) -> Iterator[tuple[str, ActionKind]]:
    """Yield where each of three small logs is from, and its kind of actions."""
    logs: tuple[tuple[str, ActionKind], ...] = (("plain", "proto"), ("plain", "slate"), ("imported", "slate"))
    yield from logs


def fits_a_critic(part: type[Score]) -> bool:
    """Say whether a score is of a critic that is fitted to the log."""
    return part.rows is Score.rows


@check_score.promise_each(every_log)
def is_one_number_a_row_and_the_same_again(part: Any, where: str, kind: ActionKind) -> None:
    """It is one finite float32 a row, not all equal, fixed by the seed; another seed's critic gives another."""
    log, config = policy_log(where, kind), example_config(part)
    found = score_log(part, log, HASTY, score_config=config, seed=3)
    assert found.shape == (log.num_rows,)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found.std() > 0
    assert torch.equal(score_log(part, log, HASTY, score_config=config, seed=3), found)
    again = score_log(part, log, HASTY, score_config=config, seed=4)
    assert torch.equal(again, found) == (not fits_a_critic(part))


@check_score.promise
def progress_counts_every_step(part: Any) -> None:
    """Progress is told of as many steps as the critic's config asks for."""
    ticks: list[int] = []
    score_log(part, policy_log("plain", "proto"), HASTY, score_config=example_config(part), progress=ticks.append)
    assert sum(ticks) == HASTY.num_steps


@check_score.promise
def items_without_embeddings_are_told_apart_by_the_log(part: Any) -> None:
    """A log whose items have no embeddings is scored; a critic's of their embeddings is refused with a sentence."""
    bare = dataclasses.replace(policy_log("imported", "slate"), catalog={})
    assert score_log(part, bare, HASTY).isfinite().all()
    if fits_a_critic(part):
        with pytest.raises(InvalidInput, match="has no embeddings of its items; say log"):
            score_log(part, bare, dataclasses.replace(HASTY, item_features="catalog"))


@check_score.promise
def refuses_a_config_of_another_kind(part: Any) -> None:
    """A config that is none of its own is refused with a sentence."""
    with pytest.raises(InvalidInput, match=f"config is a dict; {part.__name__} takes a {part.Config.__name__}"):
        part({})
