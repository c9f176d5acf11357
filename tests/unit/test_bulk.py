"""Many jobs at once: which are stored together, and what is told when that ends half-way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from portico.exceptions import QueueFullError, ValidationError
from portico.ports import bulk
from portico.ports.bulk import in_portions
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Inserted
from tests.support.jobs import make_job

_STORED = Inserted(JobStatus.PENDING, datetime.now(UTC))


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PORTION", 3)
    monkeypatch.setattr(bulk, "PORTION_BYTES", 10_000)


class Store:
    """Takes so many portions, and is full then."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.portions: list[int] = []

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        self.portions.append(len(drafts))
        if len(self.portions) > self.takes:
            raise QueueFullError("full")
        return [_STORED] * len(drafts)


def jobs(count: int, **fields: object) -> list[Job]:
    return [make_job(**fields) for _ in range(count)]


async def test_a_portion_is_bounded_by_count_and_by_bytes() -> None:
    store = Store(takes=9)
    many = [*jobs(4), *jobs(2, payload={"x": "a" * 20_000}), *jobs(4)]
    told = await in_portions(Draft.of, many, store.insert)
    assert [outcome.job and outcome.job.id for outcome in told] == [job.id for job in many]
    assert store.portions == [3, 2, 1, 3, 1]


async def test_what_is_not_stored_is_told_when_a_later_portion_is_refused() -> None:
    store = Store(takes=1)
    many = [*jobs(6), make_job(queue_name="no spaces"), *jobs(3)]
    told = await in_portions(Draft.of, many, store.insert)
    assert [type(outcome.error) for outcome in told] == [
        *[type(None)] * 3, *[QueueFullError] * 3, ValidationError, *[QueueFullError] * 3,
    ]  # fmt: skip
    assert store.portions == [3, 3]  # and nothing after it was tried


async def test_the_error_is_raised_where_nothing_is_stored() -> None:
    store = Store(takes=0)
    with pytest.raises(QueueFullError):
        await in_portions(Draft.of, jobs(7), store.insert)
    assert store.portions == [3]


async def test_jobs_are_made_as_they_are_stored_and_not_all_before() -> None:
    """A million encoded payloads at a time would be a million payloads of memory."""
    seen: list[tuple[str, int]] = []

    def made(what: str) -> Callable[[Job], Draft]:
        def make(job: Job) -> Draft:
            seen.append((what, 1))
            return Draft.of(job)

        return make

    async def insert(drafts: Sequence[Draft]) -> list[Inserted | None]:
        seen.append(("stored", len(drafts)))
        return [_STORED] * len(drafts)

    await in_portions(made("made"), jobs(5), insert)
    assert seen == [*[("made", 1)] * 3, ("stored", 3), *[("made", 1)] * 2, ("stored", 2)]
