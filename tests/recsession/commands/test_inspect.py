"""`recsession inspect`: the table, the JSON and the page say what the summary says, of simulated and foreign logs."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from offline_data.describe.dataset_card import card
from offline_data.describe.dataset_page import lead, session_charts, write_dataset_page
from offline_data.describe.dataset_summary import summarize
from offline_data.describe.number_words import count_text, readable, share_text, typeset
from offline_data.describe.summary_rows import summary_rows
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_checks import CHECKS
from recsession.cli import main
from recsession.commands.inspect import Inspect
from tests.damage import alter_column, alter_manifest
from tests.page_parser import PageParser

QUALITY = {
    "expert": {"name": "expert"},
    "noise": {"name": "clickbait"},
    "expert_return": {"mean": 30.0, "low": 29.0, "high": 31.0},
    "noise_return": {"mean": 10.0, "low": 9.5, "high": 10.5},
}


@pytest.fixture(scope="module")
def spoilt(config, tmp_path_factory) -> LoggedDataset:
    """A log of slates with everything in it: a mixture, references, and corruption of each kind."""
    corruption = Corruption(reward_noise=0.5, label_flips=0.05, missing_propensities=0.25)
    behavior = mixture_spec(0.3, "clickbait", "session")
    request = LogRequest(config, behavior, "slate", 200, 5, 2, corruption=corruption, quality=QUALITY)
    return collect(tmp_path_factory.mktemp("inspect") / "spoilt", request)


def page_of(log: LoggedDataset, folder, *, verified: bool = True) -> PageParser:
    path = write_dataset_page(log, summarize(log), folder / "page.html", verified=verified)
    return PageParser(path.read_text(encoding="utf-8"))


def rows(out: str) -> dict[str, str]:
    """Return the table's lines by name, continuation lines joined."""
    lines = re.sub(r"\n {20}", " ", out).splitlines()
    return {line[:20].strip(): line[20:] for line in lines}


# --- the command


def test_table_says_what_the_summary_says(run, spoilt):
    code, out, err = run("inspect", spoilt.path)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 120
    told, found = rows(out), summarize(spoilt)
    assert told["sessions, steps"] == f"200, {spoilt.num_rows:,}; 100 users"
    assert told["world hash"] == spoilt.manifest["world_hash"]
    interval = found["session_return"]["interval"]
    ends = [readable(interval[key]) for key in ("mean", "low", "high")]
    assert told["session return"].startswith(f"{ends[0]} [{ends[1]}, {ends[2]}], from ")
    assert told["ended by"] == f"user {spoilt.rows['terminated'].sum()}, time {found['ends']['time_limit']}"
    score = found["normalized_score"]
    assert told["normalised score"].startswith(f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]")
    assert told["normalised score"].endswith("(clickbait = 0, expert = 1)")
    assert told["propensities"].startswith(f"partial; {found['propensity']['known_steps']:,} of")
    assert told["effective sample"].startswith(f"{count_text(found['overlap']['uniform']['steps'])} of ")
    assert told["reach"].startswith(readable(found["overlap"]["reach"]))
    assert f"{found['coverage']['items_shown']} of 50 items" in told["catalogue shown"]
    assert told["injected"] == "label flips 0.05, missing propensities 0.25, reward noise 0.5"
    expert = found["latent"]["components"][0]
    assert f"expert {share_text(expert['share'])} ({expert['sessions_alone']} whole sessions)" in told["who acted"]
    assert "opened for this report alone" in told["who acted"]
    assert told["contradictions"] == "none"
    assert told["integrity"] == f"{len(spoilt.manifest['schema'])} files as the manifest says"


def test_json_is_the_summary(run, spoilt, tmp_path):
    code, out, _ = run("inspect", spoilt.path, "--json", "--html", tmp_path / "page.html")
    assert code == 0
    assert json.loads(out) == {**summarize(spoilt), "verified": True}
    assert (tmp_path / "page.html").is_file()


def test_checksums_can_be_left_out(run, spoilt, tmp_path):
    code, out, _ = run("inspect", spoilt.path, "--no-verify", "--html", tmp_path / "deep" / "page.html")
    assert code == 0
    assert rows(out)["integrity"].endswith("files not compared with their checksums")
    page = tmp_path / "deep" / "page.html"
    assert out.splitlines()[-1] == f"page: {page}"
    assert "checksums not compared" in page.read_text()


def test_score_is_measured_on_request(run, made):
    code, out, _ = run("inspect", made / "log")
    assert code == 0
    assert rows(out)["normalised score"] == "not measured; --quality-of NOISE measures it"
    code, out, _ = run("inspect", made / "log", "--quality-of", "uniform", "--json")
    assert code == 0
    score = json.loads(out)["normalized_score"]
    assert score["quality"]["noise"] == {"name": "uniform"}
    low, high = (score["quality"][name]["mean"] for name in ("noise_return", "expert_return"))
    mean = LoggedDataset.open(made / "log").session_returns().mean()
    assert score["mean"] == pytest.approx((mean - low) / (high - low))


def test_foreign_log(run, foreign_log):
    log = foreign_log()
    code, out, err = run("inspect", log.path)
    assert (code, err) == (0, "")
    told = rows(out)
    assert told["read in by"] == "<b>shop</b>"
    assert told["lacking"] == "profiles of the users"
    assert told["ended by"] == "user 2, time 1, end of the log 1"
    assert told["propensities"].startswith("missing; no importance weights")
    assert not {"normalised score", "who acted", "injected", "world hash", "behavior", "reach"} & told.keys()


def test_contradictions_are_told(run, foreign_log):
    log = foreign_log()
    alter_column(log.path, "rows/step", np.array([0, 2, 1, 0, 0, 1, 0], np.int32))
    alter_column(log.path, "sessions/user_id", np.array([0, 0, -1, 2]))
    code, out, err = run("inspect", log.path)
    assert code == 2
    assert out.splitlines() == [f"2 {CHECKS['steps_out_of_order']}", f"1 {CHECKS['users_out_of_range']}"]
    assert err.startswith(f"recsession: {log.path} contradicts itself: {'; '.join(out.splitlines())}; `recsession in")
    file = log.path / "rows" / "reward_vector.npy"
    file.write_bytes(file.read_bytes()[:-1])
    alter_manifest(log.path, num_items=5, max_steps=-1)
    code, out, _ = run("inspect", log.path)
    assert code == 2
    starts = ("manifest.json has max_steps=-1, ", f"{file} has ", "catalog/source_id.npy has 6 entries ")
    assert len(out.splitlines()) == len(starts)
    for line, start in zip(out.splitlines(), starts, strict=True):
        assert line.startswith(start)


def test_the_page_is_written_though_nobody_reads_the_table(spoilt, tmp_path, monkeypatch):
    """As `recsession inspect LOG --html PAGE | head -1` leaves it."""

    def closed(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("recsession.commands.inspect._print_table", closed)
    with pytest.raises(BrokenPipeError):
        Inspect(spoilt.path, html=tmp_path / "page.html").run()
    assert (tmp_path / "page.html").read_text().endswith("</html>")


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["{spoilt}", "--html", "{spoilt}"], "cannot write"),
        (["{spoilt}", "--html", "{spoilt}/manifest.json/page.html"], "cannot write"),
        (["{spoilt}", "--quality-of", "clickbate"], "did you mean 'clickbait'?"),
        (["{spoilt}", "--htm", "x"], "--html"),
        (["{foreign}", "--quality-of", "uniform"], "has no simulated world"),
    ],
)
def test_bad_input_is_one_line(run, spoilt, foreign_log, words, fragment):
    places = {"spoilt": spoilt.path, "foreign": foreign_log().path}
    code, _, err = run("inspect", *(word.format(**places) for word in words))
    assert code == 2
    assert re.fullmatch(r"recsession: [^\n]+\n", err)
    assert fragment in err
    LoggedDataset.open(spoilt.path).verify()


# --- the page


def test_page_says_and_draws_it_all(spoilt, tmp_path):
    parser, found = page_of(spoilt, tmp_path), summarize(spoilt)
    parser.check(200_000)
    assert len(parser.alts) == 5
    numbers = [
        *(found["session_return"]["quantiles"][key] for key in ("p0", "p5", "p25", "p50", "p75", "p95", "p100")),
        *(found["normalized_score"][key] for key in ("mean", "low", "high")),
    ]
    for number in numbers:
        assert typeset(readable(number)) in parser.text
    for top in found["coverage"]["top_items"]:
        for key in ("share_of_exposure", "click_rate"):
            assert typeset(share_text(top[key])) in parser.text
    assert typeset(lead(found)) in parser.text
    for name, text in summary_rows(found):
        assert typeset(name) in parser.text
        assert typeset(text) in parser.text
    for fact in (str(spoilt.path), "rows/slate", "every checksum is right"):
        assert fact in parser.text
    assert "at least" not in parser.text  # propensities are missing: nothing bounds what a component alone would have


def test_histogram_has_a_bar_for_each_count_and_marks_what_is_near(spoilt):
    found = summarize(spoilt)
    returns, lengths = session_charts(found)
    drawn: Any = returns.axes  # whose marks are of matplotlib's subclasses
    values, edges, _ = drawn.patches[0].get_data()
    assert (list(values), list(edges)) == (found["session_return"]["counts"], found["session_return"]["edges"])
    marks = {text.get_text().split()[0]: text.xy[0] for text in drawn.texts}
    assert marks == {"mean": found["session_return"]["mean"], "noise": 10.0, "expert": 30.0}
    assert [line.get_xdata()[0] for line in drawn.lines] == list(marks.values())
    assert lengths.alt.startswith("Histogram of steps")
    far = summarize(spoilt, {**QUALITY, "expert_return": {"mean": 1e6, "low": 1e6, "high": 1e6}})
    axes = session_charts(far)[0].axes
    assert axes.get_xlim()[1] < 1e3
    assert [text.get_text().split()[0] for text in axes.texts] == ["mean", "noise"]


def test_names_are_escaped(foreign_log, tmp_path):
    parser = page_of(foreign_log(), tmp_path)
    assert not {"script", "co", "b"} & {tag for tag, _ in parser.tags}
    for name in ("shop & <co>", "<b>shop</b>", "<script>", "dwell|<i>"):
        assert name in parser.text
    assert "Without propensities there are no importance weights" in parser.text


def test_page_of_a_foreign_log_with_propensities(foreign_log, tmp_path):
    parser = page_of(foreign_log(np.log(np.full(7, 0.5))), tmp_path)
    parser.check(100_000)
    assert "for the uniform policy" in parser.text
    assert "Click rate by position" not in parser.text


@pytest.mark.parametrize(("mixing", "rows_of_a_component"), [("step", 2), ("position", 2), ("session", 1)])
def test_bounds_of_the_components(make_log, tmp_path, mixing, rows_of_a_component):
    log = make_log(mixture_spec(0.5, "clickbait", mixing), 30, "slate")
    text = page_of(log, tmp_path).text
    for part in summarize(log)["latent"]["components"]:
        assert text.count(f"{part['component']} alone, ") == rows_of_a_component
        assert f"at least {part['sessions_alone']}" in text


# --- in words


def test_lead(spoilt, foreign_log):
    assert lead(summarize(spoilt)).endswith("where clickbait is 0 and expert is 1.")
    assert lead(summarize(foreign_log())).startswith("4 sessions, 7 steps: a session earns ")


def test_a_hundred_is_not_promised_of_fewer_sessions(run, foreign_log):
    log = foreign_log(np.log(np.full(7, 0.5)))
    known = summarize(log)["propensity"]["known_sessions"]
    _, out, _ = run("inspect", log.path)
    assert f"none: {known} sessions give no policy an effective sample of more than 100" in out


def test_the_cards_command_makes_the_log_again(spoilt, monkeypatch):
    (command,) = re.findall(r"^recsession (collect .*)$", card(spoilt), flags=re.MULTILINE)
    monkeypatch.chdir(spoilt.path)
    assert main(shlex.split(command)) == 0
    again = LoggedDataset.open(spoilt.path.parent / "again")
    assert again.manifest["schema"] == spoilt.manifest["schema"]
