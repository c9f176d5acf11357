"""Deaths of workers: what the log says of each, and how long the next start waits for them."""

from __future__ import annotations

import signal
from time import monotonic

from portico.supervisor import oom, storm
from portico.supervisor.exit import Exit
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
