"""Whatever has happened to a file, it is refused in one sentence, or means what it meant: never a traceback."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.nn.tensor_files import save_tensors
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from offline_data.dial.quality import mixture_spec
from offline_data.store.sealed_files import json_checksum
from recsession.cli import main
from tests.damage import alter_column, altered_json, cut_or_added_to, flipped_bits

SIZES = [pytest.param(12, id="few"), pytest.param(500, id="many", marks=pytest.mark.nightly)]


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> Path:
    """A folder with a log of slates, one of proto-actions, a training run, and what `fit` would write."""
    folder = tmp_path_factory.mktemp("whole")
    spoilt = Corruption(reward_noise=0.1, label_flips=0.05, history_limit=4)
    collect(folder / "slates", LogRequest(config, mixture_spec(0.3, "clickbait"), "slate", 20, 5, 2, spoilt))
    collect(folder / "protos", LogRequest(config, mixture_spec(0.3, "clickbait"), "proto", 30, 6))
    small = ["--trainer.num-steps", 4, "--trainer.batch-size", 16, "--trainer.checkpoint-interval", 2]
    small += ["--critic.num-rounds", 1, "--critic.steps-per-round", 2, "--critic.batch-size", 16]
    train = ["train", "awr", "--log", folder / "protos", "--out", folder / "run", *small]
    assert main([str(word) for word in train]) == 0
    (folder / "train.json").write_text(json.dumps([str(word) for word in train]))
    (folder / "fit.json").write_text(json.dumps({"config": config.to_dict(), "log": "log", "estimates": {}}))
    return folder


@pytest.fixture
def ask(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command; whatever it refuses, it refuses in one line."""

    def build(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code in (0, 2), (words, err)
        told = [line for line in err.splitlines() if line.startswith("recsession:")]
        assert len(told) == (code == 2), (words, err)
        return code, out, err

    return build


# --- datasets


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("log", ["slates", "protos"])
def test_altered_manifests(whole, ask, tmp_path, log, count):
    folder = shutil.copytree(whole / log, tmp_path / log)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    _, sound, _ = ask("inspect", folder, "--json")
    num_refused = 0
    for number, (deed, changed) in enumerate(altered_json(manifest, count, len(log))):
        if "checksum" not in deed or deed.startswith("another"):
            changed["checksum"] = json_checksum(changed)
        file.write_text(json.dumps(changed))
        code, out, _ = ask("inspect", folder, "--json")
        assert code == 2 or out == sound or is_told_alike(deed), deed
        num_refused += code == 2
        if number % 5 == 0:
            shutil.rmtree(tmp_path / "parquet", ignore_errors=True)
            assert ask("export", folder, "--to", "parquet", "--out", tmp_path / "parquet")[0] == code, deed
    assert num_refused > 0.7 * count


def is_told_alike(deed: str) -> bool:
    """Return whether a change is one of words that no other file knows better."""
    told = ("'versions'", "'behavior'", "'quality'", "without ('schema', 'latent/component.npy')")
    return any(name in deed for name in told)


COLUMNS: list[tuple[str, Callable[[np.ndarray], Any]]] = [
    ("rows/slate", lambda values: values + 2**30),
    ("rows/slate", lambda values: values - 1),
    ("rows/slate", lambda values: values.astype(np.int64)),
    ("rows/slate", lambda values: values[:, :-1].copy()),
    ("rows/slate", lambda values: values[:-1]),
    ("rows/slate", lambda values: np.asfortranarray(values)),
    ("rows/shown", lambda values: ~values),
    ("rows/shown", lambda values: (values * np.uint8(2)).view(np.bool_)),
    ("rows/feedback", lambda values: values * np.float32(np.nan)),
    ("rows/feedback", lambda values: values + np.float32(1.0)),
    ("rows/feedback", lambda values: -values),
    ("rows/reward_vector", lambda values: values * np.float32(np.inf)),
    ("rows/reward_vector", lambda values: values[:, :1].copy()),
    ("rows/session_id", lambda values: values[::-1].copy()),
    ("rows/session_id", lambda values: values + 2**40),
    ("rows/session_id", lambda values: values.astype(np.float64)),
    ("rows/step", lambda values: values - 1),
    ("rows/step", lambda values: values * 0),
    ("rows/consumed", lambda values: values + 2**30),
    ("rows/consumed", lambda values: -values - 1),
    ("rows/terminated", lambda values: ~values),
    ("rows/truncated", lambda values: values | True),
    ("rows/behavior_log_prob", lambda values: values + np.inf),
    ("rows/behavior_log_prob", lambda values: values * np.nan),
    ("rows/behavior_log_prob", lambda values: np.abs(values) + 1.0),
    ("rows/behavior_log_prob", lambda values: values.astype(np.float32)),
    ("rows/prefix_log_prob", lambda values: values[:, ::-1].copy()),
    ("rows/prefix_log_prob", lambda values: values * np.nan),
    ("sessions/offsets", lambda values: values[::-1].copy()),
    ("sessions/offsets", lambda values: values * 2),
    ("sessions/offsets", lambda values: np.zeros_like(values)),
    ("sessions/offsets", lambda values: values - 5),
    ("sessions/offsets", lambda values: np.full_like(values, -(2**63))),
    ("sessions/event_offsets", lambda values: values + 1),
    ("sessions/event_offsets", lambda values: values[::-1].copy()),
    ("sessions/user_id", lambda values: values + 2**40),
    ("sessions/user_id", lambda values: -values - 1),
    ("sessions/group_id", lambda values: values * 0 - 7),
    ("sessions/episode_id", lambda values: values - 1),
    ("sessions/profile", lambda values: values * np.nan),
    ("sessions/profile", lambda values: values[:, :1].copy()),
    ("sessions/session_seed", lambda values: values.astype(np.int64)),
    ("sessions/session_seed", lambda values: values[::-1].copy()),
    ("sessions/behavior_seed", lambda values: values + np.uint64(1)),
    ("events/item", lambda values: values + 2**30),
    ("events/item", lambda values: values[:-1]),
    ("events/feedback", lambda values: values + np.float32(np.nan)),
    ("catalog/embeddings", lambda values: values * np.nan),
    ("catalog/embeddings", lambda values: values[::-1].copy()),
    ("catalog/quality", lambda values: values + np.float32(1.0)),
    ("catalog/popularity", lambda values: -values),
    ("catalog/topics", lambda values: values - 100),
    ("catalog/length", lambda values: values[:3]),
    ("latent/component", lambda values: values - 100),
    ("latent/component", lambda values: values + 100),
]


@pytest.mark.parametrize(
    "place", [3, 17, 33, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(len(COLUMNS)))]
)
def test_altered_columns_are_refused_by_every_command(whole, ask, tmp_path, place):
    name, change = COLUMNS[place]
    folder = shutil.copytree(whole / "slates", tmp_path / "log")
    alter_column(folder, name, change(np.load(folder / f"{name}.npy")))
    policy = whole / "run" / "policy"
    commands = [
        ("inspect", folder),
        ("train", "bc", "--log", folder, "--out", tmp_path / "run", "--trainer.num-steps", 2),
        ("fit", "--log", folder, "--out", tmp_path / "fit.json"),
        ("export", folder, "--to", "parquet", "--out", tmp_path / "parquet"),
        ("export", folder, "--to", "card"),
        ("export", folder, "--to", "minari", "--id", "recsession/log-v0", "--out", tmp_path / "minari"),
        ("ope", "--log", folder, "--policy", policy),
    ]
    for words in commands if not name.startswith("latent") else commands[:1]:
        assert ask(*words)[0] == 2, words


def test_every_altered_column_is_refused(whole, ask, tmp_path):
    for name, change in COLUMNS:
        shutil.rmtree(tmp_path / "log", ignore_errors=True)
        folder = shutil.copytree(whole / "slates", tmp_path / "log")
        alter_column(folder, name, change(np.load(folder / f"{name}.npy")))
        code, out, _ = ask("inspect", folder)
        assert code == 2, (name, out)


# --- policies, runs and configs


@pytest.mark.parametrize("count", SIZES)
def test_altered_policies(whole, ask, tmp_path, count):
    content = torch.load(io.BytesIO((whole / "run" / "policy").read_bytes()), weights_only=True)
    file, header = tmp_path / "policy", json.loads(content["header"])
    save_tensors(file, "policy", content)
    _, sound, _ = ask("evaluate", "--policy", file, "--num-sessions", 2)
    for deed, changed in altered_json(header, count, 1):
        save_tensors(file, "policy", {**content, "header": json.dumps(changed)})
        code, out, _ = ask("evaluate", "--policy", file, "--num-sessions", 2)
        assert code == 2 or out == sound or "'session'" in deed, deed  # another world that can be is another world
    changes: list[Callable[[torch.Tensor], Any]] = [
        lambda values: values * torch.nan,
        lambda values: values.double(),
        lambda values: values.flatten()[None],
        lambda values: values[:0],
        lambda values: values.bool(),
        lambda values: None,
        lambda values: values.expand(3, *values.shape),
    ]
    ways = [(part, name, change) for part in ("weights", "items") for name in content[part] for change in changes]
    for place in np.random.default_rng(2).permutation(len(ways))[:count].tolist():
        part, name, change = ways[place]
        save_tensors(file, "policy", {**content, part: {**content[part], name: change(content[part][name])}})
        assert ask("evaluate", "--policy", file, "--num-sessions", 2)[0] == 2, (part, name, place)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name", ["policy", "checkpoint", "scores.npy", "request.json"])
def test_damaged_files_of_a_run(whole, ask, tmp_path, monkeypatch, name, count):
    train = json.loads((whole / "train.json").read_text())
    run = shutil.copytree(whole / "run", tmp_path / "run")
    train[train.index("--out") + 1] = str(run)
    words = train if name != "policy" else ["evaluate", "--policy", run / "policy", "--num-sessions", 2]
    sound = (run / name).read_bytes()
    for contents in (*flipped_bits(sound, count), *cut_or_added_to(sound)):
        (run / name).write_bytes(contents)
        code, _, _ = ask(*words)
        whole_json = name == "request.json" and contents.strip() == sound.strip()
        assert code == 2 or whole_json, contents[:80]


@pytest.mark.parametrize("count", SIZES)
def test_altered_configs(whole, ask, tmp_path, count):
    file, fit = tmp_path / "fit.json", json.loads((whole / "fit.json").read_text())
    for deed, changed in altered_json(fit, count, 3):
        file.write_text(json.dumps(changed))
        ask("simulate", "--config", file, "--policy", "uniform", "--num-sessions", 1)
        assert deed
