"""KuaiRand in its published layout: tiny files of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offline_data.interop.import_options import ImportOptions
from offline_data.interop.readers.kuairand import FEEDBACK, KuairandReader
from recenv.errors import InvalidInput

COLUMNS = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
VIDEO_COLUMNS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    "music_id,music_type,tag"
)


def row(user: int, video: int, minute: int, *, random: int = 0, played: int = 0, length: int = 10_000, **flags) -> str:
    values = dict.fromkeys(COLUMNS.split(","), 0) | {
        "user_id": user,
        "video_id": video,
        "date": 20220421,
        "hourmin": 400,
        "time_ms": 1650485800000 + 60_000 * minute,
        "play_time_ms": played,
        "duration_ms": length,
        "is_rand": random,
        "tab": 1,
        **flags,
    }
    return ",".join(map(str, values.values()))


def write(folder: Path, version: str = "pure", data: bool = True) -> Path:
    """Write a release: user 7 sees a random video between two others, user 3 one of each; then user 7 comes back."""
    place = folder / "data" if data else folder
    place.mkdir(parents=True)
    early = [row(7, 100, 0, is_click=1, is_like=1, long_view=1, played=20_000), row(3, 100, 5)]
    late = [row(7, 200, 20, is_click=1, is_hate=1, played=5_000), row(7, 200, 200, played=100, length=0)]
    random = [row(7, 300, 10, random=1, is_click=1, is_follow=1), row(3, 200, 6, random=1)]
    for name, rows in {
        "standard_4_08_to_4_21": early,
        "standard_4_22_to_5_08": late,
        "random_4_22_to_5_08": random,
    }.items():
        (place / f"log_{name}_{version}.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    videos = [
        '100,1,NORMAL,2022-01-01,A,1,90000,720,1280,5,9,"12,65"',
        "200,1,AD,2022-01-01,A,1,,720,1280,5,9,12",
        "400,1,AD,2022-01-01,A,1,30000,720,1280,5,9,",
    ]
    (place / f"video_features_basic_{version}.csv").write_text("\n".join([VIDEO_COLUMNS, *videos]) + "\n")
    return folder


@pytest.mark.parametrize("data", [True, False])
def test_all_logs_in_the_order_of_time(tmp_path, data):
    log = KuairandReader(path=write(tmp_path / "KuaiRand-Pure", data=data)).read(tmp_path / "out")
    assert log.sessions["source_user_id"].tolist() == [3, 7, 7]
    assert log.catalog["source_id"].tolist() == [100, 200, 300, 400]
    assert log.catalog["source_id"][log.rows["slate"][:, 0]].tolist() == [100, 200, 100, 300, 200, 200]
    np.testing.assert_array_equal(log.rows["is_rand"], [0, 1, 0, 1, 0, 0])
    assert log.manifest["feedback_names"] == [*FEEDBACK, "watch_fraction"]
    feedback = {name: log.rows["feedback"][:, 0, i] for i, name in enumerate(log.manifest["feedback_names"])}
    np.testing.assert_array_equal(feedback["click"], [0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(feedback["long_view"], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(feedback["follow"], [0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(feedback["hate"], [0, 0, 0, 0, 1, 0])
    # At most 1, and also where the length is zero.
    np.testing.assert_array_equal(feedback["watch_fraction"], [0, 0, 1, 0, 0.5, 1])
    np.testing.assert_array_equal(log.reward(), feedback["click"])
    assert log.propensities == "missing"
    np.testing.assert_array_equal(log.rows["timestamp"] - 1650485800, np.array([5, 6, 0, 10, 20, 200]) * 60)
    assert len(log.manifest["source"]["files"]) == 4


def test_videos_have_their_tags_and_lengths(tmp_path):
    log = KuairandReader(path=write(tmp_path / "KuaiRand-Pure")).read(tmp_path / "out")
    half = np.float32(np.sqrt(0.5))
    # 12, 65, none; a video that is not described has neither tag nor length.
    np.testing.assert_allclose(log.catalog["embeddings"], [[half, half, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]], rtol=1e-6)
    np.testing.assert_array_equal(log.catalog["length"], [1.5, 0.0, 0.0, 0.5])
    assert log.manifest["source"]["item_features"] == [{"column": "tag", "as": "labels"}]
    bare = KuairandReader(path=tmp_path / "KuaiRand-Pure", options=ImportOptions(item_features=("none",)))
    assert "embeddings" not in bare.read(tmp_path / "bare").catalog


def test_random_log_alone_has_exact_propensities(tmp_path):
    log = KuairandReader(path=write(tmp_path / "KuaiRand-Pure"), logs="random", pool_size=50).read(tmp_path / "out")
    assert (log.num_rows, log.propensities) == (2, "exact")
    np.testing.assert_allclose(log.rows["behavior_log_prob"], np.log(1 / 50))
    standard = KuairandReader(path=tmp_path / "KuaiRand-Pure", logs="standard").read(tmp_path / "standard")
    assert (standard.num_rows, standard.propensities) == (4, "missing")


def test_parts_and_no_features(tmp_path):
    """27K comes in parts; the features of the videos may be left out."""
    folder = write(tmp_path / "KuaiRand-27K", "27k_part1")
    place = folder / "data"
    (place / "log_standard_4_22_to_5_08_27k_part2.csv").write_text(COLUMNS + "\n" + row(9, 900, 1) + "\n")
    (place / "video_features_basic_27k_part1.csv").unlink()
    log = KuairandReader(path=folder).read(tmp_path / "out")
    assert log.num_rows == 7
    assert "embeddings" not in log.catalog
    assert "embeddings of the items" in log.manifest["source"]["lacking"]


def test_damage_is_named(tmp_path):
    folder = write(tmp_path / "KuaiRand-Pure")
    out = tmp_path / "out"
    with pytest.raises(InvalidInput, match=r"has no file log_standard_\*\.csv or log_random_\*\.csv"):
        KuairandReader(path=tmp_path / "elsewhere").read(out)
    with pytest.raises(InvalidInput, match="unknown KuaiRand logs 'rand'; did you mean 'random'"):
        KuairandReader(path=folder, logs="rand").read(out)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="pool_size=1 is less than the 2 videos"):
        KuairandReader(path=folder, pool_size=1).read(out)
    file = folder / "data" / "log_random_4_22_to_5_08_pure.csv"
    file.write_text(file.read_text() + row(1, 2, 3, is_click=3) + "\n")
    with pytest.raises(InvalidInput, match=r"log_random_4_22_to_5_08_pure\.csv: data row 3: click=3\.0 is not in"):
        KuairandReader(path=folder).read(out)
    file.write_text(file.read_text().replace("is_click", "clicked"))
    with pytest.raises(InvalidInput, match=r"log_random_4_22_to_5_08_pure\.csv has no column is_click"):
        KuairandReader(path=folder).read(out)
    assert not out.exists()
