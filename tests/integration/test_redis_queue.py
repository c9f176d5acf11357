"""What is Redis's own: its memory, its scripts, its keys, who may connect, and how it wakes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import redis as driver

from portico import compose
from portico.adapters.job_queue import RedisJobQueueAdapter
from portico.adapters.job_queue._redis import client as speaking
from portico.adapters.job_queue._redis.scripts import VERSION
from portico.exceptions import ConfigurationError, QueueConnectionError
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, JobFilter, Settlement, Transition
from portico.testing.contract.queue_support import ended, enqueued, leased, record
from tests.support.redis_queues import own_namespace
from tests.support.server_sets import (
    Authority,
    Cluster,
    Sentinels,
    TlsFiles,
    replica,
    until,
)
from tests.support.servers import RedisServer, free_port, server_folder
from tests.support.waiting import wait_until

pytestmark = pytest.mark.servers


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[RedisJobQueueAdapter]:
    queue = compose.job_queue(url, **options)
    assert isinstance(queue, RedisJobQueueAdapter)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may break."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def keys(server: RedisServer, prefix: str) -> list[bytes]:
    with driver.Redis(port=server.port) as client:
        return sorted(key for key in client.scan_iter(f"{prefix}*"))


class TestWaiting:
    async def test_a_job_that_another_connection_brings_wakes_whoever_waits(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("portico.adapters.job_queue._stored_queue._POLL", 60.0)
        url = own_namespace(redis.url())
        async with opened(url) as waiting, opened(url) as producer:
            assert await leased(waiting) == []
            task = asyncio.create_task(waiting.wait(("default",), 60))
            await wait_until(lambda: waiting._store._listener.hears)
            await enqueued(producer)
            async with asyncio.timeout(5):
                await task
            assert len(await leased(waiting)) == 1

    async def test_a_thousand_jobs_that_come_one_by_one_are_announced_once_while_nobody_takes_them(
        self, redis: RedisServer
    ) -> None:
        url = own_namespace(redis.url())
        async with opened(url) as queue:
            with driver.Redis(port=redis.port) as client, client.pubsub() as heard:
                heard.subscribe(f"{queue._store._place.prefix}wake")
                assert heard.get_message(timeout=5)["type"] == "subscribe"
                for _ in range(1000):
                    await enqueued(queue)
                assert heard.get_message(timeout=5)["data"] == b"default"
                assert heard.get_message(timeout=0) is None

    async def test_after_the_listening_connection_is_killed_it_listens_again(
        self, own: RedisServer
    ) -> None:
        url = own_namespace(own.url())
        async with opened(url) as waiting, opened(url) as producer:
            await leased(waiting)
            task = asyncio.create_task(waiting.dequeue("default", 30))
            listener = waiting._store._listener
            await wait_until(lambda: listener.hears)
            assert int(own.run("CLIENT", "KILL", "TYPE", "pubsub")) == 1
            await wait_until(lambda: not listener.hears)
            await wait_until(lambda: listener.hears)
            job = await enqueued(producer)
            found = await asyncio.wait_for(task, 10)
            assert found is not None
            assert found.id == job.id

    async def test_who_waits_asks_about_once_a_second_and_no_more(self, own: RedisServer) -> None:
        async with opened(own_namespace(own.url())) as queue:
            await queue.dequeue("default", 0)
            own.run("CONFIG", "RESETSTAT")
            began = time.monotonic()
            assert await queue.dequeue("default", 2.5) is None
            seconds = time.monotonic() - began
        told = own.run("INFO", "commandstats")
        [line] = [line for line in told.splitlines() if line.startswith("cmdstat_evalsha:")]
        assert int(line.split("calls=")[1].split(",")[0]) <= seconds + 3


class TestVersion:
    @pytest.mark.fault("D33")
    async def test_data_of_a_newer_release_is_refused_with_both_versions(
        self, own: RedisServer
    ) -> None:
        async with opened(own.url()) as queue:
            job = await enqueued(queue)
            key = f"{queue._store._place.prefix}version"
        assert own.run("GET", key) == str(VERSION)
        own.run("SET", key, str(VERSION + 1))
        for _ in range(2):
            with pytest.raises(ConfigurationError) as refused:
                await queue.initialize()
        said = str(refused.value)
        assert f"have version {VERSION + 1}" in said
        assert f"up to {VERSION}; upgrade Portico, or name another namespace" in said
        async with opened(f"{own.url()}?namespace=other") as other:
            await enqueued(other)
        own.run("SET", key, str(VERSION))
        await queue.initialize()
        assert await queue.get_job(job.id) is not None
        await queue.close()

    async def test_what_was_stored_before_versions_were_is_of_the_first(
        self, own: RedisServer
    ) -> None:
        async with opened(own.url()) as queue:
            await enqueued(queue)
            own.run("DEL", f"{queue._store._place.prefix}version")
        with pytest.raises(ConfigurationError, match="have version 1, from before the first"):
            await queue.initialize()


class TestScripts:
    async def test_flushed_scripts_are_sent_again_and_nobody_notices(
        self, own: RedisServer
    ) -> None:
        async with opened(own_namespace(own.url())) as queue:
            job = await enqueued(queue)
            own.run("SCRIPT", "FLUSH")
            [lease] = await leased(queue)
            own.run("SCRIPT", "FLUSH")
            done = Settlement(lease.id, lease.token, Transition.COMPLETE)
            exchanged = await queue.exchange([done], ("default",), 1)
            assert [receipt.answer for receipt in exchanged.receipts] == [Answer.OK]
            found = await queue.get_job(job.id)
            assert found is not None
            assert found.status is JobStatus.COMPLETED

    async def test_nothing_is_left_in_the_server_when_all_jobs_are_purged(
        self, redis: RedisServer
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            prefix = queue._store._place.prefix
            for number, transition in enumerate(
                [Transition.COMPLETE, Transition.FAIL, Transition.QUARANTINE, Transition.CRASH] * 3
            ):
                await enqueued(queue, max_retries=number % 2)
                [lease] = await leased(queue)
                await ended(queue, lease, transition)
            waiting = await enqueued(queue)
            await queue.cancel_job(waiting.id)
            while leases := await leased(queue, limit=10):
                for lease in leases:
                    await ended(queue, lease, Transition.COMPLETE)
            for job in (await queue.list_jobs(JobFilter(), 100)).jobs:
                if not job.status.terminal:  # retried later
                    assert await queue.cancel_job(job.id)
            await queue.purge(JobFilter())
            left = [key.decode().removeprefix(prefix) for key in keys(redis, prefix)]
        assert [name for name in left if not name.startswith("grant:")] == ["seq", "version"]

    async def test_what_one_exchange_granted_is_forgotten_after_a_lease_length(
        self, redis: RedisServer
    ) -> None:
        async with opened(own_namespace(redis.url()), lease=0.2) as queue:
            prefix = queue._store._place.prefix
            await enqueued(queue)
            await leased(queue)
            assert any(b"grant:" in key for key in keys(redis, prefix))
            await wait_until(lambda: not any(b"grant:" in key for key in keys(redis, prefix)))

    async def test_a_grant_whose_answer_was_lost_is_given_back_uncharged(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(own_namespace(redis.url())) as queue:
            job = await enqueued(queue, max_retries=0)
            run = queue._store._client.run

            async def lost(*calls: object) -> None:
                await run(*calls)
                raise QueueConnectionError("the answer was lost")

            monkeypatch.setattr(queue._store._client, "run", lost)
            with pytest.raises(QueueConnectionError):
                await leased(queue)
            monkeypatch.setattr(queue._store._client, "run", run)
            assert (await record(queue, job.id)).job.status is JobStatus.RUNNING
            [lease] = await leased(queue)
            assert (lease.job_id, lease.attempt) == (job.id, 2)
            found = await record(queue, job.id)
            assert (found.release_count, found.expiry_count) == (1, 0)

    @pytest.mark.security("S10")
    async def test_no_command_looks_through_all_keys(self, own: RedisServer) -> None:
        async with opened(own_namespace(own.url())) as queue:
            await enqueued(queue)
            [lease] = await leased(queue)
            await ended(queue, lease, Transition.FAIL)
            await queue.list_jobs(JobFilter())
            await queue.all_stats()
            await queue.purge(JobFilter())
        used = {line.split(":")[0] for line in own.run("INFO", "commandstats").splitlines()}
        assert not used & {"cmdstat_keys", "cmdstat_scan", "cmdstat_flushdb", "cmdstat_flushall"}

    @pytest.mark.security("S10")
    async def test_two_namespaces_do_not_see_each_other(self, redis: RedisServer) -> None:
        one, other = own_namespace(redis.url()), own_namespace(redis.url())
        async with opened(one) as here, opened(other) as there:
            job = await enqueued(here)
            assert await there.get_job(job.id) is None
            assert await leased(there) == []
            assert await there.all_stats() == {}
            assert len(await leased(here)) == 1


class TestMemory:
    async def test_a_full_server_takes_no_job_and_still_takes_results(
        self, own: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(own_namespace(own.url())) as queue:
            first, second = await enqueued(queue), await enqueued(queue)
            [lease] = await leased(queue)
            own.run("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(QueueConnectionError, match="maxmemory") as refused:
                await enqueued(queue)
            assert refused.value.details["reason"] == "full"

            renewed = await queue.renew([lease])
            done = Settlement(lease.id, lease.token, Transition.COMPLETE, b'{"a":1}')
            with caplog.at_level(logging.ERROR):
                exchanged = await queue.exchange([done], ("default",), 1)
            assert [renewal.answer for renewal in renewed] == [Answer.OK]
            assert [receipt.answer for receipt in exchanged.receipts] == [Answer.OK]
            assert exchanged.leases == []
            assert "store_full" in caplog.text
            assert await queue.get_result(first.id) == {"a": 1}

            own.run("CONFIG", "SET", "maxmemory", "0")
            assert [lease.job_id for lease in await leased(queue)] == [second.id]

    async def test_a_server_that_would_evict_jobs_is_refused_unless_that_is_accepted(
        self, own: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        own.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigurationError, match="CONFIG SET maxmemory-policy noeviction"):
            await compose.job_queue(own.url()).initialize()
        with caplog.at_level(logging.WARNING):
            async with opened(f"{own.url()}?eviction=allowed") as queue:
                await enqueued(queue)
        assert "store_may_evict_jobs" in caplog.text

    async def test_a_server_that_keeps_no_log_of_changes_is_warned_of(
        self, own: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            async with opened(own.url()):
                assert "store_without_append_only_file" in caplog.text
            caplog.clear()
            own.run("CONFIG", "SET", "appendonly", "yes")
            async with opened(own.url()):
                assert "store_without_append_only_file" not in caplog.text


class TestBadInput:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("redis://h/0?frob=1", "frob"),
            ("redis://h/zero", "zero"),
            ("redis://h:99999/0", "99999"),
            ("redis:///0", "host:port"),
            ("redis://h/0?namespace=a b", "a b"),
            ("redis://h/0?namespace={x}", "namespace"),
            ("redis://h/0?timeout=0", "timeout='0'"),
            ("redis://h/0?timeout=never", "never"),
            ("redis://h/0?eviction=yes", "eviction='yes'"),
            ("redis://h/0?tls_insecure=yes", "uses no TLS"),
            ("rediss://h/0?tls_ca=/no/such/file", "/no/such/file"),
            ("rediss://h/0?ssl_cert_reqs=none", "tls_insecure"),
            ("redis://a,b/0", "names 2 servers"),
            ("redis+sentinel://h:26379", "mymaster"),
            ("redis+cluster://h/3", "only 0"),
            ("redis://h/0?max_pending=none", "max_pending"),
        ],
    )
    def test_a_url_that_is_not_understood_is_refused_by_what_is_wrong(
        self, url: str, said: str
    ) -> None:
        with pytest.raises(ConfigurationError) as refused:
            compose.job_queue(url)
        assert said in str(refused.value)

    async def test_a_wrong_password_is_named_and_never_shown(self, own: RedisServer) -> None:
        own.run("CONFIG", "SET", "requirepass", "right")
        for user in ("", ":wrong-canary@"):
            url = f"redis://{user}127.0.0.1:{own.port}/0"
            with pytest.raises(ConfigurationError, match="password") as refused:
                await compose.job_queue(url).initialize()
            assert "canary" not in str(refused.value)
            assert "canary" not in repr(refused.value.details)
        async with opened(f"redis://:right@127.0.0.1:{own.port}/0") as queue:
            await enqueued(queue)

    async def test_a_user_without_the_rights_is_told_what_to_allow(self, own: RedisServer) -> None:
        own.run("ACL", "SETUSER", "poor", "on", ">secret", "~*", "&*", "+ping", "+info", "+hello",
                "+client", "+select", "+auth")  # fmt: skip
        url = f"redis://poor:secret@127.0.0.1:{own.port}/0"
        with pytest.raises(ConfigurationError, match="ACL"):
            await compose.job_queue(url).initialize()
        own.run("ACL", "SETUSER", "poor", "+evalsha", "+eval", "+get")
        async with opened(url) as queue:
            with pytest.raises(ConfigurationError, match="ACL"):
                await enqueued(queue)

    async def test_the_rights_that_are_asked_for_are_enough(self, own: RedisServer) -> None:
        own.run("ACL", "SETUSER", "jobs", "on", ">secret", "~portico:{default}:*",
                "&portico:{default}:*", "+@all", "-@admin", "-@dangerous", "+info")  # fmt: skip
        async with opened(f"redis://jobs:secret@127.0.0.1:{own.port}/0") as queue:
            waiting = asyncio.create_task(queue.dequeue("default", 10))
            await wait_until(lambda: queue._store._listener.hears)
            await enqueued(queue)
            job = await waiting
            assert job is not None
            await queue.acknowledge(job.id)
            assert await queue.purge(JobFilter()) == 1

    async def test_a_database_that_the_server_does_not_have_is_named(
        self, redis: RedisServer
    ) -> None:
        with pytest.raises(ConfigurationError, match="no database 99"):
            await compose.job_queue(redis.url(99)).initialize()

    async def test_a_server_that_is_not_there_is_a_matter_of_waiting(self) -> None:
        url = f"redis://127.0.0.1:{free_port()}/0"
        with pytest.raises(QueueConnectionError, match="cannot be reached"):
            await compose.job_queue(url).initialize()

    async def test_an_old_server_is_refused_by_its_version(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(speaking, "OLDEST", {"redis": (99, 1), "valkey": (99, 1)})
        with pytest.raises(ConfigurationError, match=r"Portico needs 99\.1 or newer"):
            await compose.job_queue(redis.url()).initialize()

    def test_without_the_driver_the_extra_is_named(self) -> None:
        without = (
            "import sys; sys.modules['redis'] = None; sys.modules['redis.asyncio'] = None\n"
            "from portico.compose import job_queue\n"
            "try: job_queue('redis://h/0')\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", without], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("ConfigurationError")
        assert "pip install 'portico-jobs[redis]'" in done.stdout


@pytest.mark.security("S11")
class TestUnixSocket:
    async def test_jobs_pass_through_a_socket_in_the_file_system_and_wake_whoever_waits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("portico.adapters.job_queue._stored_queue._POLL", 60.0)
        folder = server_folder("socket")  # its path is short
        server = RedisServer(folder / "s", {"unixsocket": folder / "s" / "redis.sock"})
        server.start()
        server.run("CONFIG", "SET", "requirepass", "a[b")
        try:
            for scheme in ("redis+unix", "unix"):
                url = f"{scheme}://:a[b@{folder}/s/redis.sock?db=1&namespace={scheme[0]}"
                async with opened(url) as waiting, opened(url) as producer:
                    assert await leased(waiting) == []
                    task = asyncio.create_task(waiting.wait(("default",), 60))
                    await wait_until(lambda: waiting._store._listener.hears)
                    job = await enqueued(producer)
                    async with asyncio.timeout(5):
                        await task
                    assert [lease.job_id for lease in await leased(waiting)] == [job.id]
        finally:
            server.kill()
            shutil.rmtree(folder)

    async def test_a_socket_that_is_not_there_is_a_matter_of_waiting(self, tmp_path: Path) -> None:
        queue = compose.job_queue(f"redis+unix://{tmp_path}/redis.sock")
        with pytest.raises(QueueConnectionError, match="cannot be reached"):
            await queue.initialize()


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path / "authority")

    @asynccontextmanager
    async def served(
        self, folder: Path, authority: Authority, *names: str, expired: bool = False
    ) -> AsyncIterator[str]:
        port = free_port()
        files = authority.issue(*names, expired=expired)
        server = RedisServer(folder / "tls", files.for_redis(port))
        server.start()
        yield f"rediss://127.0.0.1:{port}/0"
        server.kill()

    async def test_a_certificate_is_verified_against_the_authority_that_is_given(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        async with self.served(tmp_path, authority, "127.0.0.1") as url:
            with pytest.raises(ConfigurationError, match="tls_ca"):
                await compose.job_queue(url).initialize()
            async with opened(f"{url}?tls_ca={authority.file}") as queue:
                job = asyncio.create_task(queue.dequeue("default", 10))
                await wait_until(lambda: queue._store._listener.hears)
                await enqueued(queue)
                assert await job

    async def test_a_certificate_for_another_host_is_refused(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        async with self.served(tmp_path, authority, "other.example") as url:
            with pytest.raises(ConfigurationError, match="certificate does not verify"):
                await compose.job_queue(f"{url}?tls_ca={authority.file}").initialize()
            async with opened(f"{url}?tls_insecure=yes") as queue:
                await enqueued(queue)

    async def test_an_expired_certificate_is_refused(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        async with self.served(tmp_path, authority, "127.0.0.1", expired=True) as url:
            with pytest.raises(ConfigurationError, match="certificate does not verify"):
                await compose.job_queue(f"{url}?tls_ca={authority.file}").initialize()

    @asynccontextmanager
    async def watched(
        self, folder: Path, of_servers: TlsFiles, of_sentinels: TlsFiles
    ) -> AsyncIterator[str]:
        """The URL of sentinels before a primary with a replica, each of which speaks TLS."""
        primary = RedisServer(
            folder / "primary", of_servers.for_redis(free_port(), "tls-replication")
        )
        primary.start()
        following = {"replicaof": f"{primary.host} {primary.tls_port}"}
        second = RedisServer(
            folder / "second",
            {**of_servers.for_redis(free_port(), "tls-replication"), **following},
        )
        second.start()
        sentinels = Sentinels(folder, primary, tls=of_sentinels)
        try:
            sentinels.start()
            yield f"rediss+sentinel://{sentinels.hosts()}/jobs/0"
        finally:
            for server in (sentinels, second, primary):
                server.kill()

    async def test_sentinels_and_the_primary_that_they_name_have_to_show_a_certificate(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        files = authority.issue("127.0.0.1")
        async with self.watched(tmp_path, files, files) as url:
            await self.speaks_to_those_alone_whose_certificate_verifies(url, authority)

    async def test_a_primary_that_sentinels_name_is_refused_with_another_hosts_certificate(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        strange, files = authority.issue("other.example"), authority.issue("127.0.0.1")
        async with self.watched(tmp_path, strange, files) as url:
            with pytest.raises(ConfigurationError, match="certificate does not verify"):
                await compose.job_queue(f"{url}?tls_ca={authority.file}").initialize()

    async def test_every_node_of_a_cluster_has_to_show_a_certificate(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        cluster = Cluster(tmp_path, tls=authority.issue("127.0.0.1"))
        try:
            cluster.start()
            for _ in range(3):  # namespaces fall onto different nodes
                url = f"rediss+cluster://{cluster.hosts()}?namespace=test-{uuid4().hex[:8]}"
                await self.speaks_to_those_alone_whose_certificate_verifies(url, authority)
        finally:
            cluster.kill()

    async def speaks_to_those_alone_whose_certificate_verifies(
        self, url: str, authority: Authority
    ) -> None:
        with pytest.raises(ConfigurationError, match="certificate does not verify"):
            await compose.job_queue(url).initialize()
        joined = "&" if "?" in url else "?"
        async with opened(f"{url}{joined}tls_ca={authority.file}") as queue:
            waiting = asyncio.create_task(queue.dequeue("default", 10))
            await wait_until(lambda: queue._store._listener.hears)
            job = await enqueued(queue)
            found = await waiting
            assert found is not None
            assert found.id == job.id

    async def test_a_server_that_speaks_no_tls_is_not_spoken_to_without_it(
        self, redis: RedisServer
    ) -> None:
        url = redis.url().replace("redis:", "rediss:")
        with pytest.raises((ConfigurationError, QueueConnectionError)):
            await compose.job_queue(url).initialize()


class TestManyServers:
    @pytest.mark.fault("D27")
    async def test_in_a_cluster_all_keys_of_a_namespace_lie_in_one_slot(self) -> None:
        cluster = Cluster(server_folder("cluster"))
        cluster.start()
        try:
            for _ in range(3):  # namespaces fall onto different nodes
                url = f"redis+cluster://{cluster.hosts()}?namespace=test-{uuid4().hex[:8]}"
                async with opened(url) as queue, opened(url) as producer:
                    waiting = asyncio.create_task(queue.dequeue("default", 10))
                    await wait_until(lambda queue=queue: queue._store._listener.hears)
                    job = await enqueued(producer)
                    found = await waiting
                    assert found is not None
                    assert found.id == job.id
                    await queue.acknowledge(job.id)
                    assert (await record(queue, job.id)).job.status is JobStatus.COMPLETED
                    assert await queue.purge(JobFilter()) == 1
        finally:
            cluster.kill()

    async def test_after_a_failover_the_sentinels_lead_to_the_new_primary(
        self, own: RedisServer, tmp_path: Path
    ) -> None:
        second = replica(tmp_path / "second", own)
        sentinels = Sentinels(tmp_path, own, down_after=0.5)
        sentinels.start()
        try:
            unknown = "cannot be reached: its sentinels know no primary 'other' that is up$"
            with pytest.raises(QueueConnectionError, match=unknown):
                await compose.job_queue(f"redis+sentinel://{sentinels.hosts()}/other").initialize()
            async with opened(f"redis+sentinel://{sentinels.hosts()}/jobs/0") as queue:
                job = await enqueued(queue)
                until(lambda: second.run("DBSIZE") == own.run("DBSIZE"), "all is replicated")
                own.kill()
                with pytest.raises(QueueConnectionError):
                    await queue.get_job(job.id)

                async def again() -> object:
                    try:
                        return await leased(queue)
                    except QueueConnectionError:
                        return None

                [lease] = await wait_until(again, 20)
                assert lease.job_id == job.id
        finally:
            sentinels.kill()
            second.kill()
