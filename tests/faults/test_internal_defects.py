"""What happens when Portico's own code breaks: it ends, loudly, and gives back what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.scheduling.watch import Watch
from portico.supervisor.supervisor import EXIT_INTERNAL, Supervisor, exit_code_of
from tests.support.jobs import make_job
from tests.support.supervisors import Place


@pytest.mark.fault("C16")
async def test_an_error_in_a_callback_ends_the_supervisor_and_releases_its_jobs(
    here: Place, queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER", str(here.ledger.path))
    job = await queue.enqueue(make_job(job_type="test.sleep", payload={"seconds": 3600}))
    inspect = Watch.inspect

    def breaks(self: Watch, *arguments: Any) -> Any:
        if here.ledger.count("BEGIN"):
            monkeypatch.setattr(Watch, "inspect", inspect)
            raise RuntimeError("a defect")
        return inspect(self, *arguments)

    monkeypatch.setattr(Watch, "inspect", breaks)
    config = SupervisorConfig(workers=1, app="tests.support.fault_app:app", queue_url=here.url)
    with pytest.raises(RuntimeError, match="a defect") as caught:
        await Supervisor(config).run()
    assert exit_code_of(caught.value) == EXIT_INTERNAL
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.accounted
    assert record.job.status is JobStatus.PENDING
    assert record.release_count == 1
