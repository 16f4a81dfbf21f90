"""Files of items on the command line: what they hold, hidden columns, and the way through every other command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from offline_data.store.dataset import LoggedDataset
from recenv import Catalog, CatalogConfig, SessionConfig
from recenv.items.given_items import _TOLD

WORLD = ("--set", "items=items.npz", "slate_size=3", "max_steps=4")


@pytest.fixture
def items(tmp_path: Path) -> Catalog:
    rng = np.random.default_rng(0)
    return Catalog.from_arrays(
        rng.normal(size=(20, 4)),
        [f"topic {n % 3}" for n in range(20)],
        quality=rng.normal(size=20),
        appeal=rng.normal(size=20),
        names=[f"film {n}\x1b[2J" for n in range(20)],
        source_id=np.arange(100, 120),
    ).save(tmp_path / "items.npz")


def test_a_file_is_described(run, items):
    code, out, _ = run("items", "items.npz")
    assert code == 0
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert lines["items.npz:"] == "20 items in 4 dimensions, 3 topics"
    assert lines["sha256"] == items.sha256
    assert lines["length"] == "4 to 4, median 4"
    assert lines["source_id"] == "100, 101, 102, 103, 104, ..."
    assert lines["names"].startswith(r"film 0\x1b[2J, ")


def test_hidden_columns_are_drawn_for_embeddings_alone(run, tmp_path):
    drawn = Catalog.generate(CatalogConfig(num_items=30, embedding_dim=6, clickbait=0.2), 3)
    np.save(tmp_path / "rows.npy", drawn.embeddings)
    words = ("items", "rows.npy", "--out", "drawn.parquet", "--draw-hidden", "--seed", 3, "--set", "clickbait=0.2")
    assert run(*words)[0] == 0
    items = Catalog.load(tmp_path / "drawn.parquet")
    for name in ("embeddings", "length", "popularity", "age"):
        np.testing.assert_array_equal(items.arrays()[name], drawn.arrays()[name])
    np.testing.assert_allclose(items.quality, drawn.quality, atol=1e-6)
    np.testing.assert_allclose(items.appeal, drawn.appeal, atol=1e-5)
    # What a file has is kept.
    np.savez(tmp_path / "some.npz", embeddings=drawn.embeddings, length=np.arange(1.0, 31.0), topic=["a", "b"] * 15)
    assert run("items", "some.npz", "--out", "rest.npz", "--draw-hidden", "--seed", 3)[0] == 0
    rest = Catalog.load(tmp_path / "rest.npz")
    np.testing.assert_array_equal(rest.length, np.arange(1.0, 31.0))
    assert rest.topic_name(1) == "b"
    np.testing.assert_array_equal(rest.age, drawn.age)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.npz",), "none.npz does not exist"),
        (("items.npz", "--seed", 1), "without --draw-hidden nothing is drawn; leave out --seed"),
        (("items.npz", "--draw-hidden"), "items.npz has every column; leave out --draw-hidden"),
        (
            ("rows.npy", "--draw-hidden", "--set", "num_items=3"),
            "num_items=3 beside items that have 5; leave num_items",
        ),
        (
            ("rows.npy", "--draw-hidden", "--set", "clikbait=3"),
            "unknown catalog option 'clikbait'; did you mean 'click",
        ),
        (("rows.npy", "--out", "x.csv"), "x.csv is none of .npz, .parquet, .pq; name it by its kind"),
        (("rows.npy", "--out", "folder.npz"), "cannot write folder.npz: it is a folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, items, tmp_path, words, message):
    np.save(tmp_path / "rows.npy", np.eye(5))
    (tmp_path / "folder.npz").mkdir()
    code, out, err = run("items", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"recsession: {message}")
    assert err.count("\n") == 1


def test_own_items_go_through_every_command(run, items, tmp_path):
    assert run("collect", "--out", "log", "--num-sessions", 30, *WORLD)[0] == 0
    log = LoggedDataset.open(tmp_path / "log", verify=True)
    config = SessionConfig().override(items=items, slate_size=3, max_steps=4)
    assert log.config == config
    assert log.world.catalog == items
    assert log.manifest["world_hash"] == config.world_hash()
    assert log.manifest["config"]["items"] == {"sha256": items.sha256}
    assert {"names", "topic_names", "source_id"} < log.catalog.keys()

    (tmp_path / "items.npz").rename(tmp_path / "moved.npz")
    _TOLD.clear()
    moved = ("--set", "items=moved.npz", "slate_size=3", "max_steps=4")
    bytes_before = (tmp_path / "log" / "manifest.json").read_bytes()
    # The same request, wherever the file lies; another under the same words is refused.
    assert run("collect", "--out", "log", "--num-sessions", 30, *moved)[0] == 0
    assert (tmp_path / "log" / "manifest.json").read_bytes() == bytes_before
    Catalog.from_arrays(-items.embeddings).save(tmp_path / "others.npz")
    code, _, err = run("collect", "--out", "log", "--num-sessions", 30, "--set", "items=others.npz", *moved[2:])
    assert code == 2
    assert "holds a dataset of another request" in err

    assert f"own items           SHA-256 {items.sha256}" in run("inspect", "log")[1].splitlines()
    assert run("export", "log", "--to", "parquet", "--out", "tables")[0] == 0
    assert Catalog.load(tmp_path / "tables" / "items.parquet") == items
    assert run("simulate", "--policy", "greedy", "--render", "none", *moved)[0] == 0
    assert run("fit", "--log", "log", "--out", "fit.json")[0] == 0
    fitted = json.loads((tmp_path / "fit.json").read_text())
    assert fitted["config"]["items"] == {"sha256": items.sha256, "path": "fit.items.npz"}
    assert run("simulate", "--config", "fit.json", "--render", "none")[0] == 0
    (tmp_path / "fit.items.npz").unlink()
    _TOLD.clear()
    assert run("simulate", "--config", "fit.json", "--render", "none")[2].endswith("give the path of a file\n")
    assert run("simulate", "--config", "fit.json", "--render", "none", "--set", "items=moved.npz")[0] == 0
    code, _, err = run("simulate", "--config", "fit.json", "--render", "none", "--set", "items=others.npz")
    assert code == 2
    assert "and the config is of items of" in err


@pytest.mark.parametrize("workers", [1, 2])
def test_collection_resumes_among_own_items(run, items, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("offline_data.collection.collection.SESSIONS_PER_RANGE", 8)
    words = ("collect", "--out", "log", "--num-sessions", 24, "--workers", workers, *WORLD)
    assert run(*words)[0] == 0
    assert LoggedDataset.open(tmp_path / "log", verify=True).items == items
