"""Items are compared by their source's ids, which a policy's file keeps; what no catalogue has is refused there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.space_checks import require_like
from agents.nn.tensor_files import save_tensors
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.policy_cases import world_of
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.world import make_world

SMALL = PlackettLucePolicyConfig(NetworkConfig((8,)), item_width=4)
TEXTS = np.array(["00123", "123", "SKU \N{SNOWMAN}", "a", "b"])


def space_of(ids: np.ndarray, tmp_path, **channels: np.ndarray) -> SessionSpace:
    """Return the space of a log of one session that shows these items, one a step."""
    path = tmp_path / f"log{len([*tmp_path.iterdir()])}"
    source = path.with_name("source")
    source.touch()
    count = len(ids)
    log = Interactions(
        files=[(source, count)],
        user=Ids.of(np.zeros(count, np.int64)),
        item=Ids(np.arange(count), ids),
        feedback={"click": np.ones(count), **channels},
        timestamp=np.arange(count) * 1.0,
        catalog={"embeddings": np.eye(9, dtype=np.float32)[:count]},
    )
    return SessionSpace.of_log(import_interactions(path, log, "test", options=ImportOptions(max_steps=9)))


@pytest.mark.parametrize("ids", [TEXTS, np.array([7, 2**62, -1]), np.array([3, 4], np.int32)], ids=["text", "64", "32"])
def test_a_file_keeps_the_ids(ids, tmp_path):
    space = space_of(ids, tmp_path)
    save_policy(tmp_path / "policy", make_policy(space, dataclasses.replace(SMALL)))
    found = load_policy(tmp_path / "policy").space
    assert found.item_ids is not None
    assert found.item_ids.tolist() == ids.tolist()
    assert found.item_ids.dtype == (np.int64 if ids.dtype.kind == "i" else ids.dtype)
    assert found.feedback_names == ("click",)
    require_like(found, space, "p", "l", slate_size=True)


def test_a_file_of_own_items_keeps_their_ids(tmp_path):
    rng = np.random.default_rng(0)
    catalog = Catalog.from_arrays(
        rng.normal(size=(30, 4)),
        np.zeros(30, np.int64),
        quality=rng.normal(size=30),
        length=rng.uniform(1, 9, 30),
        source_id=[f"SKU{n}" for n in range(30)],
    )
    world = make_world(SessionConfig().override(slate_size=3, max_steps=5), catalog)
    save_policy(tmp_path / "policy", make_policy(SessionSpace.of_world(world), SMALL))
    found = load_policy(tmp_path / "policy").space.item_ids
    assert found is not None
    assert found.tolist() == [f"SKU{n}" for n in range(30)]
    assert SessionSpace.of_world(world_of("plain")).item_ids is None


def test_a_file_of_an_older_version_has_no_ids_and_loads(tmp_path):
    space = space_of(TEXTS, tmp_path)
    save_policy(tmp_path / "policy", make_policy(space, SMALL))
    content = torch.load(tmp_path / "policy", weights_only=True)
    header = json.loads(content["header"])
    del header["space"]["feedback_names"]
    items = {name: values for name, values in content["items"].items() if name != "source_id"}
    save_tensors(tmp_path / "old", "policy", {**content, "header": json.dumps(header), "items": items})
    old = load_policy(tmp_path / "old").space
    assert (old.item_ids, old.feedback_names) == (None, None)
    for one, two in ((old, space), (space, old)):
        require_like(one, two, "p", "l", slate_size=True)
    with pytest.raises(InvalidInput, match="other items than those of l; train a policy on these"):
        require_like(old, dataclasses.replace(space, embeddings=-space.embeddings), "p", "l", slate_size=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_id": torch.arange(4)}, r"source_id has shape \(4,\)"),
        ({"source_id": torch.zeros(5, dtype=torch.int64)}, r"source_id holds \[0\] twice"),
        ({"source_id": torch.zeros(5)}, "source_id holds float32 values"),
        ({"source_id": torch.full((5, 2), 2**30, dtype=torch.int32)}, "its source_id hold what is no character"),
        ({"source_id": torch.full((5, 2), -1, dtype=torch.int32)}, "its source_id hold what is no character"),
        ({"feedback_names": ["click", "like"]}, r"feedback_names=\('click', 'like'\) are not the click's and those"),
        ({"feedback_names": [3]}, r"feedback_names=\(3,\) are not"),
        ({"feedback_names": 3}, "is not a policy file"),
    ],
)
def test_ids_that_no_catalogue_has_are_refused(change, message, tmp_path):
    save_policy(tmp_path / "policy", make_policy(space_of(TEXTS, tmp_path), SMALL))
    content = torch.load(tmp_path / "policy", weights_only=True)
    header = json.loads(content["header"])
    header["space"] |= {name: value for name, value in change.items() if name == "feedback_names"}
    items = content["items"] | {name: value for name, value in change.items() if name != "feedback_names"}
    save_tensors(tmp_path / "bad", "policy", {**content, "header": json.dumps(header), "items": items})
    with pytest.raises(InvalidInput, match=message):
        load_policy(tmp_path / "bad")


ONE = "; import the log with --items FILE that names the policy's items, as that of its own log does, or train"
BOTH = "; import both logs with one --items file that names the items of both, train on the policy's own again, or"


@pytest.mark.parametrize(
    ("ids", "message", "remedy"),
    [
        (
            TEXTS[::-1],
            r"^p and l have the same 5 items in another order: item 0 is '00123' to the one and 'b' to the other",
            ONE,
        ),
        (TEXTS[:4], r"^l lacks 1 of 5 items \('b'\) that p knows", ONE),
        (TEXTS[:1], r"^l lacks 4 of 5 items \('123', 'SKU \N{SNOWMAN}', 'a', ...\) that p knows", ONE),
        (np.append(TEXTS, ["c", "d"]), r"^p does not know 2 of 7 items \('c', 'd'\) of l", BOTH),
        (
            np.append(TEXTS[1:], "c"),
            r"^l lacks 1 of 5 items \('00123'\) that p knows; p does not know 1 of 5 .*'c'\) of l",
            BOTH,
        ),
        (
            np.arange(5),
            "^p knows its items by texts, such as '00123', and l by whole numbers, such as 0: one id that is",
            ".*" + BOTH,
        ),
        (
            np.array([123]),
            "^p knows its items by texts, such as '00123', and l by whole numbers, such as 123: one id that is",
            ".*" + ONE,
        ),
    ],
)
def test_what_differs_of_the_items_is_named(ids, message, remedy, tmp_path):
    with pytest.raises(InvalidInput, match=message + remedy):
        require_like(space_of(TEXTS, tmp_path), space_of(ids, tmp_path), "p", "l", slate_size=True)


def test_other_embeddings_and_channels_of_the_same_items_are_told_apart(tmp_path):
    space = space_of(TEXTS, tmp_path, like=np.zeros(5), watch=np.zeros(5))
    with pytest.raises(
        InvalidInput, match=r"^p was made for other embeddings of the same 5 items than l has; import the log"
    ):
        require_like(space, dataclasses.replace(space, embeddings=-space.embeddings), "p", "l", slate_size=True)
    swapped = space_of(TEXTS, tmp_path, watch=np.zeros(5), like=np.zeros(5))
    with pytest.raises(
        InvalidInput, match=r"feedback_names=\('click', 'like', 'watch'\), and l has \('click', 'watch'"
    ):
        require_like(space, swapped, "p", "l", slate_size=True)


@pytest.mark.parametrize(("own", "other"), [(["1", "2", "003"], ["1", "2"]), (["1", "2"], ["1", "2", "4"])])
def test_what_a_refusal_of_items_says_to_do_makes_the_logs_fit(own, other, tmp_path):
    """The policy's log without the other's items, or with more; ids of the shorter log are read as whole numbers."""

    def read(name: str, skus: list[str], **options: Any) -> SessionSpace:
        lines = [f"{user},{sku},{user + place},1" for user in range(2) for place, sku in enumerate(skus)]
        (tmp_path / "log.csv").write_text("\n".join(["user,sku,ts,click", *lines]) + "\n")
        columns = ColumnMap(user_id="user", item_id="sku", timestamp="ts", feedback={"click": "click"})
        shared = ImportOptions(max_steps=9)
        log = import_table(tmp_path / "log.csv", tmp_path / name, columns, options=shared, **options)
        return SessionSpace.of_log(log, item_features="log" if not options else "catalog")

    with pytest.raises(InvalidInput, match="--items"):
        require_like(read("own", own), read("other", other), "p", "l", slate_size=False)
    file = tmp_path / "items.csv"
    rows = (f"{sku},{place},{1 - place}\n" for place, sku in enumerate(sorted({*own, *other})))
    file.write_text("sku,embedding_0,embedding_1\n" + "".join(rows))
    require_like(read("own2", own, items=file), read("other2", other, items=file), "p", "l", slate_size=False)
