"""Measures as texts in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from portico.examples.reports import look
from portico.examples.reports.report import Table

MEASURES = ("Flights", "On time", "Mean delay, min", "Cancelled")


def measures_table(what: str, names: Sequence[str], groups: pd.DataFrame) -> Table:
    """One row per group."""
    rows = [(name, *cells(row)) for name, (_, row) in zip(names, groups.iterrows(), strict=True)]
    return Table((what, *MEASURES), rows, bar=2)


def cells(row: Any) -> tuple[str, ...]:
    """The texts for one group: its flights, shares and mean delay."""
    return (
        look.count(row["flights"]), look.share(row["on_time"]), look.minutes(row["delay"]),
        look.share(row["cancelled"]),
    )  # fmt: skip
