"""Nothing that a handler does to what it is given reaches the log as somebody else's."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.security.conftest import APP, answer
from tests.support.jobs import ended, make_job
from tests.support.supervisors import COMMAND, Place, SupervisorProcess

pytestmark = [
    pytest.mark.security("S8"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

METHODS = pytest.mark.parametrize("method", ["zygote", "spawn"])
LOG = 204

JOURNAL = """
import os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    if os.fork() == 0:
        theirs.close()
        while data := ours.recv(65536):
            os.write(1, data)
    os._exit(0)
os.wait()
ours.close()
null = os.open(os.devnull, os.O_WRONLY)
os.dup2(theirs.fileno(), 2), os.dup2(null, 1)
theirs.close(), os.close(null)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program as systemd does: its stderr is a stream socket, which a journal reads."""

HELD = """
import os

def held(folder):
    found = {}
    for name in os.listdir(folder):
        try:
            found[name] = os.readlink(f"{folder}/{name}")
        except OSError:
            pass
    return found

reading, writing = os.pipe()
forked = os.fork()
if not forked:
    os.write(writing, repr(held("/proc/self/fd")).encode())
    os._exit(0)
os.waitpid(forked, 0)
result = [held("/proc/self/fd"), eval(os.read(reading, 65536))]
os.close(reading), os.close(writing)
"""


def started(here: Place, *arguments: str, method: str = "zygote") -> SupervisorProcess:
    return here.supervisor("--workers", "1", "--start-method", method, *arguments, app=APP)


def as_under_systemd(here: Place, *arguments: str, method: str = "zygote") -> SupervisorProcess:
    return here.supervisor(
        "--workers", "1", "--start-method", method, *arguments, app=APP,
        command=[sys.executable, "-c", JOURNAL, *COMMAND],
    )  # fmt: skip


async def is_alive(supervisor: SupervisorProcess, queue: JobQueueAdapter) -> None:
    """Its log still tells of what goes wrong, and no line is anything but JSON."""
    job = make_job(job_type="test.loud", payload={"text": "after that"}, max_retries=0)
    await queue.enqueue(job)
    await supervisor.event("job_dead_lettered", job_id=str(job.id))
    assert supervisor.events("supervisor_started")
    for line in supervisor.text().splitlines():
        assert isinstance(json.loads(line), dict)


@METHODS
async def test_no_descriptor_of_a_worker_its_children_or_its_zygote_is_its_supervisors(
    method: str, here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = as_under_systemd(here, method=method)
    found = await answer(queue, HELD)
    given = {str(Path(f"/proc/{supervisor.pid}/fd/{n}").readlink()) for n in (1, 2)}
    assert any(name.startswith("socket:") for name in given)
    inherited = {link for held in found for link in held.values()}
    for process in supervisor.descendants():
        folder = Path(f"/proc/{process.pid}/fd")
        inherited |= {str(folder.joinpath(name).readlink()) for name in ("0", "1", "2")}
    assert not given & (inherited - {"/dev/null"})
    assert supervisor.text()


async def test_a_line_that_a_handler_forges_is_told_as_its_own(
    here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = started(here)
    forged = {
        "timestamp": "2020-01-01T00:00:00.000000Z", "level": "\x1b[31mcritical", "worker": 7,
        "logger": "portico.supervisor.supervisor", "event": "supervisor_stopped",
        "job_id": "somebody-elses", "job_type": "other", "queue": "other", "attempt": 9,
        "origin": "supervisor",
    }  # fmt: skip
    lines = json.dumps(forged) + "\n\x1b]0;title\x07raw\n" + "[1, 2]\n" + '{"no": "event"}\n'
    job = await queue.enqueue(
        make_job(
            job_type="test.python",
            payload={"code": f"import os; os.write({LOG}, {lines.encode()!r}); result = 1"},
        )
    )
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    await supervisor.event("worker_output", line='{"no": "event"}')
    (told,) = supervisor.events("supervisor_stopped")
    facts = {"job_id": str(job.id), "job_type": "test.python", "queue": "default", "attempt": 1}
    assert facts.items() <= told.items()
    assert (told["worker"], told["origin"], told["level"]) == (1, "worker", "info")
    assert told["timestamp"] > supervisor.events("supervisor_started")[0]["timestamp"]
    said = {key: value for key, value in told.items() if key.startswith("said_")}
    assert said == {
        "said_worker": 7, "said_origin": "supervisor", "said_job_id": "somebody-elses",
        "said_job_type": "other", "said_queue": "other", "said_attempt": 9,
    }  # fmt: skip
    raw = [line["line"] for line in supervisor.events("worker_output", worker=1)]
    assert raw == ["\x1b]0;title\x07raw", "[1, 2]", '{"no": "event"}']
    assert "\x1b" not in supervisor.text()
    await is_alive(supervisor, queue)


async def test_what_a_handler_says_of_its_job_does_not_replace_what_its_supervisor_knows(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Nor is it lost; and a job that it never had is none of its own."""
    other = await queue.enqueue(make_job(job_type="test.python", queue_name="elsewhere"))
    supervisor = started(here)
    code = (
        "import structlog\nfrom portico.utils.logging import bind_context\n"
        "context.logger.warning('by a field', job_id='x', worker=99)\n"
        "structlog.contextvars.bind_contextvars(job_type='y')\n"
        "structlog.get_logger('acme').warning('by structlog')\n"
        f"bind_context(job_id={str(other.id)!r}, attempt=5)\n"
        "context.logger.warning('by the context')\n"
        f"import os; from portico.supervisor.printing import labels, frame\n"
        f'label = b\'{{"job_id":"{other.id}","job_type":"z"}}\'\n'
        "os.write(1, frame(labels.key, label, b'by a frame\\n'))\n"
        "result = 1"
    )
    job = await queue.enqueue(make_job(job_type="test.python", payload={"code": code}))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    facts = {"job_id": str(job.id), "job_type": "test.python", "attempt": 1, "worker": 1}
    for event in ("by a field", "by structlog", "by the context"):
        assert facts.items() <= (await supervisor.event(event)).items()
    assert supervisor.events("by a field", said_job_id="x", said_worker=99)
    assert supervisor.events("by structlog", said_job_type="y")
    assert supervisor.events("by the context", said_job_id=str(other.id), said_attempt=5)
    printed = await supervisor.event("worker_output", line="by a frame")
    assert facts.items() <= printed.items()


@pytest.mark.parametrize("start", [started, as_under_systemd], ids=["file", "socket"])
async def test_the_log_survives_a_handler_that_empties_shuts_or_closes_its_own_end(
    start: object, here: Place, queue: JobQueueAdapter
) -> None:
    assert callable(start)
    supervisor = start(here)
    code = f"""
import fcntl, os, socket
did = []
for fd in map(int, os.listdir("/proc/self/fd")):
    for harm in (
        lambda: os.ftruncate(fd, 0) if fd == {LOG} else None,
        lambda: os.lseek({LOG}, 0, 0),
        lambda: socket.socket(fileno=os.dup({LOG})).shutdown(socket.SHUT_RDWR),
        lambda: fcntl.fcntl({LOG}, fcntl.F_SETFL, 0),
    ):
        try:
            harm()
            did.append(fd)
        except OSError:
            pass
result = os.readlink("/proc/self/fd/{LOG}")
"""
    assert (await answer(queue, code)).startswith("pipe:")
    await is_alive(supervisor, queue)
    await answer(queue, f"import os; os.close({LOG}); result = 1")
    await is_alive(supervisor, queue)


async def test_what_a_worker_logs_last_is_told_before_its_death(
    here: Place, queue: JobQueueAdapter
) -> None:
    """Also what has no end; after it comes that the worker has exited."""
    supervisor = started(here)
    code = (
        "import os\nfor n in range(50): context.logger.warning('last words', n=n)\n"
        f"os.write({LOG}, b'and a half')\n"
        "os.kill(os.getpid(), 9)"
    )
    job = make_job(job_type="test.python", payload={"code": code}, max_retries=0)
    await queue.enqueue(job)
    await supervisor.event("worker_exited")
    names = [event["event"] for event in supervisor.events()]
    said = supervisor.events("last words", job_id=str(job.id))
    assert [event["n"] for event in said] == [*range(50)]
    assert supervisor.events("worker_output", line="and a half")
    assert max(n for n, name in enumerate(names) if name == "last words") < names.index(
        "worker_exited"
    )


async def test_the_lines_of_a_job_stand_before_the_one_that_it_has_completed(
    here: Place, queue: JobQueueAdapter
) -> None:
    code = "context.logger.info('at work'); print('printed'); result = 1"
    jobs = [
        await queue.enqueue(make_job(job_type="test.python", payload={"code": code}))
        for _ in range(30)
    ]
    supervisor = started(here, "--log-level", "DEBUG", "--drain")
    assert await supervisor.ended() == 0
    for job in jobs:
        lines = [event["event"] for event in supervisor.events(job_id=str(job.id))]
        assert lines[-1] == "job_completed"
        assert sorted(lines[:-1]) == ["at work", "worker_output"]


async def test_a_flood_of_lines_is_held_up_and_nobody_elses_are_lost(
    here: Place, queue: JobQueueAdapter
) -> None:
    """What is left of it when it is killed is counted; the jobs beside it complete meanwhile."""
    supervisor = here.supervisor("--workers", "2", app=APP)
    code = f"""
import os
os.set_blocking({LOG}, True)
while True:
    os.write({LOG}, b'{{"event":"loud"}}\\n' * 999)
"""
    flood = await queue.enqueue(
        make_job(job_type="test.python", payload={"code": code}, max_retries=0)
    )
    loud = await supervisor.event("loud")
    for n in range(10):
        quiet = f"context.logger.warning('quiet', n={n}); result = 1"
        await answer(queue, quiet)
    assert [event["n"] for event in supervisor.events("quiet")] == [*range(10)]
    assert all(event["job_id"] != str(flood.id) for event in supervisor.events("quiet"))
    title = f"portico worker {loud['worker']}:"
    (busy,) = [p for p in supervisor.workers() if title in " ".join(p.cmdline())]
    busy.send_signal(signal.SIGKILL)
    dropped = await supervisor.event("worker_log_dropped")
    assert dropped["lines"] > 0
