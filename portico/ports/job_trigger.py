"""The port of things that create jobs by themselves: schedules, webhooks."""

from __future__ import annotations

from abc import ABC, abstractmethod


class JobTrigger(ABC):
    """Creates jobs when something happens, from `start()` to `stop()`."""

    @abstractmethod
    async def start(self) -> None:
        """Begin to watch; does nothing when it is running already."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop watching and return when no further job will be created; may be called twice."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it is between `start()` and `stop()`."""
