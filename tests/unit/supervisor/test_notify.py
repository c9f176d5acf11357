from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from portico.supervisor import notify
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "77"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_who_is_watched_and_for_how_long_the_service_manager_says(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert notify.watched_for(environment, 77) == seconds


async def test_a_loop_that_goes_on_says_so_again_and_again_and_waits_for_no_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        signs = asyncio.get_running_loop().create_task(notify.give_signs_of_life())
        try:
            for _ in range(3):
                await wait_until(lambda: heard(listener) == b"WATCHDOG=1")
            beats = 0

            def beat() -> bool:  # more of them than the socket has room for
                nonlocal beats
                beats += 1
                return beats > 300

            await wait_until(beat)
        finally:
            signs.cancel()
        assert heard(listener) == b"WATCHDOG=1"


async def test_nothing_is_said_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await notify.give_signs_of_life()


def heard(listener: socket.socket) -> bytes:
    try:
        return listener.recv(100)
    except BlockingIOError:
        return b""
