"""The contract of readers, over every registered one and one from outside."""

from __future__ import annotations

from offline_data.testing.readers import check_reader


@check_reader.over("tests.outside_parts.json_lines:JsonLinesReader")
def test_contract(part, check):
    check(part)
