"""The root of the command: its verbs, loaded when they are called, and how errors end.

`portico --help` must be quick, so nothing here imports a job store, a log or a table.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from portico import __version__
from portico.cli import exits, streams
from portico.cli.groups import Group
from portico.cli.messages import complain
from portico.exceptions import PorticoError

_VERBS = {
    "dead": ("portico.cli.dead", "Look at dead-lettered jobs, run them again, or delete them."),
    "enqueue": ("portico.cli.enqueue", "Create one job, or many from JSON lines."),
    "jobs": ("portico.cli.jobs", "List, show and cancel jobs."),
    "migrate": ("portico.cli.migrate", "Create or upgrade the tables of a store."),
    "status": ("portico.cli.status", "Count the jobs of each queue."),
    "supervisor": ("portico.cli.supervisor", "Run worker processes that do the jobs."),
}


class _ReaderGone(Exception):
    """Nobody reads our output any more, as with `portico jobs list | head`."""


class _Verbs(Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _VERBS:
            return None
        command: click.Command = getattr(import_module(_VERBS[cmd_name][0]), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would make exit code 1 of it
            raise _ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_VERBS.items())])


@click.command(
    cls=_Verbs, epilog=exits.EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="portico")
@click.option(
    "-u",
    "--queue-url",
    metavar="URL",
    help="The job store. Else PORTICO_QUEUE_URL, queue_url in portico.toml or [tool.portico], "
    "sqlite:///portico.db.",
)
@click.pass_context
def portico(context: click.Context, queue_url: str | None) -> None:
    """Background jobs for CPU-heavy Python work."""
    context.obj = queue_url
    context.color = streams.colors()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; messages for people go to stderr, one line each."""
    streams.settle()
    try:
        result: Any = portico.main(
            None if arguments is None else list(arguments), "portico", standalone_mode=False
        )
        sys.stdout.flush()
    except click.ClickException as error:
        return _refused(error)
    except PorticoError as error:
        complain(str(error))
        return exits.code_of(error)
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except (_ReaderGone, BrokenPipeError):
        streams.abandon_stdout()
        return exits.BROKEN_PIPE
    except streams.OutputLost as error:
        return _unheard(error)
    return result if isinstance(result, int) else exits.OK


def _refused(error: click.ClickException) -> int:
    from portico.utils.log_lines import escaped

    said = io.StringIO()
    error.show(said)  # it may quote what was typed
    click.echo("\n".join(map(escaped, said.getvalue().split("\n"))), nl=False, err=True)
    return error.exit_code


def _unheard(lost: streams.OutputLost) -> int:
    streams.abandon_stdout()
    complain(
        f"cannot write to standard output: {lost.strerror}; what the command was to do may be "
        "done all the same"
    )
    return exits.TROUBLE
