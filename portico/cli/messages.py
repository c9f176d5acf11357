"""What the command says to people, beside tables."""

from __future__ import annotations

import click


def complain(message: str) -> None:
    """One line on stderr, with control characters spelled out and passwords masked."""
    from portico.utils.log_lines import escaped, masked_urls

    click.echo(f"portico: {masked_urls(escaped(message))}", err=True)


def counted(count: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
