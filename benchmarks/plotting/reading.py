"""What is in the files: tolerant of what is missing or new, for they may be of another version.

Pure functions of decoded JSON; what cannot be understood is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.samples import Summary

Document = Mapping[str, Any]


class Bar(NamedTuple):
    """A ratio of some runs, by name."""

    name: str
    ratio: Summary


class Curve(NamedTuple):
    """The values of one thing, in any order."""

    name: str
    values: Sequence[float]


class Line(NamedTuple):
    """How much faster so many processes were than one; the points by their number."""

    name: str
    points: Mapping[int, Summary]


class Peer(NamedTuple):
    """A system's rate on a store, in jobs per second."""

    system: str
    store: str
    rate: float


def documents(contents: Iterable[Any], kind: str) -> list[Document]:
    """Those of one benchmark."""
    return [one for one in contents if isinstance(one, dict) and one.get("benchmark") == kind]


def ratios(found: Iterable[Document]) -> list[Bar]:
    """From throughput: what part of the raw limit was reached, by queue."""
    return [
        Bar(str(one.get("queue", "?")), Summary.of(values))
        for one in found
        if (values := _numbers(one.get("ratios")))
    ]


def waits(found: Iterable[Document]) -> list[Curve]:
    """From fairness: the waits of all runs, by queue discipline, in seconds."""
    together: dict[str, list[float]] = {}
    for one in found:
        names = one.get("names", {})
        for run in one.get("waits", ()):
            for key, values in run.items():
                together.setdefault(names.get(key, key), []).extend(_numbers(values))
    return [Curve(name, values) for name, values in together.items() if values]


def speed_ups(found: Iterable[Document]) -> list[Line]:
    """From scaling: Portico and plain processes, by the length of the jobs."""
    points: dict[str, dict[int, list[float]]] = {}
    for one in found:
        for run in one.get("runs", ()):
            size = f"jobs of {run.get('milliseconds', 0):g} ms"
            for name, rates in (
                (f"Portico, {size}", run.get("portico", {})),
                (f"plain processes, {size}", run.get("plain", {})),
            ):
                for count, rate in rates.items():
                    here = points.setdefault(name, {}).setdefault(int(count), [])
                    here.append(rate / run["sequential"])
    return [
        Line(name, {count: Summary.of(values) for count, values in sorted(of_line.items())})
        for name, of_line in points.items()
    ]


def latencies(found: Iterable[Document]) -> list[Curve]:
    """From latency: seconds from `create_job` to the handler's first line, by queue."""
    curves = []
    for one in found:
        fields = list(one.get("fields", ()))
        if {"sent", "started"} <= set(fields):
            sent, started = fields.index("sent"), fields.index("started")
            values = [job[started] - job[sent] for run in one.get("runs", ()) for job in run]
            curves.append(Curve(str(one.get("queue", "?")), values))
    return [curve for curve in curves if curve.values]


def peers(contents: Iterable[Any]) -> list[Peer]:
    """Rows with a system and a rate, wherever a file has a list of them; the fastest first."""
    rows = [row for content in contents for row in _rows(content)]
    found = [Peer(str(r["system"]), str(r.get("store") or ""), float(r["rate"])) for r in rows]
    return sorted(found, key=lambda peer: -peer.rate)


def _rows(content: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, dict):
        if "system" in content and isinstance(content.get("rate"), int | float):
            yield content
        else:
            for value in content.values():
                yield from _rows(value)
    elif isinstance(content, list):
        for value in content:
            yield from _rows(value)


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list):
        return []
    return [float(value) for value in values if isinstance(value, int | float)]
