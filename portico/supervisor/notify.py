"""Telling the service manager how far we are (systemd's notification protocol, sd_notify(3))."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_PATIENCE = 1.0
"""Seconds that a receiver may have no room: one that reads no more stops nobody."""


def systemd(state: str) -> None:
    """Send `READY=1` or `STOPPING=1`; does nothing where nobody asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_PATIENCE)
        sender.sendto(state.encode(), address)
