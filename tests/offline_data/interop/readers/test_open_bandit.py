"""The Open Bandit reader on small files of its layout and, where it is at hand, on the published sample."""

import gzip
import math

import numpy as np
import pytest

from offline_data.interop.readers.open_bandit import (
    OpenBanditReader,
    position_item_frequencies,
    read_open_bandit,
)
from recenv.errors import InvalidInput
from tests.offline_data.interop.open_bandit_files import BTS_ROWS, HEADER, RANDOM_ROWS, write_log


@pytest.fixture
def root(tmp_path):
    """A small dataset of two items."""
    write_log(tmp_path, "random", RANDOM_ROWS)
    write_log(tmp_path, "bts", BTS_ROWS)
    return tmp_path


def test_users_and_times_are_read(tmp_path):
    header = (*HEADER, "user-item_affinity_0", "user-item_affinity_1")
    file = write_log(tmp_path, "random", RANDOM_ROWS, header=header, compressed=False)
    lines = file.read_text().splitlines()
    users = ["ab", "cd", "ab", "", "ab"]
    file.write_text(
        "\n".join(
            [lines[0], *(f"{line[:-4]}{u},{n}.0,0.5" for n, (line, u) in enumerate(zip(lines[1:], users, strict=True)))]
        )
        + "\n"
    )
    log = OpenBanditReader(path=tmp_path).read(tmp_path / "out")
    assert log.rows["timestamp"][:].tolist() == [1574553600.5] * 5
    assert [(column.name, column.values) for column in log.context] == [("user_feature_0", ("ab", "cd"))]
    assert log.rows["context"][:].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert log.rows["terminated"][:].all(), "each session is whole, whenever it was"
    log = OpenBanditReader(path=tmp_path, affinities=True).read(tmp_path / "more")
    assert [column.name for column in log.context] == ["user_feature_0", "user-item_affinity_0", "user-item_affinity_1"]
    assert log.context[1].mean == 2.0


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("campaign", ["all", "men", "women"])
def test_reads_the_published_layout(tmp_path, campaign, compressed):
    write_log(tmp_path, "bts", BTS_ROWS, campaign=campaign, compressed=compressed)
    log = read_open_bandit(str(tmp_path), "bts", campaign)
    assert (log.policy, log.campaign, log.num_items) == ("bts", campaign, 2)
    np.testing.assert_array_equal(log.item_id, [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(log.position, [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(log.click, [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(log.propensity, [0.9, 0.8, 0.2, 0.7, 0.6])


def test_columns_are_found_by_name(tmp_path):
    reversed_header = ("", "t", "propensity_score", "click", "position", "item_id", "u")
    write_log(tmp_path, "bts", [(0.25, 1, 3, 0)], header=reversed_header)
    log = read_open_bandit(tmp_path, "bts", "all")
    assert (log.item_id[0], log.position[0], log.click[0], log.propensity[0]) == (0, 2, 1, 0.25)


def test_frequencies_by_hand(root):
    frequencies = position_item_frequencies(read_open_bandit(root, "bts", "all"))
    np.testing.assert_allclose(frequencies, [[2 / 3, 1 / 3], [0.0, 1.0], [1.0, 0.0]])


def test_import_makes_sessions_of_one_item(root, tmp_path):
    log = OpenBanditReader(path=root, policy="bts").read(tmp_path / "out")
    assert (log.num_sessions, log.num_rows, log.slate_size, log.num_items) == (5, 5, 1, 2)
    np.testing.assert_array_equal(log.rows["slate"][:, 0], [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(log.rows["position"], [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(log.reward(), [1, 0, 1, 0, 0])
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.9, 0.8, 0.2, 0.7, 0.6])
    assert log.rows["terminated"].all()
    assert (log.propensities, log.manifest["source"]["options"]["policy"]) == ("exact", "bts")
    with pytest.raises(InvalidInput, match="exists"):
        OpenBanditReader(path=root).read(tmp_path / "out")


def test_import_of_the_sample(sample, tmp_path):
    """Inverse propensities of the uniform-random log sum to its size: 80 items, each of probability 1 / 80."""
    log = OpenBanditReader(path=sample).read(tmp_path / "out")
    assert (log.num_rows, log.num_items) == (10_000, 80)
    np.testing.assert_allclose(log.rows["behavior_log_prob"], -np.log(80))
    assert log.reward().mean() == pytest.approx(read_open_bandit(sample, "random", "all").click.mean())
    log.verify()


def refusal(*arguments):
    """The one line with which reading is refused."""
    with pytest.raises(InvalidInput) as caught:
        read_open_bandit(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_names_suggest_the_nearest(root):
    assert "did you mean 'women'" in refusal(root, "bts", "woman")
    assert "did you mean 'random'" in refusal(root, "randon", "all")


def test_missing_folder_file_and_column(root):
    assert "has no folder bts/all" in refusal(root / "absent", "bts", "all")
    assert "has no folder bts/men" in refusal(root, "bts", "men")
    (root / "random/all/item_context.csv").unlink()
    assert "has no file item_context.csv" in refusal(root, "random", "all")
    write_log(root, "random", RANDOM_ROWS, header=(*HEADER[:5], "propensity", HEADER[6]))
    assert "has no column propensity_score" in refusal(root, "random", "all")
    (root / "bts/all/all.csv.gz").unlink()
    assert "has no file all.csv.gz or all.csv" in refusal(root, "bts", "all")


def test_truncated_and_foreign_files(root):
    file = root / "bts/all/all.csv.gz"
    content = file.read_bytes()
    for broken, message in (
        (content[: len(content) // 2], "is damaged"),
        (b"not gzip at all", "has no line that ends"),
        (gzip.compress(b"\xff\xfe\x00\xff" * 50), "has no line that ends"),
        (gzip.compress(b"\xff\x00\xff" * 50), "holds NUL bytes"),
        (gzip.compress(b""), "is empty"),
    ):
        file.write_bytes(broken)
        assert f"{file} {message}" in refusal(root, "bts", "all")
    file.write_bytes(gzip.compress(f"{','.join(HEADER)}\n".encode()))
    assert "no rows" in refusal(root, "bts", "all")


def test_a_plain_file_cut_inside_a_row(root):
    (root / "bts/all/all.csv.gz").unlink()
    file = write_log(root, "bts", BTS_ROWS, compressed=False)
    file.write_text(file.read_text().rstrip()[:-6])
    assert "data row 5 has 6 columns and the table 7; mend the row" in refusal(root, "bts", "all")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((2, 1, 0, 0.5), r"item_id=2 in data row 6 is not 0 to 1"),
        ((-1, 1, 0, 0.5), "item_id=-1"),
        ((0, 0, 0, 0.5), "position=0"),
        ((0, 4, 0, 0.5), "position=4 in data row 6 is not 1 to 3"),
        ((0, 1, 2, 0.5), "click=2"),
        ((0, 1, 0, 0.0), "propensity_score=0.0"),
        ((0, 1, 0, 1.5), "propensity_score=1.5"),
        ((0, 1, 0, math.nan), "propensity_score=nan"),
        ((0.5, 1, 0, 0.5), "data row 6, column item_id: '0.5' is no whole number"),
        (("x", 1, 0, 0.5), "data row 6, column item_id: 'x' is no whole number"),
        ((10**30, 1, 0, 0.5), "data row 6, column item_id: '1000"),
    ],
)
def test_values_out_of_range(root, row, message):
    write_log(root, "bts", [*BTS_ROWS, row])
    assert message in refusal(root, "bts", "all")


def test_item_context_that_skips_an_item(root):
    (root / "bts/all/item_context.csv").write_text(",item_id\n0,0\n1,2\n")
    assert "item_id is not 0 to 1, each once" in refusal(root, "bts", "all")


def test_published_sample_as_logged(sample):
    random_log, thompson_log = (read_open_bandit(sample, policy, "all") for policy in ("random", "bts"))
    assert random_log.num_items == thompson_log.num_items == 80
    assert len(random_log.click) == len(thompson_log.click) == 10_000
    np.testing.assert_array_equal(random_log.propensity, 1 / 80)
    assert (random_log.click.sum(), thompson_log.click.sum()) == (38, 42)
    assert position_item_frequencies(thompson_log).shape == (3, 80)


# --- items


def test_items_are_told_apart_by_their_context(root, tmp_path):
    (root / "bts/all/item_context.csv").write_text(",item_id,item_feature_0,item_feature_1\n0,0,-.5,ab\n1,1,.5,cd\n")
    log = OpenBanditReader(path=root, policy="bts").read(tmp_path / "out")
    told = [(each["column"], each["as"]) for each in log.manifest["source"]["item_features"]]
    assert told == [("item_feature_0", "number")]
    np.testing.assert_allclose(log.catalog["embeddings"], np.sqrt(0.5) * np.array([[-1, 1], [1, 1]]), rtol=1e-6)


@pytest.mark.parametrize("given", [True, False])
def test_items_that_are_no_longer_sold_are_counted(root, tmp_path, given):
    """Item 1 is shown, and is not in the file."""
    (root / "bts/all/item_context.csv").write_text("item_id,price\n0,1\n" if not given else "item_id\n0\n1\n")
    file = tmp_path / "shop.csv"
    file.write_text("item_id,price\n0,5\n7,9\n")
    log = OpenBanditReader(path=root, policy="bts", items=file if given else None).read(tmp_path / "out")
    assert log.catalog["source_id"].tolist() == ([0, 1, 7] if given else [0, 1])
    np.testing.assert_array_equal(log.catalog["price"], [5, np.nan, 9] if given else [1, np.nan])
    remarks = log.manifest["source"]["remarks"]
    assert any(remark.startswith("warning: 1 of 2 items of the log are not in") for remark in remarks)
    assert ("1 of 2 items of shop.csv are never shown in the log" in remarks) == given
