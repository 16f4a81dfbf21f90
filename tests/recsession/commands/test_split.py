from __future__ import annotations

from pathlib import Path

import pytest

from agents.policies.base import Policy
from offline_data.store.dataset import LoggedDataset
from recsession.judging import how_to_judge
from tests.folder_tree import tree


def test_a_log_is_split_and_the_next_commands_are_said(run, made, tmp_path):
    code, out, err = run("split", made / "slates", "--out", "my parts", "--by", "user", "--share", 0.75, "--seed", 3)
    assert code == 0, err
    parts = [LoggedDataset.open(tmp_path / "my parts" / name, verify=True) for name in ("train", "judge")]
    whole = LoggedDataset.open(made / "slates")
    assert sum(part.num_sessions for part in parts) == whole.num_sessions
    assert parts[0].num_sessions == round(0.75 * whole.num_sessions)
    assert out.splitlines() == [
        f"my parts/train: {parts[0].num_sessions} sessions, {parts[0].num_rows} steps",
        f"my parts/judge: {parts[1].num_sessions} sessions, {parts[1].num_rows} steps",
        "train with `recsession train OBJECTIVE --log 'my parts/train' --out RUN`",
        "judge with `recsession ope --log 'my parts/judge' --policy RUN/policy`",
    ]
    before = tree(tmp_path)
    again = run("split", made / "slates", "--out", "my parts", "--by", "user", "--share", 0.75, "--seed", 3)
    assert again[:2] == (0, out)
    assert tree(tmp_path) == before


def test_parts_lie_beside_the_log(run, made, tmp_path):
    (tmp_path / "log").symlink_to(made / "log")
    code, out, _ = run("split", "log")
    assert code == 0
    assert {path.name for path in (tmp_path / "log-split").iterdir()} == {"train", "judge"}
    assert out.startswith("log-split/train: ")
    code, out, _ = run("inspect", "log-split/judge")
    assert code == 0
    assert "judge of log (" in out
    assert "split by session, a share of 0.5 to train on, seed 0)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "time"), "log has no times; split it --by session or --by user"),
        (("--by", "time", "--seed", 3), "--by time draws nothing; leave out --seed"),
        (("--share", 1e-9), "--share 1e-09 of "),
        (("--out", "."), ". exists and is no such split of "),
    ],
)
def test_what_cannot_be_split_is_said(run, made, tmp_path, words, message):
    (tmp_path / "mine").write_text("")
    code, out, err = run("split", made / "log", *(("--out", "parts") if "--out" not in words else ()), *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("sessions", "remedy"), [(1, "collect or import others"), (2, "`recsession split log`, then")])
def test_a_log_that_cannot_be_split_is_not_to_be_split(run, tmp_path, sessions, remedy):
    rows = [f"u{session},a,{step},1" for session in range(sessions) for step in range(2)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time,click", *rows]))
    columns = ("user_id=user", "item_id=item", "timestamp=time", "feedback.click=click")
    code, _, err = run("import", "table", "--path", "log.csv", "--out", "log", "--map", *columns)
    assert code == 0, err
    policy = Policy.__new__(Policy)
    policy.learned_from = None
    assert how_to_judge(policy, Path("policy"), LoggedDataset.open("log")).startswith(
        f"to judge by sessions that were not learned from, {remedy}"
    )
    assert run("split", "log")[0] == (0 if sessions == 2 else 2)
