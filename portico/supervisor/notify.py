"""Telling the service manager how far we are (systemd's notification protocol, sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_PATIENCE = 1.0
"""Seconds that a receiver may have no room: one that reads no more stops nobody."""


def systemd(state: str, patience: float = _PATIENCE) -> None:
    """Send `READY=1` or `STOPPING=1`; does nothing where nobody asked for it.

    Args:
        state: what to say.
        patience: seconds that the receiver may have no room.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(patience)
        sender.sendto(state.encode(), address)


async def give_signs_of_life() -> None:
    """Say for ever that the loop which runs this goes on; returns where nobody watches.

    Nothing else says it: a process that is stopped, or whose loop hangs, falls silent, and its
    service manager kills it and starts it anew.
    """
    seconds = watched_for(os.environ, os.getpid())
    while seconds is not None:
        systemd("WATCHDOG=1", patience=0.0)  # the loop waits for nobody; the next one is due soon
        await asyncio.sleep(seconds / 2)


def watched_for(environment: Mapping[str, str], pid: int) -> float | None:
    """Seconds without a sign of life after which the service manager takes this process for dead
    (`WatchdogSec=`); `None` where it does not watch, or watches another process."""
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "")) / 1_000_000
        watched = int(environment.get("WATCHDOG_PID", pid))
    except ValueError:
        return None
    return seconds if seconds > 0 and watched == pid else None
