"""Hosts on a network of their own, for tests that cut it: network namespaces behind one switch.

    this machine ──┐
        host "a" ──┼── switch (a bridge)
        host "b" ──┘

Each namespace lives as long as one process that holds it, which dies with this one, and its links
go with it. So nothing is left behind, also after `kill -9` of the tests. Needs root and iproute2;
the tests are skipped with the reason where that is not given.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import pytest

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

TOOLS = ("ip", "nsenter", "setpriv", "unshare")


def dies_with_its_parent() -> None:
    """Before the program of a child starts: let it end when this process does, however."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Host:
    """A machine as far as the network goes: an address, a link, and what was started on it."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.address = f"{network.prefix}.{number}"
        self.name = name
        self._namespace = _Namespace()
        self._started: list[subprocess.Popen[bytes]] = []
        self._switch = network.switch
        self._port = f"port{number}"
        self._switch.run("ip", "link", "add", self._port, "type", "veth",
                         "peer", "name", "eth0", "netns", str(self._namespace.pid))  # fmt: skip
        self._switch.run("ip", "link", "set", self._port, "master", "switch", "up")
        self._namespace.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self._namespace.run("ip", "link", "set", "eth0", "up")

    @property
    def wrap(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on this host, and dies with the tests."""
        return (*self._namespace.enter, "setpriv", "--pdeathsig", "KILL")

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program on it; `options` are those of `Popen`."""
        process = subprocess.Popen([*self.wrap, *command], **options)
        self._started.append(process)
        return process

    def cut(self) -> None:
        """Pull the cable: nothing comes in or goes out, and nobody is told."""
        self._switch.run("ip", "link", "set", self._port, "down")

    def join(self) -> None:
        """Put the cable back."""
        self._switch.run("ip", "link", "set", self._port, "up")

    def delay(self, seconds: float) -> None:
        """Let everything that this host sends take so much longer; 0 for none.

        Skips the test where the kernel has no network emulator.
        """
        with suppress(subprocess.CalledProcessError):
            self._namespace.run("tc", "qdisc", "del", "dev", "eth0", "root")
        if seconds:
            try:
                self._namespace.run("tc", "qdisc", "add", "dev", "eth0", "root", "netem",
                                    "delay", f"{round(seconds * 1000)}ms")  # fmt: skip
            except subprocess.CalledProcessError as error:
                pytest.skip(f"this kernel cannot delay packets: {error.stderr.strip()}")

    def close(self) -> None:
        self._namespace.close()
        for process in self._started:
            process.wait()


class Network:
    """A switch to which this machine and the hosts are plugged."""

    def __init__(self) -> None:
        _check()
        self.switch = _Namespace()
        number = self.switch.pid % 2**15  # another network at the same time has another one
        self.prefix = f"10.{128 + number // 256}.{number % 256}"
        self.address = f"{self.prefix}.1"
        """That of this machine, where the tests run."""
        self._hosts: list[Host] = []
        link = f"pt{self.switch.pid}"
        self.switch.run("ip", "link", "add", "switch", "type", "bridge")
        self.switch.run("ip", "link", "set", "switch", "up")
        _run("ip", "link", "add", link, "type", "veth",
             "peer", "name", "port1", "netns", str(self.switch.pid))  # fmt: skip
        self.switch.run("ip", "link", "set", "port1", "master", "switch", "up")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", link)
        _run("ip", "link", "set", link, "up")

    def host(self, name: str) -> Host:
        """Plug in a new host."""
        host = Host(self, name, len(self._hosts) + 2)
        self._hosts.append(host)
        return host

    def close(self) -> None:
        for host in self._hosts:
            host.close()
        self.switch.close()


@contextmanager
def network() -> Iterator[Network]:
    """A network that is gone afterwards, with all that ran on its hosts and is still there."""
    found = Network()
    try:
        yield found
    finally:
        found.close()


class _Namespace:
    """A network namespace, held by a process."""

    def __init__(self) -> None:
        # The shell says when it is inside: until then its `/proc` entry shows our own namespace.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=dies_with_its_parent,  # noqa: PLW1509 - before any thread of ours
        )
        self.pid = self._holder.pid
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if not self._holder.stdout.readline():
            said = self._holder.stderr.read().decode(errors="replace").strip()
            _none(f"network namespaces cannot be made here: {said}")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    def _inside(self) -> list[int]:
        mine = os.readlink(f"/proc/{self.pid}/ns/net")
        found = []
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/net") == mine:
                    found.append(int(entry))
        return found

    def run(self, *command: str) -> None:
        _run(*self.enter, *command)

    def close(self) -> None:
        """Let go of it; it ends with the last process in it, so those are ended first."""
        for pid in self._inside() if self._holder.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._holder.wait()
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _check() -> None:
    if os.geteuid() != 0:
        _none("hosts are network namespaces, and only root can make those")
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        _none(f"hosts need {', '.join(absent)}; scripts/test installs it where it may")


def _none(reason: str) -> NoReturn:
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)
