"""The recipes of docs/learners.md, run as they stand there: each learns, and none is longer than the page says."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data import LogRequest, collect, export_minari, flat_features
from offline_data.store.histories import ObservationBuilder
from recenv import SessionConfig
from tests.test_documents import check_imports

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "learners.md").read_text()
RECIPES = dict(re.findall(r'^``` \{ \.python title="([^"]+)" \}\n(.*?)^```', PAGE, flags=re.DOTALL | re.MULTILINE))
# Whose packages other environments than `clients` have.
ELSEWHERE = {"RLlib": "ray", "d3rlpy": "d3rlpy"}
MOST_LINES = 25


def test_every_learner_of_the_page_has_a_recipe():
    rows = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\)", PAGE, flags=re.MULTILINE)
    assert rows == [title.lower().replace(" ", "-") for title in RECIPES]
    assert len(RECIPES) == 6


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_short_and_takes_ours_from_the_faces(title: str):
    lines = RECIPES[title].splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 120
    assert not check_imports(RECIPES[title])


@pytest.mark.clients
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_learns(title: str, tmp_path: Path):
    package = ELSEWHERE.get(title)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is in the environment client-{title.lower()}")
    file = tmp_path / "recipe.py"
    file.write_text(RECIPES[title])
    # A process of its own, as a reader runs it: warnings of others are no errors, and Ray stops with it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, file.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr[-3000:]
    returns = [float(value) for value in re.findall(r"^return of a session: ([-\d.]+)$", done.stdout, flags=re.M)]
    few = min(5, len(returns) // 2)
    assert sum(returns[-few:]) > 1.1 * sum(returns[:few]) > 0.0, returns


@pytest.mark.clients
@pytest.mark.parametrize("kind", ["proto", "slate"])
def test_d3rlpy_learns_from_what_the_log_holds_and_acts_where_it_came_from(kind: Any, tmp_path: Path, monkeypatch: Any):
    d3rlpy: Any = pytest.importorskip("d3rlpy", reason="d3rlpy is in the environment client-d3rlpy")
    minari = importlib.import_module("minari")
    world = SessionConfig().override(num_items=30, slate_size=1, max_steps=7)
    log = collect(tmp_path / "log", LogRequest(world, behavior="uniform", action_kind=kind, num_sessions=20))
    data = minari.MinariDataset(export_minari(log, "shop/log-v0", tmp_path, flat="pooled") / "data")
    (code,) = re.findall(r"^episodes = .*?^\)", RECIPES["d3rlpy"], flags=re.DOTALL | re.MULTILINE)
    if kind == "slate":
        code = code.replace("ActionSpace.CONTINUOUS", "ActionSpace.DISCRETE, action_size=log.num_items")
    names = {"d3rlpy": d3rlpy, "np": np, "data": data, "log": log}
    exec(code, names)  # the page's own words
    dataset: Any = names["dataset"]
    seen = flat_features(log).observe(ObservationBuilder(log).observe(np.arange(log.num_rows)))
    assert len(dataset.episodes) == log.num_sessions
    for session, episode in enumerate(dataset.episodes):
        rows = slice(log.offsets[session], log.offsets[session + 1])
        np.testing.assert_array_equal(episode.observations, seen[rows])
        np.testing.assert_array_equal(episode.actions, log.rows["proto" if kind == "proto" else "slate"][rows])
        np.testing.assert_array_equal(episode.rewards[:, 0], log.reward(rows))
        assert episode.terminated == log.rows["terminated"][rows][-1]
    config = d3rlpy.algos.TD3PlusBCConfig() if kind == "proto" else d3rlpy.algos.DiscreteCQLConfig()
    algorithm = config.create(device="cpu:0")
    quiet = d3rlpy.logging.NoopAdapterFactory()
    algorithm.fit(dataset, n_steps=3, n_steps_per_epoch=3, show_progress=False, logger_adapter=quiet)
    env = data.recover_environment()
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        observation, *_ = env.step(algorithm.predict(observation[None])[0])
    assert env.observation_space.contains(observation)
    # Its own loader finds no limit of steps in the environment; it would have shifted the observations besides.
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(TypeError, match="max_episode_steps"):
        d3rlpy.datasets.get_minari("shop/log-v0")
