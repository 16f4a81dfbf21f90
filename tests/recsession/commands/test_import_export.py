"""`recsession import` and `recsession export` from the command line."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from offline_data.describe.dataset_card import card
from offline_data.families import READERS
from offline_data.store.dataset import LoggedDataset

TABLE = "uid,vid,ts,clicked\n" + "".join(
    f"{user},{(user * 7 + visit) % 5},{visit * 10_000},{visit % 2}\n" for user in range(20) for visit in range(6)
)
MAP = ["user_id=uid", "item_id=vid", "timestamp=ts", "feedback.click=clicked"]


@pytest.fixture(autouse=True)
def a_table(tmp_path):
    (tmp_path / "log.csv").write_text(TABLE)


def test_help_lists_the_readers_and_what_each_takes(run, capsys):
    for words in ([], ["--help"]):
        code, out, _ = run("import", *words)
        assert code == 0
        assert all(f"\n  {name} " in out for name in READERS.registered())
    for name in READERS.registered():
        with pytest.raises(SystemExit) as stop:
            run("import", name, "--help")
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert "--estimate-propensities" in out
        assert "--session-gap" in out
        assert "--max-steps" in out


def test_a_table_and_what_it_lacks(run):
    code, out, _ = run(
        "import", "table", "--path", "log.csv", "--out", "runs/log", "--map", *MAP, "--session-gap", "60"
    )
    assert code == 0
    assert "runs/log: 120 sessions, 120 steps, 5 items" in out
    assert "the source does not say: propensities of the logged items; profiles of the users" in out
    assert "estimate them with --estimate-propensities" in out
    assert LoggedDataset.open("runs/log").propensities == "missing"


def test_what_the_reward_is_and_leaves_out_is_said(run):
    words = ("import", "table", "--path", "log.csv", "--session-gap", "60", "--out")
    code, out, _ = run(*words, "clicks", "--map", *MAP)
    assert code == 0
    assert "the reward is 1 click\n" in out
    code, out, _ = run(*words, "money", "--map", *MAP, "item_reward.revenue=ts")
    assert code == 0
    assert "the reward is 1 revenue, without click: --reward-weights weighs anew\n" in out
    code, out, _ = run(
        *words, "both", "--map", *MAP, "item_reward.revenue=ts", "--reward-weights", "revenue", "0.1", "click", "2"
    )
    assert code == 0
    assert "the reward is 2 click + 0.1 revenue\n" in out


def test_what_the_clock_is_a_share_of_is_said_and_can_be_given(run):
    words = ("import", "table", "--path", "log.csv", "--map", *MAP, "--session-gap", "500", "--out")
    code, out, _ = run(*words, "longest")
    assert code == 0
    assert "sessions have at most 6 steps\nimport other logs for the same policy with --max-steps 6, this" in out
    code, out, _ = run(*words, "given", "--max-steps", "40")
    assert code == 0
    assert "sessions have at most 40 steps\n" in out
    assert "other logs" not in out
    assert LoggedDataset.open("given").max_steps == 40
    code, _, error = run(*words, "short", "--max-steps", "5")
    assert code == 2
    assert "max_steps=5 is less than the 6 steps of the longest session, of user 0, which begins at log.csv" in error


def test_an_output_that_is_there_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    code, _, error = run("import", "movielens", "--path", tmp_path / "absent", "--out", tmp_path / "out")
    assert code == 2
    assert "out exists; choose another --out or remove it" in error


def test_a_map_in_a_file_and_estimated_propensities(run):
    roles = {"user_id": "uid", "item_id": "vid", "session_id": "uid", "feedback": {"click": "clicked"}}
    with open("map.json", "w") as file:
        json.dump(roles, file)
    words = ["import", "table", "--path", "log.csv", "--out", "log", "--map", "map.json", "--estimate-propensities"]
    code, out, _ = run(*words, "--reward-weights", "click", "2.0")
    assert code == 0
    assert "propensities are estimated: popularity, judged on 24 held-out steps" in out
    assert "log-loss, nats a choice" in out
    log = LoggedDataset.open("log")
    assert (log.propensities, log.num_sessions) == ("estimated", 20)
    assert np.isfinite(log.rows["behavior_log_prob"]).all()
    assert log.manifest["reward_weights"] == {"click": 2.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel"], "unknown reader 'tabel'; did you mean 'table'"),
        (["table", "--path", "log.csv"], "--out"),
        (["table", "--path", "log.csv", "--out", "x", "--map", "a", "b"], "--map 'a' has no '='"),
        (["table", "--path", "log.csv", "--out", "x", "--map", "a=1", "a=2"], "--map gives a twice"),
        (["table", "--path", "log.csv", "--out", "x", "--map", "absent.json"], "neither NAME=COLUMN nor a file"),
        (["table", "--path", "log.csv", "--out", "x", "--map", "log.csv"], "--map log.csv is not JSON"),
        (["table", "--path", "absent.csv", "--out", "x", "--map", *MAP], "absent.csv does not exist"),
        (["table", "--path", "log.csv", "--out", "log.csv", "--map", *MAP], "log.csv exists"),
        (["movielens", "--path", ".", "--out", "x"], "has no file ratings.csv"),
        (["kuairand", "--path", ".", "--out", "x"], "has no file log_standard_*.csv"),
        (["minari", "--path", "absent-v0", "--out", "x"], "absent-v0 is no Minari dataset"),
        (["open-bandit", "--path", ".", "--out", "x"], "has no folder random/all"),
    ],
)
def test_bad_input_is_one_line(run, words, message, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    code, _, err = run("import", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_export_to_parquet_and_back(run):
    run(
        "collect",
        "--out",
        "log",
        "--num-sessions",
        "6",
        "--action-kind",
        "slate",
        "--set",
        "num_items=20",
        "slate_size=3",
    )
    code, out, _ = run("export", "log", "--to", "parquet", "--out", "files")
    assert code == 0
    assert 'pandas.read_parquet("files/interactions.parquet")' in out
    assert "steps.parquet (one row a step, with its reward)" in out
    roles = ["user_id=user_id", "item_id=item_id", "session_id=session_id", "step=step", "position=position"]
    roles += ["prefix_log_prob=prefix_log_prob", "feedback.click=click"]
    words = ["import", "table", "--path", "files/interactions.parquet", "--out", "back", "--map", *roles]
    assert run(*words)[0] == 0
    np.testing.assert_array_equal(
        LoggedDataset.open("back").rows["behavior_log_prob"], LoggedDataset.open("log").rows["behavior_log_prob"]
    )


def test_export_to_minari_and_back(run, monkeypatch):
    run("collect", "--out", "log", "--num-sessions", "6", "--set", "num_items=20", "slate_size=3")
    code, out, _ = run("export", "log", "--to", "minari", "--id", "recsession/tiny-v0", "--out", "root")
    assert code == 0
    assert 'minari.load_dataset("recsession/tiny-v0")` with MINARI_DATASETS_PATH=root' in out
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", "root")
    assert minari.load_dataset("recsession/tiny-v0").total_episodes == 6
    assert run("import", "minari", "--path", "recsession/tiny-v0", "--out", "back")[0] == 0
    np.testing.assert_array_equal(LoggedDataset.open("back").rows["proto"], LoggedDataset.open("log").rows["proto"])


def test_a_flat_export_says_what_lies_where(run):
    run("collect", "--out", "log", "--num-sessions", "6", "--set", "num_items=20", "slate_size=3")
    code, out, _ = run("export", "log", "--to", "minari", "--flat", "--id", "shop/flat-v0", "--out", "root")
    assert code == 0
    layout = "clock [0:2], profile [2:18], mean_embedding [18:34], mean_feedback [34:36], filled [36:37]"
    assert f"observations: {layout}\n" in out
    assert run("import", "minari", "--path", "root/shop/flat-v0", "--out", "back")[0] == 0
    run("collect", "--out", "slates", "--action-kind", "slate", "--set", "num_items=20", "slate_size=3")
    code, _, err = run("export", "slates", "--to", "minari", "--flat", "--id", "shop/slates-v0", "--out", "root")
    assert code == 2
    assert "leave out --flat, or collect a log with --action-kind proto or --set slate_size=1" in err
    words = ["collect", "--out", "single", "--action-kind", "slate", "--set", "num_items=20", "slate_size=1"]
    assert run(*words, "--num-sessions", "6")[0] == 0  # the remedy
    assert run("export", "single", "--to", "minari", "--flat", "--id", "shop/slates-v0", "--out", "root")[0] == 0


def test_a_table_goes_out_to_minari_and_back(run):
    assert run("import", "table", "--path", "log.csv", "--out", "log", "--map", *MAP)[0] == 0
    code, out, _ = run("export", "log", "--to", "minari", "--id", "shop/table-v0", "--out", "root")
    assert (code, 'minari.load_dataset("shop/table-v0")' in out) == (0, True)
    assert run("import", "minari", "--path", "root/shop/table-v0", "--out", "back")[0] == 0
    log, back = LoggedDataset.open("log"), LoggedDataset.open("back")
    np.testing.assert_array_equal(back.rows["slate"], log.rows["slate"])
    np.testing.assert_array_equal(back.catalog["source_id"], log.catalog["source_id"])
    assert run("inspect", "back")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "minari"], "--to minari has no --id"),
        (["--to", "parquet"], "--to parquet has no --out"),
        (["--to", "parquet", "--out", "x", "--id", "a-v0"], "--id a-v0 is of Minari"),
        (["--to", "parquet", "--out", "x", "--flat"], "--flat is of Minari"),
        (["--to", "minari", "--id", "a", "--out", "x"], "Minari dataset id 'a' is not"),
    ],
)
def test_bad_exports(run, words, message):
    assert run("import", "table", "--path", "log.csv", "--out", "log", "--map", *MAP)[0] == 0
    code, _, err = run("export", "log", *words)
    assert code == 2
    assert message in err


def test_the_card_of_any_log(run):
    run("collect", "--out", "log", "--num-sessions", "6", "--set", "num_items=20", "slate_size=3")
    log = LoggedDataset.open("log")
    assert run("export", "log", "--to", "card")[1] == "card: log/README.md\n"
    assert Path("log/README.md").read_text() == card(log)
    assert run("export", "log", "--to", "card", "--out", "deep/card.md")[1] == "card: deep/card.md\n"
    assert Path("deep/card.md").read_text() == card(log)
    LoggedDataset.open("log", verify=True)
    code, _, err = run("export", "log", "--to", "card", "--id", "a-v0")
    assert (code, err) == (2, "recsession: --id a-v0 is of Minari; leave it out with --to card\n")


@pytest.mark.clients
def test_a_policy_becomes_a_model(run, made):
    onnxruntime = importlib.import_module("onnxruntime")
    code, out, _ = run("export", made / "policy", "--to", "onnx", "--out", "deep/policy.onnx")
    assert code == 0
    assert out.startswith("deep/policy.onnx: from profile, history_items, history_feedback, clock to slate [batch, 3]")
    assert re.search(r"^its metadata hold max_steps=\d+, of which the clock is a share$", out, flags=re.MULTILINE)
    assert "makes its inputs of users' events" in out
    session = onnxruntime.InferenceSession("deep/policy.onnx")
    assert [entry.name for entry in session.get_outputs()] == ["slate", "proto"]
    code, _, error = run("export", made / "log", "--to", "onnx")
    assert code == 2
    assert "log is missing, or is no file; train one" in error


def test_an_imported_log_with_short_slates_is_learned_from_and_weighed(run, tmp_path):
    """Steps of one to three items, as a shop's page has them; its items' embeddings stand in the file of items."""
    rng = np.random.default_rng(0)
    lines = ["uid,step,vid,clicked"]
    for user in range(40):
        for step in range(3):
            items = rng.permutation(6)[: 1 + (user + step) % 3]
            lines += [f"{user},{step},{item},{int(item == 2)}" for item in items]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    vectors = rng.normal(size=(6, 3))
    header = "vid,embedding_0,embedding_1,embedding_2\n"
    (tmp_path / "items.csv").write_text(header + "".join(f"{n},{a},{b},{c}\n" for n, (a, b, c) in enumerate(vectors)))
    roles = ("--map", "user_id=uid", "item_id=vid", "step=step", "feedback.click=clicked")
    words = ("--path", "log.csv", "--items", "items.csv", "--out", "log", *roles, "--estimate-propensities")
    code, _, error = run("import", "table", *words)
    assert code == 0, error
    assert not LoggedDataset.open("log").rows["shown"].all()
    small = ("--critic.num-rounds", 1, "--critic.steps-per-round", 5)
    for policy in ("plackett_luce", "generative"):
        code, out, error = run(
            "train",
            "robust_filter",
            "--log",
            "log",
            "--out",
            policy,
            "--policy",
            policy,
            *small,
            "--trainer.num-steps",
            30,
        )
        assert code == 0, error
        assert "warning" not in out
        assert "and `recsession ope --log log-split/judge --policy RUN/policy`" in out
        code, out, error = run("ope", "--log", "log", "--policy", f"{policy}/policy", *small)
        assert code == 0, error
        assert re.search(r"^snips +\d+\.\d+ \[-?\d", out, flags=re.MULTILINE)
        assert run("evaluate", "--policy", f"{policy}/policy")[2].endswith("with `recsession ope`\n")
