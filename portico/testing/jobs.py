"""Jobs for tests."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from portico.ports.job import Job


def make_job(**overrides: Any) -> Job:
    """A job that every store accepts, with some fields set otherwise."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "queue_name": "default",
        "job_type": "test.job",
        "payload": {},
    }
    return Job(**{**fields, **overrides})
