from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from portico.examples.http_sender import Answer
from portico.examples.webhook_handler import WebhookHandler
from portico.exceptions import ExternalServiceError, ValidationError
from portico.ports.job import Job
from tests.support.jobs import make_job


class Server:
    """Gives one answer after the other; an exception is raised."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, Any, Mapping[str, str]]] = []

    async def post(self, url: str, json: Any, headers: Mapping[str, str]) -> Answer:
        self.requests.append((url, json, headers))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Pauses(list[float]):
    """Notes how long it would have slept."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def webhook(payload: dict[str, Any] | None = None) -> Job:
    default = {"url": "https://example.com/hook", "payload": {"event": "paid"}}
    return make_job(job_type="webhook.send", payload=default if payload is None else payload)


async def test_a_delivery_carries_the_document_and_the_jobs_id() -> None:
    server = Server(Answer(200, "thanks"))
    job = webhook()

    result = await WebhookHandler(server).handle(job)

    assert result.success
    assert result.result_data == {"status_code": 200, "response": "thanks", "attempts": 1}
    assert server.requests == [
        ("https://example.com/hook", {"event": "paid"}, {"Idempotency-Key": str(job.id)})
    ]


async def test_a_server_that_recovers_is_waited_for_within_the_job() -> None:
    server = Server(Answer(500, ""), ExternalServiceError("reset"), Answer(204, ""))
    pauses = Pauses()

    result = await WebhookHandler(server, pauses).handle(webhook())

    assert result.success
    assert result.result_data["attempts"] == 3
    assert pauses == [1.0, 2.0]


async def test_three_failures_in_a_row_ask_for_a_retry_later() -> None:
    pauses = Pauses()
    server = Server(Answer(503, ""), Answer(503, ""), Answer(502, ""))

    result = await WebhookHandler(server, pauses).handle(webhook())

    assert not result.success
    assert result.retryable
    assert str(result.error) == "no delivery after 3 attempts: the server answered 502"
    assert pauses == [1.0, 2.0]


@pytest.mark.parametrize("status", [301, 400, 404, 410])
async def test_a_refusal_is_final(status: int) -> None:
    result = await WebhookHandler(Server(Answer(status, "no"))).handle(webhook())

    assert not result.success
    assert not result.retryable
    assert result.result_data["status_code"] == status
    assert str(status) in str(result.error)


async def test_a_long_answer_is_cut() -> None:
    result = await WebhookHandler(Server(Answer(200, "x" * 5000))).handle(webhook())

    assert len(result.result_data["response"]) == 1000


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"payload": {}}, "missing required field `url`"),
        ({"url": "https://example.com"}, "missing required field `payload`"),
        ({"url": "file:///etc/passwd", "payload": {}}, "http:// or https://"),
        ({"url": "ftp://example.com", "payload": {}}, "http:// or https://"),
        ({"url": "//example.com", "payload": {}}, "http:// or https://"),
        ({"url": "https://", "payload": {}}, "http:// or https://"),
        ({"url": "http://[::1", "payload": {}}, "Invalid IPv6 URL"),
    ],
)
async def test_a_payload_that_is_not_acceptable_fails_for_good_and_says_why(
    payload: dict[str, Any], message: str
) -> None:
    server = Server()

    result = await WebhookHandler(server).handle(webhook(payload))

    assert not result.success
    assert not result.retryable
    assert isinstance(result.error, ValidationError)
    assert message in str(result.error)
    assert server.requests == []
