"""Frames that a worker has a reason to send: others are refused, however well they are formed.

What jobs and `on_failure` report is held against what the worker was given (`claims`), requests
wait for each other (`requests`). What is left costs little, but a flood of it would go on for ever:

| frame | so many |
|---|---|
| `Batch` | numbered without a gap, none of them empty |
| `Dumped` | one for each `Dump`, its text cut |
| `Recalled` | two for each frame that it was sent, for it may be closing, and some for signals |
| `Leaving`, `Unready` | one |
"""

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
