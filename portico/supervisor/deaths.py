"""Deaths of workers: what the log says of each, and how long the next start waits for them."""

from __future__ import annotations

import signal
from time import monotonic

from portico.exceptions import PorticoError
from portico.supervisor import oom, storm, wire
from portico.supervisor.exit import EXIT_APP, Exit
from portico.supervisor.launch import AppError, BootError
from portico.supervisor.member import Member, State
from portico.utils.logging import get_logger

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to start a worker, at most."""

logger = get_logger(__name__)


class Deaths:
    """What the workers of one crew die of."""

    def __init__(self) -> None:
        self._storm = storm.Storm()
        self._oom = oom.OomCounter(oom.counter_file())

    def examined(self, member: Member, status: Exit) -> Exit:
        """The same end, with the suspicion that the kernel wanted its memory."""
        killed = status.signal == signal.SIGKILL and not member.condemned
        return status._replace(oom_suspected=killed and self._oom.suspected())

    def tell(self, member: Member, state: State, status: Exit) -> None:
        """Write to the log how a worker ended that stood there."""
        if state is State.RETIRING or (member.leaving and status.code == 0):
            logger.debug("worker_retired", worker=member.number, status=str(status))
            return
        memory = {"oom_suspected": True} if status.oom_suspected else {}
        logger.warning(
            "worker_exited",
            worker=member.number,
            pid=member.process.pid,
            status=f"was killed: {member.condemned}" if member.condemned else str(status),
            jobs=[str(a.lease.job_id) for a in member.seat.inflight.values()][:5],
            **memory,
        )

    def pause(self, member: Member, workers: int) -> float:
        """None for the first deaths; growing when they come in a storm that nobody can explain.

        What is the doing of a job, or was ours, is no reason to wait: a job type that kills again
        and again is confined to one worker.
        """
        explained = member.condemned or member.seat.blamed
        pause = 0.0 if explained else self._storm.pause(monotonic(), workers)
        if pause:
            logger.error(
                "crash_storm",
                deaths=len(self._storm),
                within_seconds=storm.WINDOW,
                next_start_in=pause,
                hint="no job is to blame for them: look at worker_exited, and at what else may "
                "kill processes here",
            )
        return pause


def boot_pause(failed: int) -> float:
    """None while workers get ready; growing with every one in a row that does not."""
    return min(LONGEST_PAUSE, 0.1 * 2.0 ** min(failed, 10)) if failed else 0.0


def fatal_boot(
    reason: str, said: wire.Unready | None, status: Exit, failed: int, wanted: int
) -> PorticoError | None:
    """What ends a start in which a worker did not get ready: the application's own error at once,
    deaths when they go on.

    Args:
        reason: why it did not.
        said: what it has told of the application.
        status: how it ended.
        failed: workers in a row that did not get ready.
        wanted: how many there are to be.
    """
    if said or status.code == EXIT_APP:  # it may have had no way left to say it here
        return AppError(reason, {"traceback": said.traceback if said else ""})
    if failed >= max(3, 2 * wanted):
        return BootError(f"workers keep dying before they are ready: {reason}")
    return None
