"""Groups of verbs that know which verb a misspelt one was meant to be."""

from __future__ import annotations

from difflib import get_close_matches

import click


class Group(click.Group):
    """A group of verbs that suggests the nearest one to a verb that there is not."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the arguments begin with; see `click.Group`.

        Raises:
            click.UsageError: there is none of that name.
        """
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        names = self.list_commands(ctx)
        close = get_close_matches(name, names, 1)
        way_out = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(names)}."
        raise click.UsageError(f"No such command {name!r}. {way_out}", ctx)
