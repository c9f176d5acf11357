"""`portico migrate`: bring a store's schema to this release's version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from portico.cli import exits
from portico.cli.groups import Group
from portico.cli.options import json_option
from portico.cli.store import store_option, usable

if TYPE_CHECKING:
    from portico.compose import SchemaKeeper


@click.group(cls=Group, epilog=exits.EPILOG)
def migrate() -> None:
    """Create or upgrade the tables of a store."""


@migrate.command("up")
@store_option
def up(*, queue_url: str | None) -> None:
    """Bring the schema to this release's version. Safe while others do the same."""
    import asyncio

    applied = asyncio.run(_keeper(queue_url).up())
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to do: the schema is up to date")


@migrate.command("status")
@json_option
@store_option
def status(*, as_json: bool, queue_url: str | None) -> int:
    """Tell which versions are applied.

    Exit code 1 when some are not. With --json: {"versions": [{"name", "applied"}, ...]}, oldest
    first.
    """
    import asyncio

    from portico.cli import shapes

    versions = asyncio.run(_keeper(queue_url).status())
    if as_json:
        told = [{"name": name, "applied": applied} for name, applied in versions]
        shapes.write({"versions": told})
    else:
        for name, applied in versions:
            click.echo(f"{'applied' if applied else 'pending'}  {name}")
    return exits.OK if all(applied for _, applied in versions) else exits.TROUBLE


@migrate.command("sql")
@store_option
def sql(*, queue_url: str | None) -> None:
    """Print the SQL of all versions.

    For someone with more rights to run on an empty schema.
    """
    click.echo(_keeper(queue_url).sql(), nl=False)


def _keeper(queue_url: str | None) -> SchemaKeeper:
    from portico import compose
    from portico.supervisor.config import resolve_queue_url

    return compose.schema_keeper(usable(resolve_queue_url(queue_url)))
