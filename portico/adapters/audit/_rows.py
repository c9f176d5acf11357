"""Audit events as rows of a table, and audit queries as conditions on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from portico.ports import document
from portico.ports.audit import AuditAction, AuditEvent, AuditQuery

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT,
    user_id TEXT,
    group_id TEXT,
    success INTEGER NOT NULL,
    details TEXT NOT NULL,
    ip_address TEXT,
    user_agent TEXT,
    session_id TEXT,
    error_message TEXT
);
CREATE INDEX IF NOT EXISTS audit_events_by_time ON audit_events (at);
CREATE INDEX IF NOT EXISTS audit_events_by_user ON audit_events (user_id, at);
CREATE INDEX IF NOT EXISTS audit_events_by_resource
    ON audit_events (resource_type, resource_id, at);
"""

COLUMNS = (
    "id, at, action, resource_type, resource_id, user_id, group_id, success, details, "
    "ip_address, user_agent, session_id, error_message"
)
PLACES = ", ".join("?" for _ in COLUMNS.split(","))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row_of(event: AuditEvent) -> tuple[Any, ...]:
    """The values of `COLUMNS`.

    Raises:
        ValidationError: the details have no JSON form.
    """
    return (
        str(event.id),
        micros(event.timestamp),
        AuditAction(event.action).value,
        event.resource_type,
        event.resource_id,
        _text(event.user_id),
        _text(event.group_id),
        int(event.success),
        document.encode_result(event.details, "details").decode(),
        event.ip_address,
        event.user_agent,
        event.session_id,
        event.error_message,
    )


def event_of(row: tuple[Any, ...]) -> AuditEvent:
    """The event of a row of `COLUMNS`."""
    (
        event_id,
        at,
        action,
        resource_type,
        resource_id,
        user_id,
        group_id,
        success,
        details,
        *rest,
    ) = row
    ip_address, user_agent, session_id, error_message = rest
    return AuditEvent(
        id=UUID(event_id),
        timestamp=_EPOCH + timedelta(microseconds=at),
        action=AuditAction(action),
        resource_type=resource_type,
        resource_id=resource_id,
        user_id=UUID(user_id) if user_id else None,
        group_id=UUID(group_id) if group_id else None,
        success=bool(success),
        details=document.decode(details),
        ip_address=ip_address,
        user_agent=user_agent,
        session_id=session_id,
        error_message=error_message,
    )


def conditions(query: AuditQuery) -> tuple[str, list[Any]]:
    """The text of a WHERE clause and its values."""
    terms: list[str] = ["1"]
    values: list[Any] = []

    def among(column: str, one: object, several: Iterable[object] | None) -> None:
        if one is not None or several is not None:
            wanted = {_text(value) for value in (one, *(several or ())) if value is not None}
            terms.append(f"{column} IN ({', '.join('?' for _ in wanted)})")
            values.extend(wanted)

    def compare(term: str, value: object) -> None:
        if value is not None:
            terms.append(term)
            values.append(value)

    among("user_id", query.user_id, query.user_ids)
    among("group_id", query.group_id, query.group_ids)
    among("action", query.action, query.actions)
    among("resource_type", query.resource_type, query.resource_types)
    compare("resource_id = ?", query.resource_id)
    compare("success = ?", query.success)
    compare("at >= ?", query.start_date and micros(query.start_date))
    compare("at < ?", query.end_date and micros(query.end_date))
    return " AND ".join(terms), values


def micros(instant: datetime) -> int:
    """Microseconds since 1970; a naive instant is local time."""
    return (instant.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.value if isinstance(value, AuditAction) else str(value)
