"""`recsession fit`: the file that it writes and the table that it prints."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.fitting.user_fit import fit_user_model
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.world import make_world


@pytest.mark.parametrize("kind", ["log", "slates"])
def test_writes_the_fit_and_prints_it(run, made, tmp_path, make_log, kind):
    log = make_log("uniform", 200, "proto" if kind == "log" else "slate")
    code, out, _ = run("fit", "--log", log.path, "--out", "new/user.json", "--seed", 3)
    assert code == 0
    written = json.loads((tmp_path / "new" / "user.json").read_text())
    fit = fit_user_model(log, seed=3)
    assert written == {**json.loads(json.dumps(fit.as_dict())), "log": str(log.path)}
    assert SessionConfig.from_dict(written["config"]) == fit.config
    env: Any = gymnasium.make("RecSession-v0", config=tmp_path / "new" / "user.json")
    assert env.unwrapped.config == SessionConfig.from_file(tmp_path / "new" / "user.json") == fit.config
    many: Any = gymnasium.make_vec(
        "RecSession-v0", 2, vectorization_mode="vector_entry_point", config=str(tmp_path / "new" / "user.json")
    )
    assert many.unwrapped.config == fit.config
    for name, estimate in fit.estimates.items():
        row = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        assert f"{estimate.value:.4f}" in row
    assert f"{fit.held_out.gain:.5f}" in out
    assert out.count("/") > 10
    for line in (*fit.approximations, *fit.notes):
        assert line in out
    warning, rest = out.split("\n", 1)
    assert warning.startswith("warning: the fit is approximate (profile_noise=")
    assert all(line in warning for line in fit.approximations)
    assert "need not cover the world's values" in warning
    assert "parameter " in rest
    assert written["exact"] is False
    assert written["held_out"]["verdict"] in out.splitlines()
    assert out.splitlines()[-1] == "use it with `recsession simulate --config new/user.json`"


def test_no_warning_where_the_fit_is_exact(run, tmp_path):
    config = SessionConfig().override(
        num_items=50, embedding_dim=4, slate_size=3, max_steps=20, profile_noise=0.0, interest_step=0.0
    )
    log = collect(tmp_path / "log", LogRequest(config, "uniform", "slate", 200, 0))
    code, out, _ = run("fit", "--log", log.path, "--out", "user.json")
    assert code == 0
    assert out.startswith("parameter ")
    assert json.loads((tmp_path / "user.json").read_text())["exact"] is True


def test_fit_that_is_no_better_than_a_constant_says_so(run, tmp_path):
    config = SessionConfig().override(user_model="interest_exploration", max_steps=20)
    log = collect(tmp_path / "log", LogRequest(config, "uniform", "slate", 200, 0))
    code, out, _ = run("fit", "--log", log.path, "--out", "user.json")
    assert code == 0
    sentence = "the fitted model is no better than a constant click rate on held-out steps"
    assert sentence in out.splitlines()
    assert json.loads((tmp_path / "user.json").read_text())["held_out"]["verdict"] == sentence


@pytest.mark.parametrize("log", ["nowhere", "open-bandit"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [(".", "it is a folder"), ("folder", "it is a folder"), ("file/user.json", "cannot write file")],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_log_is_read(run, tmp_path, log, place, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    # Neither log exists: were it read first, that would be the error.
    code, out, err = run("fit", "--log", log, "--path", "nowhere", "--out", place)
    assert (code, out) == (2, "")
    assert reason in err


def test_items_that_cannot_be_written_are_refused(run, tmp_path):
    (tmp_path / "shop.items.npz").mkdir()
    code, _, err = run("fit", "--log", "open-bandit", "--path", "nowhere", "--out", "shop.json")
    assert code == 2
    assert "cannot write shop.items.npz" in err


def test_options_reach_the_fit(run, tmp_path, make_log):
    log = make_log("uniform", 200, "slate")
    words = ("--holdout-fraction", 0.4, "--interest", "profile")
    assert run("fit", "--log", log.path, "--out", "user.json", *words)[0] == 0
    training = json.loads((tmp_path / "user.json").read_text())["training"]
    assert training["holdout_fraction"] == 0.4
    assert training["interest"] == "profile"


def test_open_bandit(run, tmp_path):
    rng = np.random.default_rng(0)
    for policy in ("random", "bts"):
        folder = tmp_path / policy / "men"
        folder.mkdir(parents=True)
        (folder / "item_context.csv").write_text(",item_id\n" + "".join(f"{i},{i}\n" for i in range(4)))
        rows = [f"{rng.integers(4)},{rng.integers(1, 4)},{rng.integers(2)},0.25\n" for _ in range(300)]
        (folder / "men.csv").write_text("item_id,position,click,propensity_score\n" + "".join(rows))
    code, out, _ = run("fit", "--log", "open-bandit", "--path", tmp_path, "--campaign", "men", "--out", "shop.json")
    assert code == 0
    written = json.loads((tmp_path / "shop.json").read_text())
    items = Catalog.load(tmp_path / written["items"])
    np.testing.assert_allclose(items.appeal, [effect["value"] for effect in written["effects"]], rtol=1e-6)
    world = make_world(SessionConfig.from_dict(written["config"]))
    assert world.catalog == items
    assert (world.config.slate_size, world.config.catalog.num_items) == (3, 4)
    assert "the config is partial" in out
    assert out.splitlines()[-1] == "use it with `recsession simulate --config shop.json`"
    assert run("simulate", "--config", "shop.json")[0] == 0
    assert "position_decay" in out
    assert written["held_out"]["verdict"] in out.splitlines()
