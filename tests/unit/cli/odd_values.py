"""Values that a line of JSON may have where they do not belong, or hardly."""

from __future__ import annotations

ODD_VALUES = (
    None, True, False, "", "x", "5m", "1h30m", "-5m", "5 m", "\u0665m", "0", "9" * 400, "1e400",
    "2026-05-01", "2026-05-01T09:00+25:00", "9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00",
    "\ud800", "\0", "1" * 32, "\u0661" + "1" * 31, [], {}, [1], {"\ud800": 1}, {"job_timeout": "x"},
)  # fmt: skip
