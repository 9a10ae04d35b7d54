"""docs/security.md names for each measure the test that holds it: each of these tests exists."""

import re
from pathlib import Path

import pytest

NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", Path("docs/security.md").read_text())))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_measure_s_test_exists(file, name):
    assert f"\ndef {name}(" in Path("tests", file).read_text()


def test_every_row_names_its_test():
    rows = [line for line in Path("docs/security.md").read_text().splitlines() if line.startswith("| ")]
    assert all("::" in row or row.endswith("| test |") for row in rows)
    assert len(NAMED) >= len(rows) / 2
