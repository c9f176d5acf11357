"""An HTTP client for handlers: made on the worker's loop, opened when first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from portico.examples.optional import examples_extra
from portico.exceptions import ExternalServiceError, ValidationError

if TYPE_CHECKING:
    import httpx


_METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254")))
"""Where clouds tell a machine its credentials, beside the link-local addresses."""


class Answer(NamedTuple):
    """What a server said."""

    status: int
    text: str


class HttpSender:
    """Keeps its connections open from job to job, and closes them with the worker."""

    def __init__(self, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def post(self, url: str, json: Any, headers: Mapping[str, str]) -> Answer:
        """Post a JSON document; redirects are not followed.

        Raises:
            ExternalServiceError: no answer.
            ValidationError: the URL, a header, or who answered is not acceptable.
        """
        client = self._open()
        with _translated():
            response = await client.post(url, json=json, headers=headers)
        return Answer(response.status_code, response.text)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a resource, block by block, following redirects.

        Raises:
            ExternalServiceError: no answer, or a 5xx.
            ValidationError: the URL or who answered is not acceptable, or a 4xx.
        """
        client = self._open()
        with _translated():
            async with client.stream("GET", url, follow_redirects=True) as response:
                _check(response)
                yield response.aiter_bytes()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            with examples_extra():
                import httpx
            self._client = httpx.AsyncClient(
                timeout=self._timeout, event_hooks={"response": [_refuse_metadata]}
            )
        return self._client


def is_metadata(address: str) -> bool:
    """Whether what only this very machine is to be told is told at this address."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    return found.is_link_local or found in _METADATA


async def _refuse_metadata(response: httpx.Response) -> None:
    """Read no such answer: whoever creates jobs could have it as a result.

    What counts is the address that answered, whatever a URL calls it and wherever it leads.
    """
    connection = response.extensions.get("network_stream")
    address = connection and connection.get_extra_info("server_addr")
    if address and is_metadata(address[0]):
        raise ValidationError(
            f"{response.url.host} is at {address[0]}, where a machine is told its own credentials; "
            "no job may ask there"
        )


@contextmanager
def _translated() -> Iterator[None]:
    import httpx

    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise ValidationError(f"request: {error}") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ExternalServiceError(f"{error.request.url.host}: {reason}") from error


def _check(response: httpx.Response) -> None:
    status = f"{response.url} answered {response.status_code}"
    if response.is_server_error:
        raise ExternalServiceError(status)
    if not response.is_success:
        raise ValidationError(status)
