from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.nn.encoders.base import ENCODERS
from agents.nn.networks import NetworkConfig
from agents.policies.base import POLICIES
from agents.policies.gaussian import GaussianPolicyConfig
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.plain_config import from_plain, to_plain

PAIRS = [(policy, encoder) for policy in POLICIES.registered() for encoder in ENCODERS.registered()]


def of_json(config: Any) -> Any:
    return from_plain(type(config), json.loads(json.dumps(to_plain(config), allow_nan=False)))


def changed(config: Any) -> Any:
    """Return a config with another value in every number and every truth, and with those of the parts changed."""
    values: dict[str, Any] = {}
    for part in dataclasses.fields(config):
        value = getattr(config, part.name)
        if dataclasses.is_dataclass(value):
            values[part.name] = changed(value)
        elif isinstance(value, bool):
            values[part.name] = not value
        elif isinstance(value, int | float):
            values[part.name] = value * 2
        else:
            values[part.name] = (*value, 7)
    if "uniform_share" in values:
        values["uniform_share"] = 0.125
    return dataclasses.replace(config, **values)


@pytest.mark.parametrize(("policy", "encoder"), PAIRS)
def test_every_policys_config_comes_back(policy, encoder):
    config = POLICIES.get(policy).Config(NetworkConfig((3, 5), ENCODERS.get(encoder).Config()))
    for each in (config, changed(config)):
        found = of_json(each)
        assert found == each
        assert type(found.network.encoder) is type(each.network.encoder)
        assert found.network.hidden_sizes == each.network.hidden_sizes
        assert isinstance(found.network.hidden_sizes, tuple)
        plain = to_plain(each)
        assert (plain["name"], plain["network"]["encoder"]["name"]) == (policy, encoder)
    assert all(getattr(config, part.name) != getattr(changed(config), part.name) for part in dataclasses.fields(config))


@given(
    st.lists(st.integers(1, 65_536), min_size=1, max_size=4),
    st.floats(1e-6, 1e2, exclude_min=True),
    st.floats(1.001, 10.0),
    st.booleans(),
)
def test_any_numbers_come_back(sizes, floor, ratio, learned):
    config = GaussianPolicyConfig(NetworkConfig(tuple(sizes)), floor * ratio, floor, learned)
    assert of_json(config) == config
    assert type(of_json(config).learn_scale) is bool


def test_config_without_a_name_has_none_in_its_values():
    assert to_plain(SemanticIdConfig()) == dataclasses.asdict(SemanticIdConfig())
    assert "name" not in to_plain(NetworkConfig())
    assert of_json(SemanticIdConfig(2, 5)) == SemanticIdConfig(2, 5)


@pytest.mark.parametrize("policy", POLICIES.registered())
def test_what_is_left_out_has_its_default(policy):
    config = POLICIES.get(policy).Config
    assert from_plain(config, {}) == config()
    assert from_plain(config, {"name": policy, "network": {}}) == config()
    given_ = from_plain(config, {"network": {"hidden_sizes": [9], "encoder": {"name": "gru", "width": 5}}})
    assert given_.network == NetworkConfig((9,), ENCODERS.get("gru").Config(5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"initial_scal": 0.5}, "unknown GaussianPolicyConfig option 'initial_scal'; did you mean 'initial_scale'?"),
        (
            {"name": "plackett_luce"},
            "name='plackett_luce' is not 'gaussian'; pass the values of a GaussianPolicyConfig",
        ),
        ({"network": {"hidden": [8]}}, "unknown NetworkConfig option 'hidden'"),
        ({"network": {"name": "network"}}, "unknown NetworkConfig option 'name'"),
        ({"network": 3}, "network=3 is not an object; pass the values of a NetworkConfig"),
        ({"network": None}, "network=None is not an object"),
        (
            {"network": {"encoder": "gru"}},
            "encoder='gru' is not an object; pass the values of a PooledConfig or FlatConf",
        ),
        (
            {"network": {"encoder": {"name": "gruu"}}},
            "unknown encoder 'gruu'; did you mean 'gru'? choose one of: decision, f",
        ),
        (
            {"network": {"encoder": {"width": 3}}},
            "unknown encoder None; choose one of: decision, flat, gru, pooled, transformer",
        ),
        ({"network": {"encoder": {"name": "gru", "num_decays": 2}}}, "unknown GruConfig option 'num_decays'"),
        ({"network": {"encoder": {"name": "gru", "width": 0}}}, "width=0 is outside [1, 4096]"),
        ({"initial_scale": -1.0}, "initial_scale=-1.0 is outside"),
    ],
)
def test_what_is_no_config_is_refused(values, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        from_plain(GaussianPolicyConfig, values)


@dataclass(frozen=True)
class Leaf:
    name: ClassVar[str] = "leaf"
    sizes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Bud(Leaf):
    name: ClassVar[str] = "bud"


@dataclass(frozen=True)
class Tree:
    one: Leaf = field(default_factory=Leaf)
    other: Leaf | Bud = field(default_factory=Bud)


def test_plain_values_are_plain():
    plain = to_plain(Tree())
    assert plain == {"one": {"name": "leaf", "sizes": (1,)}, "other": {"name": "bud", "sizes": (1,)}}
    assert from_plain(Tree, {"one": {"name": "leaf", "sizes": [2, 3]}}) == Tree(Leaf((2, 3)))
    assert from_plain(Tree, plain) == Tree()
    assert from_plain(Tree, {"other": plain["one"]}) == Tree(other=Leaf())
