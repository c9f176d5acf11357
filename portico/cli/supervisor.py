"""`portico supervisor`: `python -m portico.supervisor` under another name."""

from __future__ import annotations

from typing import NoReturn

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def supervisor(queue_url: str | None, arguments: tuple[str, ...]) -> NoReturn:
    """Run worker processes that do the jobs."""
    from portico.supervisor.cli import main

    given = ["--queue-url", queue_url] if queue_url is not None else []
    main([*given, *arguments])
