"""Queue URLs, and what importing the adapters costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portico.adapters import job_queue as adapters
from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.compose import job_queue
from portico.exceptions import ConfigurationError, ValidationError


@pytest.mark.parametrize(
    ("url", "adapter"),
    [
        ("memory://", MemoryJobQueueAdapter),
        ("sqlite:///jobs.db", DatabaseJobQueueAdapter),
        ("sqlite:////tmp/jobs.db?durability=normal", DatabaseJobQueueAdapter),
    ],
)
def test_the_scheme_chooses_the_adapter(url: str, adapter: type) -> None:
    queue = job_queue(url, lease=7.5)
    assert type(queue) is adapter
    assert queue.lease_seconds == 7.5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", ["''", "memory://", "sqlite:///"]),
        ("jobs.db", ["'jobs.db'", "sqlite:///"]),
        ("mysql://u:secret@host/db", ["mysql://u:***@host/db", "memory://"]),
        ("memory://jobs", ["memory://jobs"]),
        ("sqlite:jobs.db", ["sqlite:jobs.db"]),
        ("sqlite://jobs.db", ["sqlite://jobs.db", "sqlite:///relative.db"]),
        ("sqlite:///", ["sqlite:///", "names no file"]),
        ("sqlite:////", ["names no file"]),
        ("sqlite:///?durability=full", ["names no file"]),
        ("sqlite:///:memory:", [":memory:", "memory://"]),
        ("sqlite:///jobs.db?durability=none", ["'none'", "full or normal"]),
        ("sqlite:///jobs.db?durability", ["cannot be read", "name=value"]),
        ("sqlite:///jobs.db?timeout=5", ["'timeout'", "durability"]),
    ],
)
def test_a_url_that_is_not_understood_is_refused_with_a_way_out(url: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        job_queue(url)
    for word in words:
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf")])
def test_a_lease_needs_a_length(lease: float) -> None:
    with pytest.raises(ValidationError, match="lease"):
        job_queue("memory://", lease=lease)


def test_the_names_of_the_adapters_can_be_imported_from_the_package() -> None:
    assert adapters.InMemoryJobQueue is adapters.MemoryJobQueueAdapter
    assert set(adapters.__all__) <= set(dir(adapters))
    with pytest.raises(AttributeError, match="NoSuchAdapter"):
        _ = adapters.NoSuchAdapter


def test_importing_the_package_or_the_memory_queue_loads_no_driver() -> None:
    program = (
        "import sys, portico.adapters.job_queue, portico.compose\n"
        "from portico.adapters.job_queue import MemoryJobQueueAdapter\n"
        "portico.compose.job_queue('memory://')\n"
        "print([name for name in ('sqlite3', 'asyncinotify', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
