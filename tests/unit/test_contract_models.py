"""What application code may rely on: fields, their order and their defaults."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from portico.exceptions import ValidationError
from portico.ports.audit import AuditAction, AuditEvent, AuditQuery, AuditSummary
from portico.ports.job import Job, JobResult, JobStatus, QueueStats
from tests.support.jobs import make_job

JOB_FIELDS = {
    "id": dataclasses.MISSING,
    "queue_name": dataclasses.MISSING,
    "job_type": dataclasses.MISSING,
    "payload": dataclasses.MISSING,
    "priority": 0,
    "max_retries": 3,
    "retry_count": 0,
    "scheduled_at": None,
    "started_at": None,
    "completed_at": None,
    "failed_at": None,
    "status": JobStatus.PENDING,
    "error_message": None,
    "created_by": None,
    "created_at": None,
    "metadata": {},
}


def field_defaults(model):
    """Field name to default, in order."""
    return {
        f.name: f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        for f in dataclasses.fields(model)
    }


def test_job_has_its_fields_in_the_documented_order():
    assert list(field_defaults(Job).items()) == list(JOB_FIELDS.items())


def test_job_can_be_built_by_position():
    job_id, now = uuid4(), datetime.now(UTC)

    job = Job(job_id, "default", "email.send", {"a": 1}, 5, 2, 1, now)

    assert (job.priority, job.max_retries, job.retry_count, job.scheduled_at) == (5, 2, 1, now)


def test_job_is_pending_even_when_it_is_scheduled():
    later = datetime.now(UTC) + timedelta(days=1)

    assert make_job(scheduled_at=later).status is JobStatus.PENDING


def test_metadata_is_not_shared_between_jobs():
    assert make_job().metadata is not make_job().metadata


def test_job_can_be_copied_with_replace_and_with_its_dict():
    job = make_job(payload={"a": 1}, metadata={"b": 2})

    by_replace = replace(job, priority=7)
    by_dict = Job(**{**job.__dict__, "priority": 7})

    assert by_replace == by_dict
    assert (by_dict.id, by_dict.payload, by_dict.priority) == (job.id, {"a": 1}, 7)
    assert job.priority == 0


@pytest.mark.parametrize(
    "value",
    [
        make_job(),
        JobResult(success=True),
        QueueStats("default", 0, 0, 0, 0, 0),
        AuditEvent(action=AuditAction.CREATE, resource_type="job"),
        AuditQuery(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fields_cannot_be_assigned(value):
    name = dataclasses.fields(value)[0].name

    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


def test_job_statuses_compare_equal_to_their_string():
    names = ["pending", "scheduled", "running", "completed", "failed", "retrying", "dead_letter"]

    assert list(JobStatus) == names
    assert json.dumps(list(JobStatus)) == json.dumps(names)


def test_job_result_defaults():
    assert field_defaults(JobResult) == {
        "success": dataclasses.MISSING,
        "error": None,
        "result_data": {},
        "retryable": False,
    }
    assert JobResult(True, ValueError("x"), {"a": 1}).result_data == {"a": 1}


def test_queue_stats_have_five_counts_and_two_that_default_to_zero():
    stats = QueueStats("default", 1, 2, 3, 4, 5)

    assert list(field_defaults(QueueStats)) == [
        "queue_name",
        "pending_count",
        "running_count",
        "completed_count",
        "failed_count",
        "dead_letter_count",
        "scheduled_count",
        "retrying_count",
    ]
    assert (stats.scheduled_count, stats.retrying_count) == (0, 0)
    assert replace(stats, scheduled_count=6, retrying_count=7).total == 28


def test_audit_actions():
    assert list(AuditAction) == [
        "create", "read", "update", "delete", "login",
        "logout", "export", "import", "approve", "reject",
    ]  # fmt: skip


def test_audit_event_needs_an_action_and_a_resource_type_only():
    event = AuditEvent(action=AuditAction.CREATE, resource_type="job")

    assert isinstance(event.id, UUID)
    assert event.timestamp.utcoffset() == timedelta(0)
    assert [f.name for f in dataclasses.fields(event) if getattr(event, f.name) in (None, {})] == [
        "user_id", "group_id", "resource_id", "details", "ip_address", "user_agent", "session_id",
        "error_message",
    ]  # fmt: skip
    assert event.success is True
    with pytest.raises(TypeError):
        AuditEvent(AuditAction.CREATE, "job")


def test_audit_query_matches_all_unless_told_otherwise():
    assert field_defaults(AuditQuery) == {
        **dict.fromkeys(
            [
                "user_id", "user_ids", "group_id", "group_ids", "action", "actions",
                "resource_type", "resource_types", "resource_id", "start_date", "end_date",
                "success",
            ]
        ),
        "limit": 100,
        "offset": 0,
    }  # fmt: skip


@pytest.mark.parametrize("page", [{"limit": 0}, {"limit": 1001}, {"offset": -1}])
def test_audit_query_refuses_a_page_out_of_range(page):
    with pytest.raises(ValidationError, match=next(iter(page))):
        AuditQuery(**page)


@pytest.mark.parametrize("page", [{"limit": 1}, {"limit": 1000}, {"offset": 0}])
def test_audit_query_takes_the_ends_of_the_range(page):
    assert AuditQuery(**page)


def test_audit_summary_has_the_documented_fields():
    assert [f.name for f in dataclasses.fields(AuditSummary)] == [
        "total_events", "events_by_action", "events_by_user", "events_by_resource_type",
        "events_by_group", "success_rate", "time_range",
    ]  # fmt: skip
