"""The two tests of "How do I test handlers in isolation?", as they stand there."""

from unittest.mock import AsyncMock, Mock
from uuid import uuid4

import pytest

from portico.ports.job import Job, JobResult
from tests.seed.handlers import EmailJobHandler


@pytest.mark.asyncio
async def test_email_handler_success():
    # Mock dependencies
    email_service = AsyncMock()
    email_service.send_email.return_value = {"sent": True}

    # Create handler with mocks
    handler = EmailJobHandler(email_service)

    # Create test job
    job = Job(
        id=uuid4(),
        queue_name="default",
        job_type="email.send",
        payload={"recipient": "test@example.com", "subject": "Test", "body": "Test email"},
    )

    # Test handle method
    result = await handler.handle(job)

    # Verify
    assert result.success
    assert "sent_at" in result.result_data
    email_service.send_email.assert_called_once()


@pytest.mark.asyncio
async def test_email_handler_failure():
    # Mock service to raise exception
    email_service = AsyncMock()
    email_service.send_email.side_effect = Exception("SMTP error")

    handler = EmailJobHandler(email_service)

    job = Job(
        id=uuid4(),
        queue_name="default",
        job_type="email.send",
        payload={"recipient": "test@example.com"},
    )

    # Test failure handling
    result = await handler.handle(job)

    assert not result.success
    assert result.error is not None
