"""Parametrisations by every registered policy and kind of world; what they stand for makes `agents.testing`."""

from __future__ import annotations

import itertools

import pytest

from agents.families import POLICIES
from agents.testing.policy_cases import SPACES, WORLDS

NAMES = POLICIES.registered()

every_policy = pytest.mark.parametrize("name", NAMES)
every_case = pytest.mark.parametrize(("name", "where"), list(itertools.product(NAMES, SPACES)))
every_world = pytest.mark.parametrize(("name", "where"), list(itertools.product(NAMES, WORLDS)))
