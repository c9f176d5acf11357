"""The fixtures that applications get by `pytest_plugins`; only a topmost conftest names those."""

from __future__ import annotations

from portico.testing.fixtures import job_clock, job_queue, job_service

__all__ = ["job_clock", "job_queue", "job_service"]
