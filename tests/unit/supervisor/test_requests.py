"""What one worker may have under way at the desk that answers its requests."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from uuid import uuid4

import msgspec
import pytest

from portico.exceptions import ConfigurationError, QueueConnectionError, ValidationError
from portico.ports.bulk import PORTION
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.supervisor import requests, wire
from portico.supervisor.link import Link, PipeQueue
from portico.supervisor.requests import StoreDesk

pytestmark = pytest.mark.security("S5")


class Worker:
    """Whoever asks; what it is answered."""

    def __init__(self) -> None:
        self.alive = True
        self.full = self.held = False
        self.answers: list[wire.Answer] = []
        self.has_room: Callable[[], None] = lambda: None

    def send(self, message: wire.Answer) -> None:
        self.answers.append(message)

    def hold(self, *, held: bool) -> None:
        self.held = held

    def call_on_room(self, act: Callable[[], None]) -> None:
        self.has_room = act


class Store:
    """Answers once its gate is open; how much it has to do at a time."""

    def __init__(self, *, open: bool = False) -> None:
        self.gate = asyncio.Event()
        self.begun = self.now = self.most = 0
        if open:
            self.gate.set()

    async def get_job(self, *_: object) -> None:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1

    get_result = cancel_job = insert = get_job


def desk_of(store: object) -> StoreDesk:
    return StoreDesk(store)  # type: ignore[arg-type]


def asked(verb: str = "get_job", body: bytes | None = None) -> wire.Request:
    return wire.Request(1, verb, msgspec.msgpack.encode(uuid4()) if body is None else body)


async def settled() -> None:
    """Every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_store_that_hangs_does_not_hold_up_the_end_of_its_desk(monkeypatch):
    monkeypatch.setattr(requests, "_PATIENCE", 0.01)
    desk = desk_of(Store())
    desk.take(asked(), Worker())
    async with asyncio.timeout(5):
        await desk.close()


async def test_a_login_that_is_refused_in_use_is_to_a_handler_a_store_that_is_away():
    class Refusing:
        async def get_job(self, job_id: object) -> None:
            raise ConfigurationError("the user or the password is wrong")

    desk, worker = desk_of(Refusing()), Worker()
    desk.take(asked(), worker)
    await desk.close()
    assert [answer.error for answer in worker.answers] == ["unreachable"]


async def test_a_worker_that_asks_without_waiting_is_not_read_until_half_of_that_is_answered(
    monkeypatch,
):
    monkeypatch.setattr(requests, "MOST", 4)
    store, worker, other = Store(), Worker(), Worker()
    desk = desk_of(store)
    for _ in range(requests._LOOKS_AT_ONCE + 5):
        desk.take(asked(), worker)
    assert worker.held
    desk.take(asked(), other)
    assert not other.held
    store.gate.set()
    await settled()
    await desk.close()
    assert not worker.held
    assert len(worker.answers) == requests._LOOKS_AT_ONCE + 5
    assert len(other.answers) == 1
    assert not desk._tabs, "a dead worker would be kept in memory"


async def test_large_requests_are_carried_out_a_few_at_a_time_and_the_pipe_waits(monkeypatch):
    monkeypatch.setattr(requests, "MOST_BYTES", 10_000)
    monkeypatch.setattr(requests, "_SHARE", 10_000)
    store, worker = Store(), Worker()
    desk, ten = desk_of(store), msgspec.msgpack.encode([_draft(4000)])
    for _ in range(5):
        desk.take(asked("insert", ten), worker)
    await settled()
    assert worker.held
    assert store.begun == 2, "what would be decoded beside the others waits"
    store.gate.set()
    await settled()
    assert not worker.held
    assert store.begun == len(worker.answers) == 5
    assert store.most == 2


async def test_a_single_request_larger_than_all_that_may_be_is_carried_out(monkeypatch):
    monkeypatch.setattr(requests, "MOST_BYTES", 100)
    worker = Worker()
    desk = desk_of(Store(open=True))
    desk.take(asked("insert", msgspec.msgpack.encode([_draft(4000)])), worker)
    await settled()
    assert [answer.error for answer in worker.answers] == [None]
    assert not worker.held


async def test_what_another_worker_asks_for_comes_after_a_share_of_a_flood_and_not_after_all():
    store, flooding, other = Store(), Worker(), Worker()
    desk, flood = desk_of(store), msgspec.msgpack.encode([_draft(100)] * 500)
    for _ in range(50):
        desk.take(asked("insert", flood), flooding)
    desk.take(asked("cancel_job"), other)
    await settled()
    assert store.begun * len(flood) < requests._SHARE + 2 * len(flood)
    store.gate.set()
    await settled()
    assert len(other.answers) == 1
    await desk.close()


async def test_answers_that_may_be_large_are_fetched_a_few_at_a_time():
    store, worker = Store(), Worker()
    desk = desk_of(store)
    for _ in range(20):
        desk.take(asked("get_result"), worker)
    for _ in range(20):
        desk.take(asked("cancel_job"), worker)
    await settled()
    assert store.most == requests._LOOKS_AT_ONCE
    store.gate.set()
    await desk.close()
    await settled()
    assert len(worker.answers) == 40


async def test_who_does_not_read_its_answers_is_given_no_more_until_it_does():
    store, worker = Store(open=True), Worker()
    desk = desk_of(store)
    worker.full = True
    desk.take(asked(), worker)
    await settled()
    assert not store.begun
    worker.full = False
    worker.has_room()
    await settled()
    assert len(worker.answers) == 1


async def test_what_a_dead_worker_has_asked_for_and_has_not_begun_is_dropped():
    store, worker = Store(), Worker()
    desk = desk_of(store)
    for _ in range(requests._LOOKS_AT_ONCE + 5):
        desk.take(asked(), worker)
    await settled()
    worker.alive = False
    worker.has_room()
    store.gate.set()
    await settled()
    assert store.begun == requests._LOOKS_AT_ONCE
    assert not desk._tabs


@pytest.mark.parametrize("body", [
    b"\xdd" + (2**22).to_bytes(4, "big") + b"\xc0" * 2**22,
    msgspec.msgpack.encode([None] * (PORTION + 1)),
], ids=["millions of nothing", "one too many"])  # fmt: skip
@pytest.mark.parametrize("verb", ["insert", "redrive"])
async def test_a_request_of_too_many_parts_is_refused_before_they_are_looked_at(
    verb: str, body: bytes
):
    desk, worker = desk_of(Store(open=True)), Worker()
    desk.take(asked(verb, body), worker)
    await desk.close()
    (answer,) = worker.answers
    assert answer.error == "invalid"
    assert f"length <= {PORTION}" in msgspec.msgpack.decode(answer.value)


async def test_the_decoding_of_many_jobs_lets_others_have_their_turn():
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    body = msgspec.msgpack.encode([_draft(10) for _ in range(PORTION)])
    drafts = await requests._drafts(
        msgspec.msgpack.decode(body, type=requests._ARGUMENTS["insert"])
    )
    counting.cancel()
    assert len(drafts) == PORTION
    assert turns >= 1


async def test_a_request_that_fails_is_not_kept_by_its_error():
    class Held:
        """Large."""

    class Failing:
        kept: Exception
        held: weakref.ref[Held]

        async def insert(self, drafts: object) -> None:
            local = Held()
            self.held = weakref.ref(local)
            try:
                await self.store(local)
            except OSError as error:
                self.kept = error
                raise QueueConnectionError("it is locked") from error

        async def store(self, held: Held) -> None:
            raise OSError("locked")

    store, worker = Failing(), Worker()
    desk = desk_of(store)
    gc.disable()
    try:
        desk.take(asked("insert", msgspec.msgpack.encode([_draft(10)])), worker)
        await settled()
        assert [answer.error for answer in worker.answers] == ["unreachable"]
        assert store.held() is None
    finally:
        gc.enable()


@pytest.mark.timeout(20)
async def test_an_error_that_is_raised_again_for_what_it_led_to_holds_nobody_up():
    """It comes of its own consequence then, and that comes of it."""
    away = OSError("it is away")

    class Away:
        async def get_job(self, job_id: object) -> None:
            try:
                try:
                    raise away
                except OSError as error:
                    raise QueueConnectionError("and was") from error
            except QueueConnectionError:
                raise away  # noqa: B904 - as a driver does that keeps the error of its connection

    desk, worker = desk_of(Away()), Worker()
    desk.take(asked(), worker)
    await desk.close()
    assert [answer.error for answer in worker.answers] == ["internal"]


async def test_the_memory_of_a_large_request_goes_back_to_the_system(monkeypatch):
    given_back: list[bool] = []
    monkeypatch.setattr(requests, "_LARGE", 1000)
    monkeypatch.setattr(requests.allocation, "give_back", lambda: given_back.append(True))
    desk, worker = desk_of(Store(open=True)), Worker()
    for size, times in ((10, 0), (2000, 1)):
        desk.take(asked("insert", msgspec.msgpack.encode([_draft(size)])), worker)
        await settled()
        assert len(given_back) == times


async def test_an_error_that_quotes_the_request_is_cut():
    desk, worker = desk_of(Store()), Worker()
    desk.take(wire.Request(1, "v" * 2**20, b""), worker)
    await desk.close()
    assert len(worker.answers[0].value) < 1000


async def test_a_handler_that_creates_more_at_a_time_than_a_request_takes_is_told_so():
    queue = PipeQueue(Link(None))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="2,001 jobs, over the limit of 2,000"):
        await queue.insert([_draft(1)] * (PORTION + 1))


def _draft(size: int) -> Draft:
    return Draft.of(Job(uuid4(), "default", "any.type", {"x": "x" * size}))
