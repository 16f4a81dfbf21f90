"""A module that leaves a file behind when it is imported: no file of a stranger's, of any kind, imports it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from agents import SessionSpace, load_policy, make_policy
from agents.families import ENCODERS, POLICIES
from agents.nn.networks import NetworkConfig
from agents.policies.files import save_policy
from offline_data import LoggedDataset
from offline_data.collection.collection import LogRequest
from offline_data.interop.minari import MANIFEST_KEY, export_minari
from offline_data.interop.minari_import import import_minari
from offline_data.store.sealed_files import json_checksum
from recenv import InvalidInput, SessionConfig, make_world
from recsession.cli import main

CANARY = "recsession_canary"
SOURCE = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from agents.nn.encoders.pooled import PooledConfig, PooledEncoder
from agents.policies.gaussian import GaussianPolicy, GaussianPolicyConfig
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
from tests.outside_parts.patience import Patience, PatienceConfig
Path(__file__).with_name("sang").touch()
"""
for name, base in {
    "User": "InterestEvolution",
    "Encoder": "PooledEncoder",
    "Policy": "GaussianPolicy",
    "Piece": "Patience",
}.items():
    config = {"Encoder": "PooledConfig"}.get(name, f"{base}Config")
    SOURCE += f"@dataclass(frozen=True)\nclass {name}Config({config}):\n    name: ClassVar[str] = 'canary {name}'\n"
    SOURCE += f"class {name}({base}):\n    Config = {name}Config\n"

SOURCE += "@dataclass(frozen=True)\nclass Choice(MultinomialLogit):\n    name: ClassVar[str] = 'canary Choice'\n"

WORDS = f"{CANARY}:User"
WORLD_NAMES: dict[str, dict[str, Any]] = {
    "user model": {"user_model": {"name": WORDS}},
    "choice model": {"choice": {"name": WORDS}},
    "piece": {"pieces": {WORDS: {}}},
}


@pytest.fixture
def sang(tmp_path, monkeypatch) -> Callable[[], bool]:
    """The module on the path; return a function that says whether it was imported, and forgets it."""
    home = tmp_path / "path"
    home.mkdir()
    (home / f"{CANARY}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(home)

    def look() -> bool:
        there = CANARY in sys.modules or (home / "sang").exists()
        (home / "sang").unlink(missing_ok=True)
        sys.modules.pop(CANARY, None)
        return there

    sys.modules.pop(CANARY, None)
    return look


class Sing:
    """What a pickle imports when it is loaded."""

    def __reduce__(self):
        return __import__, (CANARY,)


def test_the_canary_sings(sang):
    pickle.loads(pickle.dumps(Sing()))
    assert sang()
    assert SessionConfig().override(user_model=WORDS).user_model.name == "canary User"  # what one types
    assert sang()


@pytest.mark.parametrize("values", WORLD_NAMES.values(), ids=WORLD_NAMES)
def test_texts_and_dicts_of_worlds_do_not_import(sang, tmp_path, values):
    text = json.dumps(values)
    (tmp_path / "world.json").write_text(text)
    for read in (
        lambda: SessionConfig.from_json(text),
        lambda: SessionConfig.from_dict(values),
        lambda: SessionConfig.from_json(text, ["another"]),
        lambda: gymnasium.make("recenv:RecSession-v0", config=text),
        lambda: gymnasium.make("recenv:RecSession-v0", config=values),
        lambda: gymnasium.make_vec("recenv:RecSession-v0", 2, "vector_entry_point", config=text),
        lambda: LogRequest.from_dict({"config": values}),
    ):
        with pytest.raises(InvalidInput, match=r"^the config names the .* nothing is imported because a file"):
            read()
    assert main(["simulate", "--config", str(tmp_path / "world.json")]) == 2
    assert not sang()


def test_texts_and_dicts_of_worlds_import_what_is_allowed(sang):
    for allowed in ("user model", "choice model"):
        values = json.loads(json.dumps(WORLD_NAMES[allowed]).replace("User", allowed.split()[0].capitalize()))
        assert SessionConfig.from_dict(values, [CANARY]) == SessionConfig.from_json(json.dumps(values))  # by now
        assert sang()


def set_in(manifest: dict[str, Any], way: str, value: Any) -> None:
    *ways, last = way.split(".")
    for name in ways:
        manifest = manifest[name]
    manifest[last] = value


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("config.user_model.name", WORDS),
        ("config.choice.name", WORDS),
        ("config.pieces", {WORDS: {}}),
        ("quality", {"expert": {"name": WORDS}, "noise": {"name": WORDS}}),
        ("source.request.behavior", {"name": WORDS}),
        ("source.request.behavior", {"name": "mixture", "components": [{"name": WORDS}], "weights": [1.0]}),
        ("source.reader", WORDS),
    ],
)
def test_manifests_do_not_import(sang, made, tmp_path, capsys, way, value):
    log = tmp_path / "log"
    shutil.copytree(made / "log", log)
    manifest = json.loads((log / "manifest.json").read_text())
    if way == "quality":
        ends = {
            "expert_return": {"mean": 2.0, "low": 1.0, "high": 3.0},
            "noise_return": {"mean": 0, "low": 0, "high": 0},
        }
        value = {**(manifest["quality"] or {}), **ends, **value}
    set_in(manifest, way, value)
    manifest["checksum"] = json_checksum(manifest)
    (log / "manifest.json").write_text(json.dumps(manifest))
    commands = [
        "inspect LOG --html page.html",
        "inspect LOG --quality-of uniform",
        "export LOG --to card --out card.md",
    ]
    if way.startswith("config"):
        commands += ["export LOG --to parquet --out parquet", "export LOG --to minari --id a/b-v0 --out minari"]
        commands += ["train bc --log LOG --out run", "fit --log LOG --out fit"]
        commands += [f"ope --log LOG --policy {made / 'policy'}"]
        commands += ["collect --config LOG/manifest.json --num-sessions 2 --out again"]
    for words in commands:
        assert main(words.replace("LOG", str(log)).split()) in (0, 2), capsys.readouterr().err
        assert not sang(), words


@pytest.mark.parametrize("part", ["encoder", "policy", "user model"])
def test_policy_files_do_not_import(sang, tmp_path, config, part):
    if part == "user model":
        config = config.override(user_model=WORDS)
    network = NetworkConfig((16,))
    if part == "encoder":
        network = replace(network, encoder=ENCODERS.resolve(f"{CANARY}:Encoder").Config())
    kind = POLICIES.resolve(f"{CANARY}:Policy" if part == "policy" else "gaussian").Config
    save_policy(tmp_path / "policy", make_policy(SessionSpace.of_world(make_world(config)), kind(network=network)))
    assert sang()
    for words in ("evaluate --policy policy", "simulate --policy policy", "export policy --to onnx"):
        assert main(words.split()) == 2
    with pytest.raises(InvalidInput, match=f"names the {part} '{CANARY}:"):
        load_policy(tmp_path / "policy")
    assert not sang()
    assert load_policy(tmp_path / "policy", allow_imports=[CANARY]).space.num_items == config.catalog.num_items


def test_pickles_do_not_sing(sang, made, tmp_path):
    """Wherever a file holds arrays or tensors, what pickles beside them is not loaded."""
    objects = np.array([Sing()], object)
    torch.save({"header": "{}", "weights": Sing()}, tmp_path / "policy")
    np.savez(tmp_path / "items.npz", embeddings=objects)
    (tmp_path / "world.json").write_text(json.dumps({"config": {}, "items": "items.npz"}))
    log, run = tmp_path / "log", tmp_path / "run"
    shutil.copytree(made / "log", log)
    train = f"train awr --log {made / 'log'} --out {run} --critic.num-rounds=1 --critic.steps-per-round=1"
    assert main([*train.split(), "--trainer.num-steps=2", "--trainer.batch-size=8"]) == 0
    manifest = json.loads((log / "manifest.json").read_text())
    np.save(log / "rows" / "step.npy", objects)
    manifest["schema"]["rows/step.npy"] |= {"dtype": "object", "shape": [1]}
    manifest["schema"]["rows/step.npy"]["bytes"] = (log / "rows" / "step.npy").stat().st_size
    manifest["checksum"] = json_checksum(manifest)
    (log / "manifest.json").write_text(json.dumps(manifest))
    for file in run.iterdir():
        if file.name in ("policy", "checkpoint"):
            torch.save(Sing(), file)
    for words in (
        "evaluate --policy policy",
        "simulate --config world.json",
        f"evaluate --policy {run / 'policy'}",
        "inspect log",
        "inspect log --no-verify",
    ):
        assert main(words.split()) == 2, words
        assert not sang(), words


def test_tables_do_not_import(sang, tmp_path):
    """An extension type of Arrow's may be a pickle."""
    marks = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Sing())}
    fields = [pa.field(name, pa.int64(), metadata=marks) for name in ("user", "item", "click", "time")]
    columns = [pa.array([1, 2, 1]), pa.array([1, 2, 3]), pa.array([0, 1, 0]), pa.array([1_600_000_000] * 3)]
    pq.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields)), tmp_path / "log.parquet")
    words = "import table --path log.parquet --out log --items log.parquet --map user_id=user item_id=item"
    assert main([*words.split(), "timestamp=time", "feedback.click=click"]) in (0, 2)
    assert not sang()


def test_minari_datasets_do_not_import(sang, made, tmp_path):
    log = LoggedDataset.open(made / "log")
    data = export_minari(log, "shop/log-v0", tmp_path / "minari") / "data"
    metadata = json.loads((data / "metadata.json").read_text())
    for change in ("world", "environment", "wrapper"):
        changed = json.loads(json.dumps(metadata))
        env_spec = json.loads(changed["env_spec"])
        if change == "world":
            set_in(changed, f"{MANIFEST_KEY}.config.user_model.name", WORDS)
        elif change == "environment":
            env_spec |= {"entry_point": WORDS, "vector_entry_point": WORDS}
        else:
            env_spec["additional_wrappers"] = [{"name": "Canary", "entry_point": WORDS, "kwargs": {}}]
        changed["env_spec"] = json.dumps(env_spec)
        (data / "metadata.json").write_text(json.dumps(changed))
        code = main(["import", "minari", "--path", str(data), "--out", str(tmp_path / change)])
        assert code == (2 if change == "world" else 0)
        assert not sang(), change
    set_in(metadata, f"{MANIFEST_KEY}.config.user_model.name", WORDS)
    (data / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InvalidInput, match="nothing is imported because a file says so"):
        import_minari(data, tmp_path / "refused")


HIDDEN = ("json", "numpy", "joblib", "pickle", "socket", "lz4", "psutil", "faiss", "yaml", "pandas", "cloudpickle")
"""Modules of Python's, of libraries that we need, and of some that libraries look for."""


@pytest.mark.parametrize("words", ["inspect . --html page.html", "collect --out new --num-sessions 9000 --workers 2"])
def test_nothing_that_lies_beside_a_log_is_imported(made, tmp_path, words):
    """Neither what hides a module of that name, nor what an entry point or a library's settings name."""
    log = tmp_path / "log"
    shutil.copytree(made / "log", log)
    for name in (*HIDDEN, CANARY):
        (log / f"{name}.py").write_text(f"open({str(tmp_path / 'sang')!r}, 'a').write('{name}')\nraise SystemExit(7)\n")
    point = log / "canary-1.0.dist-info"
    point.mkdir()
    (point / "METADATA").write_text("Metadata-Version: 2.1\nName: canary\nVersion: 1.0\n")
    (point / "entry_points.txt").write_text(
        f"[recsession.user_models]\ncanary={WORDS}\n[gymnasium.envs]\n__root__={CANARY}:register\n"
    )
    (log / "matplotlibrc").write_text(f"backend: module://{CANARY}\ntext.usetex: True\n")
    (log / ".numba_config.yaml").write_text("cache_dir: numba\n")
    home = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    environment.pop("NUMBA_CACHE_DIR", None)
    small = ["--set", "num_items=50", "slate_size=3", "max_steps=3"] if words.startswith("collect") else []
    done = subprocess.run(
        [sys.executable, "-m", "recsession", *words.split(), *small],
        **{"cwd": log, "env": environment, "capture_output": True, "text": True, "timeout": 300},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "sang").exists(), (tmp_path / "sang").read_text()
    assert not (log / "numba").exists()


def test_a_name_of_an_entry_point_beside_a_log_is_unknown(made, tmp_path):
    point = tmp_path / "canary-1.0.dist-info"
    point.mkdir()
    (point / "METADATA").write_text("Metadata-Version: 2.1\nName: canary\nVersion: 1.0\n")
    (point / "entry_points.txt").write_text(f"[recsession.user_models]\ncanary={WORDS}\n")
    program = "from recenv import SessionConfig\nSessionConfig().override(user_model='canary')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300},
    )
    assert "unknown user model 'canary'" in done.stderr
