"""`python -m benchmarks`: run one benchmark, print a table, write JSON."""

from __future__ import annotations

import click

from benchmarks.commands.enqueue import enqueue
from benchmarks.commands.everything import everything
from benchmarks.commands.fairness import fairness
from benchmarks.commands.footprint import footprint
from benchmarks.commands.guard import guard
from benchmarks.commands.hostile import hostile
from benchmarks.commands.latency import latency
from benchmarks.commands.limits import limits
from benchmarks.commands.payload import payload
from benchmarks.commands.plot import plot
from benchmarks.commands.scale import scale
from benchmarks.commands.scaling import scaling
from benchmarks.commands.storm import storm
from benchmarks.commands.throughput import throughput
from benchmarks.commands.workloads import workloads
from benchmarks.peers.command import peers
from benchmarks.soak.command import soak
from portico.utils.logging import configure_logging


@click.group()
def main() -> None:
    """Measure Portico. Only ratios within one run count on a shared machine."""
    configure_logging(log_level="WARNING")


main.add_command(enqueue)
main.add_command(everything)
main.add_command(fairness)
main.add_command(footprint)
main.add_command(guard)
main.add_command(hostile)
main.add_command(latency)
main.add_command(limits)
main.add_command(payload)
main.add_command(peers)
main.add_command(plot)
main.add_command(scale)
main.add_command(scaling)
main.add_command(soak)
main.add_command(storm)
main.add_command(throughput)
main.add_command(workloads)


if __name__ == "__main__":
    main()
