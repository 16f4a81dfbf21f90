"""Specs as JSON: whatever a world was given by, the same world comes back; configs from files; NumPy's numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from recenv import (
    Catalog,
    CatalogConfig,
    FlatObservation,
    InvalidInput,
    RecSessionEnv,
    RecSessionVectorEnv,
    SemanticIdAction,
    SessionConfig,
)
from tests.recenv.envs.env_cases import bits
from tests.strategies.worlds import SMALL

BOREDOM = SessionConfig().override(user_model="boredom_cascade", slate_size=3)
GIVEN: dict[str, dict[str, Any]] = {
    "config": {"config": BOREDOM},
    "dict": {"config": BOREDOM.to_dict()},
    "text": {"config": BOREDOM.to_json()},
    "user model": {"user_model": BOREDOM.user_model, "choice": BOREDOM.choice, "satiation": None},
    "piece": {"satiation": SessionConfig().satiation, "catalog": CatalogConfig(num_items=30)},
    "nested": {"catalog": {"num_items": np.int32(30)}, "time_budget": {"budget": np.float32(3.5)}},
    "numpy": {"slate_size": np.int64(4), "budget": np.float16(3.5), "satiation": np.True_, "max_steps": np.array(7)},
    "hidden": {"expose_user_state": np.bool_(True), "world_seed": np.uint64(2**62)},
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_json_of_a_spec_makes_the_same_world(name: str):
    env = gymnasium.make("RecSession-v0", **GIVEN[name])
    assert env.spec is not None
    text = env.spec.to_json()
    for spec in (EnvSpec.from_json(text), env.spec):
        again = gymnasium.make(spec)
        assert again.unwrapped.config == env.unwrapped.config  # type: ignore[attr-defined]
        assert again.spec is not None
        assert again.spec.to_json() == text
    wrapped = FlatObservation(env).spec
    assert wrapped is not None
    assert wrapped.kwargs == env.spec.kwargs
    assert json.loads(wrapped.to_json())["kwargs"] == json.loads(text)["kwargs"]
    many = gymnasium.make_vec("RecSession-v0", 2, vectorization_mode="vector_entry_point", **GIVEN[name])
    assert many.spec is not None
    assert json.loads(many.spec.to_json())["kwargs"]


def test_plain_specs_are_gymnasiums():
    env = gymnasium.make("RecSession-v0", slate_size=3)
    expected = copy.deepcopy(gymnasium.spec("RecSession-v0"))
    assert env.spec is not None
    assert env.spec != expected
    assert json.loads(env.spec.to_json())["kwargs"] == {"slate_size": 3}
    expected.kwargs = {"slate_size": 3}
    assert env.spec.to_json() == expected.to_json()
    assert RecSessionEnv().spec is None
    assert env.spec != "RecSession-v0"


def test_items_in_no_file_are_named(tmp_path: Path):
    items = Catalog.from_arrays(np.eye(20))
    given: dict[str, Any]
    for given in ({"items": items}, {"config": SessionConfig().override(items=items)}):
        spec = gymnasium.make("RecSession-v0", **given).spec
        assert spec is not None
        (name,) = given
        with pytest.raises(InvalidInput) as caught:
            spec.to_json()
        assert str(caught.value).startswith(
            f"{name}=Catalog(20 items, embeddings of 20 dimensions) lies in no file, and"
        )
        assert gymnasium.make(spec).unwrapped.world.catalog == items  # type: ignore[attr-defined]
    # As the message says.
    items = items.save(str(tmp_path / "items.npz"))
    for given in ({"items": items}, {"config": SessionConfig().override(items=items)}):
        spec = gymnasium.make("RecSession-v0", **given).spec
        assert spec is not None
        again = gymnasium.make(EnvSpec.from_json(spec.to_json()))
        assert again.unwrapped.world.catalog == items  # type: ignore[attr-defined]


# --- configs in files


def test_a_config_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "world.json").write_text(BOREDOM.to_json())
    (tmp_path / "fit.json").write_text(json.dumps({"config": BOREDOM.to_dict(), "estimates": {}}))
    for file in ("world.json", "fit.json"):
        path = tmp_path / file
        assert SessionConfig.from_file(path) == BOREDOM
        for given in (path, str(path)):
            for env in (RecSessionEnv(given), RecSessionVectorEnv(2, given)):
                assert env.config == BOREDOM
            spec = gymnasium.make("RecSession-v0", config=given).spec
            assert spec is not None
            again = gymnasium.make(EnvSpec.from_json(spec.to_json()))
            assert again.unwrapped.config == BOREDOM  # type: ignore[attr-defined]
        monkeypatch.chdir(tmp_path)
        assert RecSessionEnv(file, slate_size=5).config == BOREDOM.override(slate_size=5)
    assert RecSessionEnv(json.loads((tmp_path / "fit.json").read_text())).config == BOREDOM
    assert SessionConfig.from_json((tmp_path / "fit.json").read_text()) == BOREDOM


def test_items_are_found_beside_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    items = Catalog.from_arrays(np.random.default_rng(0).normal(size=(30, 4))).save(tmp_path / "own.items.npz")
    plain = SessionConfig().override(items=items).to_dict()
    plain["items"]["path"] = "own.items.npz"
    (tmp_path / "own.json").write_text(json.dumps({"config": plain, "items": "own.items.npz"}))
    del plain["items"]
    (tmp_path / "older.json").write_text(json.dumps({"config": plain, "items": "own.items.npz"}))
    monkeypatch.chdir("/")
    for file in ("own.json", "older.json"):
        assert RecSessionEnv(tmp_path / file).world.catalog == items


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "no.json",
            "config='no.json': No such file or directory; pass what SessionConfig.to_json",
        ),
        (
            Path("no.json"),
            "config='no.json': No such file or directory; pass what SessionConfig.",
        ),
        ("", "config='': Is a directory; pass what SessionConfig.to_json() or `recsession fit`"),
        ("[1]", "config is not a JSON object; pass what SessionConfig.to_json() or `recsession fit` wrote"),
        ("a\0b", "config='a\\x00b': embedded null byte; pass what SessionConfig.to_json() or"),
        (
            "list.json",
            "config='list.json' holds no session config; pass what SessionConfig.to_json() or `recsession fit`",
        ),
        ("text.json", "config='text.json' is not JSON (Expecting value: line 1 column 1 (char 0)); pass what Session"),
        (
            " {a",
            "config is not JSON (Expecting property name enclosed in double quotes: line 1 column 3 (char 2)); pass",
        ),
        ({"config": 3}, "config=3 is not an object; pass what SessionConfig.to_json() or `recsession fit` wrote"),
        (3, "config=3 is not a SessionConfig; pass one, its to_dict() or to_json(), a file of that, or None"),
    ],
)
def test_what_is_no_config_is_refused(given: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "text.json").write_text("slate_size: 3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as caught:
        RecSessionEnv(given)
    assert str(caught.value).startswith(message)


# --- NumPy's numbers


def test_numpys_numbers_are_pythons_in_a_config():
    plain = SessionConfig().override(slate_size=4, budget=0.5, num_items=60, satiation={"satiation_weight": 0.25})
    for config in (
        SessionConfig().override(
            slate_size=np.int8(4),
            budget=np.float32(0.5),
            num_items=np.array(60),
            satiation={"satiation_weight": np.float16(0.25)},
        ),
        SessionConfig(
            slate_size=np.uint16(4),  # type: ignore[arg-type]
            catalog=CatalogConfig(num_items=np.int64(60)),  # type: ignore[arg-type]
            time_budget=type(plain.time_budget)(budget=np.float32(0.5)),
            satiation=type(plain.satiation)(satiation_weight=np.float64(0.25)),
        ),
        SessionConfig.from_dict(
            {"slate_size": np.int32(4), "budget": 0.5, "num_items": 60, "satiation_weight": np.float32(0.25)}
        ),
    ):
        assert config == plain
        assert config.to_json() == plain.to_json()
        assert {type(config.slate_size), type(config.catalog.num_items)} == {int}
        assert {type(config.time_budget.budget), type(config.satiation.satiation_weight)} == {float}
    assert SessionConfig(expose_user_state=np.True_).expose_user_state is True  # type: ignore[arg-type]
    assert SessionConfig().override(satiation=np.False_).satiation is None
    coded = SemanticIdAction(
        gymnasium.make("RecSession-v0", **SMALL), num_codebooks=np.int64(2), codebook_size=np.int32(4)
    )
    assert coded.spec is not None
    assert json.loads(coded.spec.to_json())["additional_wrappers"][0]["kwargs"]["codebook_size"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"slate_size": np.float64(3.0)},
            "slate_size=3.0 is not an integer; set slate_size to an integer in [1, 1024]",
        ),
        ({"slate_size": np.True_}, "slate_size=True is not an integer; set"),
        (
            {"budget": np.float32("nan")},
            "budget=nan is not a finite number; set budget to a number in (0.0, 1000000.0]",
        ),
        ({"slate_size": np.int64(0)}, "slate_size=0 is outside [1, 1024]; set slate_size to an integer in [1, 1024]"),
        ({"slate_size": np.array([3])}, "slate_size=array([3]) is not an integer; set slate_size to an integer in"),
        ({"expose_user_state": np.int64(1)}, "expose_user_state=1 is not a bool; use True or False"),
    ],
)
def test_numpys_numbers_are_checked_like_pythons(options: dict[str, Any], message: str):
    for make in (SessionConfig().override, RecSessionEnv):
        with pytest.raises(InvalidInput) as caught:
            make(**options)
        assert str(caught.value).startswith(message)


def test_numpys_numbers_are_seeds_and_sizes():
    env, twin = RecSessionEnv(**SMALL), RecSessionEnv(**SMALL)
    for seed in (np.int64(7), np.uint8(7), np.uint64(7), np.array(7)):
        assert bits(env.reset(seed=seed)) == bits(twin.reset(seed=7))  # type: ignore[arg-type]
    many = RecSessionVectorEnv(np.int64(2), num_threads=np.int8(1), max_episode_steps=np.int64(3), **SMALL)  # type: ignore[arg-type]
    assert type(many.num_envs) is int
    expected = bits(many.reset(seed=7))
    assert many.np_random_seed == 7
    for seeds in (np.int64(7), np.array(7), [np.int64(7), np.uint64(8)], np.array([7, 8], np.uint32), (7, np.array(8))):
        assert bits(many.reset(seed=seeds)) == expected  # type: ignore[arg-type]
    for seed in (np.float64(7), np.True_, np.int64(-1), np.array([7])):
        with pytest.raises(InvalidInput, match=r"is not an integer in \[0, 2\*\*64\); pass one"):
            env.reset(seed=seed)  # type: ignore[arg-type]


def test_seeds_that_share_sessions_and_seeds_that_do_not():
    """Gymnasium's convention, session b of seed s has s + b, and the docs' way around it."""
    env = RecSessionVectorEnv(64, **SMALL)

    def profiles(seed: Any) -> set[bytes]:
        return {profile.tobytes() for profile in env.reset(seed=seed)[0]["profile"]}

    assert len(profiles(0) & profiles(1)) == 63
    for dtype in (np.uint32, np.uint64):
        runs = [profiles(np.random.SeedSequence(root).generate_state(64, dtype)) for root in range(2)]
        assert [len(run) for run in runs] == [64, 64]
        assert not runs[0] & runs[1]
    assert profiles(np.random.SeedSequence(0).generate_state(64).tolist()) == profiles(
        np.random.SeedSequence(0).generate_state(64)
    )
