"""`webhook.send` and downloads against a real HTTP server."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from portico.examples import http_sender
from portico.examples.data_import_handler import DataImportHandler
from portico.examples.http_sender import HttpSender
from portico.examples.webhook_handler import WebhookHandler
from portico.exceptions import ExternalServiceError, ValidationError
from tests.support.jobs import make_job
from tests.unit.examples.conftest import Orders

CSV = "name,score\na,1\nb,2\nc,3\n"


class Site(ThreadingHTTPServer):
    """Answers with the statuses it is given, then with 200; notes what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.statuses: list[int] = []
        self.received: list[tuple[Any, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answering(BaseHTTPRequestHandler):
    server: Site

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((json.loads(body), headers))
        self._answer(b"thanks")

    def do_GET(self) -> None:
        self.server.received.append((self.path, {}))
        self._answer(gzip.compress(CSV.encode()) if self.path.endswith(".gz") else CSV.encode())

    def _answer(self, body: bytes) -> None:
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def http() -> AsyncIterator[HttpSender]:
    async with HttpSender(timeout=5.0) as sender:
        yield sender


@pytest.fixture
def webhooks(http: HttpSender) -> WebhookHandler:
    async def at_once(seconds: float) -> None:
        pass

    return WebhookHandler(http, at_once)


async def test_a_server_that_fails_twice_gets_the_webhook_at_the_third_attempt(
    webhooks: WebhookHandler, site: Site
) -> None:
    site.statuses = [500, 503]
    job = make_job(payload={"url": site.url, "payload": {"event": "paid", "amount": 7}})

    result = await webhooks.handle(job)

    assert result.success
    assert result.result_data == {"status_code": 200, "response": "thanks", "attempts": 3}
    assert [document for document, _ in site.received] == [{"event": "paid", "amount": 7}] * 3
    assert {headers["idempotency-key"] for _, headers in site.received} == {str(job.id)}


async def test_headers_of_the_payload_are_sent(webhooks: WebhookHandler, site: Site) -> None:
    payload = {"url": site.url, "payload": [], "headers": {"X-Token": "secret"}}

    await webhooks.handle(make_job(payload=payload))

    assert site.received[0][1]["x-token"] == "secret"


async def test_a_redirect_is_not_followed(webhooks: WebhookHandler, site: Site) -> None:
    site.statuses = [302]

    result = await webhooks.handle(make_job(payload={"url": site.url, "payload": {}}))

    assert not result.success
    assert not result.retryable
    assert len(site.received) == 1


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True), ("::ffff:169.254.169.254", True), ("fe80::1%eth0", True),
        ("fd00:ec2::254", True), ("100.100.100.200", True), ("127.0.0.1", False),
        ("10.0.0.1", False), ("::1", False), ("93.184.216.34", False),
    ],
)  # fmt: skip
def test_machines_are_told_their_credentials_at_these_addresses(
    address: str, refused: bool
) -> None:
    assert http_sender.is_metadata(address) is refused


async def test_what_a_machine_is_told_of_its_credentials_is_no_jobs_result(
    webhooks: WebhookHandler, http: HttpSender, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that answers: this one stands for one of those, under a name."""
    monkeypatch.setattr(http_sender, "is_metadata", lambda address: address == "127.0.0.1")
    url = site.url.replace("127.0.0.1", "localhost")
    job = make_job(payload={"url": f"{url}/latest/meta-data", "payload": {}})
    result = await webhooks.handle(job)
    assert isinstance(result.error, ValidationError)
    assert "no job may ask there" in str(result.error)
    assert not result.retryable
    assert result.result_data == {}
    site.statuses = [302]  # wherever it leads
    with pytest.raises(ValidationError, match="no job may ask there"):
        async with http.download(url):
            pytest.fail("it was read")


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"": "a"}])
async def test_a_header_that_would_add_another_is_refused(
    webhooks: WebhookHandler, site: Site, headers: dict[str, str]
) -> None:
    payload = {"url": site.url, "payload": {}, "headers": headers}

    result = await webhooks.handle(make_job(payload=payload))

    assert isinstance(result.error, ValidationError)
    assert site.received == []


async def test_a_server_that_is_down_asks_for_a_retry(
    webhooks: WebhookHandler, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"

    result = await webhooks.handle(make_job(payload={"url": url, "payload": {}}))

    assert result.retryable
    assert "after 3 attempts" in str(result.error)


@pytest.mark.parametrize("name", ["source.csv", "source.csv.gz"])
async def test_an_import_downloads_its_source_once_for_all_chunks(
    http: HttpSender, site: Site, tmp_path: Path, name: str
) -> None:
    orders = Orders()
    handler = DataImportHandler(orders, http)
    payload = {"source_url": f"{site.url}/{name}", "output": str(tmp_path), "chunk_size": 2}

    first = await handler.handle(make_job(job_type="data.import", payload=payload))
    second = await handler.handle(orders.jobs[0])

    assert [first.result_data["records_imported"], second.result_data["records_imported"]] == [2, 1]
    assert len(site.received) == 1


async def test_a_source_that_is_not_there_is_final(
    http: HttpSender, site: Site, tmp_path: Path
) -> None:
    site.statuses = [404]
    payload = {"source_url": f"{site.url}/x.csv", "output": str(tmp_path)}

    result = await DataImportHandler(Orders(), http).handle(make_job(payload=payload))

    assert not result.success
    assert "answered 404" in str(result.error)


async def test_a_source_that_is_down_is_tried_again(
    http: HttpSender, site: Site, tmp_path: Path
) -> None:
    site.statuses = [503]
    payload = {"source_url": f"{site.url}/x.csv", "output": str(tmp_path)}

    with pytest.raises(ExternalServiceError, match="answered 503"):
        await DataImportHandler(Orders(), http).handle(make_job(payload=payload))
