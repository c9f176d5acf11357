"""Instants as people give them: local times that there are not, and those that there are twice."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.exceptions import ValidationError
from portico.kits.job import JobService
from portico.ports.instants import as_local, checked_instant

_SKIPPED = [
    ("Europe/Berlin", (2027, 3, 28, 2, 30), "02:30 on 28 March 2027", "02:00", "03:00", "01:59"),
    ("Europe/Berlin", (2027, 3, 28, 2, 0), "02:00 on 28 March 2027", "02:00", "03:00", "01:59"),
    ("Europe/Berlin", (2027, 3, 28, 2, 59, 59, 999_999), "02:59", "02:00", "03:00", "01:59"),
    ("America/New_York", (2027, 3, 14, 2, 1), "02:01 on 14 March", "02:00", "03:00", "01:59"),
    ("Australia/Lord_Howe", (2027, 10, 3, 2, 15), "02:15 on 3 Oct", "02:00", "02:30", "01:59"),
    ("Africa/Cairo", (2027, 4, 30, 0, 5), "00:05 on 30 April", "00:00", "01:00", "23:59"),
]


@contextmanager
def machine_in(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as here:
        here.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("zone", "wall", "said", "last", "next_", "before"), _SKIPPED)
@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_that_the_clocks_skip_is_refused_with_both_neighbours(
    zone: str, wall: tuple[int, ...], said: str, last: str, next_: str, before: str, fold: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    naive = datetime(*wall, fold=fold)  # type: ignore[misc,arg-type] # noqa: DTZ001
    told = f"{re.escape(said)}.*clocks go from {last} to {next_}; give {before} or {next_}$"
    with pytest.raises(ValidationError, match=f"^scheduled_at is {told}") as caught:
        checked_instant(naive.replace(tzinfo=ZoneInfo(zone)), "scheduled_at")
    assert f"does not exist in {zone}: " in str(caught.value)
    with machine_in(zone, monkeypatch):
        with pytest.raises(ValidationError, match=f"^scheduled_at is {told}") as caught:
            as_local(naive, "scheduled_at")
        assert "does not exist in this machine's time zone: " in str(caught.value)


def test_a_time_that_the_clocks_show_twice_is_the_one_that_its_fold_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with machine_in("Europe/Berlin", monkeypatch):
        for fold, hour in ((0, 0), (1, 1)):
            naive = datetime(2027, 10, 31, 2, 30, fold=fold)  # noqa: DTZ001
            aware = naive.replace(tzinfo=ZoneInfo("Europe/Berlin"))
            instant = datetime(2027, 10, 31, hour, 30, tzinfo=UTC)
            assert as_local(naive, "at") == instant
            assert checked_instant(aware, "at") == instant


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kolkata"]),
)
def test_every_time_that_a_clock_shows_is_taken_as_python_takes_it(
    instant: datetime, zone: str
) -> None:
    shown = instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert checked_instant(shown, "at") == shown
    assert (
        checked_instant(shown.astimezone(timezone(timedelta(hours=5, minutes=45))), "at") == shown
    )


async def test_the_service_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobService(MemoryJobQueueAdapter())
    naive = datetime(2027, 3, 28, 2, 30)  # noqa: DTZ001
    with machine_in("Europe/Berlin", monkeypatch):
        for skipped in (naive, naive.replace(tzinfo=ZoneInfo("Europe/Berlin"))):
            with pytest.raises(ValidationError, match="does not exist"):
                await jobs.create_job("a.b", {}, scheduled_at=skipped)
    assert await jobs.all_stats() == {}
