"""What becomes of jobs when Redis dies, forgets, fails over, fills up, or refuses writes."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from portico import compose
from portico.adapters.job_queue._redis.client import Call, RedisClient
from portico.adapters.job_queue._redis.store import _RELEASED
from portico.exceptions import PorticoError, QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Failure, JobFilter, Settlement, Transition
from portico.supervisor.supervisor import EXIT_CONFIGURATION
from tests.faults.server_faults import (
    APP,
    LEASE,
    gated,
    many,
    open_gate,
    portico_status,
    ran_once,
    ran_twice,
    reconnected,
    results_told_to_wait,
    said_by_status,
    server_of_its_own,
)
from tests.support.jobs import ended, make_job
from tests.support.server_sets import Cluster, Sentinels, replica
from tests.support.servers import RedisServer, server_folder
from tests.support.supervisors import Place, place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers

QUICK = "connect_timeout=2&timeout=2"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with server_of_its_own("redis") as own:
        assert isinstance(own, RedisServer)
        yield own


@pytest.fixture
def here(tmp_path: Path, server: RedisServer) -> Iterator[Place]:
    with place(tmp_path) as found:
        found.url = f"{server.url()}?{QUICK}"
        yield found


@pytest.mark.fault("D19")
async def test_a_server_that_is_killed_under_load_loses_nothing_and_repeats_nothing(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    jobs = await many(queue, 1000)
    running = [await queue.enqueue(gated(here, priority=1)) for _ in range(2)]
    supervisor = here.supervisor("--lease", "8s", "--workers", "3", app=APP)
    vulture = here.supervisor("--lease", "8s", "--workers", "1", app=APP)
    await supervisor.started()
    await vulture.started()
    await supervisor.until(lambda: here.ledger.count("END") > 50)
    server.kill()
    await supervisor.event("store_unreachable")
    server.start()
    await reconnected(queue)
    open_gate(here)
    for job in running:
        await ran_once(here, queue, job.id)
    for job_id in jobs:
        assert (await ended(queue, job_id)).status is JobStatus.COMPLETED
    begun = len(here.ledger.of("BEGIN"))
    assert begun == 1002, f"{begun - 1002} jobs ran more than once"
    assert not supervisor.events("job_recovered") + vulture.events("job_recovered")


@pytest.mark.fault("D10")
async def test_while_the_server_is_down_work_goes_on_and_is_settled_when_it_is_back(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    jobs = [await queue.enqueue(gated(here)) for _ in range(2)]
    supervisor = here.supervisor("--lease", "3s", app=APP)
    vulture = here.supervisor("--lease", "3s", app=APP)
    await supervisor.started()
    await vulture.started()
    await supervisor.until(lambda: here.ledger.count("BEGIN") == 2)
    server.kill()
    await supervisor.event("store_unreachable")
    await vulture.event("store_unreachable")
    open_gate(here)
    await wait_until(lambda: here.ledger.count("END") == 2)
    both = [f"supervisor {one.pid} leases nothing since" for one in (supervisor, vulture)]
    status = await said_by_status(
        here,
        lambda said: results_told_to_wait(said) == 2 and all(words in said for words in both),
    )
    assert status.returncode == 1
    assert "cannot be reached" in status.stderr
    await asyncio.sleep(4.5)  # the leases have run out
    server.start()
    await reconnected(queue)
    for job in jobs:
        await ran_once(here, queue, job.id)
    told = [await one.event("store_back") for one in (supervisor, vulture)]
    assert sum(event["settlements_waited"] for event in told) == 2
    assert not supervisor.events("job_recovered") + vulture.events("job_recovered")
    await wait_until(lambda: "leases nothing" not in portico_status(here).stderr)


@pytest.mark.fault("D20")
async def test_a_server_that_comes_back_empty_takes_new_jobs_and_the_old_ones_are_missed(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor(*LEASE, app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    await reconnected(queue)
    await supervisor.event("lease_lost", job_id=str(job.id))
    assert await queue.get_job(job.id) is None
    new = await queue.enqueue(make_job(job_type="test.fine"))
    await ran_once(here, queue, new.id)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0


@pytest.mark.fault("D20")
async def test_when_jobs_that_ran_are_gone_the_log_says_once_what_to_do(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    jobs = [await queue.enqueue(gated(here)) for _ in range(2)]
    supervisor = here.supervisor("--lease", "60s", app=APP)  # too long to hear of it by renewing
    for job in jobs:
        await supervisor.until(lambda job=job: here.ledger.count("BEGIN", job.id))
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    await reconnected(queue)
    open_gate(here)
    told = await supervisor.event("store_data_loss")
    assert told["level"] == "error"
    assert "appendonly" in told["next"]
    assert "enqueue again" in told["next"]
    for job in jobs:
        await supervisor.event("settlement_refused", job_id=str(job.id), answer="not_found")
    new = await queue.enqueue(make_job(job_type="test.fine"))
    await ran_once(here, queue, new.id)
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert len(supervisor.events("store_data_loss")) == 1


def fail_over(primary: RedisServer, follower: RedisServer) -> None:
    """Let the follower, with what it has, stand where the primary stood."""
    primary.kill()
    follower.stop()
    follower.port = primary.port
    follower.settings.pop("replicaof")
    follower.start()


async def followed(server: RedisServer, folder: Path, job_status: str, job_id: Any) -> RedisServer:
    """A replica that keeps what it has, and has seen the job in this status."""
    follower = await asyncio.to_thread(
        replica, folder / "follower", server, settings={"appendonly": "yes"}
    )

    async def seen() -> bool:
        queue = compose.job_queue(f"{server.url()}?{QUICK}")
        await queue.initialize()
        try:
            job = await queue.get_job(job_id)
        finally:
            await queue.close()
        offsets = {
            line.partition(":")[2]
            for one in (server, follower)
            for line in one.run("INFO", "replication").split("\r\n")
            if line.startswith("master_repl_offset")
        }
        written = "aof_rewrite_in_progress:0" in follower.run("INFO", "persistence")
        return job is not None and job.status == job_status and len(offsets) == 1 and written

    await wait_until(seen)
    follower.run("REPLICAOF", "NO", "ONE")  # from now on it misses what the primary is told
    return follower


@pytest.mark.fault("D21")
async def test_a_lease_that_a_failover_lost_settles_nothing_of_the_lease_given_anew(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    job = await queue.enqueue(make_job())
    follower = await followed(server, here.folder, "pending", job.id)
    try:
        [lost] = (await queue.exchange((), ("default",), 1)).leases
        fail_over(server, follower)

        async def exchanged(*settlements: Settlement) -> Any:
            try:
                return await queue.exchange(settlements, ("default",), 1)
            except QueueConnectionError:
                return None

        [new] = (await wait_until(exchanged)).leases
        assert new.job_id == lost.job_id == job.id
        assert new.attempt == lost.attempt == 1
        assert new.token != lost.token
        late = Settlement(lost.id, lost.token, Transition.COMPLETE, b'{"late": true}')
        done = Settlement(new.id, new.token, Transition.COMPLETE, b'{"late": false}')
        answers = [receipt.answer for receipt in (await exchanged(late, done)).receipts]
        assert answers == [Answer.LOST, Answer.OK]
        assert await queue.get_result(job.id) == {"late": False}
    finally:
        follower.kill()


@pytest.mark.fault("D22")
async def test_a_settlement_that_a_failover_lost_is_a_second_run_that_is_counted(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    follower = await followed(server, here.folder, "running", job.id)
    try:
        open_gate(here)
        assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
        fail_over(server, follower)
        await supervisor.until(lambda: here.ledger.count("BEGIN", job.id) == 2)
        await wait_until(lambda: here.ledger.count("END", job.id) == 2)
        with_new = compose.job_queue(here.url)
        await with_new.initialize()
        await ran_twice(here, with_new, job.id)
        await with_new.close()
    finally:
        follower.kill()


@pytest.mark.fault("D23")
async def test_a_failover_by_sentinels_is_an_outage_and_then_work_goes_on_at_the_new_primary(
    here: Place, server: RedisServer
) -> None:
    folder = server_folder("sentinels")
    follower = await asyncio.to_thread(
        replica, folder / "follower", server, settings={"appendonly": "yes"}
    )
    sentinels = Sentinels(folder, server, down_after=0.5)
    await asyncio.to_thread(sentinels.start)
    try:
        here.url = f"redis+sentinel://{sentinels.hosts()}/{sentinels.name}/0?{QUICK}"
        queue = compose.job_queue(here.url)
        await queue.initialize()
        job = await queue.enqueue(gated(here))
        supervisor = here.supervisor("--lease", "6s", app=APP)
        await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
        server.kill()
        open_gate(here)
        await supervisor.event("store_unreachable")
        await supervisor.event("store_back", timeout=25)
        assert sentinels.primary() == (follower.host, follower.port)
        await queue.close()
        await queue.initialize()
        await ran_once(here, queue, job.id)
        await queue.close()
    finally:
        sentinels.kill()
        follower.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.fault("D23")
async def test_a_server_that_was_made_a_replica_is_an_outage_until_it_is_a_primary_again(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    job = await queue.enqueue(gated(here))
    supervisor = here.supervisor(*LEASE, app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", job.id))
    server.run("REPLICAOF", "127.0.0.1", "1")  # where nobody is: it keeps its data
    open_gate(here)
    told = await supervisor.event("store_unreachable")
    assert "replica" in told["error"]
    server.run("REPLICAOF", "NO", "ONE")
    await ran_once(here, queue, job.id)


@pytest.mark.fault("D24")
async def test_a_full_server_takes_no_jobs_and_still_settles_and_renews(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    running = await queue.enqueue(gated(here))
    supervisor = here.supervisor(*LEASE, "--workers", "1", app=APP)
    await supervisor.until(lambda: here.ledger.count("BEGIN", running.id))
    waiting = await queue.enqueue(gated(here))
    server.run("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(QueueConnectionError, match="memory is full"):
        await queue.enqueue(make_job())
    await asyncio.sleep(2.5)  # the lease would have run out
    open_gate(here)
    await ran_once(here, queue, running.id)
    assert here.ledger.count("BEGIN", waiting.id) == 0
    status = await said_by_status(
        here, lambda said: f"supervisor {supervisor.pid} leases nothing since" in said
    )
    assert status.returncode == 1
    assert "its memory is full" in status.stderr
    server.run("CONFIG", "SET", "maxmemory", "0")
    await ran_once(here, queue, waiting.id)


@pytest.mark.fault("D25")
async def test_a_server_that_would_evict_jobs_is_refused(here: Place, server: RedisServer) -> None:
    server.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    supervisor = here.supervisor(app=APP)
    assert await supervisor.ended() == EXIT_CONFIGURATION
    assert "maxmemory-policy noeviction" in supervisor.text()
    here.url += "&eviction=allowed"
    await here.supervisor(app=APP).started()


@pytest.mark.fault("D26")
async def test_scripts_that_were_flushed_are_loaded_again_unnoticed(
    here: Place, queue: JobQueueAdapter, server: RedisServer
) -> None:
    jobs = await many(queue, 300)
    supervisor = here.supervisor(*LEASE, app=APP)
    while here.ledger.count("END") < len(jobs):
        server.run("SCRIPT", "FLUSH")
        await asyncio.sleep(0)
    for job_id in jobs:
        await ran_once(here, queue, job_id)
    assert not supervisor.events("store_unreachable")


@pytest.mark.fault("D27")
async def test_on_a_cluster_every_script_keeps_to_one_slot(here: Place) -> None:
    folder = server_folder("cluster")
    cluster = Cluster(folder)
    await asyncio.to_thread(cluster.start)
    try:
        here.url = cluster.url().replace("redis://", "redis+cluster://").removesuffix("/0")
        queue = compose.job_queue(here.url)
        await queue.initialize()
        jobs = await many(queue, 50)
        failing = await queue.enqueue(make_job(job_type="test.raise_error", max_retries=0))
        supervisor = here.supervisor(*LEASE, app=APP)
        for job_id in jobs:
            await ran_once(here, queue, job_id)
        assert (await ended(queue, failing.id)).status is JobStatus.DEAD_LETTER
        assert await queue.redrive([failing.id])
        assert "CROSSSLOT" not in supervisor.text()
        await queue.close()
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


def contents(server: RedisServer) -> dict[bytes, bytes]:
    """All that the server holds."""
    with redis.Redis(host=server.host, port=server.port) as client:
        keys = list(client.scan_iter(count=10_000))
        dumps = client.pipeline(transaction=False)
        for key in keys:
            dumps.dump(key)
        return dict(zip(keys, dumps.execute(), strict=True))


async def calls_of_every_script(
    queue: JobQueueAdapter, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[RedisClient, Call]]:
    """Let each script that writes run once, and answer with what it was called with."""
    calls: dict[str, tuple[RedisClient, Call]] = {}
    sent = RedisClient._sent

    async def noting(self: RedisClient, client: Any, asked: Any) -> list[Any]:
        for call in asked:
            calls.setdefault(call.script, (self, call))
        return await sent(self, client, asked)

    monkeypatch.setattr(RedisClient, "_sent", noting)
    ids = await many(queue, 6)
    leases = (await queue.exchange((), ("default",), 4)).leases
    failure = Failure("ValueError", "no")
    retry = Settlement(leases[0].id, leases[0].token, Transition.RETRY, failure=failure, delay=1.0)
    fail = Settlement(leases[1].id, leases[1].token, Transition.FAIL, failure=failure)
    await queue.exchange((retry, fail), ("default",), 0)
    await queue.renew(leases[2:])
    await queue.recover(10)
    await queue.request_cancel(leases[2].job_id)
    await queue.cancel_job(ids[-1])
    await queue.redrive([leases[1].job_id])
    await queue.purge(JobFilter(), 10)
    monkeypatch.undo()
    client, _ = calls["lease"]
    calls["give_back"] = client, Call("give_back", (_RELEASED, "0" * 24, "1" * 24))
    return calls


def afresh(call: Call, number: int) -> Call:
    """The same on jobs and grants that nobody has heard of yet."""
    arguments = list(call.arguments)
    if call.script == "lease":
        arguments[0] = f"{number:024x}"
    if call.script == "give_back":
        arguments = [_RELEASED, f"{number:024x}", f"{number:023x}g"]
    if call.script == "insert":
        one = arguments[1:]
        arguments = [arguments[0], *one, *one]
        for at, job in ((1, "a"), (1 + len(one), "b")):
            arguments[at] = f"{job}{number:031x}"
    return Call(call.script, arguments)


@pytest.mark.fault("D28")
async def test_a_script_that_is_refused_has_written_nothing(
    queue: JobQueueAdapter, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each script with each of its arguments missing, or none of what may stand there."""
    calls = await calls_of_every_script(queue, monkeypatch)
    await many(queue, 60)  # something to lease
    refused: Counter[str] = Counter()
    number, before = 0, contents(server)
    for client, made in calls.values():
        count = len(afresh(made, 0).arguments)
        wrong = [(kept, None) for kept in range(count)]
        wrong += [(at, value) for at in range(count) for value in (b"\xff?", "nan", "1.5")]
        for at, value in wrong:
            number += 1
            arguments = list(afresh(made, number).arguments)
            if value is None:
                del arguments[at:]
            else:
                arguments[at] = value
            [answer] = await client.run(Call(made.script, arguments))
            if isinstance(answer, PorticoError):
                refused[made.script] += 1
                assert contents(server) == before, (made.script, at, value, answer)
            else:
                before = contents(server)
    for name in ("insert", "lease", "settle", "renew", "recover", "purge", "give_back", "cancel"):
        assert refused[name] >= 2, name
    assert {"redrive", "request_cancel"} <= calls.keys()  # to them any text is some job's id
