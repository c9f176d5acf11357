"""What is around a supervisor: a container whose first process it is, a log that takes no lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import COMMAND, Place
from tests.support.waiting import wait_until

AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def permitted(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.fault("C17")
@pytest.mark.skipif(
    not permitted([*AS_PROCESS_1, "true"]), reason="needs the right to make process namespaces"
)
async def test_as_process_1_it_reaps_what_handlers_leave_behind_and_heeds_signals(
    here: Place, queue: JobQueueAdapter
) -> None:
    leaving = await queue.enqueue(make_job(job_type="test.leave_orphan"))
    supervisor = here.supervisor(command=[*AS_PROCESS_1, *COMMAND])
    assert (await supervisor.started())["pid"] == 1
    assert (await ended(queue, leaving.id)).status is JobStatus.COMPLETED
    (process,) = psutil.Process(supervisor.pid).children()

    def orphans() -> list[psutil.Process]:
        return [c for c in process.children() if (here.folder / f"orphan-{here_id(c)}").exists()]

    await supervisor.until(orphans, what="the orphan's adoption")
    (orphan,) = orphans()
    (here.folder / "go").touch()
    await supervisor.until(lambda: not orphan.is_running(), what="the orphan's being reaped")
    await supervisor.until(
        lambda: all(c.status() != psutil.STATUS_ZOMBIE for c in process.children())
    )
    job = await queue.enqueue(make_job(job_type="test.leave_once"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    process.send_signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert supervisor.events("supervisor_stopped")


def here_id(process: psutil.Process) -> int:
    """Its number as it knows it itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])


@pytest.mark.fault("C18")
async def test_a_log_whose_reader_is_gone_stops_no_job_and_the_lost_lines_are_counted(
    here: Place, queue: JobQueueAdapter
) -> None:
    pipe = here.folder / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    supervisor = here.supervisor(log=pipe)
    seen = b""

    def announced() -> bool:
        nonlocal seen
        seen += read(reader)
        return b"supervisor_started" in seen

    await wait_until(announced)
    os.close(reader)
    jobs = [
        await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0)) for _ in range(10)
    ]
    printed = await queue.enqueue(make_job(job_type="test.shout", payload={"lines": 20}))
    for job in jobs:  # the end of each is a line that cannot be written
        assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    assert (await ended(queue, printed.id)).status is JobStatus.COMPLETED
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    supervisor.signal(signal.SIGTERM)
    await wait_until(lambda: supervisor.process.poll() is not None)
    assert supervisor.process.returncode == 0
    lines = [json.loads(line) for line in read(reader).splitlines()]
    os.close(reader)
    assert sum(line.get("lost_lines", 0) for line in lines) >= 30


@pytest.mark.fault("C18")
async def test_a_log_whose_reader_reads_no_more_stops_no_job(
    here: Place, queue: JobQueueAdapter
) -> None:
    """A pager that was left open, or a log driver that hangs: the pipe is full, and stays so."""
    pipe = here.folder / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    supervisor = here.supervisor(log=pipe)
    jobs = [
        await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
        for _ in range(150)
    ]
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    supervisor.signal(signal.SIGTERM)
    await wait_until(lambda: supervisor.process.poll() is not None)
    assert supervisor.process.returncode == 0
    told = read(reader).count(b"job_dead_lettered")
    os.close(reader)
    assert 0 < told < len(jobs)


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 1024 * 1024)
    except BlockingIOError:
        return b""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not permitted(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]):
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.fault("C18")
async def test_a_full_log_disk_stops_no_job_and_the_lost_lines_are_counted(
    small_disk: Path, here: Place, queue: JobQueueAdapter
) -> None:
    supervisor = here.supervisor(log=small_disk / "log")
    await supervisor.started()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    before = supervisor.text()
    jobs = [
        await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0)) for _ in range(40)
    ]
    for job in jobs:
        assert (await ended(queue, job.id)).status is JobStatus.DEAD_LETTER
    told = [event["job_id"] for event in supervisor.events("job_dead_lettered")]
    assert len(told) < len(jobs)
    assert len(supervisor.text()) - len(before) < 4096 * 2
    filler.unlink()
    supervisor.signal(signal.SIGUSR1)
    await supervisor.event("supervisor_state")
    lost = sum(event.get("lost_lines", 0) for event in supervisor.events())
    told = [event["job_id"] for event in supervisor.events("job_dead_lettered")]
    assert len(told) + lost >= len(jobs)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
