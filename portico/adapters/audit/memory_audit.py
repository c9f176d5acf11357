"""An audit log in memory: for tests, and for a system that keeps none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from portico.ports import document
from portico.ports.audit import AuditAdapter, AuditEvent, AuditQuery, AuditSummary
from portico.utils.logging import get_logger

log = get_logger(__name__)

CAPACITY = 100_000


class MemoryAuditAdapter(AuditAdapter):
    """Keeps the newest events, and forgets them with the process.

    Args:
        capacity: how many events to keep; the oldest go first.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: dict[UUID, AuditEvent] = {}

    async def log_event(self, event: AuditEvent) -> None:
        try:
            details = document.decode(document.encode_result(event.details, "details"))
        except Exception:
            log.exception("audit event lost", resource_id=event.resource_id)
            return
        self._events.setdefault(event.id, replace(event, details=details))
        if len(self._events) > self._capacity:
            del self._events[next(iter(self._events))]

    async def search_events(self, query: AuditQuery) -> list[AuditEvent]:
        found = _newest_first(event for event in self._events.values() if _matches(event, query))
        return found[query.offset : query.offset + query.limit]

    async def get_user_activity(self, user_id: UUID, days: int = 30) -> list[AuditEvent]:
        since = datetime.now(UTC) - timedelta(days=days)
        query = AuditQuery(user_id=user_id, start_date=since)
        return _newest_first(event for event in self._events.values() if _matches(event, query))

    async def get_resource_history(self, resource_type: str, resource_id: str) -> list[AuditEvent]:
        query = AuditQuery(resource_type=resource_type, resource_id=resource_id)
        return _newest_first(event for event in self._events.values() if _matches(event, query))

    async def generate_summary(self, start_date: datetime, end_date: datetime) -> AuditSummary:
        query = AuditQuery(start_date=start_date, end_date=end_date)
        events = [event for event in self._events.values() if _matches(event, query)]
        successes = sum(event.success for event in events)
        return AuditSummary(
            total_events=len(events),
            events_by_action=Counter(event.action.value for event in events),
            events_by_user=Counter(str(event.user_id) for event in events if event.user_id),
            events_by_resource_type=Counter(event.resource_type for event in events),
            events_by_group=Counter(str(event.group_id) for event in events if event.group_id),
            success_rate=successes / len(events) if events else 1.0,
            time_range=(start_date, end_date),
        )

    async def cleanup_old_events(self, older_than_days: int) -> int:
        limit = (datetime.now(UTC) - timedelta(days=older_than_days)).timestamp()
        old = [event.id for event in self._events.values() if event.timestamp.timestamp() < limit]
        for event_id in old:
            del self._events[event_id]
        return len(old)


def _newest_first(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    in_order = sorted(events, key=lambda event: event.timestamp.timestamp())
    return in_order[::-1]  # the last logged first among equals


def _matches(event: AuditEvent, query: AuditQuery) -> bool:
    at = event.timestamp.timestamp()
    return (
        _is_among(event.user_id, query.user_id, query.user_ids)
        and _is_among(event.group_id, query.group_id, query.group_ids)
        and _is_among(event.action, query.action, query.actions)
        and _is_among(event.resource_type, query.resource_type, query.resource_types)
        and query.resource_id in (None, event.resource_id)
        and query.success in (None, event.success)
        and (query.start_date is None or at >= query.start_date.timestamp())
        and (query.end_date is None or at < query.end_date.timestamp())
    )


def _is_among(value: object, one: object, several: Collection[object] | None) -> bool:
    if one is None and several is None:
        return True
    return value is not None and (value == one or (several is not None and value in several))
