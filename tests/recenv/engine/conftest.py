from __future__ import annotations

import pytest

from recenv import World, make_world
from tests.recenv.engine.session_cases import SMALL


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SMALL)
