"""The port of the audit log: who did what to which thing, and whether it worked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from portico.exceptions import ValidationError

MAX_PAGE = 1000


class AuditAction(str, Enum):
    """What was done. Members compare equal to their string."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    LOGIN = "login"
    LOGOUT = "logout"
    EXPORT = "export"
    IMPORT = "import"
    APPROVE = "approve"
    REJECT = "reject"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One entry of the audit log. `timestamp` is aware; `details` is a JSON object."""

    action: AuditAction
    resource_type: str
    id: UUID = field(default_factory=uuid4)
    user_id: UUID | None = None
    group_id: UUID | None = None
    resource_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    ip_address: str | None = None
    user_agent: str | None = None
    timestamp: datetime = field(default_factory=_now)
    session_id: str | None = None
    success: bool = True
    error_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditQuery:
    """Which events to find; every condition left out matches all.

    The single and the plural form of a condition (`user_id`, `user_ids`) are joined. `start_date`
    is inclusive, `end_date` exclusive. Newest first; `limit` from 1 to 1000, `offset` from 0.

    Raises:
        ValidationError: `limit` or `offset` is out of range.
    """

    user_id: UUID | None = None
    user_ids: Sequence[UUID] | None = None
    group_id: UUID | None = None
    group_ids: Sequence[UUID] | None = None
    action: AuditAction | None = None
    actions: Sequence[AuditAction] | None = None
    resource_type: str | None = None
    resource_types: Sequence[str] | None = None
    resource_id: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    success: bool | None = None
    limit: int = 100
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_PAGE:
            raise ValidationError(f"limit is {self.limit}; give 1 to {MAX_PAGE}")
        if self.offset < 0:
            raise ValidationError(f"offset is {self.offset}; give 0 or more")


@dataclass(frozen=True)
class AuditSummary:
    """Counts over a span of time.

    `success_rate` is a fraction from 0 to 1 (1 when nothing happened); `time_range` is the span
    that was asked for, as (start, end); identifiers in the keys are strings.
    """

    total_events: int
    events_by_action: Mapping[str, int]
    events_by_user: Mapping[str, int]
    events_by_resource_type: Mapping[str, int]
    events_by_group: Mapping[str, int]
    success_rate: float
    time_range: tuple[datetime, datetime]


class AuditAdapter(ABC):
    """Keeps audit events."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Write what is waiting and let go of every connection. May be called twice."""

    @abstractmethod
    async def log_event(self, event: AuditEvent) -> None:
        """Store one event. Never raises to the caller: a failure goes to the log."""

    @abstractmethod
    async def search_events(self, query: AuditQuery) -> list[AuditEvent]:
        """The events that match, newest first, one page."""

    @abstractmethod
    async def get_user_activity(self, user_id: UUID, days: int = 30) -> list[AuditEvent]:
        """What one user did in the last `days` days, newest first."""

    @abstractmethod
    async def get_resource_history(self, resource_type: str, resource_id: str) -> list[AuditEvent]:
        """All that happened to one thing, newest first."""

    @abstractmethod
    async def generate_summary(self, start_date: datetime, end_date: datetime) -> AuditSummary:
        """Count the events from `start_date` (inclusive) to `end_date` (exclusive)."""

    @abstractmethod
    async def cleanup_old_events(self, older_than_days: int) -> int:
        """Delete what is older than that many days; return how many events went."""
