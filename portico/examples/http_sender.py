"""An HTTP client for handlers: made on the worker's loop, opened when first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from portico.examples.optional import examples_extra
from portico.exceptions import ExternalServiceError, ValidationError

if TYPE_CHECKING:
    import httpx


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
            ValidationError: the URL or a header is not acceptable.
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
            ValidationError: the URL is not acceptable, or a 4xx.
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
            self._client = httpx.AsyncClient(timeout=self._timeout)
        return self._client


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
