"""Many jobs from JSON lines, streamed into the store a thousand at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import click

from portico.cli import exits
from portico.cli.job_lines import JobLine, Numbered, numbered, read_line
from portico.cli.messages import complain, counted
from portico.cli.steps import Steps
from portico.cli.store import Session, opened, unopened
from portico.exceptions import PorticoError, QueueConnectionError, ValidationError

if TYPE_CHECKING:
    from portico.ports.bulk import Created

BATCH = 1000


@dataclass
class _Tally:
    """What became of the lines so far."""

    source: str
    stored: int = 0
    last: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    open: tuple[int, int] | None = None
    """The first and last line of the batch whose answer has not come."""

    def __str__(self) -> str:
        until = f", up to line {self.last} of {self.source}" if self.last else ""
        return f"{counted(self.stored, 'job')} stored{until}"

    @property
    def told(self) -> str:
        """What is stored, and of what that is not known."""
        if self.open is None:
            return str(self)
        first, last = self.open
        return f"{self}; whether lines {first} to {last} are, nobody knows"

    def add(self, batch: Sequence[JobLine], outcomes: Sequence[Created]) -> None:
        """Note a batch and what the store made of it."""
        for line, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is not None:
                self.refuse(line.number, str(outcome.error))
        self.stored += sum(outcome.job is not None for outcome in outcomes)
        self.last = batch[-1].number
        self.open = None

    def refuse(self, line: int, reason: str) -> None:
        """Note a line that is not stored, and say why."""
        self.refused.append({"line": line, "reason": reason})
        complain(f"{self.source}:{line}: {reason}")


def store_lines(
    stream: IO[bytes],
    source: str,
    defaults: Mapping[str, Any],
    queue_url: str | None,
    *,
    strict: bool = False,
    as_json: bool = False,
) -> int:
    """Store the jobs of a stream of JSON lines, and tell what became of them.

    Args:
        stream: one JSON object per line.
        source: its name, for messages.
        defaults: arguments of `create_job` for lines that do not have them.
        queue_url: as `with_jobs` takes it.
        strict: check all lines before storing any.
        as_json: tell it as `{"stored": n, "refused": [{"line": n, "reason": "..."}]}`.

    Returns:
        The exit code.
    """
    tally = _Tally(source)
    lines: Iterable[Numbered] = numbered(stream)
    if strict:
        lines = list(lines)
        check = unopened(queue_url).check
        for _ in _readable(lines, defaults, tally, check):
            pass
    if not tally.refused:
        with opened(queue_url, create=True) as session:
            _store(session, _readable(lines, defaults, tally), tally)
    _tell(tally, as_json=as_json)
    return exits.REFUSED if tally.refused else exits.OK


def _store(session: Session, lines: Iterator[JobLine], tally: _Tally) -> None:
    """Store batch by batch; reading happens outside of a step, where Ctrl-C ends it."""
    terminal = sys.stderr.isatty()
    try:
        with Steps() as steps:
            while batch := list(islice(lines, BATCH)):
                with steps.step():
                    tally.open = (batch[0].number, batch[-1].number)
                    many = (line.arguments for line in batch)
                    create = session.jobs.create_jobs(many, return_exceptions=True)
                    tally.add(batch, session.run(create))
                if terminal:
                    click.echo(f"\r{counted(tally.stored, 'job')} stored", err=True, nl=False)
    except QueueConnectionError as error:
        raise QueueConnectionError(f"{error}; before that, {tally.told}", error.details) from error
    except PorticoError as error:  # of this batch nothing is stored, then
        raise type(error)(f"{error}; before that, {tally}", error.details) from error
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted; before that, {tally.told}", err=True)
        raise
    finally:
        if terminal and tally.stored:
            click.echo(err=True)


def _readable(
    lines: Iterable[Numbered],
    defaults: Mapping[str, Any],
    tally: _Tally,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> Iterator[JobLine]:
    """The lines that are jobs; the others are refused."""
    for line in lines:
        try:
            job = read_line(line, defaults)
            if check is not None:
                check(job.arguments)
        except ValidationError as error:
            tally.refuse(line.number, str(error))
        else:
            yield job


def _tell(tally: _Tally, *, as_json: bool) -> None:
    if as_json:
        from portico.cli import shapes

        shapes.write({"stored": tally.stored, "refused": tally.refused})
        return
    refused = f", {counted(len(tally.refused), 'line')} refused" if tally.refused else ""
    click.echo(f"{counted(tally.stored, 'job')} stored{refused}")
