"""Where a command may write: it says so before its work, and leaves what was there as it was."""

from __future__ import annotations

import shutil
import threading

import pytest

from offline_data.store.folder_claim import sole_writer
from recenv.files.atomic_files import claimed
from tests.obstacles import KINDS, PRECIOUS, seen, stand_in_the_way
from tests.recsession.cli_cases import BUDGET, split

MAP = "--path log.csv --map user_id=uid item_id=vid timestamp=ts feedback.click=clicked"
# Words, with {log}, {policy} and {out}; then what is written, below `out`.
FILES = {
    "inspect": ("inspect {log} --html {out}/x.html", "x.html"),
    "simulate": ("simulate --render rgb_array --set max_steps=2 --out {out}/x.gif", "x.gif"),
    "fit": ("fit --log {log} --out {out}/x.json", "x.json"),
    "fit's items": ("fit --log open-bandit --path nowhere --out {out}/x.json", "x.items.npz"),
    "card": ("export {log} --to card --out {out}/x.md", "x.md"),
    "onnx": ("export {policy} --to onnx --out {out}/x.onnx", "x.onnx"),
    "theory": ("theory --out {out}", "theory.html"),
    "theory's numbers": ("theory --out {out}", "theory.json"),
    "train": ("train bc --log {log} --out {out}", "policy"),
    "train's scores": ("train robust_filter --log {log} --out {out}", "scores.npy"),
    "train's checkpoint": ("train bc --log {log} --out {out}", "checkpoint"),
    "train's metrics": ("train bc --log {log} --out {out}", "metrics.jsonl"),
    "ope": ("ope --log {log} --policies {policy} --estimators snips --out {out}", "report.html"),
    "ope's numbers": ("ope --log {log} --policies {policy} --estimators snips --out {out}", "results.json"),
    "quickstart": ("quickstart --num-evaluation-sessions 10 --out {out}", "report.html"),
    "quickstart's numbers": ("quickstart --num-evaluation-sessions 10 --out {out}", "results.json"),
}
FOLDERS = {
    "split": ("split {log} --out {out}/x", "x"),
    "parquet": ("export {log} --to parquet --out {out}/x", "x"),
    "minari": ("export {log} --to minari --out {out} --id x-v0", "x-v0"),
    "collect": ("collect --num-sessions 10 --target-score .5 --out {out}/x", "x"),
    "collect's ranges": ("collect --num-sessions 10 --out {out}/x", "x.partial"),
    "import": (f"import table {MAP} --out {{out}}/x", "x"),
}


@pytest.fixture
def command(run, made, tmp_path, monkeypatch):
    """Run words in a folder with a small table; nothing is to be computed."""
    (tmp_path / "out").mkdir()
    (tmp_path / "log.csv").write_text("uid,vid,ts,clicked\n1,1,0,1\n2,2,1,0\n")

    def given(words: str):
        return run(*split(words.format(log=made / "log", policy=made / "policy", out=tmp_path / "out")))

    return given


def no_work(*_, **__):
    pytest.fail("it began to work")


@pytest.fixture
def idle(monkeypatch):
    for work in (
        "offline_data.store.dataset.LoggedDataset.verify",
        "recsession.commands.simulate._Session.play",
        "recsession.commands.collect.collect",
        "recsession.commands.collect.at_target_score",
        "recsession.commands.fit.fit_open_bandit",
        "recsession.experiments.quickstart.reference_returns",
        "offline_data.interop.readers.table.import_table",
    ):
        monkeypatch.setattr(work, no_work)
    monkeypatch.setattr("recsession.commands.theory.EXPERIMENTS", [no_work])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [*FILES, *FOLDERS])
def test_what_is_no_file_of_ours_is_refused_before_the_work(command, idle, tmp_path, case, kind):
    words, written = (FILES | FOLDERS)[case]
    if (written, kind) == ("x.partial", "folder"):
        pytest.skip("unfinished work is looked into, and is a request's or not")
    stand_in_the_way(tmp_path / "out" / written, kind)
    before = seen(tmp_path)
    code, out, err = command(words)
    assert (code, out) == (2, "")
    assert written in err
    assert err.count("\n") == 1
    assert seen(tmp_path) == before


@pytest.mark.parametrize("case", [*FILES, *FOLDERS])
@pytest.mark.parametrize("above", ["missing/" * 2 + "f" * 300, "file/below", "nowhere/below"])
def test_folders_that_cannot_be_are_refused_before_the_work(command, idle, tmp_path, case, above):
    words, _ = (FILES | FOLDERS)[case]
    (tmp_path / "out" / "file").write_text(PRECIOUS)
    (tmp_path / "out" / "nowhere").symlink_to("absent")
    before = seen(tmp_path)
    code, out, err = command(words.replace("{out}", f"{{out}}/{above}"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert seen(tmp_path) == before


@pytest.mark.parametrize("case", [case for case in (*FILES, *FOLDERS) if case != "collect's ranges"])
def test_a_second_writer_is_told_before_its_work(command, idle, tmp_path, case):
    words, written = (FILES | FOLDERS)[case]
    run_folder = case.startswith(("train", "quickstart", "theory", "ope"))
    begun, end = threading.Event(), threading.Event()

    def hold():
        with sole_writer(tmp_path / "out") if run_folder else claimed(tmp_path / "out" / written):
            begun.set()
            end.wait()

    first = threading.Thread(target=hold)
    first.start()
    begun.wait()
    try:
        before = seen(tmp_path)
        code, out, err = command(words)
        assert (code, out) == (2, "")
        assert "is being written by another process; wait for it or choose another" in err
        assert seen(tmp_path) == before
    finally:
        end.set()
        first.join()


@pytest.mark.parametrize("words", ["theory", "ope --log {log} --policies {policy} --estimators snips"])
def test_a_command_is_kept_out_of_what_holds_something_else(command, idle, made, tmp_path, words):
    """A dataset's folder, and a run's."""
    shutil.copytree(made / "log", tmp_path / "out" / "log")
    (tmp_path / "out" / "run").mkdir()
    (tmp_path / "out" / "run" / "request.json").write_text('{"study": "drpo"}')
    before = seen(tmp_path)
    refusals = {
        "log": "is a logged dataset; choose another folder",
        "run": "holds another command's work; remove it or",
    }
    for name, why in refusals.items():
        code, out, err = command(f"{words} --out {{out}}/{name}")
        assert (code, out) == (2, "")
        assert f"out/{name} {why}" in err
    assert seen(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        "export {log} --to card --out",
        "fit --log {log} --out",
        "inspect {log} --html",
        "export {policy} --to onnx --out",
    ],
)
def test_somebody_elses_file_is_kept(command, idle, tmp_path, words):
    (tmp_path / "out" / "notes").write_text(PRECIOUS)
    code, _, err = command(f"{words} {{out}}/notes")
    assert code == 2
    assert "notes: the file there is of another kind; choose another path, or remove it" in err
    assert (tmp_path / "out" / "notes").read_text() == PRECIOUS


@pytest.mark.parametrize(
    "case", ["inspect", "fit", "card", "theory", "parquet", "minari", "import", "collect", "split"]
)
def test_what_a_killed_run_has_left_is_gone_after_the_next(command, tmp_path, case):
    """A killed writer's lock is free; what it had written lies beside."""
    words, written = (FILES | FOLDERS)[case]
    (tmp_path / "out" / f".{written}.recsession").write_text("half")
    if case in FOLDERS:
        (tmp_path / "out" / f".{written}.recsession-new" / "rows").mkdir(parents=True)
    assert command(words)[0] == 0
    assert not list((tmp_path / "out").glob(".*"))
    if case in FOLDERS and case != "collect":
        (tmp_path / "out" / f".{written}.recsession").write_text("")  # killed when the folder was in its place
        assert command(words)[0] == (0 if case == "split" else 2)  # which goes on, as collect does
        assert not list((tmp_path / "out").glob(".*"))


def test_a_run_goes_on_over_what_a_killed_one_has_left(command, tmp_path):
    words = " ".join(["train bc --log {log} --out {out}", *BUDGET])
    assert command(words)[0] == 0
    whole = seen(tmp_path / "out")
    for name in ("policy", "checkpoint", "metrics.jsonl", "request.json"):
        (tmp_path / "out" / f".{name}.recsession").write_text("half")
    (tmp_path / "out" / "policy").unlink()
    (tmp_path / "out" / "checkpoint").unlink()
    assert command(words)[0] == 0
    assert seen(tmp_path / "out") == whole


@pytest.mark.parametrize("case", ["inspect", "simulate", "fit", "card", "onnx"])
def test_a_folders_path_is_none_of_a_file(command, idle, tmp_path, case):
    words, written = (FILES | FOLDERS)[case]
    before = seen(tmp_path)
    code, out, err = command(words.replace(written, f"{written}/"))
    assert (code, out) == (2, "")
    assert f"{written}/ is the path of a folder; give that of a file" in err
    assert seen(tmp_path) == before
