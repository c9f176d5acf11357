"""What handlers do to their own processes and threads, which no sandbox may be in the way of.

Runs in a worker: `failed` is imported there, by code in a payload.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil


def failed() -> dict[str, str]:
    """Each thing that went wrong, and how."""
    found = {}
    for name, act in ACTS.items():
        try:
            act()
        except BaseException as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _sleeper(**options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **options)


def _end_child(end: Callable[[subprocess.Popen[bytes]], object], **options: Any) -> None:
    with _sleeper(**options) as child:
        end(child)
        assert child.wait() < 0


def _by_handle(child: subprocess.Popen[bytes]) -> None:
    handle = os.pidfd_open(child.pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def _end_forked(method: str) -> None:
    child = multiprocessing.get_context(method).Process(target=signal.pause)
    child.start()
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM


def _pool(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert [*pool.map(abs, [-1, 2])] == [1, 2]


def _manager() -> None:
    with multiprocessing.Manager() as manager:
        held = manager.dict(a=1)
        assert held["a"] == 1


def _share() -> None:
    memory = shared_memory.SharedMemory(create=True, size=64)
    memory.close()
    memory.unlink()


def _grandchild() -> None:
    """A shell that ends what it has started itself."""
    subprocess.run(["/bin/sh", "-c", "sleep 60 & kill $!; wait $!; test $? -gt 128"], check=True)


def _abstract() -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        name = f"\0behaving-{uuid4()}"
        one.bind(name)
        one.listen()
        other.connect(name)


def _in_thread(act: Callable[[int], object]) -> None:
    wrong: list[BaseException] = []

    def run() -> None:
        try:
            act(threading.get_native_id())
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if wrong:
        raise wrong[0]


def _signalled() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert seen


def _own_limits() -> None:
    which = resource.RLIMIT_NOFILE
    now = resource.getrlimit(which)
    resource.setrlimit(which, now)
    resource.prlimit(os.getpid(), which, now)
    psutil.Process().rlimit(which, now)


def _limit_in_child() -> None:
    def less() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    subprocess.run(["/bin/true"], preexec_fn=less, check=True)


def _own_priority() -> None:
    os.nice(0)
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    psutil.Process().nice(psutil.Process().nice())
    psutil.Process().cpu_affinity(psutil.Process().cpu_affinity())
    psutil.Process().ionice(psutil.IOPRIO_CLASS_NONE)


def _childs_priority() -> None:
    with _sleeper() as child:
        process = psutil.Process(child.pid)
        process.nice(process.nice())
        process.cpu_affinity(process.cpu_affinity())
        child.kill()


def _look() -> None:
    """At what handlers measure."""
    own = psutil.Process()
    assert own.memory_info().rss
    assert own.num_fds()
    assert own.threads()
    with open("/proc/self/status") as status, open("/proc/self/maps") as maps:
        assert status.read()
        assert maps.read()
    with _sleeper() as child:
        assert psutil.Process(child.pid).memory_info().rss
        child.kill()


def _move() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        (Path(one) / "file").touch()
        os.rename(f"{one}/file", f"{other}/moved")
        os.link(f"{other}/moved", f"{one}/link")


def _print() -> None:
    with open("/dev/stdout", "w") as out:
        out.write("said\n")


ACTS: dict[str, Callable[[], object]] = {
    "terminate": partial(_end_child, subprocess.Popen.terminate),
    "kill": partial(_end_child, lambda child: os.kill(child.pid, signal.SIGKILL)),
    "killpg": partial(
        _end_child, lambda child: os.killpg(child.pid, signal.SIGTERM), start_new_session=True
    ),
    "by handle": partial(_end_child, _by_handle),
    "grandchild": _grandchild,
    **{f"end {method}": partial(_end_forked, method) for method in ("fork", "forkserver")},
    **{f"pool {method}": partial(_pool, method) for method in ("fork", "spawn", "forkserver")},
    "manager": _manager,
    "shared memory": _share,
    "abstract socket": _abstract,
    "affinity of a thread": partial(
        _in_thread, lambda tid: os.sched_setaffinity(tid, os.sched_getaffinity(tid))
    ),
    "priority of a thread": partial(
        _in_thread,
        lambda tid: os.setpriority(os.PRIO_PROCESS, tid, os.getpriority(os.PRIO_PROCESS, tid)),
    ),
    "signals": _signalled,
    "limits": _own_limits,
    "limits of a child": _limit_in_child,
    "priority": _own_priority,
    "priority of a child": _childs_priority,
    "look": _look,
    "move": _move,
    "print": _print,
}
