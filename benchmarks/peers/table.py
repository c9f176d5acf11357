"""What a comparison measured: as a table, and as what is written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.peers.catalogue import Peer
from benchmarks.peers.run import PeerSample
from benchmarks.samples import Summary

_TEXTS = ("system", "version", "store", "processes")
_NUMBERS = ("enqueue/s", "done/s", "low-high", "Portico ÷ it")


@dataclass
class Result:
    """All that is known of one system; `samples` has `None` for a round that it missed."""

    peer: Peer
    jobs: int
    about: Mapping[str, Any] = field(default_factory=dict)
    samples: list[PeerSample | None] = field(default_factory=list)
    failure: str = ""
    said: str = ""

    @property
    def measured(self) -> list[PeerSample]:
        """The rounds that it did not miss."""
        return [sample for sample in self.samples if sample]

    @property
    def version(self) -> str:
        """Of the system itself."""
        return next(iter(self.about.get("versions", {}).values()), "")

    @property
    def extra(self) -> int:
        """How many jobs were run twice, in the worst of its rounds."""
        return max((sample.executed - sample.jobs for sample in self.measured), default=0)

    def written(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            **self.peer._asdict(), **self.about, "jobs": self.jobs, "failure": self.failure,
            "said": self.said,
            "samples": [sample and dataclasses.asdict(sample) for sample in self.samples],
        }  # fmt: skip


def ratios(results: Sequence[Result]) -> dict[str, list[float]]:
    """By key of a system, how many times as fast Portico was on the same store, round by round."""
    portico = {found.peer.store: found for found in results if found.peer.is_portico}
    return {
        found.peer.key: [
            ours.rate / its.rate
            for ours, its in zip(portico[found.peer.store].samples, found.samples, strict=False)
            if ours and its
        ]
        for found in results
        if found.peer.store in portico and not found.peer.is_portico
    }


def table(title: str, results: Sequence[Result]) -> Table:
    """A row per system; one that failed says only that."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for heading in _TEXTS:
        made.add_column(heading, overflow="fold", no_wrap=heading == "system")
    for heading in _NUMBERS:
        made.add_column(heading, justify="right", overflow="fold")
    times = ratios(results)
    for found in results:
        made.add_row(*cells(found, times.get(found.peer.key, [])))
    return made


def cells(found: Result, times: Sequence[float]) -> list[str]:
    """The row of one system."""
    known = [found.peer.name, found.version, found.peer.store, found.about.get("processes", "")]
    if not found.measured:
        return [*known, "", "failed", "", ""]
    entered = [s.enqueue_rate for s in found.measured if s.enqueue_rate is not None]
    rates = Summary.of([sample.rate for sample in found.measured])
    return [
        *known,
        f"{Summary.of(entered).median:,.0f}" if entered else "",
        f"{rates.median:,.0f}",
        f"{rates.lowest:,.0f}-{rates.highest:,.0f}" if len(found.measured) > 1 else "",
        f"{Summary.of(times).median:,.2f}" if times else "",
    ]


def remarks(results: Sequence[Result]) -> list[str]:
    """What does not fit into a row: why one failed, and how many jobs it ran twice."""
    return [
        f"{found.peer.key}: {remark}"
        for found in results
        for remark in (
            f"failed in round {len(found.measured) + 1}: {found.failure}" if found.failure else "",
            f"{found.extra} of {found.jobs} jobs ran twice" if found.extra else "",
        )
        if remark
    ]
