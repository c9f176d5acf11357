from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest

from portico.examples.email_handler import EmailHandler
from portico.exceptions import ExternalServiceError, ValidationError
from portico.ports.job import Job
from tests.support.jobs import make_job

LETTER = {"recipient": "ada@example.com", "subject": "Hello", "body": "How are you?"}


def email_job(payload: dict[str, Any], **overrides: Any) -> Job:
    return make_job(job_type="email.send", payload=payload, **overrides)


async def test_a_message_is_sent_with_the_job_as_its_key() -> None:
    email_service = AsyncMock()
    job = email_job(LETTER)

    result = await EmailHandler(email_service).handle(job)

    assert result.success
    assert result.result_data["recipient"] == "ada@example.com"
    assert datetime.fromisoformat(result.result_data["sent_at"]).tzinfo is not None
    email_service.send_email.assert_called_once_with(
        to="ada@example.com", subject="Hello", body="How are you?", key=str(job.id)
    )


async def test_a_template_is_sent_with_its_variables() -> None:
    email_service = AsyncMock()
    job = email_job(
        {"recipient": "ada@example.com", "template_id": "welcome", "variables": {"name": "Ada"}}
    )

    result = await EmailHandler(email_service).handle(job)

    assert result.success
    email_service.send_templated_email.assert_called_once_with(
        to="ada@example.com", template_id="welcome", variables={"name": "Ada"}, key=str(job.id)
    )


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"subject": "Hello", "body": "..."}, "missing required field `recipient`"),
        ({**LETTER, "recipient": ""}, "at `$.recipient`"),
        ({**LETTER, "recipient": ["a@b.c"]}, "Expected `str`, got `array` - at `$.recipient`"),
        ({"recipient": "ada@example.com"}, "give subject and body, or template_id"),
        ({"recipient": "ada@example.com", "subject": "Hi"}, "give subject and body"),
    ],
)
async def test_a_payload_that_is_not_acceptable_fails_for_good_and_says_why(
    payload: dict[str, Any], message: str
) -> None:
    email_service = AsyncMock()

    result = await EmailHandler(email_service).handle(email_job(payload))

    assert not result.success
    assert not result.retryable
    assert isinstance(result.error, ValidationError)
    assert message in str(result.error)
    email_service.send_email.assert_not_called()


async def test_what_the_mail_service_finds_wrong_with_the_message_is_final_too() -> None:
    email_service = AsyncMock()
    email_service.send_email.side_effect = ValidationError("recipient is not an address")

    result = await EmailHandler(email_service).handle(email_job(LETTER))

    assert not result.success
    assert str(result.error) == "recipient is not an address"


async def test_an_outage_is_raised_so_that_the_job_is_tried_again() -> None:
    email_service = AsyncMock()
    email_service.send_email.side_effect = ExternalServiceError("connection refused")

    with pytest.raises(ExternalServiceError, match="connection refused"):
        await EmailHandler(email_service).handle(email_job(LETTER))


@pytest.mark.parametrize(("retry_count", "alerts"), [(0, 0), (2, 0), (3, 1)])
async def test_an_admin_is_alerted_once_the_retries_are_spent(
    retry_count: int, alerts: int
) -> None:
    email_service = AsyncMock()
    job = email_job(LETTER, retry_count=retry_count, max_retries=3)

    await EmailHandler(email_service).on_failure(job, ExternalServiceError("down"))

    assert email_service.send_admin_alert.call_count == alerts
