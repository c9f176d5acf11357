"""`python -m tests.simulation --seeds 20000`, or `--seed 12345 --verbose` to see one again."""

from __future__ import annotations

import argparse
import os
import sys

from tests.simulation.many import coverage, missing, run_many
from tests.simulation.scenario import simulate, stage

_SHOWN = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one and show what happened")
    parser.add_argument("--verbose", action="store_true", help="show all of it, not only the end")
    parser.add_argument("--seeds", type=int, default=2000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, everything=arguments.verbose)
    total = run_many(arguments.first, arguments.seeds, arguments.jobs, progress=sys.stderr)
    print(coverage(total))
    for seed, wrong in total.wrong[:20]:
        print(f"SEED={seed}  {wrong}")
    if total.wrong:
        _one(total.wrong[0][0], everything=False)
    unseen = missing(total)
    if unseen:
        print(f"not seen often enough: {', '.join(unseen)}")
    return 1 if total.wrong or unseen else 0


def _one(seed: int, *, everything: bool) -> int:
    with stage():
        report = simulate(seed, verbose=True)
    history = report.history if everything else report.history[-_SHOWN:]
    print(*history, sep="\n")
    print(f"SEED={seed}", *(report.wrong or ["nothing is wrong"]))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
