"""Children that end: waited for by their handles, which stay theirs, and collected by number."""

from __future__ import annotations

import asyncio
import os
import signal

from portico.supervisor import evidence
from portico.supervisor.exit import Exit


def reap(pid: int) -> Exit:
    """Collect the status of a child that has ended."""
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return Exit(None, None, pid)
    signaled = os.WIFSIGNALED(status)
    return Exit(
        None if signaled else os.waitstatus_to_exitcode(status),
        os.WTERMSIG(status) if signaled else None,
        pid,
        usage.ru_utime + usage.ru_stime,
        evidence.peak_rss(usage),
    )


async def end_of(pid: int, handle: int, patience: float) -> Exit:
    """How a child ends that is about to; it is killed when it does not within so many seconds.

    Args:
        pid: its number.
        handle: the child itself.
        patience: seconds.
    """
    if not await has_ended(handle, patience):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        await has_ended(handle, patience)
    return reap(pid)


async def has_ended(handle: int, patience: float) -> bool:
    """Whether the process behind this handle ends within so many seconds."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), patience)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
