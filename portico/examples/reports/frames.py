"""The imported tables as data frames, cut to what a report is about."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from portico.examples.reports.scope import Scope
from portico.exceptions import ResourceNotFoundError

ON_TIME = 15
"""Minutes after schedule from which an arrival counts as late, as the US authorities count."""

FLIGHTS = """
SELECT month, day, hour, dep_delay, arr_delay, carrier, tailnum, origin, dest, distance, time_hour
FROM flights WHERE {condition}
"""

NETWORK = """
SELECT {period} AS period, count(*) AS flights, avg(arr_delay < ?) AS on_time,
       total(arr_delay < ?) AS n_on_time, count(arr_delay) AS n_arrived
FROM flights {where} GROUP BY period
"""


@dataclass(frozen=True)
class Frames:
    """The tables of one report; `network` has all airlines' figures per period, to compare with.

    The periods are months, and days in the report on a month.
    """

    scope: Scope
    name: str
    period: str
    flights: pd.DataFrame
    network: pd.DataFrame
    weather: pd.DataFrame
    planes: pd.DataFrame
    airports: dict[str, str]
    airlines: dict[str, str]

    @property
    def average(self) -> float:
        """The share of all airlines' flights in these periods that arrived on time."""
        return float(self.network["n_on_time"].sum() / self.network["n_arrived"].sum())


def load(path: Path, scope: Scope) -> Frames:
    """Read what a report needs from an import.

    Raises:
        ResourceNotFoundError: the import has no flights for this subject.
    """
    period = "day" if scope.report_type == "month" else "month"
    condition, parameters = scope.condition
    with closing(sqlite3.connect(path, timeout=30.0)) as database:
        flights = pd.read_sql(FLIGHTS.format(condition=condition), database, params=parameters)
        if flights.empty:
            raise ResourceNotFoundError(f"no flights for {scope.report_type} {scope.subject}")
        where = f"WHERE {condition}" if scope.report_type == "month" else ""
        network = pd.read_sql(
            NETWORK.format(period=period, where=where),
            database,
            params=(ON_TIME, ON_TIME, *(parameters if where else ())),
            index_col="period",
        )
        weather = pd.read_sql(
            "SELECT origin, time_hour, wind_speed, precip, visib FROM weather", database
        )
        planes = pd.read_sql(
            "SELECT tailnum, manufacturer, model, year, seats FROM planes", database
        )
        airports = dict(database.execute("SELECT faa, name FROM airports").fetchall())
        airlines = dict(database.execute("SELECT carrier, name FROM airlines").fetchall())
    names = {"carrier": airlines, "origin": airports, "destination": airports}
    subject = names.get(scope.report_type, {}).get(scope.subject, scope.subject)
    name = scope.month or subject or "All flights"
    return Frames(
        scope, name, period, _derived(flights), network, weather, planes, airports, airlines
    )


def _derived(flights: pd.DataFrame) -> pd.DataFrame:
    flights = flights.astype({"dep_delay": float, "arr_delay": float})  # also when all are missing
    arrived = flights["arr_delay"].notna()
    return flights.assign(
        cancelled=flights["dep_delay"].isna(),
        on_time=(flights["arr_delay"] < ON_TIME).astype(float).where(arrived),
        late=(flights["arr_delay"] >= ON_TIME),
        route=flights["origin"] + "–" + flights["dest"],
    )
