from __future__ import annotations

import pytest

from benchmarks.places import shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", "memory://"),
        ("sqlite:////tmp/x/jobs.db?durability=normal", "sqlite://?durability=normal"),
        ("postgresql://me:secret@host:1/db", "postgresql://"),
    ],
)
def test_a_url_is_shown_without_its_address(url, expected):
    assert shown(url) == expected
