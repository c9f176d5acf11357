"""What a flight cannot choose: the weather, and the aircraft."""

from __future__ import annotations

from functools import partial

import pandas as pd

from portico.examples.reports import charts, look, measures
from portico.examples.reports.frames import Frames
from portico.examples.reports.report import Section, Table
from portico.examples.reports.tables import MEASURES, cells

WEATHER_ROWS = {
    "Wind, mph": "Wind {} mph",
    "Precipitation": "Precip. {}",
    "Visibility, miles": "Visibility {} mi",
}


def in_weather(frames: Frames) -> Section | None:
    """How much wind, rain and fog cost."""
    classes = measures.by_weather(frames)
    rows = [
        (WEATHER_ROWS[title].format(label), *cells(row))
        for title, groups in classes.items()
        for label, row in groups.iterrows()
    ]
    if not rows:
        return None
    parts = [
        charts.Panel(title, list(groups.index), list(groups["delay"].fillna(0)))
        for title, groups in classes.items()
    ]
    return Section(
        "Weather and delay",
        _weather_lead(classes),
        partial(charts.weather, parts=parts),
        "Mean departure delay by the weather at the airport in the hour of departure. "
        "Precipitation per hour: trace up to 0.02, light up to 0.1 inches, heavy above.",
        Table(("Condition", *MEASURES), rows, bar=2),
    )


def aircraft(frames: Frames) -> Section | None:
    """Which aircraft flew, and how old they were."""
    planes = measures.fleet(frames)
    if planes.empty:
        return None
    ages = measures.flights_by_age(planes)
    models = planes.groupby(["maker", "model"])["flights"].sum().nlargest(5)
    names = [look.shortened(" ".join(model), 20) for model in models.index]
    return Section(
        "The fleet",
        _fleet_lead(planes, names[0]),
        partial(
            charts.fleet,
            ages=charts.Panel(
                "Flights by age of the aircraft, years", list(ages.index), list(ages)
            ),
            models=charts.Panel("Flights by model", names, list(models)),
        ),
        "Flights whose tail number is in the register of aircraft; age counted from the year of "
        "manufacture to 2013.",
        _makers_table(planes),
    )


def _weather_lead(classes: dict[str, pd.DataFrame]) -> str:
    rain = classes["Precipitation"]
    if list(rain.index) == ["none"]:
        return "It was dry in every hour in which one of these flights left."
    if "none" not in rain.index:
        return "It rained or snowed in every hour in which one of these flights left."
    driest, wettest = rain.iloc[0], rain.iloc[-1]
    return (
        f"In dry hours flights left {look.minutes(driest['delay'])} minutes late on average; "
        f"with {rain.index[-1]} precipitation it was {look.minutes(wettest['delay'])}, "
        f"and {look.share(wettest['cancelled'])} were cancelled."
    )


def _fleet_lead(planes: pd.DataFrame, model: str) -> str:
    flights = planes["flights"].sum()
    lead = (
        f"{look.count(len(planes))} registered aircraft flew {look.count(flights)} of these "
        f"flights. The most used model was the {model}."
    )
    known = planes[planes["age"].notna()]
    if known.empty:
        return lead
    age = (known["age"] * known["flights"]).sum() / known["flights"].sum()
    return f"{lead} The average flight was on an aircraft {look.minutes(age)} years old."


def _makers_table(planes: pd.DataFrame) -> Table:
    groups = planes.groupby("maker").agg(
        aircraft=("tailnum", "size"),
        flights=("flights", "sum"),
        seats=("seats", "mean"),
        age=("age", "mean"),
    )
    rows = [
        (maker, look.count(aircraft), look.count(flights), look.count(seats), look.minutes(age))
        for maker, aircraft, flights, seats, age in groups.nlargest(8, "flights").itertuples()
    ]
    return Table(("Manufacturer", "Aircraft", "Flights", "Mean seats", "Mean age, years"), rows)
