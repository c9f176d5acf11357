"""The findings of a report, one function each: numbers in, a section out."""

from __future__ import annotations

from calendar import month_abbr, month_name
from collections.abc import Sequence
from functools import partial

from portico.examples.reports import charts, look, measures
from portico.examples.reports.circumstances import aircraft, in_weather
from portico.examples.reports.frames import Frames
from portico.examples.reports.report import Section, Table
from portico.examples.reports.tables import measures_table

ENOUGH = 20
"""Flights below which a group is not worth a sentence."""

ABBREVIATED, FULL = tuple(month_abbr), tuple(month_name)


def sections(frames: Frames) -> tuple[Section, ...]:
    """All sections that the data can fill, in reading order."""
    candidates = (
        through_the_day(frames),
        over_time(frames),
        busiest_routes(frames),
        *(compared(frames, by) for by in _comparisons(frames)),
        in_weather(frames),
        aircraft(frames),
    )
    return tuple(section for section in candidates if section is not None)


def through_the_day(frames: Frames) -> Section | None:
    """How delays build up from morning to night."""
    hours = measures.by_hour(frames.flights)
    if len(hours) <= 1:
        return None
    best, worst = hours["p90"].idxmin(), hours["p90"].idxmax()
    lead = (
        f"One in ten of the flights scheduled between {look.clock(worst)} and "
        f"{look.clock(worst + 1)} left {look.count(hours.loc[worst, 'p90'])} minutes late or more. "
        f"Between {look.clock(best)} and {look.clock(best + 1)} that figure was "
        f"{look.count(hours.loc[best, 'p90'])}."
    )
    rows = [
        (look.clock(hour), look.count(flights), look.minutes(median), look.minutes(p90))
        for hour, flights, median, p90 in hours.itertuples()
    ]
    return Section(
        "Delays through the day",
        lead,
        partial(charts.delays_by_hour, hours=hours),
        "Departure delay of flights that were operated. Negative values left early. "
        "Hours with very few flights are left out.",
        Table(("Hour", "Flights", "Median delay, min", "Ninth decile, min"), rows),
    )


def over_time(frames: Frames) -> Section | None:
    """Punctuality and cancellations from month to month, or from day to day."""
    periods = measures.grouped(frames.flights, frames.period).sort_index()
    solid = periods[periods["flights"] >= ENOUGH]
    if len(solid) <= 1:
        return None
    names = [_period_name(frames, period) for period in periods.index]
    best, worst, void = (
        solid["on_time"].idxmax(), solid["on_time"].idxmin(), solid["cancelled"].idxmax(),
    )  # fmt: skip
    lead = (
        f"{_period_name(frames, best, FULL)} was the most punctual {frames.period} with "
        f"{look.share(solid.loc[best, 'on_time'])} on time, {_period_name(frames, worst, FULL)} "
        f"the least with {look.share(solid.loc[worst, 'on_time'])}. Most cancellations: "
        f"{_period_name(frames, void, FULL)}, {look.share(solid.loc[void, 'cancelled'])}."
    )
    own = frames.scope.report_type in {"overview", "month"}
    labels = names if frames.period == "month" else [str(day) for day in periods.index]
    return Section(
        "The year month by month" if frames.period == "month" else "The month day by day",
        lead,
        partial(
            charts.on_time_by_period,
            periods=periods,
            network=frames.network.iloc[:0] if own else frames.network,
            labels=labels,
        ),
        "Share of the arrivals less than 15 minutes after schedule, and share of the flights that "
        "were cancelled." + ("" if own else " The grey line is all flights out of New York."),
        measures_table(frames.period.title(), names, periods),
    )


def busiest_routes(frames: Frames) -> Section:
    """The routes that most of these flights take."""
    routes = measures.grouped(frames.flights, "route")
    top = routes.head(12)
    part = top["flights"].sum() / len(frames.flights)
    lead = (
        f"The busiest route was {top.index[0]} ({_airport(frames, top.index[0][-3:])}) "
        f"with {look.count(top['flights'].iloc[0])} flights."
    )
    if len(top) < len(routes):
        lead += f" These {len(top)} of {len(routes)} carried {look.share(part)} of all."
    return Section(
        "Busiest routes",
        lead,
        partial(charts.outcomes, groups=top, labels=list(top.index)),
        "On time: arrived less than 15 minutes after schedule.",
        measures_table("Route", list(top.index), top),
    )


def compared(frames: Frames, by: str) -> Section:
    """The same flights by airline, or by the airport they left from or went to."""
    groups = measures.grouped(frames.flights, by).head(16)
    groups = groups.dropna(subset=["on_time"]).sort_values("on_time", ascending=False)
    names = frames.airlines if by == "carrier" else frames.airports
    labels = [look.shortened(names.get(code, code), 26) for code in groups.index]
    what = {"carrier": "Airlines", "origin": "Airports of departure", "dest": "Destinations"}[by]
    lead = "Only one served these flights."
    if len(groups) > 1:
        first, last = groups.iloc[0], groups.iloc[-1]
        lead = (
            f"{labels[0]} came first with {look.share(first['on_time'])} of its flights on time, "
            f"{labels[-1]} last with {look.share(last['on_time'])}."
        )
    return Section(
        f"{what} compared" if len(groups) > 1 else what,
        lead,
        partial(charts.on_time_ranking, groups=groups, labels=labels, average=frames.average),
        "Dots right of the dashed line did better than all flights out of New York "
        f"{'in this month' if frames.scope.month else 'in 2013'}.",
        measures_table(what.partition(" ")[0].removesuffix("s"), labels, groups),
    )


def _comparisons(frames: Frames) -> tuple[str, ...]:
    return {
        "overview": ("carrier", "origin", "dest"),
        "carrier": ("origin",),
        "origin": ("carrier",),
        "destination": ("carrier", "origin"),
        "month": ("carrier", "origin"),
    }[frames.scope.report_type]


def _period_name(frames: Frames, period: int, months: Sequence[str] = ABBREVIATED) -> str:
    if frames.period == "month":
        return months[period]
    return f"{period} {frames.scope.month}"


def _airport(frames: Frames, code: str) -> str:
    return look.shortened(frames.airports.get(code, code), 40)
