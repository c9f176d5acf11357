"""An application that leaves at import what a fork should not share, and much that it may.

`HAZARDS` names the kinds; the harmless ones are always there.
"""

from __future__ import annotations

import ctypes
import logging.handlers
import os
import select
import socket
import sqlite3
import threading
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tests.support.security_app import app

__all__ = ["app"]

HERE = Path(os.environ["LEDGER"]).parent
HAZARDS = os.environ.get("HAZARDS", "")

rates = (HERE / "rates.txt").open("a+b")
pair = socket.socketpair()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("127.0.0.1", 8125))
listening = socket.create_server(("127.0.0.1", 0))
idle = socket.socket()
syslog = logging.handlers.SysLogHandler(("127.0.0.1", 514))
poll = select.epoll()
lock = get_context("spawn").Lock()
product = np.ones((300, 300)) @ np.ones((300, 300))  # with threads of its library

if "connections" in HAZARDS:
    client = socket.create_connection(listening.getsockname())
    local = socket.socket(socket.AF_UNIX)
    local.connect(str(HERE / "socket"))
if "databases" in HAZARDS:
    database = sqlite3.connect(HERE / "shop.db")
    database.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER)")
    new = sqlite3.connect(HERE / "new.sqlite3")
    new.execute("SELECT 1")
if "threads" in HAZARDS:
    threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()
    native, libc = ctypes.c_ulong(), ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(native), None, libc.pause, None)
    libc.pthread_setname_np(native, b"engine-0")
