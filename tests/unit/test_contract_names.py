"""What application code may rely on: import paths, and what the ports ask for."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from portico import ports
from portico.ports.audit import AuditAdapter
from portico.ports.job import JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.job_trigger import JobTrigger
from tests.support.jobs import make_job

PORTS = Path(ports.__path__[0])
PATHS = {
    "portico.ports.job": "Job JobResult JobStatus QueueStats",
    "portico.ports.job_handler": "JobHandler",
    "portico.ports.job_queue": "JobQueueAdapter Lease Settlement Exchange",
    "portico.ports.job_creator": "JobCreator",
    "portico.ports.job_trigger": "JobTrigger",
    "portico.ports.job_executor": "JobExecutor Outcome",
    "portico.ports.bulk": "Created",
    "portico.ports.transaction": "Transaction SyncTransaction",
    "portico.ports.audit": "AuditAction AuditEvent AuditQuery AuditSummary AuditAdapter",
    "portico.kits.job": "JobService WorkerManager",
    "portico.kits.job.job_service": "JobService",
    "portico.kits.job.worker_manager": "WorkerManager",
    "portico.adapters.job_queue": (
        "MemoryJobQueueAdapter DatabaseJobQueueAdapter InMemoryJobQueue"
    ),
    "portico.adapters.job_queue.memory_queue": "MemoryJobQueueAdapter",
    "portico.adapters.job_queue.database_queue": "DatabaseJobQueueAdapter",
    "portico.compose": "job_queue job_service",
    "portico.exceptions": (
        "PorticoError ValidationError AuthenticationError AuthorizationError "
        "ResourceNotFoundError ConflictError RateLimitError DatabaseError CacheError "
        "ExternalServiceError LLMError ConfigurationError NonRetryableError JobTimeoutError "
        "WorkerLostError LeaseLostError QueueConnectionError"
    ),
    "portico.utils.logging": (
        "get_logger configure_logging reset_logging bind_context clear_context log_context"
    ),
}
NINE = {
    "initialize": "(self) -> None",
    "close": "(self) -> None",
    "enqueue": "(self, job: Job) -> Job",
    "dequeue": "(self, queue_name: str, timeout: float = 30) -> Job | None",
    "acknowledge": "(self, job_id: UUID) -> None",
    "reject": (
        "(self, job_id: UUID, requeue: bool = True, error_message: str | None = None, "
        "*, delay: float = 0.0) -> None"
    ),
    "get_job": "(self, job_id: UUID) -> Job | None",
    "cancel_job": "(self, job_id: UUID) -> bool",
    "get_queue_stats": "(self, queue_name: str) -> QueueStats",
}


def signature(method):
    return str(inspect.signature(method)).replace("'", "")


@pytest.mark.parametrize("module", PATHS)
def test_documented_names_can_be_imported(module):
    loaded = importlib.import_module(module)

    assert [name for name in PATHS[module].split() if not hasattr(loaded, name)] == []


def test_handler_has_two_abstract_members_and_a_hook():
    assert JobHandler.__abstractmethods__ == {"job_type", "handle"}
    assert signature(JobHandler.handle) == "(self, job: Job) -> JobResult"
    assert signature(JobHandler.on_failure) == "(self, job: Job, error: Exception) -> None"


async def test_on_failure_does_nothing_unless_overridden():
    class Silent(JobHandler):
        job_type = "silent"

        async def handle(self, job):
            return JobResult(success=True)

    assert await Silent().on_failure(make_job(), ValueError()) is None


def test_queue_adapter_asks_for_nine_methods_and_no_more():
    assert JobQueueAdapter.__abstractmethods__ == set(NINE)
    assert {name: signature(getattr(JobQueueAdapter, name)) for name in NINE} == NINE
    assert all(inspect.iscoroutinefunction(getattr(JobQueueAdapter, name)) for name in NINE)


def test_trigger_can_be_started_stopped_and_asked():
    assert JobTrigger.__abstractmethods__ == {"start", "stop", "is_running"}


def test_audit_adapter_is_abstract_and_async_throughout():
    names = {
        "log_event", "search_events", "get_user_activity", "get_resource_history",
        "generate_summary", "cleanup_old_events",
    }  # fmt: skip

    assert AuditAdapter.__abstractmethods__ == names
    assert all(inspect.iscoroutinefunction(getattr(AuditAdapter, name)) for name in names)


@pytest.mark.parametrize("module", sorted(PORTS.glob("*.py")), ids=lambda p: p.stem)
def test_ports_import_the_standard_library_only(module):
    tree = ast.parse(module.read_text())
    imported = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]

    allowed = {*sys.stdlib_module_names, "portico"}
    assert [name for name in imported if name.split(".")[0] not in allowed] == []
    assert not any(name.startswith("portico.utils") for name in imported)


def test_importing_the_adapters_package_loads_no_driver():
    script = (
        "import sys, portico.adapters.job_queue;"
        "print(sorted({'sqlite3', 'apsw', 'asyncpg', 'redis', 'asyncinotify'} & set(sys.modules)))"
    )

    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert answer.stdout.decode().strip() == "[]"
