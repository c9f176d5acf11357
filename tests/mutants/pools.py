"""Pools with a fault each: what supervisors of worker processes get wrong again and again.

Each is a function that patches Portico, and whose docstring says what is broken then. A test runs
it in its own process, or as a supervisor's:

    python -m tests.mutants.pools NAME MODULE ARGUMENTS...

runs `python -m MODULE ARGUMENTS...` with that fault; of the mutants in `FROM_THE_ZYGOTE` also the
zygote and, as they are forked from it, the workers.
"""

from __future__ import annotations

import os
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from portico.ports.job_executor import Crashed, Outcome, Released
from portico.supervisor import (
    crew,
    evidence,
    orphans,
    pool,
    process,
    running_page,
    spawning,
    tray,
)
from portico.supervisor.exit import Exit
from portico.supervisor.intake import Intake
from portico.supervisor.process import WorkerProcess
from portico.supervisor.scheduling import inquest
from portico.supervisor.scheduling.inquest import Conclusion, Death, Ruling

Patch = Callable[[Any, str, Any], None]
"""`setattr`, or that of a `pytest.MonkeyPatch`."""
Mutant = Callable[[Patch], None]


def death_is_end_of_file(patch: Patch) -> None:
    """A worker is dead when its result pipe ends, which whoever inherited the pipe can prevent."""
    turn = Intake.turn

    def reading(self: Intake) -> bool:
        more = turn(self)
        worker = getattr(self._take, "__self__")  # noqa: B009 - for mypy
        if not more and worker.alive and _at_end(worker._results):
            worker._died()
        return more

    patch(Intake, "turn", reading)
    patch(process, "watch", lambda *_: lambda: None)


def _at_end(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(event & select.POLLHUP and not event & select.POLLIN for _, event in poll.poll(0))


def the_sweep_collects_every_child(patch: Patch) -> None:
    """Dead children are collected by `waitpid(-1)` in the background: a worker's status is lost."""

    def reap(_: object) -> list[int]:
        collected = []
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                collected.append(found[0])
        return collected

    patch(orphans, "reap", reap)


def a_death_collects_every_child(patch: Patch) -> None:
    """The status of a worker is got by `waitpid(-1)`, and what came with it is dropped."""

    def reap(pid: int) -> Exit:
        status = Exit(None, None, pid)
        with suppress(ChildProcessError):
            while True:
                found, ended, usage = os.wait4(-1, os.WNOHANG)
                if not found:
                    break
                if found == pid:
                    code, number = os.waitstatus_to_exitcode(ended), os.WTERMSIG(ended)
                    status = Exit(
                        None if number else code, number or None, pid,
                        usage.ru_utime + usage.ru_stime, evidence.peak_rss(usage),
                    )  # fmt: skip
        return status

    patch(process, "reap", reap)


def a_death_is_judged_before_the_pipe_is_read(patch: Patch) -> None:
    """What a worker wrote before it died, and nobody has read yet, counts for nothing."""
    patch(process, "_LAST_READS", 0)


def a_death_is_judged_without_the_tray(patch: Patch) -> None:
    """What a worker had gathered when it died, and had not sent, counts for nothing."""
    patch(tray.Tray, "left", lambda *_: None)


def a_tray_is_read_whatever_has_arrived(patch: Patch) -> None:
    """A batch that came through the pipe counts again when its worker dies before it is cleared."""
    real = tray.Tray.left

    def left(self: tray.Tray, received: int) -> tray.Gathered | None:
        found = real(self, received) or real(self, received - 1)
        return found and found._replace(number=received + 1)

    patch(tray.Tray, "left", left)


Conclude = Callable[[Any, Any, Death], list[Conclusion]]


def whatever_a_dead_worker_held_is_charged(patch: Patch) -> None:
    """Jobs that waited in a worker pay for its death, like the one that had been started."""
    real: Conclude = inquest.conclude

    def conclude(inflight: Any, started: Any, death: Death) -> list[Conclusion]:
        return [
            conclusion
            for serial, held in inflight.items()
            for conclusion in real({serial: held}, {serial: started.get(serial, death.at)}, death)
        ]

    patch(inquest, "conclude", conclude)


def a_death_is_charged_to_nobody(patch: Patch) -> None:
    """What a dead worker ran is given back as if it had not been: a poison job never ends."""
    real: Conclude = inquest.conclude

    def acquitted(conclusion: Conclusion) -> Conclusion:
        outcome = conclusion.outcome
        if outcome is None or not isinstance(outcome.verdict, Crashed):
            return conclusion
        released = Outcome(outcome.lease, Released())
        return Conclusion(conclusion.assignment, Ruling.REPORT, released)

    def conclude(inflight: Any, started: Any, death: Death) -> list[Conclusion]:
        return [acquitted(conclusion) for conclusion in real(inflight, started, death)]

    patch(inquest, "conclude", conclude)


def siblings_hold_the_pipes_of_older_workers(patch: Patch) -> None:
    """Each worker has the pipes of those that were started before it, and all else is in order."""
    real = socket.recv_fds

    def receive(*arguments: Any) -> tuple[bytes, list[int], int, Any]:
        packet, fds, flags, address = real(*arguments)
        for fd in fds:
            os.dup(fd)
        return packet, fds, flags, address

    patch(socket, "recv_fds", receive)


def deadlines_by_wall_clock(patch: Patch) -> None:
    """Whoever sets the clock ends everybody's time, or nobody's."""
    real, epoch = running_page.RunningPage.started, time.time() - time.monotonic()

    def started(self: running_page.RunningPage) -> dict[int, float]:
        return {serial: epoch + since for serial, since in real(self).items()}

    patch(running_page.RunningPage, "started", started)
    patch(pool, "monotonic", lambda: time.time())  # noqa: PLW0108 - whatever that is by then


def signals_go_to_collected_numbers(patch: Patch) -> None:
    """A worker is signalled by its number also when that may be somebody else's already."""

    def kill(self: WorkerProcess, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)

    patch(WorkerProcess, "kill", kill)


def one_death_breaks_the_pool(patch: Patch) -> None:
    """The other workers are taken for lost too when one dies, with all that they run."""
    exited = crew.Crew.exited

    def breaking(self: crew.Crew, worker: WorkerProcess, status: Exit) -> None:
        exited(self, worker, status)
        for member in self.members:
            member.process.kill()

    patch(crew.Crew, "exited", breaking)


FROM_THE_ZYGOTE: set[Mutant] = {siblings_hold_the_pipes_of_older_workers}
"""Mutants of what happens there, or in the workers."""


def command_of(mutant: Mutant, module: str, *arguments: str) -> list[str]:
    """What runs a module with this fault."""
    return [sys.executable, "-m", __spec__.name, mutant.__name__, module, *arguments]


def have_the_zygote_run(mutant: Mutant) -> None:
    """Start zygotes with this fault as well."""
    broken = f"from {__spec__.name} import {mutant.__name__} as mutant; mutant(setattr)"
    spawning._ZYGOTE = f"{broken}\n{spawning._ZYGOTE}"


def main(name: str, module: str, *arguments: str) -> None:
    mutant: Mutant = globals()[name]
    if mutant not in FROM_THE_ZYGOTE or module.endswith(".zygote"):
        mutant(setattr)
    else:
        have_the_zygote_run(mutant)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
