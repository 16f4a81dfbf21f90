"""Items of one's own as a part of the world's identity: its config, JSON and hash, files, environments and specs."""

from __future__ import annotations

import gc
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from recenv import Catalog, CatalogConfig, InvalidInput, RecSessionEnv, RecSessionVectorEnv, SessionConfig, make_world
from recenv.items.given_items import _TOLD


def own_items(seed: int = 0, count: int = 12, dim: int = 4) -> Catalog:
    rng = np.random.default_rng(seed)
    return Catalog.from_arrays(
        rng.normal(size=(count, dim)), [f"topic {n % 3}" for n in range(count)], quality=rng.normal(size=count)
    )


@pytest.fixture
def items() -> Catalog:
    return own_items()


def forget() -> None:
    """Be a process that has seen no items."""
    _TOLD.clear()
    gc.collect()


def test_a_world_knows_its_items(items: Catalog):
    config = SessionConfig().override(items=items, slate_size=3)
    assert (config.catalog.num_items, config.catalog.embedding_dim) == (12, 4)
    assert make_world(config).catalog is items
    assert make_world(SessionConfig().override(slate_size=3), items).config == config
    other = config.override(items=own_items(1))
    assert other != config
    assert other.world_hash() != config.world_hash()
    same = config.override(items=own_items())
    assert same == config
    assert hash(same) == hash(config)
    assert same.world_hash() == config.world_hash()
    assert config.override(items=None).items is None


def test_a_drawn_world_says_nothing_of_items_and_hashes_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Catalog, "sha256", property(lambda self: pytest.fail("a drawn catalogue was hashed")))
    config = SessionConfig().override(num_items=50)
    assert "items" not in config.to_dict()
    assert "items" not in json.loads(config.to_json())
    RecSessionEnv(config).reset(seed=0)


def test_json_finds_the_items_by_their_file(items: Catalog, tmp_path: Path):
    config = SessionConfig().override(items=items.save(tmp_path / "items.npz"), slate_size=3)
    text = config.to_json()
    assert json.loads(text)["items"] == {"sha256": items.sha256, "path": str(tmp_path / "items.npz")}
    forget()
    again = SessionConfig.from_json(text)
    assert again == config
    np.testing.assert_array_equal(make_world(again).catalog.embeddings, items.embeddings)
    assert SessionConfig.from_dict({"items": str(tmp_path / "items.npz"), "slate_size": 3}) == config
    # Where they lie does not tell worlds apart.
    moved = config.override(items=items.save(tmp_path / "moved.parquet"))
    assert moved == config
    assert moved.world_hash() == config.world_hash() == replace(config, items=items).world_hash()
    assert moved.to_json() != text
    own_items(1).save(tmp_path / "items.npz")
    forget()
    with pytest.raises(InvalidInput, match=r"items.npz.* has the SHA-256 .*, and the config is of items of "):
        SessionConfig.from_json(text)


def test_json_of_items_that_are_not_at_hand_asks_for_them(items: Catalog):
    config = SessionConfig().override(items=items, slate_size=3)
    text = config.to_json()
    assert SessionConfig.from_json(text) == config  # this process has them
    forget()
    with pytest.raises(InvalidInput, match=r"are not at hand; pass them too, as items=: a Catalog or the path"):
        SessionConfig.from_json(text)
    assert SessionConfig.from_json(text, items=items) == config
    assert RecSessionEnv(text, items=items).config == config
    forget()
    with pytest.raises(InvalidInput, match="and the config is of items of "):
        SessionConfig.from_json(text, items=own_items(1))
    with pytest.raises(InvalidInput, match="and the config is of items of "):
        RecSessionEnv(config, items=own_items(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_items": 13}, "num_items=13 beside items that have 12; leave num_items out: it follows the items"),
        ({"embedding_dim": 5}, "embedding_dim=5 beside items that have 4; leave embedding_dim out"),
        ({"catalog": {"num_items": 13}}, "num_items=13 beside items that have 12"),
        ({"clickbait": 0.1}, "clickbait=0.1 says how items are drawn, and these are given; leave clickbait or items"),
        ({"slate_size": 13}, "slate_size=13 exceeds num_items=12"),
        ({"items": 3}, "items=3 is not a Catalog; build one with Catalog.from_arrays"),
        ({"items": {"sha": "0"}}, "is not a Catalog"),
        ({"items": {}}, "is not a Catalog"),
        ({"items": {"sha256": 3}}, "is not a Catalog"),
        ({"items": "none.npz"}, "none.npz does not exist"),
        ({"items": "items.csv"}, "items.csv does not exist"),
    ],
)
def test_what_contradicts_own_items_is_refused(items: Catalog, change: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        SessionConfig().override(**{"items": items, "slate_size": 3, **change})
    assert str(caught.value).startswith(message) or message in str(caught.value)


@pytest.mark.parametrize("file", ["items.npz", "items.parquet"])
def test_a_file_is_accepted_wherever_items_are(items: Catalog, tmp_path: Path, file: str):
    path = items.save(tmp_path / file).path
    env = gymnasium.make("RecSession-v0", items=str(path), slate_size=3)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    expected = RecSessionEnv(items=items, slate_size=3)
    observations = [each.reset(seed=1)[0] for each in (env, again, expected)]
    for name, values in observations[0].items():
        np.testing.assert_array_equal(values, observations[1][name])
        np.testing.assert_array_equal(values, observations[2][name])
    single = again.unwrapped
    assert isinstance(single, RecSessionEnv)
    assert single.world.catalog == items
    many = gymnasium.make_vec(
        "RecSession-v0", 3, vectorization_mode="vector_entry_point", items=str(path), slate_size=3
    )
    assert isinstance(many.unwrapped, RecSessionVectorEnv)
    assert many.unwrapped.world.catalog == items
    assert many.unwrapped.config == single.config
    assert make_world(SessionConfig().override(slate_size=3), path).catalog == items


@pytest.mark.parametrize("duplicate", [lambda c: pickle.loads(pickle.dumps(c)), lambda c: c.override(max_steps=50)])
def test_configs_with_items_survive_pickling_and_change(items: Catalog, duplicate: Callable[..., SessionConfig]):
    config = SessionConfig().override(items=items, slate_size=3)
    again = duplicate(config)
    assert again == config
    assert again.items is not None
    assert again.items.topic_name(1) == "topic 1"


def test_another_user_model_keeps_the_items(items: Catalog):
    config = SessionConfig().override(items=items, slate_size=3).override(user_model="boredom_cascade")
    assert config.items is items
    assert (config.catalog.num_items, config.catalog.embedding_dim) == (12, 4)


def test_a_world_is_of_its_items(items: Catalog):
    world = make_world(SessionConfig().override(slate_size=3), items)
    for change in ({"catalog": own_items(1)}, {"catalog": own_items(0, 30)}, {"config": SessionConfig()}):
        with pytest.raises(InvalidInput, match="make the world by make_world"):
            replace(world, **change)


def test_a_config_opens_no_file_for_items_that_are_at_hand(items: Catalog, tmp_path: Path):
    own_items(1).save(tmp_path / "others.npz")
    for said in (str(tmp_path / "others.npz"), {"path": str(tmp_path / "others.npz")}, {"sha256": "0" * 64}, [1]):
        with pytest.raises(InvalidInput, match="and the config is of items of "):
            SessionConfig.from_dict({"items": said, "slate_size": 3}, items=items)


# --- files of a shop


def test_embeddings_may_stand_in_columns_and_columns_have_synonyms(tmp_path: Path):
    np.savez(
        tmp_path / "shop.npz",
        item_id=np.array([12, 7, 9]),
        topic=np.array(["news", "sport", "news"]),
        name=np.array(["one", "two", "three"]),
        embedding_1=np.array([4.0, 0.0, 1.0]),
        embedding_0=np.array([3.0, 2.0, 0.0]),
        popularity=np.array([1, 1, 2]),
    )
    items = Catalog.load(tmp_path / "shop.npz")
    np.testing.assert_allclose(items.embeddings, [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(items.topics, [0, 1, 0])
    np.testing.assert_array_equal(items.source_id, [12, 7, 9])
    np.testing.assert_array_equal(items.popularity, [0.25, 0.25, 0.5])
    assert [items.item_name(n) for n in range(3)] == ["one", "two", "three"]
    assert [items.topic_name(n) for n in range(2)] == ["news", "sport"]
    items.save(tmp_path / "again.npz")
    assert Catalog.from_arrays(**items.arrays()) == items == Catalog.load(tmp_path / "again.npz")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"quality": np.zeros(3)}, "has no embeddings; add an array or list column"),
        ({"embeddings": np.eye(3), "lenght": np.ones(3)}, "unknown column of items 'lenght'; did you mean 'length'?"),
        ({"embeddings": np.eye(3), "topic": np.zeros(3), "topics": np.zeros(3)}, "has topics twice, once as topics"),
        ({"embeddings": np.eye(3), "embedding_0": np.ones(3)}, "has embeddings and embedding_0; leave one of them out"),
        ({"embedding_0": np.ones(3), "embedding_2": np.ones(3)}, "has embedding_2 and no embedding_[1]; add it"),
        ({"embedding_0": np.ones(3), "embedding_1": np.ones(2)}, "embedding_0, embedding_1, ... have the shapes"),
        ({"embeddings": np.eye(3), "quality": np.array([1.0, np.nan, 0.0])}, "quality holds a value that is not finit"),
        ({"embeddings": np.eye(3), "source_id": np.array([1, 1, 2])}, "source_id holds [1] twice"),
        ({"embeddings": np.eye(3), "names": np.array([1, 2, 3])}, "names holds int64 values; pass texts"),
        ({"embeddings": np.eye(3), "topics": np.array([-1, 0, 0])}, "topics holds -1; number topics from 0"),
    ],
)
def test_a_file_of_something_else_is_refused_by_its_name(tmp_path: Path, columns: dict[str, Any], message: str):
    np.savez(tmp_path / "shop.npz", **columns)
    with pytest.raises(InvalidInput) as caught:
        Catalog.load(tmp_path / "shop.npz")
    assert str(caught.value).startswith(str(tmp_path / "shop.npz"))
    assert message in str(caught.value)


def test_save_refuses_what_is_no_file_of_its_own(items: Catalog, tmp_path: Path):
    (tmp_path / "items.npz").mkdir()
    (tmp_path / "real.npz").write_text("mine")
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    for name, message in (
        ("items.csv", "is none of .npz"),
        ("items.npz", "it is a folder"),
        ("link.npz", "it is a symbolic link"),
        ("real.npz/items.npz", "cannot write"),
    ):
        with pytest.raises(InvalidInput, match=message):
            items.save(tmp_path / name)
    assert (tmp_path / "real.npz").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"items.npz", "real.npz", "link.npz"}


# --- hidden columns for one's own embeddings


def test_hidden_columns_are_drawn_as_those_of_drawn_items_are():
    config = CatalogConfig(num_items=200, clickbait=0.3, length_mean=9.0)
    drawn = Catalog.generate(config, 5)
    items = Catalog.from_embeddings(drawn.embeddings, config, 5, topics=drawn.topics)
    for name, values in drawn.arrays().items():
        np.testing.assert_allclose(items.arrays()[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for name in ("embeddings", "topics", "length", "popularity", "age"):
        np.testing.assert_array_equal(items.arrays()[name], drawn.arrays()[name])
    # Sizes follow the embeddings, topics their nearest centroid: nearly always the one that an item was drawn around.
    guessed = Catalog.from_embeddings(drawn.embeddings, CatalogConfig(clickbait=0.3, length_mean=9.0), 5)
    assert np.mean(guessed.topics == drawn.topics) > 0.9
    np.testing.assert_array_equal(guessed.quality, items.quality)
    assert Catalog.from_embeddings(drawn.embeddings, config, 6).quality.tolist() != items.quality.tolist()


def test_drawn_columns_keep_names():
    items = Catalog.from_embeddings(np.eye(3), topics=["a", "b", "a"], names=["x", "y", "z\x1b[2J"])
    assert [items.topic_name(n) for n in range(2)] == ["a", "b"]
    assert items.item_name(2) == "z\\x1b[2J"
