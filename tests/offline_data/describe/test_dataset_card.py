"""A dataset's card: its numbers are the summary's, its code runs, and no name breaks its Markdown."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from offline_data.collection.collection import collect
from offline_data.collection.corruption import Corruption
from offline_data.describe.dataset_card import _plain as plain
from offline_data.describe.dataset_card import _quote as quote
from offline_data.describe.dataset_card import card
from offline_data.describe.dataset_summary import summarize
from offline_data.store.dataset import LoggedDataset

pytestmark = pytest.mark.kernels

QUALITY = {
    "expert": {"name": "expert"},
    "noise": {"name": "clickbait"},
    "good_fraction": 0.4,
    "target_score": 0.35,
    "expert_return": {"mean": 9.0, "low": 8.8, "high": 9.2},
    "noise_return": {"mean": 1.0, "low": 0.9, "high": 1.1},
}


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory) -> LoggedDataset:
    return collect(tmp_path_factory.mktemp("card") / "log", replace(small_request, quality=QUALITY))


def table(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, its header among them."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells[1] == ["---"] * len(cells[0])
    assert {len(line) for line in cells} == {len(cells[0])}
    return [cells[0], *cells[2:]]


def fenced(text: str, language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return block


def test_numbers_are_the_summarys(log):
    found, numbers = summarize(log), dict(table(card(log), "Numbers")[1:])
    assert numbers["sessions"] == "40"
    assert numbers["users"] == "20"
    assert numbers["steps"] == f"{log.num_rows}"
    assert numbers["session return, mean [95 %]"].startswith(f"{found['session_return']['mean']:.4g} [")
    score = found["normalized_score"]
    assert numbers["normalised score [95 %]"] == f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
    assert numbers["return of the expert, normalised score 1"] == "9 [8.8, 9.2]"
    assert numbers["return of the noise, normalised score 0"] == "1 [0.9, 1.1]"
    assert numbers["target score"] == "0.35"
    assert numbers["propensities"] == "exact"


def test_it_says_what_the_log_is(log):
    text = card(log)
    part = summarize(log)["latent"]["components"][0]
    assert text.splitlines()[0] == "---"
    assert 'pretty_name: "log"' in text
    assert 'license: "mit"' in text
    assert "# log\n" in text
    assert "user model `interest_evolution`: 40 sessions" in text
    assert f"`expert` {100 * part['share']:.1f} %" in text
    assert "drawn anew per session" in text
    assert "\nMIT.\n" in text
    assert f"version = {{{log.manifest['versions']['recsession']}}}" in text
    assert "cloning a log with a good fraction of 1" in text
    assert "spoilt" not in text


def test_every_column_is_in_it(log):
    header, *rows = table(card(log), "Columns")
    assert header == ["column", "dtype", "shape", "meaning"]
    assert {row[0].strip("`") for row in rows} == {name.removesuffix(".npy") for name in log.manifest["schema"]}
    assert all(row[3] for row in rows)
    (slate,) = (row for row in rows if row[0] == "`rows/slate`")
    assert slate[1:3] == ["int32", f"{log.num_rows} x 3"]


def test_its_python_runs(log, monkeypatch, capsys):
    monkeypatch.chdir(log.path.parent)
    exec(compile(fenced(card(log), "python"), "card", "exec"), {})  # the card's own words
    printed = capsys.readouterr().out
    assert printed.startswith(f"{log.num_rows} {log.session_returns().mean()} ")


def test_a_named_dataset_is_loaded_and_made_by_its_name(log):
    name = "recsession/default/mixed-10-clickbait-v0"
    named = replace(log, manifest={**log.manifest, "quality": {**QUALITY, "dataset": name}})
    text = card(named)
    assert f"# {name}\n" in text
    assert fenced(text, "bash") == f"recsession collect --dataset {name}\n"
    assert f'load_named("{name}")' in fenced(text, "python")


def test_a_spoilt_log_says_so(small_request, tmp_path):
    spoilt = replace(small_request, corruption=Corruption(label_flips=0.1, missing_propensities=1.0))
    text = card(collect(tmp_path / "log", spoilt))
    assert "It was spoilt on purpose: label flips 0.1, missing propensities 1." in text
    assert "Propensities are missing: 0 of" in text
    assert "--label-flips 0.1 --missing-propensities 1.0" in text
    assert "effective sample size" not in text


def test_a_policy_alone_and_in_proto_actions(small_request, tmp_path):
    text = card(collect(tmp_path / "log", replace(small_request, behavior="clickbait", action_kind="proto")))
    assert "Logged by `clickbait`." in text
    assert "densities of proto-actions" in text
    assert "normalised score" not in text


def test_a_foreign_log_claims_no_license_and_no_simulator(foreign_log):
    log = foreign_log(np.log(np.full(7, 0.5)))
    text = card(log)
    assert 'license: "other"' in text
    assert "That of its source" in text
    assert "no simulator behind it" in text
    assert "It lacks profiles of the users." in text
    assert "no policy keeps an effective sample size of more than 100" in text
    assert json.loads(fenced(text, "json")) == log.manifest["source"]
    assert "# shop &amp; &lt;co&gt;\n" in text
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).split("---", 2)[2]
    assert "<" not in outside
    assert len(table(text, "Columns")) == 1 + len(log.manifest["schema"])


def test_a_contradiction_is_told(foreign_log):
    log = foreign_log()
    vars(log)["contradictions"] = {**log.contradictions, "items_shown_twice": 1}
    assert "It contradicts itself: 1 shown positions whose item stands at an earlier position too." in card(log)


def test_equal_datasets_have_equal_cards(log, small_request, tmp_path):
    again = collect(tmp_path / "log", replace(small_request, quality=QUALITY))
    assert card(again) == card(log)


EVIL = "a|b`c`*d*_e_[x](javascript:alert(1))<script>\n```\n# no\x1b[2J\u202e$z$ https://a.b ~~f~~ \\"


def test_no_name_breaks_its_markdown(log, monkeypatch):
    manifest = json.loads(json.dumps(log.manifest))
    manifest["source"]["request"]["behavior"] = {"name": EVIL, "x": EVIL}
    manifest["versions"]["recsession"] = EVIL
    manifest["quality"] = {**QUALITY, "dataset": EVIL}
    evil = replace(log, manifest=manifest, path=log.path)
    summary = summarize(evil)
    summary["source"] |= {"user_model": EVIL, "action_kind": EVIL, "lacking": [EVIL], "name": EVIL}
    summary["propensity"]["kind"] = EVIL
    summary["injected"] = {EVIL: 0.5}
    for part in summary["latent"]["components"]:
        part["component"] = EVIL
    for column in summary["columns"]:
        column |= {"name": EVIL, "dtype": EVIL, "meaning": EVIL}
    monkeypatch.setattr("offline_data.describe.dataset_card.summarize", lambda _: summary)
    text = card(evil)
    assert all(line.isprintable() for line in text.split("\n"))
    assert [line for line in text.splitlines() if line.startswith("```")] == [
        "```python",
        "```",
        "```bash",
        "```",
        "```bibtex",
        "```",
    ]
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).split("---", 2)[2]
    assert "<" not in outside
    own = r"(?<!\\)`[^`|\n]*`|^\* |\[[-\d., %e+]+\]"  # code, items of lists, intervals
    assert not re.search(r"(?<!\\)[`*\[\]$~]", re.sub(own, "", outside, flags=re.MULTILINE))
    assert not re.search(r"(?<!\\)://", outside)
    assert len(table(text, "Columns")) == 1 + len(log.manifest["schema"])
    assert next(line for line in text.splitlines() if line.startswith("#")) == f"# {plain(EVIL)}"
    assert fenced(text, "bash").startswith("recsession collect --dataset $'a|b`c`")
    assert fenced(text, "bash").count("\n") == 1


@pytest.mark.parametrize("word", ["plain", "it's", "a b", "$HOME `x` \\n", "a\nb'\\\x1b\t", "\u202e\u200b'"])
def test_a_word_of_a_shell_is_that_word(word):
    said = subprocess.run(["bash", "-c", f"printf %s {quote(word)}"], capture_output=True, check=True)
    assert said.stdout.decode() == word
    assert quote(word).isprintable()
