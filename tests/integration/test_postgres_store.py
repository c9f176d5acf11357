"""What is PostgreSQL's own: its schema, its plans, its notifications, its errors."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil
import psycopg
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._postgres import schema
from portico.adapters.job_queue._postgres.place import place_of
from portico.exceptions import (
    ConfigurationError,
    QueueConnectionError,
    QueueFullError,
    ValidationError,
)
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Failure, JobFilter, Settlement, Transition
from portico.ports.wanted import EVERYTHING, Wanted
from tests.support.jobs import make_job
from tests.support.server_sets import PgBouncer
from tests.support.servers import PostgresServer, server_folder
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.servers


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database of the test's own."""
    return postgres.url(postgres.database())


@asynccontextmanager
async def opened(url: str, **known: float) -> AsyncIterator[DatabaseJobQueueAdapter]:
    queue = DatabaseJobQueueAdapter(url, **known)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


def drafts(count: int, **fields: object) -> list[Draft]:
    return [Draft.of(make_job(**fields)) for _ in range(count)]


def ask(url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        found = connection.execute(statement, values or None)
        return found.fetchall() if found.description else []


# The schema.


async def test_many_that_start_at_once_make_one_schema(url: str) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", _START, url], stderr=subprocess.PIPE)
        for _ in range(5)
    ]
    said = [await asyncio.to_thread(process.communicate) for process in starting]
    for process, (_, errors) in zip(starting, said, strict=True):
        assert process.returncode == 0, errors.decode()
    assert ask(url, "SELECT count(*) FROM portico.portico_jobs") == [(5,)]


async def test_who_waits_for_another_ones_migration_sees_it(url: str) -> None:
    place, _ = place_of(url)
    address = url.partition("?")[0]
    async with connected(address) as first, connected(address) as second:
        async with first.transaction():
            await first.execute(schema._locked(place))
            waiting = asyncio.create_task(schema.upgrade(second, place))
            await wait_until(lambda: ask(url, _WAITS_FOR_THE_SCHEMA) == [(1,)])
            await first.execute(f"CREATE SCHEMA {place.quoted_schema}")
            for migration in schema.migrations():
                await first.execute(schema._applied(migration, place))
        assert await waiting == []


_WAITS_FOR_THE_SCHEMA = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()


_START = """
import asyncio, sys, uuid
from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.job import Job

async def main():
    queue = DatabaseJobQueueAdapter(sys.argv[1])
    await queue.initialize()
    await queue.enqueue(Job(uuid.uuid4(), "default", "a.b", {}))
    await queue.close()

asyncio.run(main())
"""


async def test_a_migration_waits_for_no_long_transaction_with_everybody_behind_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_LOCK_PATIENCE", 0.1)
    place, _ = place_of(url)
    async with connected(url) as outsider:
        await outsider.execute(f"CREATE SCHEMA {place.quoted_schema}")
        for migration in schema.migrations()[:2]:
            await outsider.execute(schema._applied(migration, place))
        async with outsider.transaction():
            await outsider.execute("SELECT FROM portico.portico_jobs")
            with pytest.raises(QueueConnectionError, match="a lock was not to be had"):
                await asyncio.wait_for(DatabaseJobQueueAdapter(url).initialize(), PATIENCE)
    async with opened(url) as queue:
        await queue.enqueue(make_job())


async def test_a_newer_schema_is_refused_with_both_versions(url: str) -> None:
    async with opened(url):
        pass
    ask(url, "UPDATE portico.portico_schema SET version = 99")
    for option in ("", "?migrate=no"):
        with pytest.raises(ConfigurationError, match=r"version 99.*up to \d+; upgrade Portico"):
            await DatabaseJobQueueAdapter(url + option).initialize()


async def test_without_leave_to_migrate_a_missing_schema_is_named_with_the_way_out(
    url: str,
) -> None:
    with pytest.raises(ConfigurationError, match="run `portico migrate up`"):
        await DatabaseJobQueueAdapter(f"{url}?migrate=no").initialize()
    async with opened(url):
        pass
    async with opened(f"{url}?migrate=no") as queue:
        assert await queue.insert(drafts(1))


def test_the_command_migrates_and_tells_what_is_applied(url: str) -> None:
    def said(verb: str, code: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "portico.cli", "-u", url, "migrate", verb],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    assert "pending  0001 jobs" in said("status", 1)
    assert "applied 0001 jobs" in said("up", 0)
    assert "nothing to do" in said("up", 0)
    assert "pending" not in said("status", 0)
    ask(url, "DROP SCHEMA portico CASCADE")
    ask(url, said("sql", 0))
    assert "pending" not in said("status", 0)


def test_the_command_migrates_a_file_too(tmp_path: Path) -> None:
    def run(verb: str) -> subprocess.CompletedProcess[str]:
        url = f"sqlite:///{tmp_path}/jobs.db"
        command = [sys.executable, "-m", "portico.cli", "-u", url, "migrate", verb]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("status").returncode == 1
    assert "applied 0001" in run("up").stdout
    assert run("status").returncode == 0


async def test_two_schemas_of_one_database_know_nothing_of_each_other(url: str) -> None:
    async with opened(f"{url}?schema=One") as one, opened(f"{url}?schema=one") as other:
        await one.insert(drafts(2))
        assert await other.all_stats() == {}
        assert (await one.get_queue_stats("default")).pending_count == 2


async def test_two_supervisors_of_one_database_do_every_job_once(url: str, tmp_path: Path) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(300, job_type="bench.noop"))
        command = [sys.executable, "-m", "portico.supervisor", "--app", "benchmarks.noop:app",
                   "--workers", "1", "--drain", "--queue-url", url]  # fmt: skip
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
        for process in running:
            _, said = await asyncio.to_thread(process.communicate)
            assert process.returncode == 0, said.decode()
            assert b"portico:portico" not in said
        assert (await queue.get_queue_stats("default")).completed_count == 300
        assert ask(url, "SELECT max(attempt) FROM portico.portico_jobs") == [(1,)]
        assert ask(url, "SELECT count(*) FROM portico.portico_owners") == [(0,)]


async def test_renewals_and_ends_are_written_in_place(url: str) -> None:
    """Where the page has room left, and no index holds what changed: no index grows by it."""
    async with opened(url) as queue:
        await queue.insert(drafts(200))
        leases = (await queue.exchange((), ("default",), 100)).leases
        await asyncio.sleep(1.1)  # a session tells its figures once a second at most
        await queue.renew(leases)
        [(before,)] = ask(url, _IN_PLACE)
        for _ in range(3):
            await queue.renew(leases)
        await asyncio.sleep(1.1)
        await queue.renew(leases)
        [(after,)] = ask(url, _IN_PLACE)
        assert int(str(after)) - int(str(before)) > 150


_IN_PLACE = (
    "SELECT n_tup_hot_upd FROM pg_stat_user_tables"
    " WHERE schemaname = 'portico' AND relname = 'portico_jobs'"
)


# What is asked of the planner.


async def test_a_lease_reads_as_little_with_many_finished_jobs(url: str) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(300))
        ask(
            url,
            "INSERT INTO portico.portico_jobs (id, queue_name, job_type, payload, priority,"
            " max_retries, metadata, status, run_at, created_at, ended_at) SELECT"
            " gen_random_uuid(), 'default', 'a.b', '{}', 0, 3, '{}', 'completed', 1, 1, n"
            " FROM generate_series(1, 110000) n",
        )
        leased, blocks = await _read_by_lease(queue, url)
        assert leased == 100
        assert blocks < 2_000, "an exchange read much more than the rows that it leased"


async def _read_by_lease(queue: DatabaseJobQueueAdapter, url: str) -> tuple[int, int]:
    """How many jobs an exchange leased, and how many blocks the server looked at for it."""
    read = (
        "SELECT coalesce(sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read), 0)"
        " FROM pg_statio_user_tables WHERE relname = 'portico_jobs'"
    )
    await queue.exchange((), ("default",), 1)
    await asyncio.sleep(1.1)  # a session tells its figures once a second at most
    await queue.exchange((), ("default",), 1)
    [(start,)] = ask(url, read)
    leased = (await queue.exchange((), ("default",), 100)).leases
    await asyncio.sleep(1.1)
    await queue.exchange((), ("default",), 1)
    [(end,)] = ask(url, read)
    return len(leased), int(str(end)) - int(str(start))


async def test_every_query_for_work_is_answered_by_an_index(url: str) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(50))
        ask(
            url,
            "INSERT INTO portico.portico_jobs (id, queue_name, job_type, payload, priority,"
            " max_retries, metadata, status, run_at, created_at) SELECT gen_random_uuid(),"
            " 'default', 'a.b', '{}', 0, 3, '{}', 'completed', 1, 1"
            " FROM generate_series(1, 110000)",
        )
        [(scans,)] = ask(url, _SCANS)
        leases = (await queue.exchange((), ("default",), 20)).leases
        ends = [Settlement(lease.id, lease.token, Transition.RETRY) for lease in leases]
        await queue.exchange(ends, ("default",), 20)
        held = (await queue.exchange((), ("default",), 20)).leases
        await queue.renew(held)
        await queue.recover()
        await asyncio.sleep(1.1)
        await queue.exchange((), ("default",), 1)
        assert ask(url, _SCANS) == [(scans,)], "a table was read from end to end"


_SCANS = (
    "SELECT seq_scan FROM pg_stat_user_tables"
    " WHERE schemaname = 'portico' AND relname = 'portico_jobs'"
)


# Wake-ups.


async def test_work_from_elsewhere_wakes_whoever_waits(url: str) -> None:
    async with opened(url) as consumer, opened(url) as producer:
        waiting = asyncio.create_task(consumer.dequeue("default", timeout=10))
        await wait_until(
            lambda: (
                ask(url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                or ask(url, "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT 1'")
            )
        )
        took = []
        for _ in range(5):
            start = time.monotonic()
            await producer.insert(drafts(1))
            assert await waiting is not None
            took.append(time.monotonic() - start)
            waiting = asyncio.create_task(consumer.dequeue("default", timeout=10))
            await asyncio.sleep(0.05)
        waiting.cancel()
        assert min(took) < 0.5, "nobody was woken: they were found by looking once a second"


async def test_a_listener_that_was_cut_off_listens_again(url: str) -> None:
    listening = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND (query LIKE 'LISTEN%' OR query = 'SELECT 1') AND pid <> pg_backend_pid()"
    )
    async with opened(url) as queue:
        waiting = asyncio.create_task(queue.wait(("default",), 30))
        await wait_until(lambda: ask(url, listening))
        [(first,)] = ask(url, listening)
        ask(url, "SELECT pg_terminate_backend(%s)", first)

        def another() -> bool:
            found = ask(url, listening)
            return bool(found) and found != [(first,)]

        await wait_until(another)
        waiting.cancel()


async def test_notifications_of_a_flood_are_few(url: str) -> None:
    heard = []
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute('LISTEN "portico.portico"')
        async with opened(url) as queue:
            start = time.monotonic()
            for _ in range(200):
                await queue.insert(drafts(1))
            took = time.monotonic() - start
        heard = [note.payload for note in listener.notifies(timeout=0.5)]
    assert set(heard) == {"default"}
    assert len(heard) <= took / 0.01 + 2


@contextmanager
def notices(url: str) -> Iterator[Callable[[], list[str]]]:
    """What is said on the channel: a function that gives all since it was called last."""
    with psycopg.connect(url.partition("?")[0], autocommit=True) as listener:
        listener.execute('LISTEN "portico.portico"')

        def heard() -> list[str]:
            listener.execute("SELECT pg_notify('portico.portico', 'END')")
            said = listener.notifies(timeout=10)
            found = []
            for note in said:
                if note.payload == "END":
                    said.close()
                else:
                    found.append(note.payload)
            return sorted(found)

        yield heard


async def test_settling_and_recovering_say_once_in_which_queues_there_is_work_again(
    url: str,
) -> None:
    async with opened(url, lease_seconds=0.1) as queue:
        await queue.insert(drafts(40) + drafts(40, queue_name="other"))
        queues = ("default", "other")
        with notices(url) as heard:
            for transition in (Transition.RETRY, Transition.RELEASE, Transition.SNOOZE):
                leases = (await queue.exchange((), queues, 80)).leases
                assert {lease.queue_name for lease in leases} == {"default", "other"}
                ends = [Settlement(one.id, one.token, transition) for one in leases]
                await queue.exchange(ends, (), 0)
                assert heard() == ["default", "other"]
            assert (await queue.exchange((), queues, 80)).leases
            await wait_until(queue.recover)
            assert heard() == ["default", "other"]
            leases = (await queue.exchange((), queues, 80)).leases
            ends = [Settlement(one.id, one.token, Transition.COMPLETE) for one in leases]
            assert len(ends) == 80
            await queue.exchange(ends, (), 0)
            assert heard() == [], "nothing is to be done where all is done"


async def test_a_redrive_says_once_in_which_queue_there_is_work_again(url: str) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(20))
        leases = (await queue.exchange((), ("default",), 20)).leases
        ends = [Settlement(one.id, one.token, Transition.FAIL) for one in leases]
        await queue.exchange(ends, (), 0)
        with notices(url) as heard:
            assert len(await queue.redrive([one.job_id for one in leases])) == 20
            assert heard() == ["default"]


# What can go wrong.


async def test_leases_granted_unheard_are_given_back_uncharged(url: str) -> None:
    async with opened(url) as queue:
        job = make_job()
        await queue.enqueue(job)
        # A commit that waits for a replica that never comes, and whose session is then ended.
        ask(url, f"ALTER DATABASE {_name(url)} SET synchronous_commit = 'on'")
        try:
            async with opened(url + "?migrate=no") as holder:
                await holder.renew([])
                ask(url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                ask(url, "SELECT pg_reload_conf()")
                await wait_until(
                    lambda: ask(url, "SHOW synchronous_standby_names") == [("nobody",)]
                )
                exchange = asyncio.ensure_future(holder.exchange((), ("default",), 1))
                await wait_until(lambda: ask(url, _WAITS))
                ask(url, "SELECT pg_terminate_backend(pid) FROM (" + _WAITS + ") one")
                with pytest.raises(QueueConnectionError):
                    await exchange
                ask(url, "ALTER SYSTEM RESET synchronous_standby_names")
                ask(url, "SELECT pg_reload_conf()")
                await wait_until(lambda: ask(url, "SHOW synchronous_standby_names") == [("",)])
                [lease] = (await holder.exchange((), ("default",), 1)).leases
                record = await holder.inspect(job.id)
        finally:
            ask(url, "ALTER SYSTEM RESET synchronous_standby_names")
            ask(url, "SELECT pg_reload_conf()")
        assert lease.job_id == job.id
        assert record is not None
        assert (record.release_count, record.job.retry_count, record.attempt) == (1, 0, 2)


_WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%exchange%'"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


async def test_one_outcome_that_is_refused_keeps_back_no_other(url: str) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(6))
        leases = (await queue.exchange((), ("default",), 6)).leases
        ask(
            url,
            "ALTER TABLE portico.portico_jobs ADD CHECK (result <> '\\x626164') NOT VALID",
        )
        receipts = (
            await queue.exchange(
                [
                    Settlement(one.id, one.token, Transition.COMPLETE, b"bad" if n == 3 else b"{}")
                    for n, one in enumerate(leases)
                ],
                (),
                0,
            )
        ).receipts
        assert [receipt.status for receipt in receipts] == [
            *[JobStatus.COMPLETED] * 3, JobStatus.DEAD_LETTER, *[JobStatus.COMPLETED] * 2,
        ]  # fmt: skip
        record = await queue.inspect(leases[3].job_id)
        assert record is not None
        assert record.error_type == "OutcomeNotStorable"


@pytest.mark.parametrize("wanted", [EVERYTHING, Wanted(frozenset({"other"}))], ids=["all", "some"])
async def test_jobs_that_somebody_else_holds_hide_none_behind_them(
    url: str, wanted: Wanted
) -> None:
    async with opened(url) as queue, connected(url) as outsider:
        *held, free = [await queue.enqueue(make_job()) for _ in range(6)]
        async with outsider.transaction():
            await outsider.execute(
                "SELECT FROM portico.portico_jobs WHERE id = ANY ($1) FOR UPDATE",
                [job.id for job in held],
            )
            first = await queue.exchange((), ("default",), 1, wanted)
            then = await queue.exchange((), ("default",), 1, wanted)
        rest = await queue.exchange((), ("default",), 10, wanted)
    assert [lease.job_id for lease in first.leases] == [free.id]
    assert (then.leases, then.unseen) == ([], False), "nobody asks again without a pause"
    assert [lease.job_id for lease in rest.leases] == [job.id for job in held]


async def test_batches_that_meet_in_opposite_order_all_go_through(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        await one.insert(drafts(200))
        leases = (await one.exchange((), ("default",), 200)).leases
        ends = [
            Settlement(lease.id, lease.token, Transition.RETRY, failure=Failure("E", "m\0\ud800"))
            for lease in leases
        ]
        told = await asyncio.gather(
            one.exchange(ends, (), 0), other.exchange(ends[::-1], (), 0), one.renew(leases)
        )
        answers = [[r.answer for r in told[0].receipts], [r.answer for r in told[1].receipts][::-1]]
        for pair in zip(*answers, strict=True):
            assert sorted(pair) == [Answer.ALREADY, Answer.OK]


async def test_a_job_too_large_for_a_worker_is_buried_and_the_next_one_leased(url: str) -> None:
    async with opened(url) as queue:
        large, small = make_job(priority=5), make_job()
        await queue.insert([Draft.of(large), Draft.of(small)])
        ask(
            url,
            "UPDATE portico.portico_jobs SET payload = convert_to(repeat('x', 17000000), 'UTF8')"
            " WHERE id = %s",
            large.id,
        )
        leases = (await queue.exchange((), ("default",), 1)).leases
        assert [lease.job_id for lease in leases] == [small.id]
        [(status,)] = ask(url, "SELECT status FROM portico.portico_jobs WHERE id = %s", large.id)
        assert status == "dead_letter"


async def test_a_full_queue_refuses_and_takes_again(url: str) -> None:
    async with opened(f"{url}?max_pending=10") as queue:
        await queue.insert(drafts(10))
        with pytest.raises(QueueFullError, match="10 waiting jobs"):
            await queue.insert(drafts(1))
        await queue.exchange((), ("default",), 10)

        async def taken() -> bool:
            try:
                return bool(await queue.insert(drafts(1)))
            except QueueFullError:  # the count is a moment old
                return False

        await wait_until(taken)


async def test_totals_are_right_after_they_were_summed_up(url: str) -> None:
    async with opened(url) as queue:
        for _ in range(5):
            await queue.insert(drafts(2))
        leases = (await queue.exchange((), ("default",), 4)).leases
        ends = [Settlement(one.id, one.token, Transition.COMPLETE) for one in leases]
        await queue.exchange(ends, (), 0)
        assert await queue.purge(JobFilter(), 1) == 1
        before = await queue.all_stats()
        ask(url, "SELECT portico.portico_tidy(0)")
        assert ask(url, "SELECT count(*) FROM portico.portico_totals") == [(1,)]
        assert await queue.all_stats() == before
        assert (before["default"].completed_count, before["default"].pending_count) == (3, 6)


async def test_a_job_whose_owner_has_no_row_is_recovered(url: str) -> None:
    async with opened(url, lease_seconds=0.1) as queue:
        await queue.insert(drafts(1))
        [lease] = (await queue.exchange((), ("default",), 1)).leases
        ask(url, "DELETE FROM portico.portico_owners")
        await asyncio.sleep(0.15)
        [recovered] = await queue.recover()
        assert recovered.lease == lease


@pytest.mark.security("S9")
@pytest.mark.parametrize(
    "name", ["'; DROP TABLE portico.portico_jobs; --", '"', "\\", "a\0b", "\ud800", "%s", "$1"]
)
async def test_a_hostile_name_is_a_name(url: str, name: str) -> None:
    async with opened(url) as queue:
        await queue.insert(drafts(1))
        assert (await queue.exchange((), (name,), 1)).leases == []
        assert (await queue.list_jobs(JobFilter(queue_name=name))).jobs == []
        assert (await queue.list_jobs(JobFilter(job_type=name))).jobs == []
        assert await queue.purge(JobFilter(queue_name=name)) == 0
        with pytest.raises(ValidationError):
            await queue.get_queue_stats(name)
        assert (await queue.get_queue_stats("default")).pending_count == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("shema=x", "has the option 'shema'; there are .*schema"),
        ("schema=a;b", "has schema='a;b'; give 1 to 48 letters"),
        ('schema=a"b', "give 1 to 48 letters"),
        ("schema=pg_x", "not with pg_"),
        ("migrate=perhaps", "has migrate='perhaps'; give yes or no"),
        ("pgbouncer=1", "give yes or no or auto"),
        ("pool_size=0", "a whole number from 1 to 100"),
        ("command_timeout=x", "a number from 0.1 to 600"),
        ("sslmode=on", "give one of disable, allow"),
        ("max_pending=-1", "max_pending='-1'"),
        ("schema", "options that cannot be read"),
    ],
)
def test_an_option_that_is_none_is_named(option: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        DatabaseJobQueueAdapter(f"postgresql://u:hush@localhost/d?{option}")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("portico:portico@", "portico:wrong@"), "the user or the password is wrong"),
        (("/postgres", "/missing"), "the database does not exist"),
    ],
)
async def test_what_cannot_be_opened_is_said_with_the_way_out(
    postgres: PostgresServer, change: tuple[str, str], said: str
) -> None:
    url = postgres.url().replace(*change)
    with pytest.raises(ConfigurationError, match=said) as refused:
        await DatabaseJobQueueAdapter(url).initialize()
    assert "wrong@" not in str(refused.value)


@pytest.mark.parametrize("url", ["u:hu/sh@localhost/d", "u:hush@localhost:port/d"])
async def test_a_url_that_cannot_be_read_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        await DatabaseJobQueueAdapter(f"postgresql://{url}").initialize()
    said = f"{refused.value!r} {refused.value.__cause__!r}"
    assert "hu" not in said
    assert "sh@" not in said


async def test_a_password_of_any_characters_opens_the_database(
    url: str, postgres: PostgresServer
) -> None:
    role = f"odd_{url.rpartition('/')[2]}"
    postgres.run(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'a[b]c''d\"e f%g'")
    theirs = url.replace("portico:portico@", f"{role}:a[b]c'd\"e f%25g@")
    async with opened(theirs) as queue:
        assert await queue.insert(drafts(1))


@pytest.mark.parametrize("url", ["postgresql://h,[::1/d", "postgresql://u:x@[hu:1/d"])
async def test_a_host_that_cannot_be_read_is_not_quoted_by_the_driver(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        await DatabaseJobQueueAdapter(url).initialize()
    assert "hu" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize("whole", [False, True], ids=["the sessions", "the whole server"])
async def test_a_server_that_hangs_keeps_nobody_for_long(whole: bool) -> None:
    folder = server_folder("hung")
    server = PostgresServer(folder / "server")
    server.start()
    url = f"{server.url()}?command_timeout=0.5&connect_timeout=0.5"
    async with opened(url) as queue:
        await queue.insert(drafts(2))
        [first] = (await queue.exchange((), ("default",), 1)).leases
        assert server.process is not None
        hung = [one for one in psutil.Process(server.process.pid).children() if _serves(one)]
        if whole:
            hung.insert(0, psutil.Process(server.process.pid))
        for process in hung:
            process.suspend()
        start = time.monotonic()
        if whole:
            with pytest.raises(QueueConnectionError, match="did not answer in time"):
                await queue.renew([first])
        else:
            with pytest.raises(QueueConnectionError):
                await queue.renew([first])
            assert [r.answer for r in await queue.renew([first])] == [Answer.OK]
        assert time.monotonic() - start < 3
        for process in hung:
            process.resume()
        assert [r.answer for r in await queue.renew([first])] == [Answer.OK]
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


def _serves(process: psutil.Process) -> bool:
    return "portico postgres" in " ".join(process.cmdline())


async def test_a_server_that_is_not_there_may_come_yet() -> None:
    with pytest.raises(QueueConnectionError, match="cannot be connected to"):
        await DatabaseJobQueueAdapter("postgresql://u:p@127.0.0.1:1/d").initialize()


@pytest.mark.security("S11")
async def test_another_host_must_prove_who_it_is() -> None:
    from portico.adapters.job_queue._postgres.place import place_of

    for url in ("postgresql://u@db.example/d", "postgresql://u@127.0.0.1,10.0.0.7/d"):
        assert place_of(url)[0].connect["ssl"] is True
    for url in ("postgresql://u@localhost/d", "postgresql:///d?host=/tmp", "postgresql://[::1]/d"):
        assert "ssl" not in place_of(url)[0].connect
    assert "ssl" not in place_of("postgresql://u@db.example/d?sslmode=disable")[0].connect


async def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("portico.adapters.job_queue._postg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'portico-jobs\[postgres\]'"):
        DatabaseJobQueueAdapter("postgresql://localhost/d")


@pytest.fixture
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    folder = server_folder("pooler")
    pooler = PgBouncer(folder / "pooler", postgres)
    pooler.start()
    yield pooler
    pooler.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_pooler_is_noticed_and_nothing_is_kept_in_its_sessions(
    pooler: PgBouncer, postgres: PostgresServer
) -> None:
    schema = f"test_{uuid4().hex[:12]}"
    async with opened(f"{pooler.url()}?schema={schema}") as queue:
        await queue.insert(drafts(20))
        found: list[UUID] = []

        async def consume() -> None:
            while job := await queue.dequeue("default", timeout=0.2):
                found.append(job.id)
                await queue.acknowledge(job.id)

        await asyncio.gather(*(consume() for _ in range(5)))
        assert len(set(found)) == len(found) == 20
        assert (await queue.get_queue_stats("default")).completed_count == 20
        waiting = asyncio.create_task(queue.dequeue("default", timeout=5))
        await asyncio.sleep(0.05)
        await queue.insert(drafts(1))
        assert await waiting is not None
        listening = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%{schema}%'"
        assert postgres.run(listening) == "0"
