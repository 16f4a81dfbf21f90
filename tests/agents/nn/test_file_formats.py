"""What an older RecSession wrote is refused in a sentence with today's name of its objective, and a way that works."""

from __future__ import annotations

import pytest

from agents.nn.file_formats import FORMAT_VERSION, check_format, check_run
from offline_data.store.folder_claim import REQUEST
from recenv.errors import InvalidInput
from recenv.files.atomic_files import write_json

OLD_RUN = {"objective": {"name": "drpo", "kappa": 0.02}, "seed": 0}
OLD_COMPARISON = {"methods": {"filter": {"objective": "drpo"}, "mine": {"objective": "drpo_taper"}}, "seed": 0}


def test_a_sentence_names_what_is_renamed_and_nothing_else():
    with pytest.raises(InvalidInput, match=r"^x is of an older format, .* format 3; do y$"):
        check_format("x", None, "'bc' and runs/drpo", "do y")
    with pytest.raises(
        InvalidInput, match=r"^x is of format 2, .*, in which drpo_taper is now robust_filter, or taper; do"
    ):
        check_format("x", 2, '{"drpo_taper"}', "do y")
    check_format("x", FORMAT_VERSION, "'drpo'", "do y")


@pytest.mark.parametrize("request_there", [OLD_RUN, OLD_COMPARISON])
def test_an_older_run_is_refused_and_left_as_it_is(tmp_path, request_there):
    write_json(tmp_path / REQUEST, request_there)
    before = (tmp_path / REQUEST).read_bytes()
    with pytest.raises(InvalidInput, match=rf"^{tmp_path} is of an older .* drpo is now robust_filter.*; remove it$"):
        check_run(tmp_path, "remove it")
    assert (tmp_path / REQUEST).read_bytes() == before
    write_json(tmp_path / REQUEST, {"format": FORMAT_VERSION, **request_there})
    check_run(tmp_path, "remove it")
    write_json(tmp_path / REQUEST, {"dataset_seed": 1})  # another command's, of which its claim speaks
    check_run(tmp_path, "remove it")
    check_run(tmp_path / "nothing", "remove it")
