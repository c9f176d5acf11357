"""Connections that put a command together in C.

The driver's own join its parts in Python, one by one: for a batch of settlements that takes longer
than all else that is done about it here.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection


def packed(*command: Any) -> list[bytes]:
    """What goes over the wire for one command."""
    name, *arguments = command
    words = name.encode().split() if isinstance(name, str) else name.split()
    return [hiredis.pack_command((*words, *arguments))]


class Packed(Connection):
    """To one server."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return packed(*args)


class PackedTls(SSLConnection):
    """To one server, with TLS."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return packed(*args)


class PackedUnix(UnixDomainSocketConnection):
    """To one server of this host, by a socket in the file system."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return packed(*args)


class PackedByName(SentinelManagedConnection):
    """To the server that sentinels name."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return packed(*args)


class PackedByNameTls(SentinelManagedSSLConnection):
    """To the server that sentinels name, with TLS."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return packed(*args)
