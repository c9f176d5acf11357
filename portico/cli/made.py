"""The options that choose jobs by how they were made: by whom, when, with which metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from portico.cli.options import C, as_instant


def _as_metadata(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any] | None:
    wanted: dict[str, Any] = {}
    for each in values:
        key, equals, value = each.partition("=")
        if not equals:
            raise click.BadParameter(f"{each!r}: give KEY=VALUE", context, option)
        try:
            wanted[key] = json.loads(value)
        except ValueError:
            wanted[key] = value
    return wanted or None


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--created-by", metavar="USER", help="Only of this user."),
    click.option(
        "--metadata", multiple=True, callback=_as_metadata, metavar="KEY=VALUE",
        help="Only with this in the metadata: JSON, or else text; may be repeated.",
    ),
    click.option(
        "--created-after", callback=as_instant, metavar="ISO", help="Only created then or later."
    ),
    click.option(
        "--created-before", callback=as_instant, metavar="ISO", help="Only created before."
    ),
)  # fmt: skip


def made_options(command: C) -> C:
    """Give a verb these options, by the names that a `JobFilter` has for them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
