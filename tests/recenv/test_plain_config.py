"""One codec: configs are plain values and come back, a part's by its name."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field, make_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.errors import InvalidInput, require_range
from recenv.families import USER_MODELS
from recenv.plain_config import field_meanings, from_plain, to_plain


@dataclass(frozen=True)
class Leaf:
    sizes: tuple[int, ...] = (1,)
    share: float = 0.5
    on: bool = False
    bound: float | None = None

    def __post_init__(self) -> None:
        require_range("share", self.share, -1e9, 1e9)


@dataclass(frozen=True)
class Tree:
    leaf: Leaf = field(default_factory=Leaf)
    model: Any = field(
        default_factory=lambda: USER_MODELS.get("interest_evolution").Config(), metadata={"family": USER_MODELS}
    )


def of_json(config: Any) -> Any:
    return from_plain(type(config), json.loads(json.dumps(to_plain(config), allow_nan=False)))


@given(st.lists(st.integers(), max_size=4), st.floats(-1e9, 1e9), st.booleans(), st.none() | st.floats(0, 1))
def test_any_values_come_back(sizes, share, on, bound):
    tree = Tree(Leaf(tuple(sizes), share, on, bound), USER_MODELS.get("boredom_cascade").Config(affinity_weight=2))
    assert of_json(tree) == tree
    assert type(of_json(tree).leaf.on) is bool
    assert isinstance(of_json(tree).leaf.sizes, tuple)


@pytest.mark.parametrize("name", USER_MODELS.registered())
def test_a_part_says_its_name_and_is_found_by_it(name):
    config = USER_MODELS.get(name).Config()
    plain = to_plain(config, USER_MODELS)
    assert plain == {"name": name} | to_plain(config)
    assert from_plain(USER_MODELS, plain) == config
    found = of_json(Tree(model=config))
    assert type(found.model) is type(config)


def test_equal_configs_have_equal_values():
    assert json.dumps(to_plain(Leaf(share=1))) == json.dumps(to_plain(Leaf(share=1.0)))
    assert str(to_plain(Leaf(share=-0.0))["share"]) == "0.0"
    assert to_plain(Leaf()) == dataclasses.asdict(Leaf())


def test_annotations_need_not_be_postponed():
    config = make_dataclass("Eager", [("share", float, 0.5)], frozen=True)
    assert json.dumps(to_plain(config(1))) == json.dumps(to_plain(config(1.0)))


def test_what_is_left_out_has_its_default():
    assert from_plain(Tree, {}) == Tree()
    assert from_plain(Tree, {"leaf": {"sizes": [2, 3]}}) == Tree(Leaf((2, 3)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"laef": {}}, "unknown Tree option 'laef'; did you mean 'leaf'?"),
        ({"leaf": {"name": "leaf"}}, "unknown Leaf option 'name'"),
        ({"leaf": 3}, "leaf=3 is not an object; pass the values of a Leaf"),
        ({"leaf": {"share": "x"}}, "share='x' is not"),
        ({"model": None}, "model=None is not an object; pass the values of a user model"),
        ({"model": {}}, "has no 'name' that is a text; add the name of a registered user model"),
        ({"model": {"name": 3}}, "has no 'name' that is a text; add the name of a registered user model"),
        ({"model": {"name": "boredom_cascad"}}, "unknown user model 'boredom_cascad'; did you mean 'boredom_cascade'?"),
        ({"model": {"name": "boredom_cascade", "slope": 2}}, "unknown user model option 'slope'"),
    ],
)
def test_what_is_no_config_is_refused(values, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        from_plain(Tree, values)


def test_meanings_are_wrapped_and_inherited():
    class Wrapped:
        """One."""

        first: int = 0
        """Of two
        lines."""
        unsaid: int = 0

    class Heir(Wrapped):
        second: int = 0
        """Of one."""

    assert field_meanings(Heir) == {"first": "Of two lines.", "second": "Of one."}
