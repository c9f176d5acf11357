from __future__ import annotations

import math

import pytest

from portico.examples.reports import look


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (look.count(336776), "336,776"),
        (look.share(0.7642), "76.4%"),
        (look.share(math.nan), "–"),
        (look.minutes(-2), "\u22122.0"),
        (look.minutes(math.nan), "–"),
        (look.clock(6), "06:00"),
        (look.brief(105_178), "105k"),
        (look.brief(-8.2), "\u22128"),
        (look.points(0.0213), "2.1 points above"),
        (look.points(-0.004), "0.4 points below"),
        (look.points(0.0001), "level with"),
        (look.points(math.nan), "not comparable with"),
        (look.shortened("AirTran Airways Corporation", 26), "AirTran Airways Corporati…"),
    ],
)
def test_numbers_read_well(shown: str, text: str) -> None:
    assert shown == text
