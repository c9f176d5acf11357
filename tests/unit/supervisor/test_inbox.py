"""The control thread of a worker, in a process of its own: that ends when nobody writes to it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.waiting import PATIENCE

FULL = """
import asyncio, os
from contextlib import suppress
from portico.supervisor import wire
from portico.supervisor.inbox import Inbox, Outbox
from portico.supervisor.running_page import RunningPage

async def main():
    (jobs, sending), (unread, results) = os.pipe(), os.pipe()
    os.set_blocking(results, False)
    with suppress(BlockingIOError):
        while True:
            os.write(results, bytes(4096))
    os.set_blocking(results, True)
    outbox = Outbox(results, RunningPage.create(1).tray())
    inbox = Inbox(jobs, wire.reader_of_supervisor(), asyncio.get_running_loop(), outbox)
    answers = asyncio.Queue()
    inbox.on_answer = answers.put_nowait
    inbox.start()
    for message in (wire.Recall(), wire.Dump(), wire.Cancel(1, True), wire.Answer(1, b"")):
        os.write(sending, wire.frame(message))
    print(await answers.get(), flush=True)
    os._exit(7)

asyncio.run(main())
"""
"""Nobody reads what this worker says: its supervisor waits until it is rid of an answer."""


def test_answers_are_read_though_nobody_reads_what_there_is_to_say_meanwhile() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stdout) == (7, "Answer(number=1, value=b'', error=None)\n"), (
        ended.stderr
    )
