"""Parts of one's own on the command line, and files that name them: nothing is imported because a file says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import load_policy
from offline_data import LoggedDataset
from recenv import InvalidInput, SessionConfig
from recenv.registry import permit_imports, reading

SHOP = "recsession_shop_probe"
SOURCE = '''
from dataclasses import dataclass
from typing import ClassVar
from agents.nn.encoders.pooled import PooledConfig, PooledEncoder
from agents.objectives.awr import AwrObjective
from agents.values.scores.returns import ReturnScore
from offline_data.behavior.uniform import UniformPolicy
from offline_data.ope.estimators.importance import Snips
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
@dataclass(frozen=True)
class RegularConfig(InterestEvolutionConfig):
    name: ClassVar[str] = "regular"
class Regular(InterestEvolution):
    Config = RegularConfig
@dataclass(frozen=True)
class MeanConfig(PooledConfig):
    name: ClassVar[str] = "mean"
class Mean(PooledEncoder):
    Config = MeanConfig
class Cloning(AwrObjective):
    """AWR by another name."""
class ToGo(ReturnScore):
    """The return by another name."""
class Plain(Snips):
    """SNIPS by another name."""
class Even(UniformPolicy):
    """Uniform by another name."""
'''
TINY = ("num_items=30", "slate_size=3", "max_steps=5", "embedding_dim=4", "num_topics=3", "history_length=4")
WORLD = ("--set", f"user_model={SHOP}:Regular", *TINY)
BUDGET = ("--trainer.num-steps", "2", "--trainer.batch-size", "8")
REFUSED = f"nothing is imported because a file says so; if you trust it, allow its module: --allow-import {SHOP}"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is worked in, and somebody's module there."""
    (tmp_path / f"{SHOP}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop(SHOP, None)


def forget() -> None:
    """Be another process, which has not imported the module."""
    del sys.modules[SHOP]


def test_a_log_of_an_outside_user_model_is_opened_with_permission_only(shop, run):
    code, _, err = run("collect", "--out", "log", "--num-sessions", 8, *WORLD)
    assert code == 0, err
    assert json.loads(Path("log/manifest.json").read_text())["config"]["user_model"]["name"] == f"{SHOP}:Regular"
    forget()
    code, out, err = run("inspect", "log")
    assert (code, out) == (2, "")
    assert err.startswith(f"recsession: log names the user model '{SHOP}:Regular', and {REFUSED}")
    assert SHOP not in sys.modules
    for words in (("inspect", "log", "--allow-import", SHOP), (f"--allow-import={SHOP}", "inspect", "log")):
        assert run(*words)[0] == 0
        forget()
    with pytest.raises(InvalidInput, match="nothing is imported because a file says so"):
        LoggedDataset.open("log")
    assert LoggedDataset.open("log", allow_imports=(SHOP,)).config.user_model.name == "regular"


def test_a_policy_with_an_outside_encoder_is_loaded_with_permission_only(shop, run):
    assert run("collect", "--out", "log", "--num-sessions", 8, "--action-kind", "proto", "--set", *TINY)[0] == 0
    words = ("train", f"{SHOP}:Cloning", "--log", "log", "--out", "run", "--score", f"{SHOP}:ToGo", *BUDGET)
    code, _, err = run(*words, "--encoder", f"{SHOP}:Mean")
    assert code == 0, err
    assert json.loads(Path("run/request.json").read_text())["objective"]["name"] == f"{SHOP}:Cloning"
    forget()
    code, _, err = run("evaluate", "--policy", "run/policy", "--num-sessions", 10)
    assert code == 2
    assert f"names the encoder '{SHOP}:Mean', and {REFUSED}" in err
    words = ("ope", "--log", "log", "--policy", "run/policy", "--estimators", f"{SHOP}:Plain")
    code, out, err = run(*words, "--allow-import", SHOP)
    assert code == 0, err
    assert out.splitlines()[-1].startswith(f"{SHOP}:Plain")
    assert load_policy("run/policy").space.num_items == 30  # it is imported now


def test_a_config_file_imports_with_permission_only(shop, run):
    config = SessionConfig().override(user_model=f"{SHOP}:Regular", num_items=30, slate_size=3)
    Path("world.json").write_text(config.to_json())
    assert SessionConfig.from_json(config.to_json()) == config
    forget()
    words = ("simulate", "--render", "none", "--config", "world.json")
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith(f"recsession: --config world.json names the user model '{SHOP}:Regular'")
    assert run(*words, "--allow-import", SHOP)[0] == 0


def test_what_is_typed_beside_a_log_needs_no_permission(shop, run):
    assert run("collect", "--out", "log", "--num-sessions", 8, "--set", *TINY)[0] == 0
    code, _, err = run("inspect", "log", "--quality-of", f"{SHOP}:Even")
    assert code == 0, err


def test_a_module_that_is_allowed_is_that_one_alone(shop):
    text = SessionConfig().override(user_model=f"{SHOP}:Regular").to_json()
    forget()
    with reading("world.json", ["another"]), pytest.raises(InvalidInput, match=SHOP):
        SessionConfig.from_json(text)
    with permit_imports([SHOP]), reading("world.json"):
        assert SessionConfig.from_json(text).user_model.name == "regular"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--allow-import", "shops", "--allow-import"), "--allow-import '' is no module's dotted name"),
        (("datasets", "--allow-import", "my shop"), "--allow-import 'my shop' is no module's dotted name"),
        (("--allow-import", "shops"), "--allow-import stands alone; add a command"),
    ],
)
def test_what_is_allowed_is_a_module(run, words, message):
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith(f"recsession: {message}")
