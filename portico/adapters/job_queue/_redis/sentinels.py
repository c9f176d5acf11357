"""Asking sentinels for the primary, and hearing why none of them names one."""

from __future__ import annotations

from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004 - the driver's own


class Sentinels(Sentinel):
    """The driver's, with its reasons: a certificate that does not verify and a password that is
    wrong are told by the driver as a primary that is not there, which would be waited for."""

    async def discover_master(self, service_name: str) -> tuple[Any, Any]:
        """Where the primary is, as the first sentinel says that knows it.

        Raises:
            MasterNotFoundError: those that answer know of none that is up.
            ConnectionError, TimeoutError: none answers; this is what the first one met with.
        """
        met, answered = None, False
        for number, one in enumerate(self.sentinels):
            try:
                primaries: Any = await one.sentinel_masters()
            except (ConnectionError, TimeoutError) as error:
                met = met or error
                continue
            answered, state = True, primaries.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[number] = one, self.sentinels[0]  # ask it first
                return state["ip"], state["port"]
        if met is None or answered:
            raise MasterNotFoundError(f"its sentinels know no primary {service_name!r} that is up")
        raise met
