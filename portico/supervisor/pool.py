"""The pool of worker processes as a `JobExecutor`: the scheduling core's hands and eyes.

    pipeline ─submit─► events ─► Scheduler.step ─► commands ─► pipes, signals, log
                         ▲                            │
    workers' frames, ────┘                            └► outcomes ─finished─► pipeline
    deaths, shared pages, the clock

Whatever is decided is decided by `scheduling`; here it is seen and done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from portico.ports.job_executor import JobExecutor, Outcome
from portico.ports.leasing import Failure, Lease
from portico.supervisor import sendable, wire
from portico.supervisor.birth import SIGNAL_FOR_STACKS
from portico.supervisor.crew import Crew
from portico.supervisor.exit import Exit
from portico.supervisor.member import Member
from portico.supervisor.requests import Asker
from portico.supervisor.scales import Scales
from portico.supervisor.scheduling import events
from portico.supervisor.scheduling.assignment import Fate
from portico.supervisor.scheduling.memory import Bounds
from portico.supervisor.scheduling.scheduler import Scheduler
from portico.supervisor.scheduling.seat import Seat
from portico.supervisor.scheduling.watch import Limits
from portico.utils.logging import get_logger

_LONGEST_WAIT = 3600.0
"""Seconds: the loop has no timer for an endless one."""

logger = get_logger(__name__)

OnRequest = Callable[[wire.Request, Asker], None]


class ProcessPool(JobExecutor):
    """Runs jobs in the workers of a crew."""

    def __init__(
        self,
        crew: Crew,
        limits: Limits,
        bounds: Bounds | None = None,
        *,
        weighs_workers: bool = False,
        on_request: OnRequest | None = None,
    ) -> None:
        self._crew = crew
        self._scheduler = Scheduler(limits, bounds)
        self._scales = Scales(
            machine=bounds is not None and bounds.reserve is not None,
            workers=weighs_workers,
            families=bounds is not None and bounds.ceiling is not None,
        )
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._by_seat: dict[int, Member] = {}
        self._changed: Callable[[], None] = lambda: None
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()
        crew.on_ready = self._ready
        crew.on_early = self._received_early
        crew.on_closing = lambda member: self._tell(events.Closing(member.seat))
        crew.on_messages = self._received
        crew.on_death = self._lost

    # The executor's port

    def on_change(self, callback: Callable[[], None]) -> None:
        self._changed = callback

    def free(self) -> int:
        if self._scales.stale(monotonic()):
            self._weigh()
        return self._scheduler.free()

    def room(self) -> Mapping[str, int]:
        return self._scheduler.room(monotonic())

    def submit(self, leases: Sequence[Lease]) -> None:
        if leases:
            self._tell(events.Leased(leases))

    def pause(self, *, paused: bool) -> None:
        self._tell(events.Paused(paused))

    def finished(self) -> list[Outcome]:
        for member in self._by_seat.values():
            member.process.collected()
        return self._scheduler.take()

    def held(self) -> list[Lease]:
        return self._scheduler.held()

    def forfeit(self, leases: Sequence[Lease]) -> None:
        self._tell(events.Stopped(leases, Fate.FORFEITED))

    def cancel(self, leases: Sequence[Lease]) -> None:
        self._tell(events.Stopped(leases, Fate.CANCELLED))

    def mourn(self, lease: Lease, failure: Failure) -> None:
        self._tell(events.Bereaved(lease, failure))

    async def drain(self, grace: float) -> None:
        self._tell(events.Draining(grace))
        while not self._scheduler.empty:
            self._settled.clear()
            await self._settled.wait()

    # What others may see

    @property
    def waiting(self) -> int:
        """Leased jobs that no worker has been given yet."""
        return self._scheduler.waiting

    @property
    def running(self) -> int:
        """Jobs that workers hold."""
        return self._scheduler.running

    @property
    def confined(self) -> list[str]:
        """The job types that are confined to one worker."""
        return self._scheduler.confined

    @property
    def at_limit(self) -> dict[str, int]:
        """The job types of which as many run as may, and how many these are."""
        return self._scheduler.at_limit

    @property
    def members(self) -> list[Member]:
        """The workers that are ready, or were and still live."""
        return list(self._by_seat.values())

    # Events

    def _tell(self, event: events.Event) -> None:
        for command in self._scheduler.step(event, monotonic()):
            self._obey(command)
        if not self._turn_due:  # once, after all that arrives together
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        for command in self._scheduler.step(events.Turn(), monotonic()):
            self._obey(command)
        self._set_timer()
        if self._scheduler.empty:
            self._settled.set()
        self._changed()

    def _set_timer(self) -> None:
        due = self._scheduler.due
        seconds = None if due is None else min(max(0.0, due - monotonic()), _LONGEST_WAIT)
        if self._timer is not None:
            if seconds is not None and self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        pages = {m.seat.key: m.process.page for m in self._by_seat.values() if m.seat.inflight}
        withdrawn = [m for m in self._by_seat.values() if m.seat.withdrawing]
        reached = {m.seat.key: m.process.page.reached() for m in withdrawn}
        self._tell(events.Looked({key: page.started() for key, page in pages.items()}, reached))
        if self._scales.stale(monotonic()):
            self._weigh()

    def _weigh(self) -> None:
        members = self._by_seat.values()
        pids = {member.seat.key: member.process.pid for member in members}
        resident, available = self._scales.weigh(pids, monotonic())
        families = self._scales.families(pids)
        started = {member.seat.key: member.process.page.started() for member in members}
        self._tell(events.Weighed(resident, started, available, families))

    def _ready(self, member: Member) -> None:
        self._by_seat[member.seat.key] = member
        member.seat.birth = monotonic() - member.process.born
        self._tell(events.Joined(member.seat, self._crew.mourners, self._crew.most_running))

    def _received_early(self, member: Member, message: wire.Request | wire.Dumped) -> None:
        """It asks the store while it opens its application, or shows where it stands in that."""
        if isinstance(message, wire.Dumped):
            logger.info("worker_stacks", worker=member.number, stacks=message.text)
        elif self._on_request is not None:
            self._on_request(message, member.process)

    def _received(self, member: Member, messages: Sequence[wire.FromWorker]) -> None:
        page = member.process.page
        recalled = any(type(message) is wire.Recalled for message in messages)
        started = page.started() if recalled else {}
        self._tell(events.Said(member.seat, messages, started, page.latest()))
        if self._scheduler.collected:
            member.process.collected()  # what it asks nobody fetches

    def _lost(self, member: Member, status: Exit) -> None:
        process = member.process
        started, output_since = process.page.started(), process.output.since
        died = events.Died(member.seat, started, status, member.condemned, output_since)
        self._tell(died)
        self._by_seat.pop(member.seat.key, None)

    # Commands

    def _obey(self, command: events.Command) -> None:
        match command:
            case events.Send(seat, message):
                self._send(seat, message)
            case events.Withdraw(seat, serial):
                self._by_seat[seat.key].process.page.withdraw(serial)
            case events.Kill(seat, reason):
                self._by_seat[seat.key].kill(reason)
            case events.ShowStack(seat):
                self._by_seat[seat.key].process.kill(SIGNAL_FOR_STACKS)
            case events.Discredit(seat, flaw):
                self._by_seat[seat.key].discredit(flaw)
            case events.Recycle(seat, reason, leaving):
                replace = self._crew.let_go if leaving else self._crew.recycle
                replace(self._by_seat[seat.key], reason)
            case events.Ask(seat, request) if self._on_request is not None:
                self._on_request(request, self._by_seat[seat.key].process)
            case events.Note():
                self._log(command)

    def _send(self, seat: Seat, message: wire.ToWorker) -> None:
        """Send a frame; where one of its jobs is none that a frame holds, the others."""
        send = self._by_seat[seat.key].process.send
        try:
            send(message)
        except sendable.UNSENDABLE:
            whole, flaws = sendable.sorted_out(message)
            for part in whole:
                send(part)
            self._tell(events.Unsendable(seat, flaws))

    def _log(self, note: events.Note) -> None:
        facts = dict(note.facts)
        if note.seat is not None:
            member = self._by_seat[note.seat.key]
            facts |= {"worker": member.number, "pid": member.process.pid}
        getattr(logger, note.level)(note.event, **facts)
