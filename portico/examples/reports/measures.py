"""The numbers of a report: what the charts show and the tables print."""

from __future__ import annotations

import pandas as pd

from portico.examples.reports.frames import Frames

MAKERS = {
    "AIRBUS INDUSTRIE": "Airbus",
    "BOMBARDIER INC": "Bombardier",
    "MCDONNELL DOUGLAS AIRCRAFT CO": "McDonnell Douglas",
    "MCDONNELL DOUGLAS CORPORATION": "McDonnell Douglas",
    "MCDONNELL DOUGLAS": "McDonnell Douglas",
}

WIND = ([-1, 5, 10, 15, 20, 999], ["<5", "5–10", "10–15", "15–20", ">20"])
RAIN = ([-1, 0, 0.02, 0.1, 99], ["none", "trace", "light", "heavy"])
SIGHT = ([-1, 1, 3, 9, 99], ["<1", "1–3", "3–9", ">9"])

AGES = ([-1, 4, 9, 14, 19, 24, 999], ["0–4", "5–9", "10–14", "15–19", "20–24", "25+"])


def grouped(flights: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """Flights, shares and mean delay per group, the biggest group first."""
    groups = flights.groupby(by, observed=True)
    table = groups.agg(
        flights=("cancelled", "size"),
        cancelled=("cancelled", "mean"),
        on_time=("on_time", "mean"),
        delay=("dep_delay", "mean"),
        n_on_time=("on_time", "sum"),
        n_late=("late", "sum"),
    )
    table["n_lost"] = table["flights"] - table["n_on_time"] - table["n_late"]
    return table.sort_values("flights", ascending=False, kind="stable")


def by_hour(flights: pd.DataFrame) -> pd.DataFrame:
    """Median and ninth decile of the departure delay per hour; rare hours are left out."""
    delays = flights.groupby("hour")["dep_delay"]
    table = pd.DataFrame(
        {"flights": delays.size(), "median": delays.median(), "p90": delays.quantile(0.9)}
    )
    return table[table["flights"] >= max(1, 0.002 * len(flights))].dropna()


def by_weather(frames: Frames) -> dict[str, pd.DataFrame]:
    """The same measures per class of wind, precipitation and visibility at departure."""
    joined = frames.flights.merge(frames.weather, on=["origin", "time_hour"], how="inner")
    variables = {
        "Wind, mph": ("wind_speed", WIND),
        "Precipitation": ("precip", RAIN),
        "Visibility, miles": ("visib", SIGHT),
    }
    return {
        title: grouped(joined, pd.cut(joined[column], edges, labels=labels)).sort_index()
        for title, (column, (edges, labels)) in variables.items()
    }


def fleet(frames: Frames) -> pd.DataFrame:
    """One row per aircraft that flew, with its number of flights and its age in 2013."""
    flown = frames.flights[~frames.flights["cancelled"]]
    counts = flown.groupby("tailnum").size().rename("flights")
    planes = frames.planes.merge(counts, left_on="tailnum", right_index=True)
    makers = planes["manufacturer"].map(lambda maker: MAKERS.get(maker, maker.title()))
    return planes.assign(maker=makers, age=2013 - planes["year"])


def flights_by_age(aircraft: pd.DataFrame) -> pd.Series:
    """Flights per class of aircraft age."""
    edges, labels = AGES
    classes = pd.cut(aircraft["age"], edges, labels=labels)
    return aircraft.groupby(classes, observed=False)["flights"].sum()
