from __future__ import annotations

import pytest

from benchmarks.footprint.memory import parse

ROLLUP = """\
55d0-7ffe ---p 00000000 00:00 0                          [rollup]
Rss:               28456 kB
Pss:                7710 kB
Pss_Dirty:          7275 kB
"""


def test_the_proportional_size_is_read_and_not_one_of_its_parts():
    assert parse(ROLLUP) == 7710 * 1024


def test_a_kernel_that_does_not_tell_is_not_taken_for_zero():
    with pytest.raises(ValueError, match="Pss"):
        parse("Rss: 1 kB\n")
