"""Pieces from outside in a config."""

from __future__ import annotations

from typing import Any

import pytest

from recenv import CatalogConfig, InvalidInput, SessionConfig
from recenv.dynamics.pieces.satiation import SatiationConfig

# --- pieces from outside

PATIENCE = "tests.outside_parts.patience:Patience"


def test_a_piece_from_outside_stands_in_the_config_and_in_no_other_hash():
    plain = SessionConfig()
    assert "pieces" not in plain.to_dict()
    config = plain.override(pieces={PATIENCE: {"patience": 2}}, slate_size=4)
    assert config.to_dict()["pieces"] == {
        PATIENCE: {"patience": 2, "leave_rate": 0.5, "boredom": 0.25, "idle_reward": -0.5}
    }
    again = SessionConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert config.world_hash() != plain.override(slate_size=4).world_hash()
    # A dict alters it, None and another user model switch it off, what names others leaves it.
    assert config.override(pieces={PATIENCE: {"leave_rate": 1.0}}).pieces[0].patience == 2
    assert config.override(satiation=None).pieces == config.pieces
    assert config.override(pieces={PATIENCE: None}).pieces == ()
    assert config.override(pieces=()).pieces == ()
    assert config.override(user_model="boredom_cascade").pieces == ()
    assert config.override(pieces=config.pieces) == config
    assert list(config.piece_configs())[-1] == PATIENCE


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ({PATIENCE: 3}, f"{PATIENCE}=3 is not a piece; pass True, None, a dict of fields or a config object"),
        ({PATIENCE: {"patiense": 1}}, f"unknown {PATIENCE} option 'patiense'; did you mean 'patience'?"),
        ({"hunger": True}, "unknown piece 'hunger'; choose one of: "),
        ("patience", "pieces='patience' is no dict of sections; pass {NAME: True} or {NAME: {FIELD: VALUE}}"),
        ({"json:dumps": True}, "piece 'json:dumps': there is no class of that name that is a Piece"),
    ],
)
def test_bad_pieces_are_refused(pieces: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(pieces=pieces)
    assert str(caught.value).startswith(message)


def test_constructor_takes_a_piece_once_and_in_its_place():
    config = SessionConfig().override(pieces={PATIENCE: True})
    for wrong in (config.pieces * 2, (SatiationConfig(),)):
        with pytest.raises(InvalidInput, match="has a piece twice, or one that is a field; give each once"):
            SessionConfig(pieces=wrong)
    with pytest.raises(InvalidInput, match="is no config of a piece"):
        SessionConfig(pieces=(CatalogConfig(),))
