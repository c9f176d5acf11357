"""An application that opens all kinds of things when it is imported, and code that uses them.

The jobs are those of `security_app`: they run what their payload says, and find all this here.
"""

from __future__ import annotations

import logging
import mmap
import os
import select
import socket
import sqlite3
import tempfile
from multiprocessing import get_context
from pathlib import Path

from tests.support.security_app import app

__all__ = ["app"]

HERE = Path(os.environ["LEDGER"]).parent
MANY = 250
"""More than lie below the numbers at which Portico keeps its own."""


def held() -> dict[int, str]:
    """What each open descriptor of this process is."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
    return found


before = held()

log = logging.getLogger("shop.imports")
log.addHandler(logging.FileHandler(HERE / "imports.log"))
log.setLevel(logging.INFO)
log.propagate = False

(HERE / "rates.txt").write_text("".join(f"{n:03}\n" for n in range(100)))
rates = (HERE / "rates.txt").open("rb")
database = sqlite3.connect(HERE / "shop.db", isolation_level=None)
database.execute("PRAGMA journal_mode = wal")
database.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER)")
sender, receiver = socket.socketpair(type=socket.SOCK_DGRAM)
reading, writing = os.pipe()
os.set_inheritable(writing, True)
poll, mapped = select.epoll(), mmap.mmap(-1, 4096)
mapped[:5] = b"model"
folder, named = tempfile.TemporaryDirectory(), tempfile.NamedTemporaryFile()  # noqa: SIM115
lock = get_context("spawn").Lock()
many = [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY)]
os.close(many.pop(0))
os.close(many.pop(100))

opened = {fd: what for fd, what in held().items() if fd not in before}
