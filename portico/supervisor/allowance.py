"""Frames that a worker has a reason to send: others are refused, however well they are formed.

What bounds each of them, wherever that is:

| frame | bytes (`wire.LARGEST`) | how many | what is kept or told of it |
|---|---|---|---|
| `Ready` | 2 MiB | one (`claims`) | 10 000 types, 10 000 limits |
| `Unready` | 0.5 MiB | one | twice 64 Ki characters |
| `Batch` | a tray | numbered without a gap, none empty; of what it holds (`claims`) | results, 8 MiB ahead of who collects them (`intake`) |
| `Done` | 1 MiB | one for each job that it holds (`claims`) | likewise |
| `Ended` | 64 KiB | likewise | cut: 24 KiB of words, 4 KiB of output |
| `Mourned` | 64 | one for each failure (`claims`) | nothing |
| `Recalled` | 64 KiB | two for each frame that it was sent, as it may be closing, and some for signals; of what it holds (`claims`) | nothing |
| `Leaving` | 4 KiB | one | 100 characters |
| `Dumped` | 0.25 MiB | one for each `Dump` | 64 Ki characters |
| `Request` | 16 MiB | 1000, or 16 MiB of them (`requests`) | answers, 8 MiB unread (`outflow`) |
| all | 256 KiB in a turn (`intake`) | 64 in a turn | lies are told once (`Scheduler`) |

Beside its frames: what it prints and logs is bounded by the turn and by the second (`output`,
`relay`), its page and its tray by their size, and what it has started by how much of that is looked
at (`orphans`, `families`, `offspring.strays`, `trackers`).
"""  # noqa: E501 - a table

from __future__ import annotations

from portico.supervisor import wire
from portico.supervisor.framing import FrameError

_SIGNALS = 1000
"""Signals to close that a worker may get from elsewhere, each answered by a `Recalled`."""


class Allowance:
    """What one worker may still send."""

    def __init__(self) -> None:
        self.batches = 0
        """How many frames of results have arrived."""
        self._recalls = _SIGNALS
        self._dumps = 0
        self._farewells = {wire.Leaving: 1, wire.Unready: 1}

    def sent(self, message: wire.ToWorker) -> None:
        """It was sent this, and may answer."""
        self._recalls += 2
        self._dumps += type(message) is wire.Dump

    def check(self, message: wire.FromWorker) -> None:
        """Count a frame that has arrived.

        Raises:
            FrameError: there is no reason for it.
        """
        if type(message) is wire.Batch:  # as nearly every one is
            self._check_batch(message)
        elif type(message) is wire.Recalled:
            self._recalls -= 1
            _refuse(self._recalls < 0, "it gives back again and again, and nobody has asked")
        elif type(message) is wire.Dumped:
            self._dumps -= 1
            _refuse(self._dumps < 0, "stacks that nobody has asked for")
            message.text = message.text[: wire.MAX_STACKS]
        elif (kind := type(message)) in self._farewells:
            self._farewells[kind] -= 1
            _refuse(self._farewells[kind] < 0, "it has said before that it goes")

    def _check_batch(self, batch: wire.Batch) -> None:
        expected = self.batches + 1
        if batch.number != expected:
            raise FrameError(f"results number {batch.number}, not {expected}")
        _refuse(not batch.ends, f"results number {expected}, and there are none in it")
        self.batches = expected


def _refuse(unasked: bool, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    if unasked:
        raise FrameError(why)
