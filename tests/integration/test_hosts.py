"""The hosts of the tests are what they say: reachable, cut, back, and gone with the tests."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.support.hosts import Host, Network, network
from tests.support.supervisors import ROOT
from tests.support.waiting import wait_until

ECHO = """
import socket
with socket.create_server(("", 7000)) as server:
    while True:
        with server.accept()[0] as connection:
            connection.sendall(connection.getpeername()[0].encode())
"""

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 5) as connection:
    print(connection.recv(99).decode())
"""


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as found:
        yield found


async def echoing(host: Host) -> None:
    host.start(sys.executable, "-c", ECHO)
    await wait_until(lambda: asked_from_here(host))


async def asked_from_here(host: Host, timeout: float = 1) -> str:
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host.address, 7000)
            answer = await reader.read(99)
            writer.close()
            return answer.decode()
    except OSError:  # TimeoutError is one
        return ""


async def test_a_host_is_reached_from_here_and_from_another_at_its_own_address(
    net: Network,
) -> None:
    server, client = net.host("server"), net.host("client")
    await echoing(server)
    assert await asked_from_here(server) == net.address
    asked = [*client.wrap, sys.executable, "-c", ASK, server.address]
    assert subprocess.check_output(asked, text=True, timeout=10).strip() == client.address


async def test_a_cut_host_hears_nothing_and_says_nothing_until_it_is_joined_again(
    net: Network,
) -> None:
    server = net.host("server")
    await echoing(server)
    server.cut()
    assert await asked_from_here(server) == ""
    server.join()
    await wait_until(lambda: asked_from_here(server))


async def test_a_connection_that_was_open_outlives_a_short_cut(net: Network) -> None:
    server = net.host("server")
    echo = ECHO.replace("connection.sendall", "connection.recv(1); connection.sendall")
    server.start(sys.executable, "-c", echo)

    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection(server.address, 7000)
        except OSError:
            return None

    reader, writer = await wait_until(connected)
    server.cut()
    writer.write(b"?")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(answer := asyncio.create_task(reader.read(99))), 0.3)
    server.join()
    assert (await asyncio.wait_for(answer, 10)).decode() == net.address
    writer.close()


def links() -> set[str]:
    shown = subprocess.check_output(["ip", "-brief", "link"], text=True)
    return {line.split()[0].split("@")[0] for line in shown.splitlines()}


HOLD = """
import subprocess
from tests.support.hosts import Network
net = Network()
host = net.host("one")
child = subprocess.Popen([*host.wrap, "sleep", "60"])
print(f"pt{net.switch.pid}", child.pid, flush=True)
child.wait()
"""


async def test_nothing_of_a_network_is_left_when_the_tests_are_killed(net: Network) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    link, pid = holder.stdout.readline().split()
    child = psutil.Process(int(pid))
    assert link in links()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    await wait_until(lambda: link not in links() and not lives(child))


def lives(process: psutil.Process) -> bool:
    """Whether it runs, and its number is no other's yet; an orphan that has ended stays for whoever
    adopts orphans here."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
