"""`recsession import table`: what a table leaves open is asked, and what was read how is said."""

from __future__ import annotations

import gzip
import json

import pytest

MAP = ("--map", "user_id=user", "item_id=item", "feedback.click=click")


@pytest.fixture
def imported(run, tmp_path):
    """Runs the import of a text; returns the exit code, what was said, and the manifest or None."""

    def build(text, *words):
        file, manifest = tmp_path / "log", tmp_path / "out" / "manifest.json"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        code, out, err = run("import", "table", "--path", "log", "--out", "out", *words)
        whole = json.loads(manifest.read_text())["source"] if manifest.is_file() else None
        return code, out if code == 0 else err.splitlines()[-1], whole

    return build


TIMED = "user,item,ts,click\n1,00123,{},0\n1,123,{},1\n"


@pytest.mark.parametrize(
    ("times", "remedy", "first"),
    [
        (("20240501", "20240610"), ("--time-format", "%Y%m%d"), "2024-05-01 00:00:00"),
        (("1700000000000", "1700000010000"), ("--time-unit", "milliseconds"), "2023-11-14 22:13:20"),
        (("1700000000000000", "1700000010000000"), ("--time-unit", "microseconds"), "2023-11-14 22:13:20"),
        (("1700000000000000000", "1700000010000000000"), ("--time-unit", "nanoseconds"), "2023-11-14 22:13:20"),
    ],
)
def test_the_remedy_of_the_message_works(imported, times, remedy, first):
    words = (*MAP, "timestamp=ts")
    code, said, _ = imported(TIMED.format(*times), *words)
    assert (code, f"say {' '.join(remedy)}" in said) == (2, True)
    code, said, source = imported(TIMED.format(*times), *remedy, *words)
    assert code == 0
    assert f"times: {first} to " in said
    assert source["options"][remedy[0].removeprefix("--").replace("-", "_")] == remedy[1]


@pytest.mark.parametrize(
    ("content", "complaint", "remedy"),
    [
        ("user;item;click\n1;a;0\n", "say --delimiter ';'", ("--delimiter", ";")),
        ("user\titem\tclick\n1\ta\t0\n", r"say --delimiter '\t'", ("--delimiter", r"\t")),
        ("user,item,click\nJosé,a,0\n".encode("latin-1"), "--encoding latin-1", ("--encoding", "latin-1")),
        ("user,item,click\n1,a,0\n".encode("utf-16-le"), "say --encoding utf-16-le", ("--encoding", "utf-16-le")),
        ("user,item,click\n1,a,0\nNULL,b,1\n", "or leave such out with --missing drop", ("--missing", "drop")),
    ],
)
def test_how_a_file_is_written_is_said_when_it_is_asked(imported, content, complaint, remedy):
    code, said, source = imported(content, *MAP)
    assert (code, source) == (2, None)
    assert complaint in said
    code, _, source = imported(content, *remedy, *MAP)
    assert code == 0
    assert source["options"][remedy[0].removeprefix("--")] == remedy[1].replace(r"\t", "\t")


def test_remarks_and_times_are_printed_and_inspected(imported, run):
    text = "user,item,ts,step,pos,click\n1,10,2024-05-01T10:00:00,1,1,0\n1,10,2024-05-01T10:00:00,1,1,0\n"
    words = ("--duplicates", "drop", *MAP, "timestamp=ts", "step=step", "position=pos")
    code, said, source = imported(gzip.compress(text.encode(), mtime=0), *words)
    assert code == 0
    assert "times: 2024-05-01 10:00:00 to 2024-05-01 10:00:00, UTC" in said
    assert [f"note: {remark}" in said for remark in source["remarks"]] == [True] * 3
    assert (source["duplicates"], len(source["remarks"])) == (1, 3)
    shown = " ".join(run("inspect", "out")[1].split())
    assert "times 2024-05-01 10:00:00 to 2024-05-01 10:00:00, UTC" in shown
    assert "ts has no time zone and is taken as UTC" in shown
    assert json.loads(run("inspect", "out", "--json")[1])["times"] == {"first": 1714557600.0, "last": 1714557600.0}


def test_times_in_the_future_are_remarked(imported):
    _, said, _ = imported(TIMED.format(4_000_000_000, 4_000_000_001), *MAP, "timestamp=ts")
    assert "note that the last lies in the future" in said
