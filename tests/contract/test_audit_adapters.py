"""What every audit log promises, whatever it is kept in."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from portico import compose
from portico.adapters.audit.memory_audit import MemoryAuditAdapter
from portico.adapters.audit.sqlite_audit import DatabaseAuditAdapter
from portico.exceptions import ConfigurationError, DatabaseError, ValidationError
from portico.ports.audit import AuditAction, AuditAdapter, AuditEvent, AuditQuery

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANN, BOB = uuid4(), uuid4()


@pytest.fixture(params=["memory", "sqlite"])
async def audit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AuditAdapter]:
    if request.param == "memory":
        yield MemoryAuditAdapter()
        return
    async with DatabaseAuditAdapter(tmp_path / "audit.db") as adapter:
        yield adapter


def event(minutes: float = 0, **fields: object) -> AuditEvent:
    values = {
        "action": AuditAction.CREATE, "resource_type": "job", "resource_id": "j1",
        "timestamp": NOON + timedelta(minutes=minutes), **fields,
    }  # fmt: skip
    return AuditEvent(**values)  # type: ignore[arg-type]


async def test_an_event_comes_back_as_it_was_logged(audit: AuditAdapter) -> None:
    logged = event(
        user_id=ANN, group_id=BOB, details={"a": [1, None], "b": {"c": "é"}}, ip_address="::1",
        user_agent="x", session_id="s", success=False, error_message="no",
    )  # fmt: skip
    await audit.log_event(logged)
    assert await audit.search_events(AuditQuery()) == [logged]


async def test_events_come_newest_first_and_the_last_logged_first_among_equals(
    audit: AuditAdapter,
) -> None:
    logged = [event(1), event(3), event(2), event(2)]
    for one in logged:
        await audit.log_event(one)
    found = await audit.search_events(AuditQuery())
    assert found == [logged[1], logged[3], logged[2], logged[0]]


async def test_pages_follow_each_other(audit: AuditAdapter) -> None:
    for minute in range(5):
        await audit.log_event(event(minute))
    pages = [await audit.search_events(AuditQuery(limit=2, offset=n)) for n in (0, 2, 4)]
    minutes = [[found.timestamp.minute for found in page] for page in pages]
    assert minutes == [[4, 3], [2, 1], [0]]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "abcd"),
        ({"user_id": ANN}, "a"),
        ({"user_ids": [ANN, BOB]}, "ab"),
        ({"user_id": ANN, "user_ids": [BOB]}, "ab"),
        ({"user_ids": []}, ""),
        ({"group_id": BOB}, "c"),
        ({"group_ids": [BOB]}, "c"),
        ({"action": AuditAction.UPDATE}, "b"),
        ({"actions": [AuditAction.UPDATE, AuditAction.DELETE]}, "bc"),
        ({"resource_type": "user"}, "d"),
        ({"resource_types": ["user", "job"], "resource_id": "j1"}, "a"),
        ({"success": False}, "c"),
        ({"success": True}, "abd"),
        ({"start_date": NOON + timedelta(minutes=1)}, "bcd"),
        ({"end_date": NOON + timedelta(minutes=1)}, "a"),
        ({"start_date": NOON, "end_date": NOON + timedelta(minutes=2)}, "ab"),
    ],
)
async def test_conditions_are_joined(
    audit: AuditAdapter, conditions: dict[str, object], expected: str
) -> None:
    for one in (
        event(0, session_id="a", user_id=ANN),
        event(1, session_id="b", user_id=BOB, action=AuditAction.UPDATE, resource_id="j2"),
        event(2, session_id="c", group_id=BOB, action=AuditAction.DELETE, success=False,
              resource_id=None),
        event(3, session_id="d", resource_type="user", resource_id="u1"),
    ):  # fmt: skip
        await audit.log_event(one)
    found = await audit.search_events(AuditQuery(**conditions))  # type: ignore[arg-type]
    assert "".join(sorted(str(one.session_id) for one in found)) == expected


async def test_the_history_of_one_thing_is_complete(audit: AuditAdapter) -> None:
    for minute in range(120):
        await audit.log_event(event(minute))
    await audit.log_event(event(resource_id="other"))
    await audit.log_event(event(resource_type="user"))
    assert len(await audit.get_resource_history("job", "j1")) == 120


async def test_a_users_activity_reaches_back_as_many_days_as_asked(audit: AuditAdapter) -> None:
    now = datetime.now(UTC)
    for days in (0, 5, 40):
        await audit.log_event(event(user_id=ANN, timestamp=now - timedelta(days=days)))
    await audit.log_event(event(user_id=BOB, timestamp=now))
    assert len(await audit.get_user_activity(ANN)) == 2
    assert len(await audit.get_user_activity(ANN, days=1)) == 1


async def test_a_summary_counts_what_happened_in_its_span(audit: AuditAdapter) -> None:
    for one in (
        event(0, user_id=ANN),
        event(1, user_id=ANN, action=AuditAction.UPDATE, success=False),
        event(2, group_id=BOB, resource_type="user"),
        event(3),
        event(60),
    ):
        await audit.log_event(one)
    span = NOON, NOON + timedelta(minutes=4)
    summary = await audit.generate_summary(*span)
    assert summary.total_events == 4
    assert summary.events_by_action == {"create": 3, "update": 1}
    assert summary.events_by_user == {str(ANN): 2}
    assert summary.events_by_resource_type == {"job": 3, "user": 1}
    assert summary.events_by_group == {str(BOB): 1}
    assert summary.success_rate == 0.75
    assert summary.time_range == span


async def test_a_summary_of_nothing_has_full_success(audit: AuditAdapter) -> None:
    summary = await audit.generate_summary(NOON, NOON)
    assert (summary.total_events, summary.success_rate) == (0, 1.0)


async def test_cleanup_deletes_what_is_older_and_says_how_much(audit: AuditAdapter) -> None:
    now = datetime.now(UTC)
    for days in (1, 10, 20):
        await audit.log_event(event(timestamp=now - timedelta(days=days)))
    assert await audit.cleanup_old_events(5) == 2
    assert await audit.cleanup_old_events(5) == 0
    assert len(await audit.search_events(AuditQuery())) == 1


async def test_an_event_logged_twice_is_kept_once(audit: AuditAdapter) -> None:
    same = event()
    await audit.log_event(same)
    await audit.log_event(same)
    assert await audit.search_events(AuditQuery()) == [same]


async def test_details_are_kept_as_they_were_when_logged(audit: AuditAdapter) -> None:
    details = {"n": 1}
    await audit.log_event(event(details=details))
    details["n"] = 2
    (found,) = await audit.search_events(AuditQuery())
    assert found.details == {"n": 1}


async def test_details_that_cannot_be_kept_lose_the_event_and_nothing_else(
    audit: AuditAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    await audit.log_event(event(details={"x": object()}))
    await audit.log_event(event(details={"id": UUID(int=1)}))
    (found,) = await audit.search_events(AuditQuery())
    assert found.details == {"id": str(UUID(int=1))}
    assert "audit event lost" in caplog.text


async def test_many_events_at_once_are_all_kept(audit: AuditAdapter) -> None:
    await asyncio.gather(*(audit.log_event(event(n / 60)) for n in range(500)))
    summary = await audit.generate_summary(NOON, NOON + timedelta(hours=1))
    assert summary.total_events == 500


def test_a_page_has_limits() -> None:
    with pytest.raises(ValidationError, match="limit is 0"):
        AuditQuery(limit=0)


async def test_memory_forgets_the_oldest_beyond_its_capacity() -> None:
    audit = MemoryAuditAdapter(capacity=2)
    for minute in range(3):
        await audit.log_event(event(minute))
    assert len(await audit.search_events(AuditQuery())) == 2


async def test_a_file_that_cannot_be_written_loses_events_but_never_raises(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit = DatabaseAuditAdapter(tmp_path / "missing" / "audit.db")
    await audit.log_event(event())
    assert "audit event lost" in caplog.text
    with pytest.raises(DatabaseError, match=r"audit\.db"):
        await audit.search_events(AuditQuery())
    await audit.close()


async def test_events_survive_closing_and_reopening(tmp_path: Path) -> None:
    audit = DatabaseAuditAdapter(tmp_path / "audit.db")
    await audit.log_event(event())
    await audit.close()
    await audit.close()
    assert len(await audit.search_events(AuditQuery())) == 1
    await audit.close()


async def test_closing_waits_for_events_under_way(tmp_path: Path) -> None:
    audit = DatabaseAuditAdapter(tmp_path / "audit.db")
    logging = [asyncio.create_task(audit.log_event(event(n))) for n in range(20)]
    await asyncio.sleep(0)
    await audit.close()
    await asyncio.gather(*logging)
    connection = sqlite3.connect(tmp_path / "audit.db")
    assert connection.execute("SELECT count(*) FROM audit_events").fetchone() == (20,)
    connection.close()


async def test_events_that_arrive_during_a_commit_share_the_next_one(tmp_path: Path) -> None:
    async with DatabaseAuditAdapter(tmp_path / "audit.db") as audit:
        commits: list[str] = []
        await audit._run(lambda connection: connection.set_trace_callback(commits.append))
        await asyncio.gather(*(audit.log_event(event(n)) for n in range(200)))
    assert sum(statement == "COMMIT" for statement in commits) < 5


async def test_a_caller_that_gives_up_does_not_lose_the_others(tmp_path: Path) -> None:
    async with DatabaseAuditAdapter(tmp_path / "audit.db") as audit:
        hasty = asyncio.create_task(audit.log_event(event(1)))
        patient = asyncio.create_task(audit.log_event(event(2)))
        await asyncio.sleep(0)
        hasty.cancel()
        await patient
        assert len(await audit.search_events(AuditQuery())) == 2


def test_a_url_names_the_audit_log(tmp_path: Path) -> None:
    assert isinstance(compose.audit("memory://"), MemoryAuditAdapter)
    assert isinstance(compose.audit(f"sqlite:///{tmp_path}/audit.db"), DatabaseAuditAdapter)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "oracle://u:hunter2@h", "audit.db"])
def test_a_url_that_names_no_audit_log_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"give memory:// or sqlite:///audit\.db"
    ) as caught:
        compose.audit(url)
    assert "hunter2" not in str(caught.value)


async def test_the_audit_log_may_share_the_file_of_the_jobs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with DatabaseAuditAdapter(tmp_path / "jobs.db") as audit:
        async with compose.job_service(url, audit=audit) as jobs:
            created = [await jobs.create_job("a.b", {"n": n}) for n in range(20)]
        history = await audit.get_resource_history("job", str(created[7].id))
    assert [event.details["event"] for event in history] == ["created"]
